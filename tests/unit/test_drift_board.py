"""The drift that pages are shown: once each, with what was done about it."""

from api.folds.drift_board import DriftBoard
from contracts.events import DriftHandled, DriftPolicySet
from tests.histories import drift


def deed(name: str, outcome: str = "done") -> DriftHandled:
    one = drift(name)
    told = {"detection_id": one.detection_id, "subject": one.subject, "action": "freeze", "message": "because", "by": "ada"}
    return DriftHandled.model_validate(told | {"outcome": outcome})


def test_the_newest_comes_first_with_what_was_done_and_twice_is_once():
    board = DriftBoard()
    assert (board.state().actions, board.state().cooldown_s) == ({}, 3600)
    policy = DriftPolicySet(actions={"ink": "retrain"}, cooldown_s=60, by="ada")
    for event in (drift("d1"), drift("d2", "ink", kind="ink"), deed("d1"), policy, deed("d1", "refused"), drift("d1")):
        board.apply(event)

    state = board.state()

    assert [(one.subject, one.deed and one.deed.outcome) for one in state.detections] == [("ink", None), ("river", "done")]
    assert (state.actions, state.cooldown_s, state.by) == ({"ink": "retrain"}, 60, "ada")
    assert board.counts == {("online-errors", "river"): 1, ("ink", "ink"): 1}


def test_what_was_done_may_come_before_the_drift():
    board = DriftBoard()
    board.apply(deed("d1"))
    board.apply(drift("d1"))

    [one] = board.state().detections
    assert one.deed is not None
    assert one.deed.message == "because"
