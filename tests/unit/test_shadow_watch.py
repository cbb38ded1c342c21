"""Shadows on live drawings: what is paired, what is kept of it, and what is done about it by policy."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from contracts.events import (
    CandidateSet,
    CommandDone,
    CountedGuess,
    DrawingPicked,
    ExampleLabelled,
    ExamplesForgotten,
    LiveBeside,
    RestrictionSet,
    decode,
)
from contracts.settings import Settings
from producers.bus import open_bus
from tests.endpoints import MemoryRegistry, MemoryServing
from tests.histories import BEGAN, example, named, promoted, published, shown
from tests.roster import ROSTER
from trainers import gate
from trainers.approval import Approvals
from trainers.judging import tries
from trainers.marks import Marks, Pictures
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.shadow_pairs import ShadowPairs
from trainers.shadow_watch import ShadowWatch


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the log is there at once: nobody waits for more."""
    monkeypatch.setattr("trainers.live_evidence.WAIT_S", 0.0)


def pick(
    name: str, champion: int | None, shadow: int | None, *, asked: int | None = 7, player: str = "ada", **fields: Any
) -> DrawingPicked:
    said = [("1", champion, False), ("2", shadow, True)]
    guesses = [
        CountedGuess(model="xgboost", version=version, label=label, latency_ms=9, shadow=hidden)
        for version, label, hidden in said
        if label is not None
    ]
    given = {"revision": 1, "picked": 0.2, "drawn_at": BEGAN, "at": BEGAN} | fields
    return DrawingPicked(drawing_id=named(name), player_id=player, asked=asked, guesses=guesses, **given)


def live(*events: Any, tries: int = 1, restricted: Sequence[str] = ()) -> LiveBeside:
    pairs = ShadowPairs("xgboost", "1", "2")
    for event in events:
        pairs.apply(event)
    return pairs.live(tries, gate.spent(0.05, tries), restricted, BEGAN)


def told(found: LiveBeside) -> tuple[int, int, int, int]:
    return found.people, found.judged, found.won, found.lost


def test_what_both_have_guessed_of_a_digit_that_was_asked_for_is_paired():
    found = live(
        pick("d1", 7, 7), pick("d2", 1, 7), pick("d3", 7, 1, player="bob"), pick("d4", 7, None), pick("d5", 1, 7, asked=None)
    )
    assert told(found) == (2, 3, 1, 1)
    assert (found.champion, found.better, found.worse, found.allowed) == ("1", 1, 1, 0.025)


def test_a_label_is_no_truth_and_says_nothing_of_free_drawings():
    """Players say mostly what was wrong, and only the champion is shown to them: by labels each shadow is better."""
    seen = [shown(1, model="xgboost", version="1"), shown(7, model="xgboost", version="2", shadow=True)]
    free = example("d1", 7, guesses=seen, picked=0.2)
    asked = example("d2", 7, guesses=seen, picked=0.2, asked=7, gold=True)
    chosen = example("d3", 7, guesses=seen, picked=0.2, asked=7, gold=False)
    assert told(live(free, asked, chosen)) == (1, 1, 1, 0)


def test_a_drawing_counts_once_by_its_highest_revision_in_any_order():
    first, late = pick("d1", 1, None), pick("d1", 1, 7, revision=2)
    assert told(live(first, late)) == told(live(late, first)) == told(live(late, late, first)) == (1, 1, 1, 0)


def test_what_another_has_replaced_or_an_operator_has_restricted_or_is_forgotten_does_not_count():
    both = [pick("d1", 1, 7), pick("d2", 1, 7, instead_of=named("d1"))]
    assert told(live(*both)) == told(live(*reversed(both))) == (1, 1, 1, 0)
    assert told(live(*both, restricted=["ada"])) == (0, 0, 0, 0)
    gone = ExamplesForgotten(forget_id=uuid4(), player_id="ada", drawings=[], examples=[])
    assert told(live(*both, gone)) == (0, 0, 0, 0)


class Desk:
    """A trainer's watch over a model whose version 2 is undecided, and whatever is drawn."""

    def __init__(self, policy: str, *, shadow: bool) -> None:
        self.bus = open_bus(f"memory://{uuid4()}")
        compared = gate.judge(None, *[Marks(gate.np.ones(10_000, bool), gate.np.zeros(0, bool))] * 2, NOTHING, beside="1")
        assert compared.verdict == "undecided"
        undecided = {"approved": False, "verdict": "undecided", "beside": compared.beside}
        history: list[Any] = [published("1", 1), published("2", 2, **undecided), promoted("1")]
        if shadow:
            history.append(CandidateSet(model="xgboost", version="2", role="shadow", endpoint="e", variant="v2", at=BEGAN))
        history[2] = history[2].model_copy(update={"at": BEGAN})
        self.log = ModelLog(ROSTER, history)
        serving, self.registry = MemoryServing(), MemoryRegistry()
        serving.variants = {"v1": 1.0}
        self.promoter = Promoter(self.bus, self.log, serving)  # type: ignore[arg-type]
        self.approvals = Approvals(self.log, self.promoter, self.registry)  # type: ignore[arg-type]
        self.watch = self.watching(policy)

    def watching(self, policy: Any) -> ShadowWatch:
        """A watch that begins now."""
        return ShadowWatch(Settings(gate_watches=policy), self.bus, self.log, self.promoter, self.approvals)

    def reject(self) -> None:
        """Somebody rejects the shadow in the registry."""
        version = self.log.published("xgboost")["2"].model_copy(update={"arn": "arn:2"})
        self.log.apply(version)
        self.registry.kept.append(version)
        self.registry.overrule("2", "Rejected", "it is too large")

    def drawn(self, *events: ExampleLabelled | DrawingPicked) -> "Desk":
        for event in events:
            self.bus.publish(event).result(1)
        self.watch.look()
        return self

    @property
    def audited(self) -> list[tuple[str, str, str, str]]:
        """What the audit is told, in order: command, who, what, the beginning of why."""
        told = [decode(record.topic, record.value) for record in self.bus.follow(["commands.v1"], "start").poll(1)]
        return [(one.command, one.by, one.message, one.reason[:30]) for one in told if isinstance(one, CommandDone)]

    @property
    def live(self) -> LiveBeside | None:
        return self.log.published("xgboost")["2"].live


NOTHING = Pictures(gate.np.zeros(0, gate.np.uint8), gate.np.zeros(0, gate.np.int32), gate.np.zeros(0, bool))
BETTER = [pick(f"d{n}/{k}", 1 if k < 4 else 7, 7, player=f"p{n}") for n in range(40) for k in range(8)]
WORSE = [pick(f"d{n}/{k}", 7, 1 if k < 4 else 7, player=f"p{n}") for n in range(40) for k in range(8)]


def test_what_a_shadow_shows_is_kept_with_its_version_and_goes_on_after_a_restart():
    desk = Desk("no", shadow=True).drawn(*BETTER[:80])
    assert desk.live
    assert told(desk.live) == (10, 80, 40, 0)
    again = desk.watching("no")
    desk.drawn(*BETTER[80:])
    again.look()
    assert desk.live
    assert (told(desk.live), desk.live.tries) == ((40, 320, 160, 0), 2), "the gate's look was the first"
    assert desk.log.candidate("xgboost").version == "2"


def test_whoever_is_banned_before_the_shadow_began_judges_nobody():
    desk = Desk("no", shadow=True)
    desk.log.apply(RestrictionSet(players={"p0": "banned"}))
    assert desk.drawn(*BETTER[:16]).live
    assert told(desk.live) == (1, 8, 4, 0)


def test_a_shadow_that_is_set_again_goes_on_and_has_no_chance_of_error_anew():
    desk = Desk("no", shadow=True).drawn(*BETTER[:80])
    first = desk.live
    assert first
    desk.promoter.untry("xgboost", "not now")
    desk.watch.look()
    desk.promoter.try_beside(desk.log.published("xgboost")["2"], "shadow", 0.0, "again")
    desk.drawn(*BETTER[80:160])
    assert desk.live
    assert (desk.live.since, desk.live.tries, told(desk.live)) == (first.since, first.tries, (20, 160, 80, 0))


def test_what_people_reject_in_the_registry_the_policy_does_not_promote():
    desk = Desk("acts", shadow=True)
    desk.reject()
    assert desk.drawn(*BETTER).live
    assert gate.proven(desk.log.published("xgboost")["2"], desk.log.champion("xgboost"))
    assert desk.log.champion("xgboost").version == "1"


def test_nothing_is_read_or_done_without_a_shadow_unless_the_policy_makes_one():
    assert Desk("no", shadow=False).drawn(*BETTER[:8]).log.candidate("xgboost") is None
    desk = Desk("shadows", shadow=False).drawn()
    candidate = desk.log.candidate("xgboost")
    assert candidate
    assert (candidate.version, candidate.role, candidate.note) == (
        "2",
        "shadow",
        "by policy: undecided, so watched on live drawings",
    )


def test_the_policy_promotes_a_shadow_that_is_better_and_says_by_what():
    desk = Desk("acts", shadow=True).drawn(*BETTER)
    champion = desk.log.champion("xgboost")
    assert champion
    assert champion.version == "2"
    assert "by policy: better on live drawings, +50.0 points on 320 drawings of 40 people" in champion.note
    assert desk.log.published("xgboost")["2"].approved
    assert desk.audited == [("promote", "gate policy", "version=2", "Approved in the model registry")]


def test_the_policy_removes_a_shadow_that_is_worse_and_does_not_try_it_again():
    desk = Desk("acts", shadow=True).drawn(*WORSE)
    assert desk.log.candidate("xgboost") is None
    desk.watch.look()
    assert desk.log.candidate("xgboost") is None
    assert desk.log.champion("xgboost").version == "1"
    assert desk.audited == [("untry", "gate policy", "version=2", "by policy: worse on live drawi")]


@pytest.mark.parametrize(("policy", "drawings"), [("acts", 16), ("shadows", 320)])
def test_a_shadow_stays_one_while_nobody_can_tell_or_the_policy_only_watches(policy, drawings):
    desk = Desk(policy, shadow=True).drawn(*BETTER[:drawings])
    assert desk.log.candidate("xgboost").version == "2"
    assert desk.log.champion("xgboost").version == "1"


class Promoted(Desk):
    """A desk where version 1 was promoted over base1 by the gate."""

    def __init__(self, policy: str) -> None:
        super().__init__(policy, shadow=False)
        self.log.apply(published("2", 2, beside=self.log.published("xgboost")["2"].beside))
        self.log.apply(promoted("2", "1").model_copy(update={"at": BEGAN}))


def turned(drawings: list[DrawingPicked]) -> list[DrawingPicked]:
    """The same drawings, with 2 as the champion and 1 as its shadow."""
    versions = {"1": "2", "2": "1"}
    guesses = [[said.model_copy(update={"version": versions[said.version]}) for said in one.guesses] for one in drawings]
    return [one.model_copy(update={"guesses": said}) for one, said in zip(drawings, guesses, strict=True)]


def test_after_a_promotion_the_version_before_is_watched_and_answers_again_if_it_is_better():
    desk = Promoted("acts").drawn()
    candidate = desk.log.candidate("xgboost")
    assert (candidate.version, candidate.role) == ("1", "shadow")
    assert candidate.note == "by policy: it answered before 2, so watched on live drawings"
    desk.drawn(*turned(BETTER))
    desk.watch.look()
    champion = desk.log.champion("xgboost")
    assert (champion.type, champion.version) == ("ModelRolledBack", "1")
    assert "by policy: 1 is better on live drawings than 2, +50.0 points" in champion.note
    desk.watch.look()
    assert desk.log.candidate("xgboost") is None, "one way back, and no way to and fro"
    assert [(command, what) for command, _, what, _ in desk.audited] == [("shadow", "version=1"), ("rollback", "version=1")]


def test_after_a_promotion_the_version_before_is_watched_no_longer_once_it_is_worse():
    desk = Promoted("acts").drawn().drawn(*turned(WORSE))
    desk.watch.look()
    assert desk.log.champion("xgboost").version == "2"
    assert desk.log.candidate("xgboost") is None
    desk.watch.look()
    assert desk.log.candidate("xgboost") is None


def test_two_shadows_have_each_their_own_evidence_and_look():
    desk = Desk("no", shadow=True)
    desk.log.apply(published("3", 3))
    desk.promoter.try_beside(desk.log.published("xgboost")["3"], "shadow", 0.0, "ada: too")
    desk.watch.look()
    third = [CountedGuess(model="xgboost", version="3", label=7, latency_ms=9, shadow=True)]
    desk.drawn(*(one.model_copy(update={"guesses": [*one.guesses, *third]}) for one in WORSE[:80]))
    lives = [desk.log.published("xgboost")[version].live for version in "23"]
    assert [(one.tries, told(one)) for one in lives] == [(2, (10, 80, 0, 40)), (3, (10, 80, 0, 0))]
    assert sum(one.allowed for one in lives) < 0.025, "what the gate's own look has left"

    desk.promoter.untry("xgboost", "no", "2")
    desk.log.apply(published("4", 4))
    desk.promoter.try_beside(desk.log.published("xgboost")["4"], "shadow", 0.0, "ada")
    desk.watch.look()
    assert desk.log.published("xgboost")["4"].live.tries == 4, "a look that is over is spent"
    assert tries([published("9", 9, live=lives[1])], "1") == 4, "also if its version was looked at beside another since"


def test_a_forced_promotion_is_watched_too_and_taken_back_with_what_was_seen():
    desk = Desk("acts", shadow=False)
    forced = {"approved": True, "beside": None, "gate": "Approved in the model registry: ada; the gate had said: refused"}
    desk.log.apply(published("2", 2, **forced))
    desk.log.apply(promoted("2", "1").model_copy(update={"at": BEGAN}))
    desk.drawn()
    desk.drawn(*turned(BETTER))
    desk.watch.look()
    assert desk.log.champion("xgboost").version == "1"
    [step] = desk.log.published("xgboost")["2"].rollout
    assert (step.step, step.champion, step.live.judged) == ("rolled-back", "1", 320)
    assert "1 is better on live drawings than 2, +50.0 points" in step.why


def test_a_shadow_that_an_operator_has_removed_is_not_made_one_again():
    desk = Desk("shadows", shadow=False).drawn()
    desk.promoter.untry("xgboost", "ada: no")
    desk.watch.look()
    assert desk.log.candidate("xgboost") is None
