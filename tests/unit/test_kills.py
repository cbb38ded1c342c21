"""The bench of kills ends with 1 for whatever a player would mind, not for the audit alone."""

from typing import Any

import pytest

from deploy.audit import FOLDS
from deploy.auditor import AuditReport
from producers.simulation_report import SimulationReport
from tests.bench.kills import BACK_WITHIN_S, wrong
from tests.product import Recovery
from tests.roster import MODELS


def audited(**differing: Any) -> AuditReport:
    """An audit of three drawings that found nothing, but for what is given."""
    clean: dict[str, Any] = {
        "drawings": 3,
        "corrections": 0,
        "lost": {"drawings": 0},
        "doubled": {},
        "scores_differ": 0,
        "answered": dict.fromkeys(MODELS, 3) | {"xgboost": 1},
        "missed": {"xgboost": 2},
        "repeats": {},
        "rejected": 0,
        "unread": 0,
        "refolded": dict.fromkeys(FOLDS, 9),
        "folds": dict.fromkeys(FOLDS, 0),
        "faults": [],
    }
    return AuditReport.model_validate(clean | differing)


def played(**seen: int) -> SimulationReport:
    return SimulationReport.model_construct(seen=seen)


def within(playable_s: float) -> list[tuple[str, Recovery]]:
    return [("api", Recovery(1.0, 60.0, 60.0)), ("kafka", Recovery(playable_s, 11.0, 2.0))]


def test_nothing_is_wrong_when_all_is_answered_or_told_as_missed_and_people_play_again_in_time() -> None:
    assert wrong(within(BACK_WITHIN_S), played(saved=3), audited()) == []


@pytest.mark.parametrize(
    ("seconds", "seen", "differing", "named"),
    [
        (9.0, {}, {"lost": {"drawings": 1}, "faults": ["drawing not on the log: x"]}, "drawing not on the log: x"),
        (9.0, {}, {"unread": 1}, "the audit is not clean"),
        (9.0, {"unfinished": 2}, {}, "2 drawings are unfinished"),
        (9.0, {}, {"missed": {"xgboost": 1}}, "xgboost answered or was told as missed for 2 of 3"),
        (9.0, {}, {"drawings": 0, "answered": {}, "missed": {}}, "nothing was tried"),
        (9.0, {}, {"refolded": dict.fromkeys(FOLDS, 9) | {"learner": 0}}, "not every fold was made anew"),
        (10.01, {}, {}, "playable 10.01 s after kafka"),
    ],
    ids=["lost", "unread", "unfinished", "unanswered", "nothing", "not refolded", "slow"],
)
def test_what_is_wrong_is_named(seconds: float, seen: dict[str, int], differing: dict[str, Any], named: str) -> None:
    [said] = wrong(within(seconds), played(**seen), audited(**differing))

    assert named in said
