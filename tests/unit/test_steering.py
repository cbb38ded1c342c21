"""Commands on who answers: what is refused and why, and what the others do."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.events import (
    CandidateSet,
    CommandSettled,
    Event,
    FreezeLearning,
    LearningSet,
    ModelPromoted,
    ModelRolledBack,
    PlayerRestricted,
    PlayersForgotten,
    PolicySet,
    PromoteModel,
    Restriction,
    RestrictionSet,
    RestrictPlayer,
    RollBackModel,
    SetDriftPolicy,
    SetPolicy,
    ThawLearning,
    TryVersion,
    decode,
    mark_of,
    variant_of,
)
from contracts.ports import Bus
from producers.bus import open_bus
from tests.endpoints import MemoryRegistry, MemoryServing
from tests.experiments import learned, lets_answer
from tests.histories import promoted, published, settled
from tests.roster import ROSTER
from trainers.approval import Approvals
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.serving import ServingFailed
from trainers.steering import Steering, parts_after, refusal

ALL = "everyone, xgboost, tensorflow, mxnet, kmeans, river, yours"
VERSIONS = [published("base1", 0), published("1", 1), published("2", 2), published("3", 3, approved=False), published("4", 4)]


class Desk:
    """An operator's desk: commands in, events out."""

    def __init__(self, *history: Event, broken: Iterable[str] = ()) -> None:
        self.model_log = ModelLog(ROSTER, [*VERSIONS, *history])
        self.endpoints = MemoryServing(*broken)
        self._bus: Bus = open_bus(f"memory://{uuid4()}")
        self.promoter = Promoter(self._bus, self.model_log, self.endpoints)  # type: ignore[arg-type]
        self.registry = MemoryRegistry(*(one for one in self.model_log.published("xgboost").values() if one.arn))
        approvals = Approvals(self.model_log, self.promoter, self.registry)  # type: ignore[arg-type]
        self._steering = Steering(self.model_log, self.promoter, approvals)
        champion = self.model_log.champion("xgboost")
        if champion:
            self.endpoints.variants[champion.variant] = 1.0
            if champion.previous:
                self.endpoints.variants[variant_of(champion.previous)] = 0.0

    def obey(self, command: Any) -> CommandSettled:
        self.model_log.apply(command)
        return self._steering.settle(command)

    def said(self) -> list[Event]:
        """What was published, but for the settlements."""
        tail = self._bus.follow(["models.v1", "examples.v1"], "start")
        out = []
        while not tail.caught_up():
            out += [decode(record.topic, record.value) for record in tail.poll(0.0)]
        tail.close()
        return out


def promote(version: str, target: str = "xgboost") -> PromoteModel:
    return PromoteModel(command_id=uuid4(), target=target, version=version, by="ada")


def roll_back(**fields: Any) -> RollBackModel:
    return RollBackModel.model_validate({"command_id": uuid4(), "target": "xgboost", "by": "ada", **fields})


def attempt(role: str, version: str | None = None, share: float = 0.0, **fields: Any) -> TryVersion:
    told: dict[str, Any] = {"command_id": uuid4(), "target": "xgboost", "by": "ada"}
    return TryVersion.model_validate({**told, "role": role, "version": version, "share": share, **fields})


def policy(**fields: Any) -> SetPolicy:
    return SetPolicy(command_id=uuid4(), by="ada", **fields)


AT_FOUR = ModelLog(ROSTER, [*VERSIONS, promoted("4", "2")])


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (promote("9"), "xgboost has no version 9: there is base1, 1, 2, 3, 4"),
        (promote("1", "kmeans"), "kmeans has no version 1: there is none yet"),
        (
            FreezeLearning(command_id=uuid4(), target="yours", by="ada"),
            "yours learns of each player what that player says, and for nobody else: only river can be frozen",
        ),
        (
            ThawLearning(command_id=uuid4(), target="xgboost", by="ada"),
            "xgboost is no model that learns from lesson to lesson: only river can be frozen",
        ),
        (promote("1", "everyone"), "no batch model 'everyone': there is xgboost, tensorflow, mxnet, kmeans"),
        (promote("3"), "xgboost 3 is not approved: g"),
        (roll_back(version="3"), "xgboost 3 is not approved: g"),
        (roll_back(version="8"), "xgboost has no version 8: there is base1, 1, 2, 3, 4"),
        (roll_back(version="4", failed="4"), "xgboost 4 is the one that failed"),
        (attempt("canary", "3", 0.1), "xgboost 3 is not approved: g"),
        (attempt("canary", "4", 0.1), "xgboost 4 answers everybody already"),
        (attempt("shadow"), "which version of xgboost? There is base1, 1, 2, 3, 4"),
        (attempt("shadow", "x"), "xgboost has no version x: there is base1, 1, 2, 3, 4"),
        (policy(lead="nobody"), f"no model 'nobody': there is {ALL}"),
        (policy(parts={"nobody": "off"}), f"no model 'nobody': there is {ALL}"),
        (
            policy(lead="mxnet", parts={"mxnet": "off"}),
            "mxnet is shown first, and so cannot be one that is off: choose another lead, or show it",
        ),
        (
            policy(parts={"everyone": "shadow"}),
            "everyone is shown first, and so cannot be one that is a shadow: choose another lead, or show it",
        ),
        (
            policy(lead="bandit", parts=dict.fromkeys(ALL.split(", "), "off")),
            "somebody must be shown: all models are off or shadows",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(command, why):
    assert refusal(AT_FOUR, command) == why


@pytest.mark.parametrize(
    "command",
    [promote("2"), roll_back(), roll_back(version="1"), roll_back(failed="1"), attempt("none"), attempt("shadow", "3")],
)
def test_what_can_be_is_not(command):
    assert refusal(AT_FOUR, command) is None


def test_the_first_version_of_all_cannot_be_rolled_back_from():
    model_log = ModelLog(ROSTER, [*VERSIONS, promoted("base1")])
    assert refusal(model_log, roll_back()) == "xgboost has no earlier version that is any good: base1 stays"
    assert refusal(ModelLog(ROSTER, VERSIONS), roll_back()) == "no version of xgboost answers"
    assert refusal(ModelLog(ROSTER, VERSIONS), attempt("shadow", "1")).startswith("no version of xgboost answers")


def test_a_promotion_names_the_one_before_which_stays_on_the_endpoint():
    desk = Desk(promoted("1", "base1"))
    assert desk.obey(promote("2")).message == "xgboost 2 answers, and 1 stands by"
    [event] = desk.said()
    assert (event.type, event.version, event.previous, event.note) == ("ModelPromoted", "2", "1", "asked for by ada")
    assert desk.endpoints.variants == {"v2": 1.0, "v1": 0.0, "base1": 0.0}
    assert desk.endpoints.started == [["base1", "v1", "v2"]]


def test_what_answers_already_is_not_said_again():
    desk = Desk(promoted("2", "1"))
    assert desk.obey(promote("2")).message == "xgboost 2 answers already"
    assert desk.obey(roll_back(version="2")).message == "xgboost 2 answers already"
    assert desk.said() == []
    assert desk.obey(roll_back(failed="1")).message == "nothing to do: xgboost 2 answers, not 1"
    assert [(event.type, event.version) for event in desk.said()] == [("ModelPublished", "1")], "only that it failed"


def test_a_rollback_starts_nothing_anew():
    desk = Desk(promoted("2", "1"))
    assert desk.obey(roll_back()).message == "xgboost 1 answers again, in the place of 2"
    [event] = desk.said()
    assert isinstance(event, ModelRolledBack)
    assert desk.endpoints.variants == {"v2": 0.0, "v1": 1.0}
    assert desk.endpoints.started == []
    assert event.previous is None, "base1 is no longer on the endpoint"


def test_going_back_twice_goes_further_back():
    desk = Desk(promoted("4", "2"))
    desk.obey(roll_back())
    desk.obey(roll_back())
    assert desk.model_log.champion("xgboost").version == "1"
    desk.obey(roll_back())
    assert desk.model_log.champion("xgboost").version == "base1"
    assert desk.obey(roll_back()).outcome == "refused"


def test_a_version_that_failed_is_passed_over_by_whoever_goes_back():
    desk = Desk(promoted("2", "1"))
    desk.obey(roll_back(failed="2"))
    desk.obey(promote("4"))
    assert desk.model_log.champion("xgboost").previous == "1"
    desk.obey(roll_back())
    assert desk.model_log.champion("xgboost").version == "1"


def test_a_version_that_failed_is_known_to_have_failed_by_its_own_entry_until_it_is_promoted_on_purpose():
    desk = Desk(promoted("2", "1"))
    desk.obey(roll_back(by="router", failed="2", reason="no answer"))
    marked, back = desk.said()
    assert (marked.type, marked.version, marked.failed) == ("ModelPublished", "2", "router: no answer")
    assert marked == published("2", 2, failed=marked.failed), "what was known of it stays"
    assert (back.type, back.version) == ("ModelRolledBack", "1")

    desk.obey(roll_back(failed="2", reason="twice"))
    assert len(desk.said()) == 2, "what is known is not said again"
    assert ModelLog(ROSTER, desk.said()).failed("xgboost") == {"2"}
    desk.obey(promote("2"))
    assert desk.said()[-1] == published("2", 2)
    assert ModelLog(ROSTER, desk.said()).failed("xgboost") == set()


def test_a_version_that_failed_is_marked_even_if_it_is_too_late_to_go_back_from_it():
    desk = Desk(promoted("4", "2"))
    assert desk.obey(roll_back(failed="2")).message == "nothing to do: xgboost 4 answers, not 2"
    assert desk.model_log.last_good("xgboost").version == "1"
    assert desk.obey(roll_back(failed="9")).outcome == "done"


def test_a_candidate_that_was_broken_is_no_good_version_afterwards():
    desk = Desk(promoted("4", "1"))
    desk.obey(attempt("canary", "2", 0.2))
    desk.obey(attempt("none", by="router", failed="2", reason="no answer"))
    assert desk.model_log.published("xgboost")["2"].failed == "router: no answer"
    assert desk.model_log.before("xgboost", "4").version == "1"


def test_what_a_router_says_of_a_version_is_in_the_note_that_people_read():
    desk = Desk(promoted("2", "1"))
    desk.obey(roll_back(by="router", failed="2", reason="version 2 failed its first calls: timed out"))
    assert desk.model_log.champion("xgboost").note == "router: version 2 failed its first calls: timed out"


def test_a_version_that_was_rejected_in_the_registry_is_neither_promoted_nor_a_canary_nor_gone_back_to():
    """Approval was cosmetic: what UpdateModelPackage set never reached those who promote."""
    desk = Desk(published("5", 5, arn="arn:5"), promoted("2", "1"))
    desk.registry.overrule("5", "Rejected", "draws on the left only")
    why = "xgboost 5 is not approved: Rejected in the model registry: draws on the left only; the gate had said: g"
    for command in (promote("5"), attempt("canary", "5", 0.1), roll_back(version="5")):
        settled = desk.obey(command)
        assert (settled.outcome, settled.message) == ("refused", why)
    assert desk.endpoints.started == []
    [told] = desk.said()
    assert (told.type, told.version, told.approved) == ("ModelPublished", "5", False)


def test_a_version_that_was_approved_in_the_registry_is_promoted_against_the_gate_and_the_note_says_so():
    desk = Desk(published("5", 5, arn="arn:5", approved=False, gate="refused: MNIST 98.00%"), promoted("2", "1"))
    assert desk.obey(promote("5")).message == "xgboost 5 is not approved: refused: MNIST 98.00%"
    desk.registry.overrule("5", "Approved", "we need it")
    assert desk.obey(promote("5")).outcome == "done"
    assert desk.model_log.champion("xgboost").note == (
        "asked for by ada; Approved in the model registry: we need it; the gate had said: refused: MNIST 98.00%"
    )
    assert desk.model_log.published("xgboost")["5"].approved


@pytest.mark.parametrize("arn", ["arn:5", ""])
def test_what_the_gate_refused_is_promoted_by_force_and_that_is_kept_with_the_version(arn):
    desk = Desk(published("5", 5, arn=arn, approved=False, gate="undecided: needs about 420 more"), promoted("2", "1"))
    settled = desk.obey(PromoteModel(command_id=uuid4(), target="xgboost", version="5", by="ada", reason="tonight", force=True))
    assert settled.outcome == "done"
    why = "Approved in the model registry: forced, ada: tonight; the gate had said: undecided: needs about 420 more"
    assert desk.model_log.published("xgboost")["5"].gate == why
    assert desk.model_log.published("xgboost")["5"].approved
    assert desk.model_log.champion("xgboost").note == f"ada: tonight; {why}"


@pytest.mark.parametrize("arn", ["arn:0", ""])
@pytest.mark.parametrize("dies", [False, True])
def test_a_version_that_is_forced_and_does_not_start_stays_refused_and_nobody_goes_back_to_it(arn, dies, monkeypatch):
    refused = published("0", 0.5, arn=arn, approved=False, gate="refused: MNIST 98.00%")
    desk = Desk(refused, promoted("1"), broken=["v0"])
    command = PromoteModel(command_id=uuid4(), target="xgboost", version="0", by="ada", force=True)
    if dies:
        with monkeypatch.context() as killed:
            killed.setattr(desk.endpoints, "serve", interrupted)
            with pytest.raises(InterruptedError):
                desk.obey(command)
        assert desk.model_log.unsettled() == [command]
    with pytest.raises(ServingFailed) as failed:
        desk.obey(command)
    desk._steering.failed(command, failed.value)

    assert desk.model_log.published("xgboost")["0"] == refused
    assert desk.registry.said == {}
    desk.obey(roll_back())
    assert desk.model_log.champion("xgboost").version == "base1"


def interrupted(*told: Any, **only: bool) -> None:
    """End as a trainer does that is killed."""
    raise InterruptedError


def test_nothing_forces_a_version_that_failed_to_serve():
    desk = Desk(published("5", 5, arn="arn:5", approved=False, failed="router: no answer"), promoted("2", "1"))
    settled = desk.obey(PromoteModel(command_id=uuid4(), target="xgboost", version="5", by="ada", force=True))
    assert (settled.outcome, settled.message) == (
        "refused",
        "xgboost 5 has failed to serve, and nothing forces that: router: no answer",
    )
    assert desk.model_log.champion("xgboost").version == "2"


def test_a_version_whose_approval_is_pending_is_not_approved():
    desk = Desk(published("5", 5, arn="arn:5"), promoted("2", "1"))
    desk.registry.overrule("5", "PendingManualApproval")
    assert desk.obey(promote("5")).message == (
        "xgboost 5 is not approved: PendingManualApproval in the model registry; the gate had said: g"
    )


def test_a_champion_that_does_not_start_keeps_no_better_one_away():
    shadow = CandidateSet(model="xgboost", version="1", role="shadow", endpoint="gamenight-xgboost", variant="v1")
    desk = Desk(promoted("2", "1"), shadow, broken=["v2"])
    assert desk.obey(promote("4")).outcome == "done"
    assert desk.endpoints.variants == {"v4": 1.0}
    event, gone = desk.said()
    assert event.previous is None
    assert (gone.type, gone.role) == ("CandidateSet", "none"), "nothing is named that is not there"


def test_a_version_that_stands_by_and_does_not_answer_keeps_nobody_away():
    desk = Desk(promoted("2", "1"))
    desk.endpoints.mute = {"v1"}
    assert desk.obey(promote("4")).outcome == "done"
    assert desk.model_log.champion("xgboost").previous == "2"


def test_a_version_that_starts_and_does_not_answer_is_not_promoted():
    desk = Desk(promoted("2", "1"))
    desk.endpoints.mute = {"v4"}
    with pytest.raises(ServingFailed):
        desk.obey(promote("4"))
    assert desk.endpoints.variants["v2"] == 1.0
    assert desk.said() == []


def test_a_candidate_that_cannot_be_served_any_more_does_not_take_the_last_good_version_with_it():
    shadow = CandidateSet(model="xgboost", version="3", role="shadow", endpoint="gamenight-xgboost", variant="v3")
    desk = Desk(promoted("2", "1"), shadow, broken=["v3"])
    desk.endpoints.variants = {}
    desk.promoter.stand("xgboost")
    assert desk.endpoints.variants == {"v2": 1.0, "v1": 0.0}
    [event] = desk.said()
    assert (event.type, event.role) == ("CandidateSet", "none")


def test_a_version_that_does_not_start_changes_nothing():
    desk = Desk(promoted("2", "1"), broken=["v4"])
    for command in (promote("4"), attempt("canary", "4", 0.2)):
        with pytest.raises(ServingFailed):
            desk.obey(command)
    assert desk.endpoints.variants == {"v2": 1.0, "v1": 0.0}
    assert desk.said() == []
    assert desk.endpoints.started == [["v1", "v2", "v4"], ["v4"], ["v1", "v2", "v4"]]


def test_a_candidate_is_on_the_endpoint_without_traffic_before_it_is_told():
    desk = Desk(promoted("2", "1"))
    assert desk.obey(attempt("canary", "4", 0.2)).message == "xgboost 4 answers 20% of the players"
    [event] = desk.said()
    assert (event.role, event.share, event.variant) == ("canary", 0.2, "v4")
    assert desk.endpoints.variants == {"v2": 1.0, "v1": 0.0, "v4": 0.0}

    told = "xgboost 3 is asked, scored, and not shown; 2 versions stand beside the champion"
    assert desk.obey(attempt("shadow", "3")).message == told
    assert "v4" in desk.endpoints.variants, "whoever has not heard yet still asks it"
    desk.obey(attempt("shadow", "3"))
    assert len(desk.said()) == 2


def test_several_versions_stand_beside_a_champion_and_one_too_many_is_refused_with_what_it_would_cost():
    desk = Desk(promoted("2", "1"), published("5", 5))
    for role, version, share in (("shadow", "3", 0.0), ("canary", "4", 0.2), ("shadow", "1", 0.0)):
        assert desk.obey(attempt(role, version, share)).outcome == "done"
    assert [one.version for one in desk.model_log.beside("xgboost")] == ["4", "3", "1"], "the canary first"
    told = desk.obey(attempt("shadow", "5"))
    assert (told.outcome, told.message) == (
        "refused",
        "xgboost has 3 versions beside its champion, 4, 3, 1, and GAMENIGHT_CANDIDATES allows 3: each costs as much as the"
        " champion. `gamenight untry xgboost 1` removes one",
    )
    assert desk.obey(attempt("canary", "5", 0.1)).outcome == "done", "a model has one canary: it takes the other's place"
    assert [one.version for one in desk.model_log.beside("xgboost")] == ["5", "3", "1"]
    assert desk.obey(attempt("none", "3")).message == "xgboost 3 is no candidate any more"
    assert desk.obey(attempt("none", "9")).message == "xgboost 9 is no candidate: beside the champion stands 5, 1"
    desk.obey(attempt("shadow", "3"))
    assert desk.obey(attempt("none")).message == "xgboost 5 and 3 and 1 are no candidates any more"
    desk.obey(attempt("canary", "5", 0.1))
    desk.obey(attempt("shadow", "1"))
    desk.obey(promote("5"))
    assert [one.version for one in desk.model_log.beside("xgboost")] == ["1"], "whoever else is a shadow stays one"
    assert desk.obey(attempt("none")).message == "xgboost 1 is no candidate any more"


def test_an_operator_may_begin_a_canary_that_goes_on_by_policy():
    desk = Desk(promoted("2", "1"))
    assert (
        desk.obey(attempt("canary", "4", 0.2, watched=True)).message
        == "xgboost 4 answers 20% of the players, and goes on by policy"
    )
    [step] = desk.model_log.published("xgboost")["4"].rollout
    assert (step.step, step.share, step.champion, step.why) == ("share", 0.2, "2", "asked for by ada")
    assert desk.obey(attempt("none")).outcome == "done"
    assert [one.step for one in desk.model_log.published("xgboost")["4"].rollout] == ["share", "stopped"]


def test_a_router_that_found_a_candidate_broken_takes_away_that_one_and_no_other():
    desk = Desk(promoted("2", "1"))
    desk.obey(attempt("canary", "4", 0.2))
    broken = attempt("none", by="router", failed="4", reason="4 does not answer")
    assert desk.obey(broken).message == "xgboost 4 is no candidate any more"
    *_, gone = (event for event in desk.said() if isinstance(event, CandidateSet))
    assert (gone.version, gone.role, gone.note) == ("4", "none", "router: 4 does not answer")

    desk.obey(attempt("shadow", "1"))
    late = desk.obey(attempt("none", by="router", failed="4"))
    assert (late.outcome, late.message) == ("done", "nothing to do: xgboost 4 is no candidate")
    assert desk.model_log.candidate("xgboost").version == "1"


def test_the_last_good_version_can_be_a_candidate_without_a_start():
    desk = Desk(promoted("2", "1"))
    desk.obey(attempt("shadow", "1"))
    assert desk.endpoints.started == []


def test_a_candidate_that_is_promoted_is_one_no_more_and_that_is_said_afterwards():
    desk = Desk(promoted("2", "1"))
    desk.obey(attempt("canary", "4", 0.2))
    desk.obey(promote("4"))
    assert [(type(event), event.version) for event in desk.said()[1:]] == [(ModelPromoted, "4"), (CandidateSet, "4")]
    assert desk.model_log.candidate("xgboost") is None
    assert len(desk.endpoints.started) == 1


def test_another_version_is_promoted_and_the_candidate_stays():
    desk = Desk(promoted("2", "1"))
    desk.obey(attempt("shadow", "3"))
    desk.obey(promote("4"))
    assert desk.model_log.candidate("xgboost").version == "3"
    assert {"v4", "v2", "v3"} <= desk.endpoints.variants.keys()


def test_an_endpoint_is_tidied_once_what_it_has_too_much_is_old(monkeypatch):
    desk = Desk(promoted("2", "1"))
    desk.endpoints.variants["v4"] = 0.0
    desk.model_log.apply(desk.endpoints.seen("xgboost"))
    desk.promoter.tidy("xgboost")
    assert desk.endpoints.started == []
    monkeypatch.setattr("trainers.promote.TIDY_AFTER", timedelta(0))
    desk.promoter.tidy("xgboost")
    desk.model_log.apply(desk.endpoints.seen("xgboost"))
    desk.promoter.tidy("xgboost")
    assert desk.endpoints.started == [["v1", "v2"]]
    assert desk.said() == []


def test_a_last_good_version_that_cannot_be_served_any_more_is_named_no_longer():
    desk = Desk(promoted("2", "1"), broken=["v1"])
    desk.endpoints.variants = {}
    desk.promoter.stand("xgboost")
    [event] = desk.said()
    assert (event.version, event.previous) == ("2", None)


def restrict(player: str, restriction: Restriction) -> RestrictPlayer:
    return RestrictPlayer(command_id=uuid4(), by="ada", reason="fifty wrong labels", player_id=player, restriction=restriction)


def test_a_player_who_is_restricted_is_so_for_datasets_and_among_their_examples_and_others_stay_as_they_are():
    desk = Desk()

    outcomes = [desk.obey(restrict(*one)) for one in (("eve", "banned"), ("bob", "quarantined"), ("eve", "none"))]

    assert [one.outcome for one in outcomes] == ["done"] * 3
    assert "nor in datasets" in outcomes[0].message
    said = desk.said()
    sets = [event.players for event in said if isinstance(event, RestrictionSet)]
    assert sets == [{"eve": "banned"}, {"eve": "banned", "bob": "quarantined"}, {"bob": "quarantined"}]
    told = [event for event in said if isinstance(event, PlayerRestricted)]
    of_eve = [event.restriction for event in told if event.player_id == "eve"]
    assert (of_eve, len(told)) == (["banned", "none"], 3)
    assert {(event.by, event.note) for event in told} == {("ada", "fifty wrong labels")}
    assert desk.model_log.restrictions() == {"bob": "quarantined"}
    assert desk.model_log.unsettled() == []


def test_who_restricts_a_player_is_told_which_experiments_may_hold_them_until_they_have_begun_anew():
    desk = Desk(learned("softmax-1", 4), learned("pa-1", 3), learned("idle-1"), lets_answer("softmax-1"))

    outcomes = [desk.obey(restrict("eve", restriction)).message for restriction in ("quarantined", "banned", "none")]

    told = "have begun anew and caught up: pa-1, softmax-1 (which answers)"
    assert [told in message for message in outcomes] == [True, True, False]
    assert "begun anew" not in Desk().obey(restrict("eve", "banned")).message


def test_no_more_players_are_restricted_than_one_record_holds_and_those_who_are_can_be_changed_and_pardoned(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("trainers.refusals.MAX_RESTRICTED", 2)
    desk = Desk()

    asked = (("a", "banned"), ("b", "banned"), ("c", "banned"), ("b", "quarantined"), ("a", "none"), ("c", "banned"))
    outcomes = [desk.obey(restrict(*one)) for one in asked]

    assert [one.outcome for one in outcomes] == ["done", "done", "refused", "done", "done", "done"]
    assert outcomes[2].message == "2 players are restricted already: pardon some who are gone"
    assert desk.model_log.restrictions() == {"b": "quarantined", "c": "banned"}


def test_a_player_who_is_forgotten_is_not_restricted_and_their_id_comes_back_nowhere():
    desk = Desk(PlayersForgotten(marks=[mark_of("eve")], begin=mark_of("eve")[:1]))

    outcomes = [desk.obey(restrict("eve", what)) for what in ("banned", "quarantined", "none")]

    assert {(one.outcome, one.message) for one in outcomes} == {("refused", "this player is forgotten")}
    assert desk.said() == []


def learning(kind: type[FreezeLearning | ThawLearning], target: str = "river") -> FreezeLearning | ThawLearning:
    return kind(command_id=uuid4(), target=target, by="ada", reason="nonsense is taught")


def test_a_model_is_frozen_once_by_the_first_who_asks_and_thawed_again():
    desk = Desk()

    asked = (FreezeLearning, FreezeLearning, ThawLearning, ThawLearning)
    outcomes = [desk.obey(learning(kind)) for kind in asked]

    assert [one.outcome for one in outcomes] == ["done"] * 4
    assert outcomes[1].message == "river is frozen already, by ada: nonsense is taught"
    assert "all that was taught meanwhile" in outcomes[2].message
    said = [(event.frozen, event.by, event.note) for event in desk.said() if isinstance(event, LearningSet)]
    assert said == [(frozen, "ada", "nonsense is taught") for frozen in (True, False, False)]
    assert desk.model_log.frozen("river") is None


def test_a_ban_says_that_it_waits_for_a_frozen_model():
    desk = Desk()
    desk.obey(learning(FreezeLearning))

    outcomes = [desk.obey(restrict("eve", what)) for what in ("banned", "quarantined", "none")]

    assert all("river is frozen, and will be with" in one.message for one in outcomes)
    assert ["without it" in one.message for one in outcomes] == [True, True, False]


def test_a_policy_on_drift_keeps_what_a_command_leaves_out_and_refuses_what_cannot_be_done():
    desk = Desk()
    told: dict[str, Any] = {"by": "ada", "reason": "the night"}

    def policy_on(**fields: Any) -> CommandSettled:
        return desk.obey(SetDriftPolicy.model_validate({"command_id": uuid4(), **told, **fields}))

    done = [
        policy_on(actions={"online-errors": "freeze", "ink": "retrain"}),
        policy_on(cooldown_s=60),
        policy_on(least_hands=1),
    ]
    back = policy_on(actions={"ink": "notify"})

    assert [one.outcome for one in (*done, back)] == ["done"] * 4
    assert back.message == "online-errors: freeze; again after 60 s, if it is the drawings of 1 players or more"
    policy = desk.model_log.drift_policy()
    assert (policy.actions, policy.cooldown_s, policy.least_hands) == ({"online-errors": "freeze"}, 60, 1)
    assert (policy.by, policy.note) == ("ada", "the night")
    for actions, why in (({"batch-errors": "freeze"}, "notify or retrain"), ({"online-errors": "retrain"}, "notify or freeze")):
        refused = policy_on(actions=actions)
        assert (refused.outcome, why in refused.message) == ("refused", True)


def test_a_policy_keeps_what_a_command_leaves_out():
    desk = Desk()
    desk.obey(policy(lead="bandit", parts={"kmeans": "shadow"}))
    assert desk.obey(policy(parts={"mxnet": "off"})).message == "shown first: bandit, kmeans a shadow, mxnet off"
    assert desk.obey(policy(lead="bandit", parts={"mxnet": "off"})).message == "it is so already"
    said = desk.said()
    assert [type(event) for event in said] == [PolicySet] * 3, "said again: the log may hold another by now"
    assert (said[2].lead, said[2].parts) == (said[1].lead, said[1].parts)
    assert parts_after({"kmeans": "shadow"}, policy(parts={"kmeans": "shown", "river": "off"})) == {"river": "off"}


def test_a_settled_command_is_due_no_more():
    desk = Desk(promoted("2", "1"))
    asked = roll_back()
    desk.obey(asked)
    assert desk.model_log.unsettled() == []
    assert ModelLog(ROSTER, [asked, settled(asked)]).unsettled() == []
