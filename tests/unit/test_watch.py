"""What watchers see is a fold: absolute counts, so twice is harmless."""

import random
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from api.folds.implausible import Implausible
from api.folds.model_board import FOLDING, ModelBoard
from api.folds.model_state import StateChange
from contracts.events import (
    WINDOW_S,
    WINDOWS,
    CandidateSet,
    EndpointSeen,
    Event,
    FoldAdvanced,
    GuessMissed,
    ModelPromoted,
    ModelPublished,
    ModelRolledBack,
    PolicySet,
    ScoresCounted,
    SnapshotTaken,
    TrainingAdvanced,
)
from tests.histories import BEGAN, guess, named, seconds
from tests.roster import MODELS, ROSTER

START = int(BEGAN.timestamp())


def scores(model: str = "river", *, n: int = 10, correct: int = 7, source: int = 0, **fields: Any) -> ScoresCounted:
    """A total of ``mnist1``, or with ``at`` the window that begins so many seconds after `BEGAN`."""
    at = fields.pop("at", None)
    return ScoresCounted(
        model=model,
        version=fields.pop("version", "mnist1") if at is None else None,
        window=None if at is None else BEGAN + timedelta(seconds=at),
        source=source,
        n=n,
        correct=correct,
        confusion=fields.pop("confusion", [n] + [0] * 99),
        latency=fields.pop("latency", [0, n] + [0] * 10),
    )


def published(version: str, model: str = "xgboost") -> ModelPublished:
    return ModelPublished(
        model=model,
        version=version,
        title="XGBoost",
        digest="d",
        artifact="s3://b/k",
        lineage={},
        metrics={"mnist": 0.99},
        gate="ok",
    )


def promoted(version: str, model: str = "xgboost") -> ModelPromoted:
    return ModelPromoted(model=model, version=version, title="XGBoost", endpoint="e", variant=f"v{version}", note="better")


def snapshot(lessons: int) -> SnapshotTaken:
    return SnapshotTaken(
        model="river",
        version=f"mnist1+{lessons}",
        title="River",
        offset=lessons - 1,
        lessons=lessons,
        digest="d",
        reader="r",
        weights=b"\x00" * 40,
    )


def board(*events: Event) -> ModelBoard:
    out = ModelBoard(ROSTER)
    for event in events:
        out.apply(event)
    return out


def test_counts_of_all_sources_and_versions_are_summed():
    shown = board(
        scores(n=10, correct=7, source=0), scores(n=5, correct=1, source=1), scores(n=2, correct=2, version="mnist2")
    ).scores()["river"]

    assert (shown["n"], shown["correct"]) == (17, 10)
    assert shown["versions"] == {"mnist1": {"n": 15, "correct": 8}, "mnist2": {"n": 2, "correct": 2}}
    assert shown["confusion"] == [17] + [0] * 99
    assert shown["latency"] == [0, 17] + [0] * 10


def test_a_later_count_of_the_same_slot_replaces_the_earlier():
    shown = board(scores(n=10, correct=7), scores(n=11, correct=8), scores(n=11, correct=8)).scores()["river"]
    assert (shown["n"], shown["correct"]) == (11, 8)


def test_windows_are_shown_by_time_and_count_for_nothing_else():
    shown = board(
        scores(at=20, n=3, correct=1), scores(at=10, n=2, correct=2), scores(at=10, n=1, correct=0, source=1)
    ).scores()["river"]

    assert shown["recent"] == [[START + 10, 3, 2], [START + 20, 3, 1]]
    assert shown["n"] == 0


def test_windows_of_over_an_hour_before_the_newest_are_not_shown():
    hour = WINDOW_S * WINDOWS
    shown = board(scores(at=0, source=0), scores(at=hour, source=1)).scores()["river"]
    assert [window[0] for window in shown["recent"]] == [START + hour]


def test_the_fold_is_the_same_for_every_order_of_slots():
    history = [scores(n=i + 1, correct=1, source=i % 4, version=f"v{i}") for i in range(8)] + [
        scores(at=10 * i) for i in range(8)
    ]
    shuffled = random.Random(3).sample(history, len(history))
    assert board(*history).scores() == board(*shuffled).scores()


def test_the_models_that_answer_are_the_last_promoted_and_the_newest_snapshots():
    shown = board(published("base1"), promoted("base1"), snapshot(0), published("2"), snapshot(3))

    answering = [(m.model, m.version) for m in shown.states() if m.version]
    assert answering == [("xgboost", "base1"), ("river", "mnist1+3")]


def test_every_model_is_told_of_in_the_order_in_which_they_are_shown():
    states = board(promoted("base1"), snapshot(0), promoted("1", "svm")).states()

    assert [(state.model, state.kind, state.title) for state in states] == [
        ("everyone", "blend", "Everyone"),
        ("xgboost", "batch", "XGBoost"),
        ("tensorflow", "batch", "TensorFlow CNN"),
        ("mxnet", "batch", "MXNet CNN"),
        ("kmeans", "batch", "K-Means"),
        ("river", "online", "River"),
        ("yours", "personal", "Yours"),
        ("svm", "batch", "XGBoost"),
    ]
    assert [state.order for state in states] == list(range(8))
    assert [state.hue for state in states[:-1]] == [ROSTER[model].hue for model in MODELS]
    assert states[-1].unavailable == "it is none of this game's models any more"


def test_the_newest_snapshot_on_the_log_is_shown_whatever_offset_another_says():
    beyond = snapshot(3).model_copy(update={"offset": (1 << 53) - 1, "version": "mnist1+9000"})

    assert board(beyond, snapshot(1)).state("river").version == "mnist1+1"


def test_titles_are_those_of_the_roster_whatever_the_log_says_and_the_logs_own_where_the_roster_has_none():
    called = {"title": "Nobody"}
    renamed = [event.model_copy(update=called) for event in (snapshot(1), published("1"), promoted("1"), promoted("1", "svm"))]

    never_promoted = [published(version, "tree").model_copy(update={"title": f"Tree {version}"}) for version in ("1", "2")]

    told = {state.model: state.title for state in board(*renamed, *never_promoted, scores("counted")).states()}
    others = {"svm": "Nobody", "tree": "Tree 2", "counted": "counted"}
    assert told == {model: ROSTER[model].title for model in MODELS} | others


def test_players_are_told_of_versions_but_not_of_every_lesson():
    shown = board()

    assert shown.apply(snapshot(1)) == []
    assert shown.apply(scores()) == []
    told = [change for event in (published("2"), promoted("2"), rolled_back("base1")) for change in shown.apply(event)]

    assert [(change.version, change.event, change.note) for change in told] == [
        ("2", "published", "ok"),
        ("2", "promoted", "by an operator"),
        ("base1", "rolled-back", "by an operator"),
    ]


def rolled_back(version: str) -> ModelRolledBack:
    return ModelRolledBack(model="xgboost", version=version, title="XGBoost", endpoint="e", variant="v", note="worse")


def test_a_version_is_news_once_whatever_becomes_of_its_entry():
    shown = board(promoted("1"))

    told = [shown.apply(event) for event in (published("2"), published("2").model_copy(update={"failed": "it broke"}))]

    assert [[change.event for change in changes] for changes in told] == [["published"], []]
    assert shown.catalog.published["xgboost"]["2"].failed == "it broke"


def test_a_snapshot_shows_all_there_is():
    shown = board(promoted("base1"), scores("xgboost"), training("training", 0.4)).snapshot(online=3, drawings=9)

    assert shown["type"] == "snapshot"
    assert {m["model"]: m["version"] for m in shown["models"] if m["version"]} == {"xgboost": "base1"}
    assert set(shown["scores"]) == {"xgboost"}
    assert (shown["online"], shown["drawings"]) == (3, 9)
    assert (
        shown["training"]["xgboost"].items() >= {"version": "2", "step": "training", "fraction": 0.4, "message": "half"}.items()
    )


def training(step: str, fraction: float) -> TrainingAdvanced:
    return TrainingAdvanced(
        model="xgboost", version="2", command_id=uuid4(), step=step, fraction=fraction, message="half", log=["[1] error 0.1"]
    )


def test_changes_hold_only_what_changed_and_are_told_once():
    shown = board(scores("xgboost"), scores("river"))
    shown.changes()

    shown.apply(scores("river", n=11, correct=8))
    shown.apply(scores("river", n=12, correct=8))

    [change] = shown.changes()
    assert change["type"] == "scores"
    assert set(change["scores"]) == {"river"}
    assert change["scores"]["river"]["n"] == 12
    assert shown.changes() == []


def test_a_rebuild_is_told_step_by_step_with_its_log():
    shown = board(training("queued", 0), training("training", 0.4))

    steps = [frame for frame in shown.changes() if frame["type"] == "training"]

    assert [(frame["step"], frame["fraction"]) for frame in steps] == [("queued", 0), ("training", 0.4)]
    assert steps[1]["log"] == ["[1] error 0.1"]


def test_many_lessons_between_two_looks_are_told_as_one():
    shown = board(*(snapshot(i) for i in range(50)))
    assert [frame["version"] for frame in shown.changes()] == ["mnist1+49"]


# --- policy, candidates, endpoints, rest ---------------------------------------------------------------------------------


def events_of(changes: list[StateChange]) -> list[tuple[str, str]]:
    return [(change.model, change.event) for change in changes]


def seen(model: str = "mxnet", status: str = "Unavailable", at: float = 0, **fields: Any) -> EndpointSeen:
    reason = "its image runs on Linux x86-64 only" if status == "Unavailable" else ""
    given = {"version": "none", "endpoint": f"gamenight-{model}", "reason": reason, "at": seconds(at)}
    return EndpointSeen(model=model, status=status, **given | fields)


def candidate(role: str = "canary", version: str = "2", share: float = 0.1) -> CandidateSet:
    return CandidateSet(model="xgboost", version=version, role=role, share=share, endpoint="e", variant="v2")


def miss(model: str = "xgboost", *, at: float = 0, resting: bool = True, name: str = "d1") -> GuessMissed:
    why = "connection refused" if resting else "no answer within 2000 ms"
    return GuessMissed(
        drawing_id=named(name), player_id="ada", model=model, final=True, resting=resting, why=why, at=seconds(at)
    )


def test_a_policy_is_told_of_the_models_that_it_changes():
    shown = board(promoted("base1"), snapshot(0))
    policy = PolicySet(lead="xgboost", parts={"river": "shadow", "kmeans": "off"}, by="ada", note="xgboost leads")

    changes = shown.apply(policy)

    assert events_of(changes) == [("everyone", "policy"), ("xgboost", "policy"), ("kmeans", "policy"), ("river", "policy")]
    assert [(change.part, change.lead) for change in changes] == [
        ("shown", False), ("shown", True), ("off", False), ("shadow", False)
    ]  # fmt: skip
    assert shown.hidden == {"river", "kmeans"}
    assert shown.apply(policy) == []


def test_while_a_bandit_leads_no_model_does():
    assert [state.model for state in board(PolicySet(lead="bandit")).states() if state.lead] == []
    assert [state.model for state in board().states() if state.lead] == ["everyone"]


def test_a_candidate_is_told_when_it_comes_and_when_it_goes():
    shown = board(promoted("base1"))

    told = [shown.apply(event) for event in (candidate(), candidate(), candidate("shadow"), candidate("none"))]

    assert [[(c.version, c.event, c.note) for c in changes] for changes in told] == [
        [("base1", "canary", "version 2 answers 10% of the players")],
        [],
        [("base1", "shadow", "version 2 is asked and scored, and not shown")],
        [("base1", "untried", "version 2 is not tried any more")],
    ]


def test_a_model_that_cannot_be_here_says_why_until_it_can():
    shown = board()
    assert shown.state("mxnet").unavailable == "it is being started"

    gone = shown.apply(seen(at=0))
    back = shown.apply(promoted("base1", "mxnet"))

    assert [(c.event, c.unavailable) for c in gone] == [("unavailable", "its image runs on Linux x86-64 only")]
    assert [(c.event, c.unavailable) for c in back] == [("promoted", None)]


def test_an_online_model_is_there_before_it_has_learned_anything():
    river = board().state("river")

    assert (river.title, river.unavailable, river.version) == ("River", None, None)


def test_expected_is_who_is_not_off_and_why_one_cannot_be_asked():
    shown = board()
    starting = "it is being started"
    batch = ("xgboost", "tensorflow", "mxnet", "kmeans")
    assert shown.expected == dict.fromkeys(MODELS) | dict.fromkeys(batch, starting)

    shown.apply(seen("mxnet"))
    shown.apply(seen("kmeans", "Failed"))
    shown.apply(promoted("base1", "xgboost"))
    shown.apply(PolicySet(lead="river", parts={"tensorflow": "off", "yours": "shadow"}))

    assert {model for model, absent in shown.expected.items() if absent is None} == {"everyone", "xgboost", "river", "yours"}
    assert shown.expected["mxnet"] == "its image runs on Linux x86-64 only"
    assert shown.expected["kmeans"]
    assert "tensorflow" not in shown.expected


def test_a_promoted_model_whose_endpoint_fails_can_still_be_asked():
    assert board(promoted("base1"), seen("xgboost", "Failed", at=1e9)).expected["xgboost"] is None


def test_a_model_rests_from_the_first_that_missed_it_until_it_answers_again():
    shown = board(promoted("base1"))

    told = [shown.apply(miss(at=0)), shown.apply(miss(at=3)), shown.apply(guess(model="xgboost", at=4.5))]

    assert [events_of(changes) for changes in told] == [[("xgboost", "resting")], [], [("xgboost", "back")]]
    assert told[0][0].resting == "connection refused"
    assert shown.state("xgboost").resting is None


def test_routers_that_do_not_agree_make_no_flicker():
    shown = board(promoted("base1"))
    told = []
    for at in range(40):
        told += shown.apply(miss(at=at / 10, name=f"d{at}"))
        told += shown.apply(guess(f"e{at}", model="xgboost", at=at / 10 + 0.05))

    assert events_of(told) == [("xgboost", "resting")]


def test_a_rest_that_nobody_speaks_of_any_more_is_over():
    shown = board(promoted("base1"))
    shown.apply(miss(at=0))

    assert shown.tick(seconds(4)) == []
    assert events_of(shown.tick(seconds(5.5))) == [("xgboost", "back")]


def test_a_model_that_was_late_does_not_rest_and_a_shadow_says_nothing_of_it():
    shown = board(promoted("base1"))
    assert shown.apply(miss(resting=False)) == []
    shown.apply(miss(at=0))
    assert shown.apply(guess(model="xgboost", role="shadow", at=3)) == []


def test_what_a_shadow_said_counts_for_its_version_alone():
    shown = board(
        scores("xgboost", version="3", n=10, correct=9), scores("xgboost", version="4/shadow", n=10, correct=1)
    ).scores()["xgboost"]

    assert (shown["n"], shown["correct"], shown["confusion"][0], sum(shown["latency"])) == (10, 9, 10, 10)
    assert shown["versions"] == {"3": {"n": 10, "correct": 9}, "4/shadow": {"n": 10, "correct": 1}}


def test_what_is_folded_again_is_known_until_it_is_done():
    board = ModelBoard(ROSTER)
    assert board.folding == {}
    for fold, partition, fraction in [("scorer", 0, 0.9), ("scorer", 1, 0.43), ("personal", 0, 0.2), ("joiner", 0, 1.0)]:
        board.apply(FoldAdvanced(fold=fold, source_partition=partition, fraction=fraction))

    assert board.folding == {
        "learning": "it folds again what it knows, 43 %",
        "learning of yours": "it folds again what it knows, 20 %",
    }

    for event in [("scorer", 0), ("scorer", 1), ("personal", 0)]:
        board.apply(FoldAdvanced(fold=event[0], source_partition=event[1], fraction=1.0))
    assert board.folding == {}


IMPLAUSIBLE = {
    "counts of a partition that is none": scores(source=4),
    "more right than there are": scores(n=3, correct=4),
    "more than there are by label": scores(n=(1 << 53) - 1, confusion=[1] + [0] * 99),
    "more than there are by time": scores(latency=[0] * 12),
    "a window that is not there yet": scores(at=0).model_copy(update={"at": BEGAN - timedelta(hours=1)}),
    "a fold of nobody": FoldAdvanced(fold="nobody", source_partition=0, fraction=0.1),
    "a fold of no partition": FoldAdvanced(fold="joiner", source_partition=99, fraction=0.1),
    "a snapshot of no online model": snapshot(1).model_copy(update={"model": "xgboost"}),
    "a promotion to no endpoint": promoted("2").model_copy(update={"endpoint": ""}),
    "an online model at an endpoint": promoted("2", "river"),
}


@pytest.mark.parametrize("event", IMPLAUSIBLE.values(), ids=IMPLAUSIBLE)
def test_what_nobody_could_have_written_is_refused_and_changes_nothing(event: Event):
    shown = board(scores(), snapshot(3), promoted("1"))
    before = shown.states(), shown.scores(), shown.folding

    with pytest.raises(Implausible):
        shown.apply(event)

    assert (shown.states(), shown.scores(), shown.folding) == before


def test_a_folding_that_nobody_speaks_of_any_more_is_not_believed():
    shown = board(FoldAdvanced(fold="joiner", source_partition=0, fraction=0.1, at=BEGAN))

    shown.tick(BEGAN + FOLDING)
    assert shown.folding
    shown.tick(BEGAN + FOLDING + timedelta(seconds=1))
    assert not shown.folding


def test_the_states_of_all_models_are_never_out_of_date():
    shown = board()
    for event in (
        scores("river"),
        GuessMissed(drawing_id=named("d"), player_id="ada", model="mxnet", final=True, resting=True, why="it failed", at=BEGAN),
        scores("newcomer"),
        published("1"),
        promoted("1"),
        snapshot(7),
        PolicySet(parts={"xgboost": "shadow"}, lead="river", note="by ada"),
        EndpointSeen(model="kmeans", version="none", endpoint="e", status="Failed", reason="out of memory"),
    ):
        shown.states()
        shown.apply(event)
        assert shown.states() == [shown.state(model) for model in shown.known()], f"after a {event.type}"
    shown.tick(BEGAN + timedelta(days=1))
    assert shown.states() == [shown.state(model) for model in shown.known()], "mxnet is asked again"
    shown.apply(GuessMissed(drawing_id=named("d"), player_id="ada", model="mxnet", final=True, resting=True, why="x", at=BEGAN))
    shown.states()
    shown.apply(guess("d", 3, model="mxnet", at=86400))
    assert shown.states() == [shown.state(model) for model in shown.known()], "mxnet has answered"
