"""What became of players' corrections, as operators see it."""

from typing import Any

import pytest

from api.folds import teachers
from api.folds.teachers import Teachers
from contracts.events import CorrectionReceipt, Outcome
from tests.histories import named, seconds


def receipt(player: str, number: int, outcome: Outcome = Outcome.LEARNED, **fields: Any) -> CorrectionReceipt:
    given: dict[str, Any] = {"weight": {"learned": 1.0, "weighted": 0.5}.get(outcome, 0.0), "models": {}, "at": seconds(number)}
    names = {"correction_id": named(f"c{player}{number}"), "drawing_id": named(f"d{number}")}
    return CorrectionReceipt(player_id=player, outcome=outcome, **names, **given | fields)


def test_who_had_the_most_set_aside_is_first_and_every_correction_counts_once():
    seen = Teachers()
    for number in range(3):
        seen.apply(receipt("ada", number))
        seen.apply(receipt("eve", number, Outcome.QUARANTINED if number else Outcome.WEIGHTED))
    seen.apply(receipt("ada", 2))

    eve, ada = seen.players({"eve": "banned"})

    assert (eve.player_id, eve.corrections, eve.weighted, eve.set_aside, eve.restriction) == ("eve", 3, 1, 2, "banned")
    assert (ada.player_id, ada.corrections, ada.learned, ada.set_aside, ada.restriction) == ("ada", 3, 3, 0, "none")
    assert ada.last == seconds(2)


def test_receipts_of_other_stages_say_nothing_of_the_shared_model():
    seen = Teachers()

    seen.apply(receipt("ada", 1, weight=None, stage="personal"))
    seen.apply(receipt("ada", 2, Outcome.SUPERSEDED, weight=None, stage="joiner"))

    assert seen.players({}) == []


def test_who_is_restricted_is_listed_though_nothing_came_of_them_lately():
    [eve] = Teachers().players({"eve": "quarantined"})

    assert (eve.player_id, eve.corrections, eve.last, eve.restriction) == ("eve", 0, None, "quarantined")


def test_memory_is_bounded_and_who_taught_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(teachers, "MOST", 2)
    monkeypatch.setattr(teachers, "NEWEST", 3)
    seen = Teachers()
    for number in range(5):
        seen.apply(receipt("ada", number))
    for player in ("bob", "ada", "eve"):
        seen.apply(receipt(player, 9))
        assert len(seen.players({})) <= 2, "who looks at the list changes nothing of it"

    assert {one.player_id: one.corrections for one in seen.players({})} == {"ada": 3, "eve": 1}
