"""Shows what the game costs on AWS: endpoints by time and by guess, trainings, and cheaper ways (way 3, OPERATE). Pure.

The instances are those that the trainer has seen, the rates those of the last hour, the shares those that players gave.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

from pydantic import BaseModel

from api.folds.endpoint_latency import EndpointLatency
from api.folds.guess_rates import GuessRates
from api.folds.model_board import ModelBoard
from api.ops import economics
from api.ops.accuracy import Accuracy
from contracts.events import TRAINING_ENDS, ModelPublished
from contracts.prices import PriceList, UnknownInstance, dollars
from contracts.rebuilds import RebuildQueue

_BILLIONTH: Final = Decimal("0.000000001")


class PricesUsed(BaseModel):
    """The list of prices."""

    as_of: date
    region: str
    source: str
    stale: str | None
    """Why it should be replaced; None: it is new enough."""


class WayToServe(BaseModel):
    """A way to run an endpoint."""

    way: Literal["always", "to zero", "serverless"]
    per_month: Decimal | None
    """Dollars, at the rate; None: something that it depends on is not known."""
    note: str


class EndpointCost(BaseModel):
    """What a model's endpoint costs, in dollars."""

    model: str
    title: str
    instances: list[str]
    """As ``2 x ml.m5.large``."""
    unpriced: str | None
    """Why nothing is known; None: it is."""
    per_hour: Decimal | None
    per_month: Decimal | None
    per_year: Decimal | None
    guesses_per_hour: float | None
    """All that it was asked, previews and shadows too; None: counted for less than a minute."""
    finished_per_hour: float | None
    """Its guesses on finished drawings."""
    share: float | None
    """The share of these that was right, as players' labels give it; None: there are none."""
    per_thousand: Decimal | None
    """For a thousand guesses; None: nobody asks."""
    per_correct: Decimal | None
    """For each right guess on a finished drawing."""
    ways: list[WayToServe]
    break_even: int | None
    """Guesses an hour from which the endpoint that is always there is cheaper than a serverless one."""
    cheapest: str | None


class TrainingCost(BaseModel):
    """What a training cost, in dollars, and what it bought."""

    model: str
    version: str
    at: datetime
    seconds: float | None
    instances: str
    cost: Decimal | None
    points: Decimal | None
    """Percentage points won on held-back drawings; None: it was not compared with another version."""
    points_per_cent: Decimal | None
    further_right_each: Decimal | None
    """What each further right guess of a month costs."""
    warning: str


class TrainingInVain(BaseModel):
    """What a rebuild cost that ended without a version, in dollars."""

    model: str
    at: datetime
    """When it ended."""
    outcome: str
    """failed, cancelled or refused."""
    seconds: float
    """What AWS bills of its jobs, those of tries too."""
    cost: Decimal | None
    """None: there is no price of its instance."""


class Costs(BaseModel):
    """All costs."""

    prices: PricesUsed
    minutes: int
    """Over how many minutes guesses were counted."""
    assumed: float | None
    """The guesses an hour that were asked about instead; None: it is what was counted."""
    memory_gb: int
    """The memory of a serverless endpoint."""
    endpoints: list[EndpointCost]
    trainings: list[TrainingCost]
    """The newest first."""
    in_vain: list[TrainingInVain]
    """Those that have ended without a version; the newest first."""
    per_hour: Decimal
    per_month: Decimal
    per_year: Decimal
    """All endpoints of which it is known."""
    trained: Decimal
    """All trainings of which it is known, with a version or without."""
    trained_in_vain: Decimal
    """Those of them without a version."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked."""

    at: datetime
    guesses_per_hour: float | None = None
    """To reckon with instead of what was counted; of finished drawings as well."""
    memory_gb: int = 2


def costs(
    board: ModelBoard,
    latency: EndpointLatency,
    rates: GuessRates,
    rebuilds: RebuildQueue,
    prices: PriceList,
    asked: Asked,
) -> Costs:
    """Return what everything costs."""
    endpoints = [_endpoint(board, latency, rates, prices, asked, model) for model in board.roster.batch]
    by_model = {one.model: one for one in endpoints}
    versions = (version for several in board.catalog.published.values() for version in several.values())
    trainings = [_training(version, by_model.get(version.model)) for version in versions if "training_job" in version.lineage]
    in_vain = list(_in_vain(board, rebuilds))
    per_hour, vainly = _sum(one.per_hour for one in endpoints), _sum(one.cost for one in in_vain)
    return Costs(
        prices=PricesUsed(as_of=prices.as_of, region=prices.region, source=prices.source, stale=prices.stale(asked.at.date())),
        minutes=max((rates.rate(model, asked.at).minutes for model in board.roster.batch), default=0),
        assumed=asked.guesses_per_hour,
        memory_gb=asked.memory_gb,
        endpoints=endpoints,
        trainings=sorted(trainings, key=lambda one: one.at, reverse=True),
        in_vain=in_vain,
        per_hour=per_hour,
        per_month=per_hour * economics.HOURS_A_MONTH,
        per_year=per_hour * economics.HOURS_A_YEAR,
        trained=_sum(one.cost for one in trainings) + vainly,
        trained_in_vain=vainly,
    )


def _in_vain(board: ModelBoard, rebuilds: RebuildQueue) -> Iterator[TrainingInVain]:
    """Yield what rebuilds cost that ended without a version; one that has a version is known by that."""
    for one in rebuilds.all():
        ended = one.last
        if ended is None or ended.step not in TRAINING_ENDS or ended.seconds is None:
            continue
        versions = board.catalog.published.get(one.model, {}).values()
        if not any(version.lineage.get("command") == str(one.command_id) for version in versions):
            yield TrainingInVain(model=one.model, at=ended.at, outcome=ended.step, seconds=ended.seconds, cost=ended.cost)


def _endpoint(
    board: ModelBoard, latency: EndpointLatency, rates: GuessRates, prices: PriceList, asked: Asked, model: str
) -> EndpointCost:
    seen, rate = board.catalog.endpoints.get(model), rates.rate(model, asked.at)
    score = board.score(model)
    share = Accuracy.of(score["n"], score["correct"]).share
    variants = [(one.instance_type, one.instances) for one in seen.variants] if seen else []
    guesses = rate.per_hour if asked.guesses_per_hour is None else asked.guesses_per_hour
    finished = rate.finished_per_hour if asked.guesses_per_hour is None else asked.guesses_per_hour
    told = EndpointCost(
        model=model,
        title=board.title(model),
        instances=[f"{n} x {kind}" for kind, n in variants],
        unpriced=None,
        per_hour=None,
        per_month=None,
        per_year=None,
        guesses_per_hour=None if guesses is None else round(guesses, 3),
        finished_per_hour=None if finished is None else round(finished, 3),
        share=share,
        per_thousand=None,
        per_correct=None,
        ways=[],
        break_even=None,
        cheapest=None,
    )
    if not variants:
        return told.model_copy(update={"unpriced": board.absence(model) or "no endpoint was seen yet"})
    try:
        per_hour = prices.endpoint(variants)
    except UnknownInstance as unknown:
        return told.model_copy(update={"unpriced": str(unknown)})
    call = latency.latency(model)
    per_call = None if call is None else economics.serverless_call(prices, asked.memory_gb, call[1])
    if asked.guesses_per_hour is None:
        awake = economics.awake_share(rate.awake)
    else:  # as if they came evenly
        awake = min(1.0, asked.guesses_per_hour * economics.IDLE_MINUTES / 60)
    ways = _ways(per_hour, per_call, awake, guesses, None if call is None else call[1])
    known = [way for way in ways if way.per_month is not None]
    return told.model_copy(
        update={
            "per_hour": per_hour,
            "per_month": per_hour * economics.HOURS_A_MONTH,
            "per_year": per_hour * economics.HOURS_A_YEAR,
            "per_thousand": _rounded(economics.per_thousand(per_hour, guesses or 0)),
            "per_correct": _rounded(economics.per_correct(per_hour, finished or 0, share or 0), _BILLIONTH),
            "ways": ways,
            "break_even": None if per_call is None else economics.break_even(per_hour, per_call),
            "cheapest": min(known, key=lambda way: way.per_month or 0).way if len(known) == len(ways) else None,
        }
    )


def _ways(
    per_hour: Decimal, per_call: Decimal | None, awake: float | None, guesses: float | None, call_ms: float | None
) -> list[WayToServe]:
    """Return the ways to run an endpoint, each with what a month costs at the rate."""
    month = economics.HOURS_A_MONTH
    to_zero = None if awake is None else per_hour * month * Decimal(str(round(awake, 6)))
    serverless = None if per_call is None or guesses is None else per_call * Decimal(str(guesses)) * month
    asleep = "not counted yet" if awake is None else f"up {awake:.0%} of the time; the first to ask waits minutes"
    per_guess = (
        "no call was measured yet"
        if per_call is None or call_ms is None
        else f"{call_ms:.1f} ms a call, each drawing asked alone; the first to ask waits seconds"
    )
    return [
        WayToServe(way="always", per_month=per_hour * month, note="answers at once, at any time"),
        WayToServe(way="to zero", per_month=_rounded(to_zero), note=asleep),
        WayToServe(way="serverless", per_month=_rounded(serverless), note=per_guess),
    ]


def _training(version: ModelPublished, endpoint: EndpointCost | None) -> TrainingCost:
    numbers, lineage, beside = version.metrics, version.lineage, version.beside
    spent = numbers.get("training_cost_usd")
    cost = None if spent is None else dollars(spent) + dollars(numbers.get("tuning_cost_usd", 0))
    before, after = numbers.get("champion_held_back_accuracy"), numbers.get("held_back_accuracy")
    if beside is not None:  # each person weighed, as the gate does
        before, after = 0.0, beside.difference
    rate, right_costs = (endpoint.finished_per_hour, endpoint.per_correct) if endpoint else (None, None)
    got = economics.bought(cost, before, after, version.approved, version.verdict, rate, right_costs)
    warning = got.warning
    if not warning and beside is not None and beside.low <= 0:
        warning = f"it may be chance: {beside.low * 100:+.2f} to {beside.high * 100:+.2f} points"
    kind, count = lineage.get("instance_type", ""), int(numbers.get("training_instances", 1))
    return TrainingCost(
        model=version.model,
        version=version.version,
        at=version.at,
        seconds=numbers.get("training_seconds"),
        instances=f"{count} x {kind}" if kind else "",
        cost=cost,
        points=_rounded(got.points),
        points_per_cent=_rounded(got.per_cent),
        further_right_each=_rounded(got.each, _BILLIONTH),
        warning=warning,
    )


def _rounded(amount: Decimal | None, *step: Decimal) -> Decimal | None:
    return None if amount is None else dollars(amount, *step)


def _sum(amounts: Iterable[Decimal | None]) -> Decimal:
    return sum((amount for amount in amounts if amount is not None), Decimal(0))
