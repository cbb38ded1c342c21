"""What operators order and ask, on the bus in memory with a trainer that settles what it is told to."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.folds.command_status import MAX_COMMANDS, CommandStatus
from api.ops.accuracy import Accuracy
from contracts.events import (
    EVENTS,
    SHADOW,
    CandidateSet,
    Command,
    CommandSettled,
    CorrectionReceipt,
    DatasetMade,
    EndpointSeen,
    ModelPromoted,
    ModelPublished,
    PlayersForgotten,
    PolicySet,
    PromoteModel,
    RestrictionSet,
    RetrainModel,
    ScoresCounted,
    SnapshotTaken,
    TrainingAdvanced,
    VariantSeen,
    decode,
    mark_of,
    now,
)
from contracts.ports import Bus
from producers.bus import open_bus
from tests.histories import example, guess, named
from tests.roster import MODELS, ROSTER
from tests.serving import DEADLINE_S, eventually, get, serving


@pytest.fixture
def bus() -> Bus:
    return open_bus(f"memory://{uuid4()}")


@pytest.fixture
def address(bus: Bus) -> Iterator[str]:
    with serving(bus) as here:
        yield here


def order(address: str, path: str, body: Any, token: str = "token") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"http://{address}/api/ops/{path}", json=body, headers=headers, timeout=DEADLINE_S, trust_env=False)


def became(address: str, command_id: str) -> httpx.Response:
    return get(address, f"/api/ops/commands/{command_id}", headers={"Authorization": "Bearer token"})


def commands(bus: Bus) -> list[Any]:
    tail = bus.follow(["commands.v1"], now() - timedelta(days=1))
    found = [decode(record.topic, record.value) for record in tail.poll(0)]
    tail.close()
    return found


# --- commands ------------------------------------------------------------------------------------------------------------

ORDERS: list[tuple[str, dict[str, Any], str]] = [
    ("retrain", {"target": "tensorflow", "base": True}, "RetrainModel"),
    ("retrain", {"target": "xgboost", "hyperparameters": {"eta": "0.1", "rounds": "30"}}, "RetrainModel"),
    ("retrain", {"target": "xgboost", "grid": {"eta": ["0.1", "0.3"], "max_depth": ["4", "6"]}}, "RetrainModel"),
    ("retrain", {"target": "kmeans", "warm": True}, "RetrainModel"),
    ("promote", {"target": "xgboost", "version": "3"}, "PromoteModel"),
    ("rollback", {"target": "xgboost"}, "RollBackModel"),
    ("rollback", {"target": "xgboost", "version": "base1"}, "RollBackModel"),
    ("try", {"target": "xgboost", "version": "4", "role": "canary", "share": 0.1}, "TryVersion"),
    ("try", {"target": "xgboost", "version": "4", "role": "shadow"}, "TryVersion"),
    ("try", {"target": "xgboost", "role": "none"}, "TryVersion"),
    ("policy", {"lead": "bandit"}, "SetPolicy"),
    ("policy", {"parts": {"river": "shadow", "mxnet": "off"}}, "SetPolicy"),
    ("restrict", {"player_id": "eve", "restriction": "banned"}, "RestrictPlayer"),
    ("freeze", {"target": "river"}, "FreezeLearning"),
    ("thaw", {"target": "river"}, "ThawLearning"),
    ("drift-policy", {"actions": {"batch-errors": "retrain"}, "cooldown_s": 60}, "SetDriftPolicy"),
    ("forget", {"player_id": "eve"}, "ForgetPlayer"),
]


def test_every_command_has_its_route():
    every = {kind.__name__ for kind in EVENTS if issubclass(kind, Command)}
    assert {kind for _, _, kind in ORDERS} | {"CancelTraining"} == every, "a rebuild is cancelled in the test below"


def test_a_rebuild_that_was_ordered_is_cancelled_and_one_that_is_none_is_not(bus, address):
    training = order(address, "retrain", {"target": "xgboost"}).json()["command_id"]
    cancelled: list[httpx.Response] = []

    eventually(
        lambda: cancelled.append(order(address, "cancel", {"training_id": training})) or cancelled[-1].status_code == 202
    )

    assert order(address, "cancel", {"training_id": str(uuid4())}).status_code == 422
    assert [str(one.training_id) for one in commands(bus) if one.type == "CancelTraining"] == [training]


def test_who_asked_for_a_rebuild_and_why_is_told_to_operators_alone(bus, address):
    asked = order(address, "retrain", {"target": "xgboost", "reason": "eve teaches nonsense"}).json()["command_id"]
    told = {"model": "xgboost", "version": "none", "command_id": asked, "step": "cancelled", "fraction": 1.0}
    bus.publish(TrainingAdvanced(**told, message="cancelled by house: eve again", by="house"))
    eventually(lambda: [one["state"] for one in get(address, "/api/jobs").json()] == ["cancelled"])

    for path in ("/api/jobs", f"/api/jobs/{asked}"):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert not {"house", "eve"} & set(re.findall(r"\w+", get(address, path, headers=headers).text))
        whole = get(address, path, headers={"Authorization": "Bearer token"}).text
        assert {"house", "eve", "nonsense"} < set(re.findall(r"\w+", whole))


@pytest.mark.parametrize(("path", "body", "kind"), ORDERS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_order_is_on_the_log_when_it_is_answered(bus, address, path, body, kind):
    bus.publish(example(player_id="eve")).result()
    answer = order(address, path, body | {"reason": "a try"})

    assert answer.status_code == 202
    [command] = commands(bus)
    assert (command.type, str(command.command_id), command.by) == (kind, answer.json()["command_id"], "house")
    assert command.model_dump().items() >= (body | {"reason": "a try"}).items()


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("promote", {"target": "xgboost"}, "version"),
        ("promote", {"target": "everyone", "version": "1"}, "no model with versions 'everyone'"),
        ("promote", {"target": "xgboost", "version": "3", "by_force": True}, "by_force"),
        ("promote", {"target": "xgboost", "version": "3", "force": "yes please"}, "force"),
        ("try", {"target": "river", "role": "shadow", "version": "softmax-1"}, "no batch model 'river': there is xgboost,"),
        ("try", {"target": "nosuch", "role": "none"}, "no batch model 'nosuch': there is xgboost, tensorflow, mxnet, kmeans"),
        ("try", {"target": "xgboost", "role": "canary", "version": "4"}, "share of the players above 0"),
        ("try", {"target": "xgboost", "role": "canary", "version": "4", "share": 2}, "share"),
        ("try", {"target": "xgboost", "role": "shadow", "version": "4", "share": 0.1}, "share"),
        ("try", {"target": "xgboost", "role": "shadow"}, "a shadow has a version"),
        ("policy", {}, "give a lead, or parts"),
        ("policy", {"lead": "gpt"}, "no model 'gpt'"),
        ("policy", {"parts": {"gpt": "off"}}, "no model 'gpt'"),
        ("policy", {"parts": {"river": "hidden"}}, "shadow"),
        ("restrict", {"player_id": "eve"}, "restriction"),
        ("drift-policy", {}, "give an action, a cooldown"),
        ("drift-policy", {"actions": {"weather": "notify"}}, "class-mix"),
        ("drift-policy", {"actions": {"ink": "explode"}}, "retrain"),
        ("retrain", {"target": "xgboost", "hyperparameters": {"depth": "3"}}, "no hyperparameter 'depth': there is rounds"),
        ("retrain", {"target": "xgboost", "hyperparameters": {"eta": "4"}}, "eta=4: xgboost takes a number from 0.01 to 1"),
        ("retrain", {"target": "kmeans", "grid": {"rounds": ["2.5", "3"]}}, "kmeans takes a whole number from 1 to 200"),
        ("retrain", {"target": "xgboost", "grid": {"eta": ["nan", "0.1"]}}, "eta=nan: xgboost takes"),
        ("retrain", {"target": "xgboost", "grid": {"depth": ["1", "2"]}}, "no hyperparameter 'depth'"),
        ("retrain", {"target": "xgboost", "grid": {"eta": ["0.1"]}}, "1 setting to be tried: at least 2 and at most 20"),
        ("retrain", {"target": "xgboost", "grid": {"eta": ["0.1", "0.1"]}}, "eta has a value twice"),
        ("retrain", {"target": "xgboost", "hyperparameters": {"eta": "0.1"}, "grid": {"eta": ["0.2", "0.3"]}}, "a value twice"),
        ("retrain", {"target": "mxnet", "grid": {"epochs": [f"{n}" for n in range(1, 22)]}}, "20"),
        ("retrain", {"target": "mxnet", "grid": {"epochs": ["1", "2"]}, "warm": True}, "try them without going on"),
        ("retrain", {"target": "mxnet", "base": True, "warm": True}, "leave one of the two out"),
        ("retrain", {"target": "xgboost", "hyperparameters": {"eta; rm": "3"}}, "is a name of letters"),
        ("retrain", {"target": "xgboost", "hyperparameters": {"eta": "9" * 41}}, "40"),
        ("drift-policy", {"cooldown_s": -1}, "cooldown_s"),
        ("drift-policy", {"least_hands": 0}, "least_hands"),
        ("restrict", {"player_id": "", "restriction": "none"}, "player_id"),
        ("restrict", {"player_id": "eve", "restriction": "hanged"}, "quarantined"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_by_name(bus, address, path, body, told):
    answer = order(address, path, body)

    assert answer.status_code == 422
    assert told in answer.text
    [refused] = commands(bus)
    assert (refused.type, refused.command, refused.by) == ("CommandRefused", path, "house")
    assert told in refused.message
    assert (refused.address, refused.via, refused.token[:6]) == ("127.0.0.1", "http", "house/")


@pytest.mark.parametrize("path", ["promote", "rollback", "try", "policy", "restrict", "freeze", "thaw", "drift-policy"])
def test_every_order_wants_the_token(bus, address, path):
    assert order(address, path, {"lead": "bandit"}, token="another").status_code == 403
    assert get(address, f"/api/ops/commands/{uuid4()}").status_code == 401
    assert commands(bus) == []


def test_what_became_of_a_command_is_told(bus, address):
    command_id = order(address, "promote", {"target": "xgboost", "version": "3"}).json()["command_id"]
    pending = became(address, command_id).json()

    bus.publish(
        CommandSettled(command_id=command_id, target="xgboost", outcome="refused", message="the gate did not approve 3")
    )

    assert (pending["outcome"], pending["type"], pending["target"]) == ("pending", "PromoteModel", "xgboost")
    eventually(lambda: became(address, command_id).json()["outcome"] == "refused")
    assert became(address, command_id).json()["message"] == "the gate did not approve 3"
    assert became(address, str(uuid4())).status_code == 404
    assert became(address, "nonsense").status_code == 422


def test_how_far_a_rebuild_is_is_told(bus, address):
    command_id = order(address, "retrain", {"target": "xgboost"}).json()["command_id"]

    def advanced(step: str, fraction: float) -> TrainingAdvanced:
        return TrainingAdvanced(
            model="xgboost", version="2", command_id=command_id, step=step, fraction=fraction, message="on its way"
        )

    bus.publish(advanced("training", 0.4))
    eventually(lambda: became(address, command_id).json()["step"] == "training")
    assert became(address, command_id).json()["outcome"] == "pending"
    bus.publish(advanced("done", 1))
    eventually(lambda: became(address, command_id).json()["outcome"] == "done")


def test_commands_of_before_a_restart_are_known(bus):
    with serving(bus) as address:
        command_id = order(address, "rollback", {"target": "xgboost"}).json()["command_id"]
    bus.publish(CommandSettled(command_id=command_id, target="xgboost", outcome="done", message="base1 answers")).result()

    with serving(bus) as address:
        assert became(address, command_id).json()["message"] == "base1 answers"


def test_the_outcome_of_a_command_may_come_before_it_and_the_oldest_are_forgotten():
    commands, ids = CommandStatus(), [UUID(int=i) for i in range(MAX_COMMANDS + 1)]
    commands.apply(CommandSettled(command_id=ids[0], target="xgboost", outcome="done", message=""))
    for each in ids[:-1]:
        commands.apply(PromoteModel(command_id=each, target="xgboost", version="3", by="ada"))
    first = commands.state(ids[0])

    commands.apply(RetrainModel(command_id=ids[-1], target="xgboost", by="ada"))

    assert first is not None
    assert first.outcome == "done"
    assert [commands.state(each) is None for each in (ids[0], ids[1], ids[-1])] == [True, False, False]


# --- the library, the endpoints, the routing -----------------------------------------------------------------------------


def published(version: str, *, approved: bool = True) -> ModelPublished:
    return ModelPublished(
        model="xgboost",
        version=version,
        title="XGBoost",
        digest="d" * 64,
        artifact="s3://b/k",
        lineage={"job": f"gamenight-{version}"},
        metrics={"mnist_accuracy": 0.99},
        gate="passed" if approved else "worse on what players drew",
        approved=approved,
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/gamenight-xgboost/{version}",
    )


def counted(model: str, version: str, n: int, correct: int) -> ScoresCounted:
    return ScoresCounted(
        model=model, version=version, window=None, source=0, n=n, correct=correct, confusion=[n] + [0] * 99,
        latency=[n] + [0] * 11,
    )  # fmt: skip


def told(bus: Bus) -> None:
    """A history with a version of each kind."""
    for version in ("base1", "2", "3", "4", "5"):
        bus.publish(published(version, approved=version != "3"))
    bus.publish(published("5").model_copy(update={"failed": "router: it said nothing"}))
    champion = ModelPromoted(
        model="xgboost", version="2", title="XGBoost", endpoint="gamenight-xgboost", variant="v2", previous="base1"
    )
    bus.publish(champion)
    bus.publish(CandidateSet(model="xgboost", version="4", role="canary", share=0.1, endpoint="e", variant="v4"))
    variants = [
        VariantSeen(variant=variant, version=version, weight=weight, instances=1, instance_type="ml.m5.large")
        for variant, version, weight in (("v2", "2", 1.0), ("base1", "base1", 0.0), ("v4", "4", 0.0))
    ]
    bus.publish(
        EndpointSeen(
            model="xgboost", version="2", endpoint="gamenight-xgboost", arn="arn:e", status="InService", created=now(),
            variants=variants, cost_per_hour_usd=0.345,
        )
    )  # fmt: skip
    bus.publish(
        SnapshotTaken(
            model="river", version="mnist1+12", title="River", offset=11, lessons=12, digest="r" * 64, reader="r",
            weights=b"\0" * 80,
        )
    )  # fmt: skip
    for counts in (
        ("xgboost", "2", 100, 97),
        ("xgboost", f"4{SHADOW}", 50, 49),
        ("river", "mnist1", 10, 9),
        ("yours", "own9", 7, 6),
        ("yours", "own10", 4, 4),
    ):
        bus.publish(counted(*counts)).result()


def test_operators_see_who_teaches_what_and_who_is_restricted_and_nobody_else_does(bus):
    for number, (player, outcome) in enumerate([("ada", "learned"), ("eve", "quarantined"), ("eve", "quarantined")]):
        given = {"correction_id": named(f"c{number}"), "drawing_id": named(f"d{number}"), "models": {}, "weight": 0.0}
        bus.publish(CorrectionReceipt.model_validate({"player_id": player, "outcome": outcome, **given}))
    bus.publish(RestrictionSet(players={"eve": "banned", "bob": "quarantined"})).result()
    with serving(bus) as address:
        players = get(address, "/api/ops/players", headers={"Authorization": "Bearer token"}).json()
        refused = get(address, "/api/ops/players")

    said = [(one["player_id"], one["corrections"], one["set_aside"], one["restriction"]) for one in players]
    assert said == [("eve", 2, 2, "banned"), ("ada", 1, 0, "none"), ("bob", 0, 0, "quarantined")]
    assert refused.status_code == 401


def test_nobody_is_restricted_who_never_taught_or_is_forgotten_and_their_id_is_kept_nowhere(bus):
    """Whoever was forgotten came back by a quarantine, and their certificate failed; a mistyped id became a player."""
    taught, receipted, gone, nobody = (str(uuid4()) for _ in range(4))
    bus.publish(example(player_id=taught)).result()
    given = {"correction_id": named("c"), "drawing_id": named("d"), "models": {}, "weight": 1.0, "outcome": "learned"}
    bus.publish(CorrectionReceipt.model_validate({"player_id": receipted, **given})).result()
    bus.publish(PlayersForgotten(begin=mark_of(gone)[:2], marks=[mark_of(gone)])).result()
    bus.publish(RestrictionSet(players={"bob": "quarantined"})).result()
    with serving(bus) as address:

        def told(player: str, restriction: str) -> str:
            answer = order(address, "restrict", {"player_id": player, "restriction": restriction})
            return "done" if answer.status_code == 202 else str(answer.json()["error"])

        banned = {name: told(name, "banned") for name in (taught, receipted, "bob", gone, nobody, taught[:8], "☃")}
        pardoned = {name: told(name, "none") for name in (taught, "bob", gone, nobody)}

    unknown = "no player of this id has taught: see `gamenight players`"
    assert list(banned.values()) == ["done"] * 3 + ["this player is forgotten"] + [unknown] * 3
    free = "this player is not restricted: see `gamenight players`"
    assert list(pardoned.values()) == [free, "done", "this player is forgotten", unknown]
    whole = "".join(one.model_dump_json() for one in commands(bus))
    assert [one in whole for one in (taught, gone, nobody, "☃")] == [True, False, False, False]


def test_the_library_names_every_version_with_what_became_of_it(bus):
    told(bus)
    with serving(bus) as address:
        models = {model["model"]: model for model in get(address, "/api/models").json()}

    assert {model: one["title"] for model, one in models.items()} == {model: ROSTER[model].title for model in MODELS}
    xgboost = models["xgboost"]
    assert [(v["version"], v["status"]) for v in xgboost["versions"]] == [
        ("base1", "previous"), ("2", "champion"), ("3", "refused"), ("4", "canary"), ("5", "failed")
    ]  # fmt: skip
    assert (xgboost["cost_per_hour_usd"], models["river"]["cost_per_hour_usd"]) == (0.345, None)
    assert xgboost["versions"][1]["lineage"] == {"job": "gamenight-2"}
    assert (xgboost["previous"], xgboost["candidate"]["version"], xgboost["candidate"]["share"]) == ("base1", "4", 0.1)
    assert xgboost["versions"][1]["live"] == xgboost["live"]
    assert (xgboost["counted"], models["yours"]["counted"], models["mxnet"]["counted"]) == (["2"], ["own9", "own10"], [])
    assert xgboost["live"] == {"n": 100, "correct": 97, "share": 0.97, "low": 0.91548, "high": 0.98975}
    assert (xgboost["versions"][3]["live"]["n"], xgboost["versions"][3]["as_shadow"]["n"]) == (0, 50)
    assert [(v["version"], v["status"]) for v in models["yours"]["versions"]] == [("own9", "previous"), ("own10", "champion")]
    assert xgboost["versions"][2]["gate"] == "worse on what players drew"
    assert [version["failed"] for version in xgboost["versions"]] == ["", "", "", "", "router: it said nothing"]
    assert xgboost["versions"][2]["arn"].endswith("gamenight-xgboost/3")
    [river] = models["river"]["versions"]
    assert (river["version"], river["live"]["n"], river["lineage"]["lessons"]) == ("mnist1+12", 10, "12")
    assert [(v["version"], v["live"]["n"]) for v in models["yours"]["versions"]] == [("own9", 7), ("own10", 4)]
    assert models["mxnet"]["versions"] == []


def test_the_endpoints_say_who_answers_whom_and_what_it_costs(bus):
    told(bus)
    with serving(bus) as address:
        for i in range(20):
            hops = {"bus_in": 1, "read": 1, "wait": 1, "model": 3.0 if i else 90.0}
            bus.publish(guess(f"d{i}", model="xgboost", hops=hops, table="1a2b3c4d"))

        def latency() -> Any:
            return get(address, "/api/endpoints").json()[0]["latency"]

        eventually(lambda: (latency() or {}).get("n") == 20)
        endpoints, routing = get(address, "/api/endpoints").json(), get(address, "/api/routing").json()

    assert [one["model"] for one in endpoints] == ["xgboost", "tensorflow", "mxnet", "kmeans"]
    assert [one["title"] for one in endpoints] == [ROSTER[one["model"]].title for one in endpoints]
    assert (endpoints[0]["status"], endpoints[0]["cost_per_hour_usd"]) == ("InService", 0.345)
    assert [(v["variant"], v["role"], v["players"]) for v in endpoints[0]["variants"]] == [
        ("v2", "champion", 0.9), ("base1", "previous", 0.0), ("v4", "canary", 0.1)
    ]  # fmt: skip
    papers = endpoints[0]["variants"][0]["papers"]
    assert (papers["digest"], papers["lineage"], papers["live"]["n"]) == ("d" * 64, {"job": "gamenight-2"}, 100)
    assert papers["arn"].endswith("gamenight-xgboost/2")
    assert endpoints[0]["latency"] == {"n": 20, "p50_ms": 3.0, "p95_ms": 3.0}
    assert (endpoints[1]["status"], endpoints[1]["unavailable"]) == ("Unknown", "it is being started")
    assert (routing["lead"], routing["parts"]["river"], routing["at"]) == ("everyone", "shown", None)
    assert [(c["model"], c["version"], c["share"]) for c in routing["candidates"]] == [("xgboost", "4", 0.1)]
    assert [(table["table"], table["guesses"]) for table in routing["tables"]] == [("1a2b3c4d", 20)]


@pytest.mark.parametrize(
    ("lead", "parts", "champion", "others"),
    [
        ("everyone", {}, "everyone", {}),
        ("river", {"kmeans": "shadow", "mxnet": "off"}, "river", {"kmeans": "shadow", "mxnet": "off"}),
        ("bandit", {"mxnet": "off"}, None, {"mxnet": "off"}),
    ],
)
def test_the_lead_is_the_champion_and_whoever_else_is_shown_challenges_it(bus, lead, parts, champion, others):
    bus.publish(PolicySet(lead=lead, parts=parts)).result()
    with serving(bus) as address:
        models = {model["model"]: model["standing"] for model in get(address, "/api/models").json()}
        endpoints = {one["model"]: one["standing"] for one in get(address, "/api/endpoints").json()}
        routing = get(address, "/api/routing").json()

    assert models == dict.fromkeys(MODELS, "challenger") | ({champion: "champion"} if champion else {}) | others
    assert endpoints.items() <= models.items()
    assert routing["standings"] == models


@pytest.mark.parametrize(
    ("n", "correct", "low", "high"), [(10, 10, 0.72246, 1.0), (100, 50, 0.40383, 0.59617), (10, 0, 0.0, 0.27754)]
)
def test_the_interval_is_wilsons(n, correct, low, high):
    found = Accuracy.of(n, correct)
    assert (found.low, found.high) == (low, high)


def test_of_nothing_there_is_no_share():
    assert Accuracy.of(0, 0).model_dump() == {"n": 0, "correct": 0, "share": None, "low": None, "high": None}


@pytest.mark.parametrize(
    "body",
    [b'{"target":NaN}', b'{"target":1e999}', rb'{"target":"\ud800"}', rb'{"target":"xgboost","\ud800":1}'],
)
def test_what_cannot_be_sent_back_is_refused_all_the_same(address, body):
    headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
    answer = httpx.post(f"http://{address}/api/ops/retrain", content=body, headers=headers, timeout=DEADLINE_S, trust_env=False)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"
    assert "input" not in answer.text


def test_datasets_are_listed_with_the_versions_that_came_of_them_and_found_by_the_first_letters(bus):
    fields = {
        "feedback": 80,
        "held_back": 20,
        "people": 4,
        "labels": [10] * 10,
        "offsets": [7, 0, 0, 0],
        "seed": 1,
        "code": "0",
        "by": "ada",
    }
    older = DatasetMade(digest="ab" * 32, at=now() - timedelta(days=1), **fields)
    newer = DatasetMade(digest="ac" * 32, excluded={"withdrawn": 3}, new_people=1, **fields)
    made = published("4").model_copy(update={"lineage": {"dataset_digest": newer.digest}})
    for event in (older, newer, made):
        bus.publish(event).result()
    with serving(bus) as address:
        eventually(
            lambda: len(get(address, "/api/datasets").json()) == 2 and get(address, "/api/datasets/ac").json()["versions"]
        )
        listed = get(address, "/api/datasets").json()
        one = get(address, "/api/datasets/ac").json()
        several, none = get(address, "/api/datasets/a"), get(address, "/api/datasets/f")
        whole = get(address, "/api/datasets", headers={"Authorization": "Bearer token"}).json()
    assert ([found["by"] for found in (*listed, one)], whole[0]["by"]) == ([""] * 3, "ada"), "told to operators alone"
    assert [found["digest"] for found in listed] == [newer.digest, older.digest]
    assert (one["versions"], one["excluded"]) == ([{"model": "xgboost", "version": "4", "approved": True}], {"withdrawn": 3})
    assert (several.status_code, none.status_code) == (404, 404)


def test_rebuilds_are_shown_in_their_order_and_one_is_cancelled_by_its_id(bus):
    first, second = (RetrainModel(command_id=uuid4(), target="xgboost", by="ada", reason=why) for why in ("a", "b"))
    advanced = TrainingAdvanced(model="xgboost", version="4", command_id=first.command_id, step="training", fraction=0.5)
    for event in (first, second, advanced):
        bus.publish(event).result()
    with serving(bus) as address:
        eventually(lambda: len(get(address, "/api/jobs").json()) == 2 and get(address, "/api/jobs").json()[0]["step"])
        running, waiting = get(address, "/api/jobs").json()
        assert (running["state"], running["position"], waiting["state"], waiting["position"]) == ("running", None, "queued", 1)
        assert get(address, f"/api/jobs/{str(first.command_id)[:8]}").json() == running
        assert get(address, "/api/jobs/none").status_code == 404
        assert order(address, "cancel", {"training_id": str(uuid4())}).status_code == 422
        accepted = order(address, "cancel", {"training_id": str(first.command_id), "reason": "not now"})
        assert accepted.status_code == 202
        settled = {"command_id": accepted.json()["command_id"], "target": "xgboost", "outcome": "done", "message": "it stops"}
        bus.publish(CommandSettled.model_validate(settled)).result()
        eventually(lambda: get(address, "/api/jobs").json()[0]["cancelling"])
        bus.publish(advanced.model_copy(update={"step": "cancelled", "message": "cancelled by ada"})).result()
        eventually(lambda: became(address, str(first.command_id)).json()["outcome"] == "cancelled")
        assert [one["state"] for one in get(address, "/api/jobs").json()] == ["queued", "cancelled"]
