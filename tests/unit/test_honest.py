"""What watchers see of the picks: a fold of counts that are absolute, summed over partitions."""

from datetime import timedelta

import pytest

from api.folds.honest import LOOKS_BACK, HonestAccuracy
from api.folds.implausible import Implausible
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


def test_counts_are_absolute_and_of_all_partitions():
    honest = folded(counts(stratum(1)), counts(stratum(8, 1, 1)), counts(stratum(1), source=1), counts(stratum(1), source=1))

    river = honest.model("river")

    assert (river.whole.picked, river.whole.known, river.whole.share) == (11, 10, 0.9)
    assert (river.silent, river.unasked) == (1, 11)
    assert river.whole == river.free


def test_a_digit_has_its_own_estimate_and_the_confusion_is_of_all():
    river = folded(counts(stratum(6, 2, gold=True), stratum(12, gold=True, picked=0.5))).model("river")

    assert (river.digits[7].share, river.digits[7].known, river.digits[1].known) == (0.84375, 20, 0)
    assert (river.confusion[77], river.confusion[71]) == (18, 2)


def test_where_the_server_asked_shares_are_of_those_drawings_alone_and_the_free_stand_apart():
    """Who is asked whether a guess was right says so more often if it was."""
    both = stratum(9, 0, silent=11), stratum(8, 2, gold=True)
    river = folded(counts(*both), counts(*both, version=None)).model("river")

    for one in (river.whole, river.versions["mnist1"], river.digits[7], river.recent[0].estimate):
        assert (one.picked, one.known, one.share, one.least, one.most) == (10, 10, 0.8, 0.8, 0.8)
    assert (river.free.picked, river.free.known, river.free.share, river.free.least, river.free.most) == (20, 9, 1.0, 0.45, 1.0)
    assert (river.silent, river.unasked, river.confusion[77]) == (11, 20, 8)


def test_who_asks_again_is_told_what_was_computed_last(monkeypatch):
    honest = folded(counts(stratum(1)))
    first = honest.models()["river"]
    honest.apply(counts(stratum(2)))
    with monkeypatch.context() as patch:
        patch.setattr(HonestAccuracy, "model", lambda *_: pytest.fail("computed anew"))
        assert honest.told("river") is honest.models()["river"] is first

    assert honest.next_change()["river"].whole.known == honest.told("river").whole.known == 2


def test_a_shadow_stands_under_its_version_alone():
    river = folded(counts(stratum(9, 1)), counts(stratum(1, 9), version="4/shadow")).model("river")

    assert river.whole.share == 0.9
    assert {version: one.share for version, one in river.versions.items()} == {"4/shadow": 0.1, "mnist1": 0.9}


def test_each_point_of_the_line_over_time_looks_back_a_quarter_of_an_hour():
    minutes = [counts(stratum(1), version=None, minute=minute) for minute in (0, 1, LOOKS_BACK, 59)]

    recent = folded(*minutes).model("river").recent

    assert [(one.at - NOW) // PICK_WINDOW_S for one in recent] == [1, 2, LOOKS_BACK + 1, 60]
    assert [one.estimate.known for one in recent] == [1, 2, 2, 1]


def test_what_has_changed_is_told_once_and_one_model_at_a_time():
    honest = folded(counts(stratum(1)), counts(stratum(2)))

    assert [list(honest.next_change()) for _ in range(2)] == [["river"], []]


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
    nobody = HonestAccuracy().model("river")

    assert (nobody.whole.share, nobody.versions, nobody.recent, nobody.confusion) == (None, {}, [], [0] * 100)
