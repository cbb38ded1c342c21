"""What watchers see of the picks: a fold of counts that are absolute, summed over partitions."""

import asyncio
import threading
from datetime import timedelta
from typing import cast

import pytest

from api.folds.honest import LOOKS_BACK, UNKNOWN, Estimation, HonestAccuracy, HonestModel
from api.folds.implausible import Implausible
from api.folds.model_board import ModelBoard
from api.folds.recent_drawings import RecentDrawings
from api.play.game import Game
from api.watch import watchers as watchers_module
from api.watch.watchers import Watchers
from contracts.events import PICK_WINDOW_S, PicksCounted, PickStratum
from tests.histories import BEGAN

NOW = int(BEGAN.timestamp())


def stratum(right: int, wrong: int = 0, silent: int = 0, picked: float = 0.2, gold: bool = False) -> PickStratum:
    """Sevens: those that are wrong were taken for ones."""
    confusion = [0] * 100
    confusion[77], confusion[71] = right, wrong
    return PickStratum(picked=picked, gold=gold, n=right + wrong + silent, confusion=confusion)


def counts(*strata: PickStratum, version: str | None = "mnist1", minute: int = 0, source: int = 0) -> PicksCounted:
    window = BEGAN + timedelta(minutes=minute) if version is None else None
    at = BEGAN + timedelta(hours=2)
    return PicksCounted(model="river", version=version, window=window, source=source, strata=list(strata), at=at)


def folded(*events: PicksCounted) -> HonestAccuracy:
    honest = HonestAccuracy()
    for event in events:
        honest.apply(event)
    return honest


def estimated(honest: HonestAccuracy) -> dict[str, HonestModel]:
    """Estimate one model that has changed, as the watchers' thread does."""
    estimation = honest.next_estimation()
    if estimation is None:
        return {}
    honest.keep(estimation.model, estimation.compute())
    return {estimation.model: honest.told(estimation.model)}


def test_counts_are_absolute_and_of_all_partitions():
    honest = folded(counts(stratum(1)), counts(stratum(8, 1, 1)), counts(stratum(1), source=1), counts(stratum(1), source=1))

    river = honest.estimation("river").compute()

    assert (river.whole.picked, river.whole.known, river.whole.share) == (11, 10, 0.9)
    assert (river.silent, river.unasked) == (1, 11)
    assert river.whole == river.free


def test_a_digit_has_its_own_estimate_and_the_confusion_is_of_all():
    river = folded(counts(stratum(6, 2, gold=True), stratum(12, gold=True, picked=0.5))).estimation("river").compute()

    assert (river.digits[7].share, river.digits[7].known, river.digits[1].known) == (0.84375, 20, 0)
    assert (river.confusion[77], river.confusion[71]) == (18, 2)


def test_where_the_server_asked_shares_are_of_those_drawings_alone_and_the_free_stand_apart():
    """Who is asked whether a guess was right says so more often if it was."""
    both = stratum(9, 0, silent=11), stratum(8, 2, gold=True)
    river = folded(counts(*both), counts(*both, version=None)).estimation("river").compute()

    for one in (river.whole, river.versions["mnist1"], river.digits[7], river.recent[0].estimate):
        assert (one.picked, one.known, one.share, one.least, one.most) == (10, 10, 0.8, 0.8, 0.8)
    assert (river.free.picked, river.free.known, river.free.share, river.free.least, river.free.most) == (20, 9, 1.0, 0.45, 1.0)
    assert (river.silent, river.unasked, river.confusion[77]) == (11, 20, 8)


def test_who_asks_is_told_what_was_computed_last_and_computes_nothing(monkeypatch):
    honest = folded(counts(stratum(1)))
    monkeypatch.setattr(Estimation, "compute", lambda *_: pytest.fail("computed by a stranger's estimation"))
    assert (honest.told("river"), honest.models()) == (UNKNOWN, {})
    monkeypatch.undo()
    first = estimated(honest)["river"]
    honest.apply(counts(stratum(2)))
    with monkeypatch.context() as patch:
        patch.setattr(Estimation, "compute", lambda *_: pytest.fail("computed anew"))
        assert honest.told("river") is honest.models()["river"] is first

    assert estimated(honest)["river"].whole.known == honest.told("river").whole.known == 2


def test_a_estimation_is_of_the_counts_as_they_were_whatever_comes_before_its_answer():
    honest = folded(counts(stratum(1)))
    estimation = honest.next_estimation()
    honest.apply(counts(stratum(5)))

    assert estimation is not None
    assert estimation.compute().whole.known == 1
    assert honest.estimation("river").compute().whole.known == 5


def test_a_model_of_which_nothing_is_told_is_estimated_before_those_that_have_changed():
    honest = folded(counts(stratum(1)))
    estimated(honest)
    honest.apply(counts(stratum(2)))
    honest.apply(counts(stratum(2)).model_copy(update={"model": "xgboost"}))

    estimations = [honest.next_estimation() for _ in range(3)]

    assert [estimation and estimation.model for estimation in estimations] == ["xgboost", "river", None]


def test_a_model_that_cannot_be_estimated_does_not_come_before_all_others_for_ever():
    honest = folded(counts(stratum(1)))
    estimated(honest)
    wrong = counts(stratum(2)).model_copy(update={"model": "xgboost"})
    honest.apply(wrong)
    broken = honest.next_estimation()
    assert broken is not None
    assert broken.model == "xgboost", "computing it raises: it is never told"

    honest.apply(counts(stratum(2)))
    honest.apply(wrong)
    estimations = [honest.next_estimation() for _ in range(3)]

    assert [estimation and estimation.model for estimation in estimations] == ["river", "xgboost", None]


def test_a_shadow_stands_under_its_version_alone():
    river = folded(counts(stratum(9, 1)), counts(stratum(1, 9), version="4/shadow")).estimation("river").compute()

    assert river.whole.share == 0.9
    assert {version: one.share for version, one in river.versions.items()} == {"4/shadow": 0.1, "mnist1": 0.9}


def test_each_point_of_the_line_over_time_looks_back_a_quarter_of_an_hour():
    minutes = [counts(stratum(1), version=None, minute=minute) for minute in (0, 1, LOOKS_BACK, 59)]

    recent = folded(*minutes).estimation("river").compute().recent

    assert [(one.at - NOW) // PICK_WINDOW_S for one in recent] == [1, 2, LOOKS_BACK + 1, 60]
    assert [one.estimate.known for one in recent] == [1, 2, 2, 1]


def test_what_has_changed_is_told_once_and_one_model_at_a_time():
    honest = folded(counts(stratum(1)), counts(stratum(2)))

    assert [list(estimated(honest)) for _ in range(2)] == [["river"], []]


@pytest.mark.parametrize(
    "event",
    [
        counts(stratum(1), source=99),
        counts(PickStratum(picked=0.2, gold=False, n=1, confusion=[1] * 100)),
        counts(stratum(1, silent=1, gold=True)),
        counts(stratum(1), version=None, minute=600),
    ],
)
def test_counts_that_nobody_can_have_written_are_refused(event):
    with pytest.raises(Implausible):
        folded(event)


def test_of_a_model_that_was_never_counted_nothing_is_known():
    nobody = HonestAccuracy().estimation("river").compute()

    assert (nobody.whole.share, nobody.versions, nobody.recent, nobody.confusion) == (None, {}, [], [0] * 100)


def test_estimates_are_made_beside_the_loop_and_one_that_fails_stops_none(monkeypatch):
    """With two probabilities a model took a tenth of a second, in which no player of the process heard anything."""
    honest = folded(
        counts(stratum(1)), *(counts(stratum(2)).model_copy(update={"model": model}) for model in ("bad", "xgboost"))
    )
    watchers = Watchers(cast("ModelBoard", None), honest, cast("Game", None), cast("RecentDrawings", None))
    threads = []

    def compute(estimation: Estimation, of=Estimation.compute) -> HonestModel:
        threads.append(threading.current_thread())
        if estimation.model == "bad":
            raise RuntimeError("as if a number were odd")
        return of(estimation)

    monkeypatch.setattr(Estimation, "compute", compute)
    monkeypatch.setattr(watchers_module, "ESTIMATES_S", 0.01)

    async def until_told() -> None:
        estimating = asyncio.create_task(watchers.estimate())
        async with asyncio.timeout(10):
            while set(honest.models()) != {"river", "xgboost"}:
                await asyncio.sleep(0.005)
        estimating.cancel()

    asyncio.run(until_told())

    assert len(threads) == 3
    assert threading.main_thread() not in threads
    assert honest.told("xgboost").whole.known == 2
