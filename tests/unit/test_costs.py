"""What the game costs, on cases that were reckoned by hand."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from rich.console import Console
from rich.text import Text

from api.folds.endpoint_latency import EndpointLatency
from api.folds.guess_rates import GuessRates
from api.folds.model_board import ModelBoard
from api.ops import economics
from api.ops.costs import Asked, Costs, costs
from contracts.events import EndpointSeen, Event, GuessMade, ModelPublished, ScoresCounted, TrainingAdvanced, VariantSeen
from contracts.rebuilds import RebuildQueue
from contracts.settings import Settings
from deploy.cost_tables import cost_tables
from producers.bus import open_bus
from producers.price_file import read_prices
from tests.histories import guess, named
from tests.roster import ROSTER
from tests.serving import get, serving

PRICES = read_prices(Settings())
NOON = datetime(2025, 6, 1, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def version(name: str, approved: bool = True, **metrics: float) -> ModelPublished:
    return ModelPublished(
        model="xgboost", version=name, title="XGBoost", digest="d", artifact="a", metrics=metrics, gate="", approved=approved,
        lineage={"training_job": f"job-{name}", "instance_type": "ml.m5.large"}, at=NOON - HOUR / int(name),
    )  # fmt: skip


def endpoint(*variants: tuple[str, int]) -> EndpointSeen:
    seen = [VariantSeen(variant=f"v{i}", version="1", weight=1, instances=n, instance_type=kind)
            for i, (kind, n) in enumerate(variants)]  # fmt: skip
    return EndpointSeen(model="xgboost", version="1", endpoint="e", status="InService", variants=seen)


def at_time(name: str, at: datetime, **more: object) -> GuessMade:
    return guess(name, model="xgboost", **more).model_copy(update={"at": at})  # type: ignore[arg-type]


def made(rates: GuessRates, latency: EndpointLatency, n: int, at: datetime, **more: object) -> None:
    for i in range(n):
        one = at_time(f"{at} {i}", at, hops={"model": 10.0}, **more)
        rates.apply(one)
        latency.apply(one)


def told(*events: Event, guesses: int = 0, asked: Asked | None = None, final: bool = True) -> Costs:
    board, rates, latency = ModelBoard(ROSTER), GuessRates(NOON - HOUR), EndpointLatency(ROSTER.batch)
    rebuilds = RebuildQueue()
    for event in events:
        board.apply(event)
        rebuilds.apply(event)
    made(rates, latency, guesses, NOON - timedelta(minutes=10), final=final)
    return costs(board, latency, rates, rebuilds, PRICES, asked or Asked(NOON))


def scored(n: int, correct: int) -> ScoresCounted:
    confusion = [0] * 100
    confusion[0], confusion[1] = correct, n - correct
    return ScoresCounted(model="xgboost", version="1", window=None, source=0, n=n, correct=correct, confusion=confusion,
                         latency=[n] + [0] * 11)  # fmt: skip


def test_an_endpoint_by_hour_month_year_thousand_guesses_and_right_guess() -> None:
    [xgboost] = [one for one in told(endpoint(("ml.m5.large", 2)), scored(100, 80), guesses=590).endpoints
                 if one.model == "xgboost"]  # fmt: skip

    assert (xgboost.per_hour, xgboost.per_month, xgboost.per_year) == (Decimal("0.230"), Decimal("167.90"), Decimal("2014.80"))
    assert (xgboost.guesses_per_hour, xgboost.share) == (600.0, 0.8)  # 590 in the 59 whole minutes that are known
    assert xgboost.per_thousand == Decimal("0.383333")  # 0.23 / 0.6
    assert xgboost.per_correct == Decimal("0.000479167")  # 0.23 / (600 x 0.8)
    assert xgboost.instances == ["2 x ml.m5.large"]


def test_three_ways_to_run_it_and_from_how_many_guesses_an_hour_each_is_cheaper() -> None:
    few = next(one for one in told(endpoint(("ml.m5.large", 1)), guesses=59).endpoints if one.model == "xgboost")

    # 2 GB for 10 ms at 0.00002 a GB-second, and 1,200 bytes at 0.016 a GB: 0.0000004 + 0.0000000192
    assert economics.serverless_call(PRICES, 2, 10.0) == Decimal("0.0000004192")
    assert few.break_even == 274332  # 0.115 / 0.0000004192
    ways = {one.way: one.per_month for one in few.ways}
    assert ways["always"] == Decimal("83.95")
    assert ways["to zero"] == Decimal("14.228853")  # asked ten minutes ago, and up since then: 83.95 x 10 / 59
    assert ways["serverless"] == Decimal("0.018361")  # 60 an hour x 730 x 0.0000004192
    assert few.cheapest == "serverless"

    many = next(one for one in told(endpoint(("ml.m5.large", 1)), guesses=59, asked=Asked(NOON, 300_000)).endpoints
                if one.model == "xgboost")  # fmt: skip
    assert many.cheapest == "always"
    assert many.per_thousand == Decimal("0.000383")


def test_what_nobody_asks_costs_by_the_hour_and_nothing_by_the_guess() -> None:
    idle = next(one for one in told(endpoint(("ml.m5.large", 1))).endpoints if one.model == "xgboost")

    assert (idle.per_hour, idle.per_thousand, idle.per_correct) == (Decimal("0.115"), None, None)
    assert {one.way: one.per_month for one in idle.ways} == {
        "always": Decimal("83.95"),
        "to zero": Decimal(0),
        "serverless": None,
    }
    assert idle.cheapest is None, "no call was measured"


def test_previews_are_asked_of_the_endpoint_and_are_no_finished_guesses() -> None:
    drawn = next(one for one in told(endpoint(("ml.m5.large", 1)), scored(10, 9), guesses=59, final=False).endpoints
                 if one.model == "xgboost")  # fmt: skip
    assert (drawn.guesses_per_hour, drawn.finished_per_hour, drawn.per_correct) == (60.0, 0.0, None)


def test_an_instance_without_a_price_says_what_to_add_and_the_others_are_added_up() -> None:
    report = told(endpoint(("ml.p9.huge", 1)))
    unpriced = next(one for one in report.endpoints if one.model == "xgboost")

    assert unpriced.per_hour is None
    assert "add it to instances_per_hour" in str(unpriced.unpriced)
    assert report.per_hour == 0


def test_what_a_retrain_bought_and_when_it_was_not_worth_it() -> None:
    good = {"champion_held_back_accuracy": 0.95, "held_back_accuracy": 0.97, "training_seconds": 90.0}
    report = told(
        version("1", training_seconds=360.0, training_cost_usd=0.04),
        version("2", training_cost_usd=0.002875, **good),
        version("3", False, training_cost_usd=0.002875, champion_held_back_accuracy=0.97, held_back_accuracy=0.95),
        version("4", training_cost_usd=0.002875, champion_held_back_accuracy=0.97, held_back_accuracy=0.97),
        version("5", training_cost_usd=900.0, **good),
        version("6", False).model_copy(update={"verdict": "undecided"}),
        endpoint(("ml.m5.large", 1)),
        scored(100, 97),
        guesses=590,
    )
    by_version = {one.version: one for one in report.trainings}

    assert list(by_version) == ["6", "5", "4", "3", "2", "1"], "the newest first"
    assert by_version["6"].warning == "nobody can tell yet what it bought: the gate could not decide"
    assert (by_version["1"].points, by_version["1"].warning) == (None, "")
    worth = by_version["2"]
    assert (worth.points, worth.points_per_cent, worth.warning) == (Decimal("2.000000"), Decimal("6.956522"), "")  # 2 / 0.2875
    assert worth.further_right_each == Decimal("3.28E-7")  # 0.002875 / (0.02 x 600 x 730)
    assert worth.instances == "1 x ml.m5.large"
    assert "the gate refused" in by_version["3"].warning
    assert "+0.00 points" in by_version["4"].warning
    assert "each further right guess of a month costs $0.102740, and $0.000198 at the endpoint" in by_version["5"].warning
    assert report.trained == Decimal("900.048625")


def test_a_training_of_a_version_that_was_tuned_by_floats_costs_no_more_than_millionths() -> None:
    tuned = version("1", training_cost_usd=0.002875, tuning_cost_usd=0.03724027777777778)

    report = told(tuned).model_dump(mode="json")

    assert (report["trainings"][0]["cost"], report["trained"]) == ("0.040115", "0.040115")


def ended(name: str, step: str = "failed", seconds: float | None = 100.0, hours: int = 0) -> TrainingAdvanced:
    cost = None if seconds is None else PRICES.training("ml.m5.large", 1, seconds)
    return TrainingAdvanced(model="xgboost", version="9", command_id=named(name), step=step, fraction=1.0, seconds=seconds,
                            cost=cost, at=NOON - hours * HOUR)  # fmt: skip


def test_what_failed_was_cancelled_or_brought_nothing_new_costs_as_well_and_nothing_costs_twice() -> None:
    """Twenty tries whose winner was nothing new cost $0."""
    has_a_version = version("4", training_cost_usd=0.5)
    published = has_a_version.model_copy(update={"lineage": has_a_version.lineage | {"command": str(named("published"))}})

    report = told(
        published,
        ended("published"),
        ended("old", hours=3),
        ended("grid", "refused", 1000.0, hours=1),
        ended("cancelled", "cancelled", hours=2),
        ended("queued", "cancelled", None),
        ended("at work", "training"),
    )

    assert [(one.outcome, one.seconds, one.cost) for one in report.in_vain] == [
        ("refused", 1000.0, Decimal("0.031944")),
        ("cancelled", 100.0, Decimal("0.003194")),
        ("failed", 100.0, Decimal("0.003194")),
    ]
    assert (report.trained_in_vain, report.trained) == (Decimal("0.038332"), Decimal("0.538332"))


def test_a_base_that_lies_in_the_repository_was_trained_for_nobody() -> None:
    base = version("1").model_copy(update={"lineage": {"job": "none"}})
    assert told(base).trainings == []


@pytest.mark.parametrize(
    ("began", "minutes"),
    [(NOON, 0), (NOON - timedelta(seconds=95), 1), (NOON - timedelta(minutes=6), 5), (NOON - 3 * HOUR, 59)],
)
def test_a_rate_is_of_whole_minutes_that_were_seen(began: datetime, minutes: int) -> None:
    rate = GuessRates(began).rate("xgboost", NOON)
    assert rate.minutes == minutes
    assert (rate.per_hour is None) is (rate.finished_per_hour is None) is (minutes < 5), "an idle minute is no rate of an hour"


def test_an_hour_later_what_was_counted_is_over_and_a_late_guess_changes_nothing() -> None:
    rates = GuessRates(NOON - HOUR)
    old, new = at_time("old", NOON - HOUR), at_time("new", NOON)
    rates.apply(new)
    rates.apply(old)
    assert rates.rate("xgboost", NOON + timedelta(minutes=1)).guesses == 1
    assert rates.rate("xgboost", NOON + HOUR).guesses == 0


def test_costs_are_asked_over_http_with_a_rate_and_a_memory_within_bounds() -> None:
    bus = open_bus(f"memory://{uuid4()}")
    bus.publish(endpoint(("ml.m5.large", 1))).result()
    with serving(bus) as address:
        answer = get(address, "/api/costs?guesses_per_hour=1000&memory_gb=1").json()
        assert get(address, "/api/costs?guesses_per_hour=5e-324").status_code == 200, "it has more digits than Decimal rounds"
        for wrong in ("guesses_per_hour=-1", "guesses_per_hour=nan", "memory_gb=7", "memory_gb=x"):
            assert get(address, f"/api/costs?{wrong}").status_code == 422, wrong

    xgboost = next(one for one in answer["endpoints"] if one["model"] == "xgboost")
    assert (xgboost["per_hour"], xgboost["per_thousand"]) == ("0.115", "0.115000")
    assert answer["prices"]["as_of"] == str(PRICES.as_of)


@pytest.mark.parametrize("width", [80, 200])
def test_the_tables_say_what_it_costs_what_is_cheapest_and_what_was_not_worth_it(width: int) -> None:
    report = told(
        version("3", False, training_cost_usd=0.002875, training_seconds=90.0), endpoint(("ml.m5.large", 1)), scored(100, 80),
        ended("grid", "refused", 10_000.0), guesses=590,
    )  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO())
    for part in cost_tables(report.model_dump(mode="json"), width > 100):
        console.print(part, soft_wrap=isinstance(part, Text))
    text = console.export_text()

    for said in (
        "1,007.40",
        "serverless",
        "274,332",
        "0.00024",
        "in the last 59 minutes",
        "xgboost 3: it bought nothing",
        "ended without a version",
        "10000 s",
        "all trainings $0.32, of which $0.32 without a version",
    ):
        assert said in text
    assert "tensorflow: it is being started" in text
