"""A canary's way to all players: what moves it on, what takes it back, and what survives a trainer that dies at any step."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.events import (
    AnswerGuess,
    CanaryHealth,
    CandidateSet,
    DrawingAnswered,
    DrawingPicked,
    LiveBeside,
    ModelPublished,
    RolloutStep,
)
from contracts.settings import Settings
from tests.histories import BEGAN, named, promoted, published
from tests.unit.test_shadow_watch import BETTER, WORSE, Desk
from trainers.canary import CanaryCalls, CanaryPolicy, alarm, decide
from trainers.lease import LeaseLost
from trainers.shadow_watch import ShadowWatch


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the log is there at once: nobody waits for more."""
    monkeypatch.setattr("trainers.live_evidence.WAIT_S", 0.0)


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
POLICY = CanaryPolicy((0.05, 0.25), drawings=100, lasts=timedelta(minutes=10), slow_ms=500, unanswered=0.01)
WELL = CanaryHealth(canary_drawings=200, canary_misses=0, canary_answers=900, canary_late=0, canary_p99_ms=40,
                    champion_drawings=3000, champion_misses=0,
                    champion_answers=3000, champion_late=0, champion_p99_ms=38)  # fmt: skip


def live(judged: int = 400, worse: float = 1.0) -> LiveBeside:
    return LiveBeside(champion="1", tries=2, people=40, judged=judged, won=5, lost=6, difference=-0.002, low=-0.03, high=0.03,
                      better=5, worse=6, chance=1.0, chance_worse=worse, allowed=0.01, since=BEGAN)  # fmt: skip


def step(share: float = 0.05, judged: int = 0, minutes: float = 11, **more: Any) -> RolloutStep:
    told: dict[str, Any] = {"step": "share", "share": share, "champion": "1", "why": "w", "live": live(judged)}
    return RolloutStep(**(told | {"at": NOW - timedelta(minutes=minutes)} | more))


@pytest.mark.parametrize(
    ("last", "found", "health", "expected"),
    [
        (step(), live(100), WELL, ("share", 0.25)),
        (step(0.25), live(100), WELL, ("promoted", 1.0)),
        (step(0.1), live(100), WELL, ("share", 0.25)),  # an operator's own share goes on with the next
        (step(), live(99), WELL, None),
        (step(judged=100), live(199), WELL, None),  # each share has drawings of its own
        (step(minutes=9), live(100), WELL, None),
        (step(), live(100), WELL.model_copy(update={"canary_drawings": 19}), None),
        (step(), None, WELL, None),
        (step(minutes=0), live(10, worse=0.05), WELL, ("rolled-back", 0.0)),
        (step(minutes=0), None, WELL.model_copy(update={"canary_misses": 3, "canary_drawings": 10}), ("rolled-back", 0.0)),
        (step(minutes=0), None, WELL.model_copy(update={"canary_late": 20}), ("rolled-back", 0.0)),
    ],
)
def test_a_canary_goes_on_or_back_by_what_was_seen(last, found, health, expected):
    decided = decide(POLICY, last, found, health, NOW)
    assert (decided and (decided.step, decided.share)) == expected


def test_what_does_not_work_is_told_from_a_machine_that_is_slow_for_both():
    def ill(**told: int) -> str | None:
        return alarm(POLICY, WELL.model_copy(update=told))

    assert ill(canary_late=9) is None
    assert "10 of 900 answers took over 500 ms: 99 of 100 answers within 40 ms" in str(ill(canary_late=10))
    assert ill(canary_late=10, champion_late=17) is None, "its champion is as slow"
    assert "3 of 200 drawings were not answered" in str(ill(canary_misses=3))
    assert ill(canary_misses=2, canary_drawings=2) is None, "two are an accident"
    assert ill(canary_misses=3, champion_misses=30) is None


def answered(name: str, *guesses: tuple[str, str, float, str | None], **fields: Any) -> DrawingAnswered:
    said = [
        AnswerGuess(
            model="xgboost",
            version=version,
            label=7,
            probabilities=[0.1] * 10,
            role=role,
            fallback=fallback,
            hops={"bus_in": 900, "wait": took / 2, "model": took / 2},
        )
        for version, role, took, fallback in guesses
    ]
    return DrawingAnswered(drawing_id=named(name), player_id="ada", guesses=said, at=BEGAN, **fields)


def test_answers_are_counted_once_a_version_shown_or_not_and_by_their_time():
    both = answered("d1", ("2", "canary", 600, None), ("1", "shadow", 20, None))
    instead = answered("d2", ("1", "champion", 30, "the canary did not answer: down"))
    others = answered("d3", ("1", "champion", 40, None), ("2", "shadow", 50, None))
    none = answered("d4", missed={"xgboost": "no answer in 2 s"})
    calls = CanaryCalls("xgboost", "1", "2", 500)
    for event in (both, instead, others, none, both, instead):
        calls.apply(event)
    assert calls.health() == CanaryHealth(
        canary_drawings=2, canary_misses=1, canary_answers=2, canary_late=1, canary_p99_ms=600,
        champion_drawings=2, champion_misses=1, champion_answers=3,
        champion_late=0, champion_p99_ms=40,
    )  # fmt: skip


# --- carried out


class Canaries(Desk):
    """A desk where the gate has just let version 2 through, and two steps lie before it."""

    def __init__(self, **settings: Any) -> None:
        told = {"gate_canary_percent": "5,50", "gate_canary_drawings": 100, "gate_canary_minutes": 0}
        self.settings = Settings(**(told | settings))
        self.check = lambda: None
        super().__init__("no", shadow=False)
        self.log.apply(self.version.model_copy(update={"approved": True, "verdict": "promoted", "gate": "passed"}))

    def watching(self, policy: Any) -> ShadowWatch:
        return ShadowWatch(self.settings, self.bus, self.log, self.promoter, self.approvals, lambda: self.check())

    def drawn(self, *events: Any) -> "Canaries":
        answers = [answered(f"{n}", ("2", "canary", 20, None), ("1", "shadow", 20, None)) for n in range(len(events) and 30)]
        for event in answers:
            self.bus.publish(event.model_copy(update={"drawing_id": uuid4()})).result(1)
        super().drawn(*events)
        return self

    @property
    def version(self) -> ModelPublished:
        return self.log.published("xgboost")["2"]

    @property
    def steps(self) -> list[str]:
        return [f"{one.step} {one.share:.0%}" for one in self.version.rollout]

    @property
    def beside(self) -> list[tuple[str, str, float]]:
        return [(one.version, one.role, one.share) for one in self.log.beside("xgboost")]


ALIKE = [one.model_copy(update={"drawing_id": named(f"alike {n}")}) for n, one in enumerate(BETTER + WORSE)]
SOME = [one for n in range(40) for one in ALIKE[n * 4 : n * 4 + 2] + ALIKE[320 + n * 4 : 322 + n * 4]]
"""Drawings of which each version gets as many right."""


def test_a_version_that_the_gate_lets_through_answers_more_and_more_players_and_then_all_with_the_evidence_kept():
    desk = Canaries().drawn()
    assert (desk.steps, desk.beside) == (["share 5%"], [("2", "canary", 0.05)])
    assert desk.log.candidate("xgboost").watched
    assert desk.log.champion("xgboost").version == "1"

    desk.drawn(*SOME[:100])
    assert (desk.steps, desk.beside) == (["share 5%", "share 50%"], [("2", "canary", 0.5)])
    desk.drawn(*SOME[100:])
    assert (desk.steps[-1], desk.beside) == ("share 50%", [("2", "canary", 0.5)]), "each share has drawings of its own"
    more = [one.model_copy(update={"drawing_id": uuid4()}) for one in SOME]
    desk.drawn(*more)
    assert (desk.steps[-1], desk.beside) == ("promoted 100%", [])
    champion, last = desk.log.champion("xgboost"), desk.version.rollout[-1]
    assert (champion.version, champion.previous) == ("2", "1")
    assert "by policy: not worse on" in champion.note
    assert last.live.judged >= 300
    assert (last.health.canary_drawings, last.champion) == (60, "1")


def test_a_canary_that_is_worse_is_rolled_back_and_not_tried_again():
    desk = Canaries().drawn().drawn(*WORSE)
    desk.watch.look()
    assert (desk.steps, desk.beside) == (["share 5%", "rolled-back 0%"], [])
    last = desk.version.rollout[-1]
    assert "worse on live drawings, -50.0 points on 320 drawings of 40 people" in last.why
    assert (last.live.judged, desk.version.failed, desk.log.champion("xgboost").version) == (320, "", "1")
    assert desk.log.failed("xgboost") == {"2"}, "and it is no last good version"


def test_a_canary_that_does_not_answer_is_taken_back_at_once_and_counts_as_failed():
    desk = Canaries().drawn()
    for n in range(3):
        silent = answered(f"s{n}", ("1", "champion", 20, "the canary did not answer: it gave 9 rows"))
        desk.bus.publish(silent).result(1)
    desk.watch.look()
    assert (desk.steps[-1], desk.beside) == ("rolled-back 0%", [])
    assert desk.version.failed.startswith("by policy: 3 of 3 drawings were not answered, or not with probabilities")


def test_a_canary_that_cannot_be_served_is_taken_back():
    desk = Canaries()
    desk.promoter._serving.broken = {"v2"}  # type: ignore[attr-defined]
    desk.drawn()
    assert (desk.steps, desk.beside) == (["share 5%", "rolled-back 0%"], [])
    assert "cannot be served" in desk.version.failed


class Killed(BaseException):
    """kill -9."""


@pytest.mark.parametrize("at", range(1, 14))
def test_a_trainer_that_dies_after_any_write_is_followed_by_one_that_goes_on(at):
    """One event after another is the last that a trainer wrote: the next one finds all on the log, and carries on."""
    desk, said, writes = Canaries(), [], 0
    publish = desk.bus.publish

    def write(event: Any, *args: Any) -> Any:
        nonlocal writes
        if not isinstance(event, DrawingPicked | DrawingAnswered):
            writes += 1
            said.append(event)
            if writes == at + 1:
                raise Killed
        return publish(event, *args)

    desk.bus.publish = write  # type: ignore[method-assign]
    for n in range(8):
        many = [one.model_copy(update={"drawing_id": named(f"{n} {k}")}) for k, one in enumerate(SOME)]
        try:
            desk.drawn(*(many if n else ()))
        except Killed:
            desk.watch = desk.watching("no")
    assert desk.steps == ["share 5%", "share 50%", "promoted 100%"]
    assert (desk.beside, desk.log.champion("xgboost").version) == ([], "2")


def test_a_trainer_whose_lease_is_gone_does_nothing():
    desk = Canaries()

    def gone() -> None:
        raise LeaseLost("another one")

    desk.check = gone
    with pytest.raises(LeaseLost):
        desk.watch.look()
    assert (desk.steps, desk.beside) == ([], [])


def test_an_operators_word_ends_a_canarys_way_and_is_kept_with_it():
    desk = Canaries().drawn()
    desk.promoter.untry("xgboost", "ada: not before the weekend")
    desk.drawn(*SOME)
    assert (desk.steps, desk.beside) == (["share 5%", "stopped 0%"], [])
    assert desk.version.rollout[-1].why == "ada: not before the weekend"

    desk = Canaries().drawn()
    desk.promoter.promote(desk.version, "ada: at once")
    desk.drawn(*SOME)
    assert (desk.steps[-1], desk.beside, desk.log.champion("xgboost").note) == ("promoted 100%", [], "ada: at once")

    desk = Canaries().drawn()
    desk.promoter.try_beside(desk.version, "canary", 0.3, "ada: thirty")
    desk.drawn(*WORSE)
    assert (desk.steps[-1], desk.beside) == ("stopped 0%", [("2", "canary", 0.3)]), "it is the operator's now"


def test_another_champion_ends_a_canarys_way():
    desk = Canaries().drawn()
    desk.log.apply(published("0", 0))
    desk.promoter.promote(desk.log.published("xgboost")["0"], "ada: the old one", back=True)
    desk.watch.look()
    assert (desk.steps[-1], desk.beside) == ("stopped 0%", [])
    assert "0 answers now" in desk.version.rollout[-1].why


def test_without_the_setting_and_after_a_rollback_no_version_becomes_a_canary_by_itself():
    assert Canaries(gate_canary_percent="").drawn().beside == []
    desk = Canaries()
    desk.log.apply(promoted("2", "1"))
    desk.log.apply(promoted("1", "2"))
    assert desk.drawn().beside == [], "somebody took it back"


def test_a_shadow_that_is_proven_better_begins_as_a_canary_where_there_are_canaries():
    desk = Canaries(gate_watches="acts")
    desk.log.apply(desk.version.model_copy(update={"approved": False, "verdict": "undecided"}))
    desk.log.apply(CandidateSet(model="xgboost", version="2", role="shadow", endpoint="e", variant="v2", at=BEGAN))
    desk.drawn(*BETTER)
    desk.watch.look()
    assert desk.steps[0] == "share 5%"
    assert "better on live drawings, +50.0 points" in desk.version.rollout[0].why
    assert desk.version.approved


@pytest.mark.parametrize("wrong", ["5,,10", "0", "50,5", "5,200", "all", "5,5", "nan"])
def test_shares_that_do_not_grow_are_refused(wrong):
    with pytest.raises(ValueError, match="each above the one before"):
        Settings(gate_canary_percent=wrong)


def test_shares_are_read_in_per_cent():
    assert Settings(gate_canary_percent=" 5, 25,50").canary_shares == (0.05, 0.25, 0.5)
    assert Settings(gate_canary_percent="").canary_shares == ()
