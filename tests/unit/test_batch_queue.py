"""Who waits for one that answers over the network, as a history: who is asked next, and what becomes of the others."""

from typing import Any

import pytest

from streams import batch_queue
from streams.batch_queue import MOST_A_CALL, BatchQueue, CallMissed, Dropped, Resting
from streams.lineup import Answerer
from streams.round import Round
from tests.rounds import begun, canary, moment, table

XGBOOST, BESIDE = Answerer("xgboost"), Answerer("xgboost", beside=True)


def waiting(name: str = "d1", player: str = "ada", **more: Any) -> Round:
    """A round that waits for xgboost."""
    return begun("xgboost", name=name, player=player, **more).round


def waiting_beside(name: str = "d1") -> Round:
    """A round that waits for the canary of xgboost."""
    return begun(by=table("xgboost", candidates={"xgboost": canary()}), name=name).round


def test_final_drawings_and_probes_go_first_and_a_call_takes_so_many():
    queue = BatchQueue(XGBOOST)
    preview, probe = waiting("p", "bob", final=False), waiting("q", final=False, probe=True)
    finals = [waiting(f"d{n}", f"p{n}") for n in range(MOST_A_CALL)]

    assert queue.add([preview, probe, *finals], None) == []

    assert queue.next() == [probe, *finals[:-1]]
    assert queue.next() == [finals[-1], preview]
    assert queue.next() == []


def test_of_a_players_previews_the_newest_waits_and_a_final_drawing_ends_them():
    queue = BatchQueue(XGBOOST)
    old, new, others = waiting("old", final=False), waiting("new", final=False), waiting("x", "bob", final=False)
    final, probe = waiting("final"), waiting("q", final=False, probe=True)

    assert queue.add([old, others], None) == []
    assert queue.add([new, probe], None) == [Dropped([old])]
    assert queue.add([final], None) == [Dropped([new])]
    assert queue.next() == [probe, final, others]


def test_who_is_not_waited_for_any_more_is_not_asked():
    queue, given_up, dropped = BatchQueue(XGBOOST), waiting("d1"), waiting("d2", "bob", final=False)
    queue.add([given_up, dropped], None)

    given_up.tick({}, moment(2.0))
    dropped.dropped(moment(0.1))

    assert queue.next() == []


def test_while_it_rests_final_drawings_wait_and_nothing_else_does():
    queue = BatchQueue(XGBOOST)
    final, preview, probe = waiting(), waiting("p", "bob", final=False), waiting("q", final=False, probe=True)

    outcomes = queue.add([final, preview, probe], "it is down")

    assert outcomes == [Resting(XGBOOST, [final]), CallMissed(XGBOOST, [preview, probe], "it is down", True)]
    assert queue.next() == [final]


def test_nobody_waits_for_a_candidate_that_rests_or_fails():
    queue, first, second = BatchQueue(BESIDE), waiting_beside("d1"), waiting_beside("d2")

    assert queue.add([first], "it is down") == [CallMissed(BESIDE, [first], "it is down", True)]
    queue.add([second], None)
    assert queue.failed(queue.next(), "down", opened=False) == [CallMissed(BESIDE, [second], "down", False)]
    assert queue.waiting == []


def test_what_failed_is_asked_again_before_all_others_and_previews_are_not():
    queue = BatchQueue(XGBOOST)
    asked = [waiting("d1"), waiting("p", "bob", final=False), waiting("d2")]
    queue.add([waiting("d3")], None)
    [third] = queue.waiting

    outcomes = queue.failed(asked, "down", opened=False)

    assert outcomes == [Resting(XGBOOST, [asked[0], asked[2]]), CallMissed(XGBOOST, [asked[1]], "down", False)]
    assert queue.next() == [asked[0], asked[2], third]


def test_when_it_begins_to_rest_all_who_wait_are_told_and_the_final_drawings_stay():
    queue = BatchQueue(XGBOOST)
    asked, final, preview = waiting("d1"), waiting("d2", "bob"), waiting("p", "eve", final=False)
    queue.add([final, preview], None)

    outcomes = queue.failed([asked], "down", opened=True)

    assert outcomes == [Resting(XGBOOST, [asked, final]), CallMissed(XGBOOST, [preview], "down", True)]
    assert queue.waiting == [asked, final]


def test_more_than_so_many_do_not_wait_and_the_oldest_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch_queue, "MOST_WAITING", 2)
    queue, rounds = BatchQueue(XGBOOST), [waiting(f"d{n}") for n in range(4)]

    assert queue.add(rounds, None) == [CallMissed(XGBOOST, rounds[:2], "over 2 are waiting", False)]
    assert queue.next() == rounds[2:]
