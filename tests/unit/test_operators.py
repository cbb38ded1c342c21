"""Operators have names and tokens of their own; the audit says who wanted what, from where and why, and what became of it."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.apps.keyring import OPERATORS, Keyring, KeyringError
from api.folds.audit_log import OPERATOR_ADDED, OPERATOR_REVOKED, AuditLog
from api.ops.operators import Operator, Operators, Refusal
from contracts.events import (
    Command,
    CommandCut,
    CommandDone,
    CommandRefused,
    CommandSettled,
    Event,
    PromoteModel,
    RestrictPlayer,
    RetrainModel,
    RollBackModel,
    TrainingAdvanced,
    decode,
    now,
)
from contracts.plain_text import is_one_line
from contracts.ports import Bus, Record
from contracts.settings import Settings
from deploy import operators as people
from deploy.failures import CommandDeclined
from producers.bus import open_bus
from producers.proven import proofs_of
from producers.signing import Signer, public_key
from tests.serving import DEADLINE_S, eventually, serving

SEEDS = {"api": "5e" * 32, "router": "52" * 32, "trainer": "54" * 32, "learning": "4c" * 32}
KEYS = ",".join(f"{process}:{public_key(seed)}" for process, seed in SEEDS.items())


@pytest.fixture
def bus() -> Bus:
    return open_bus(f"memory://{uuid4()}")


@pytest.fixture
def house(bus: Bus, tmp_path: Path) -> Iterator[str]:
    with serving(bus, home=tmp_path, command_keys=KEYS, why_required=True) as address:
        yield address


Asking = Callable[..., httpx.Response]


def asking(address: str, token: str, path: str, body: Any = None, client: str = "gamenight") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "User-Agent": client}
    method = "GET" if body is None else "POST"
    url = f"http://{address}/api/ops/{path}"
    return httpx.request(method, url, json=body, headers=headers, timeout=DEADLINE_S, trust_env=False)


def test_two_operators_have_tokens_of_their_own_and_a_revoked_one_commands_no_more(house, bus, tmp_path):
    settings = Settings(home=tmp_path, operator_token="token")
    ada, bob = people.add_operator(settings, "ada"), people.add_operator(settings, "bob")
    freeze = {"target": "river", "reason": "somebody teaches nonsense"}

    assert asking(house, ada, "freeze", freeze).status_code == 202
    assert asking(house, bob, "thaw", freeze, client="curl/8").status_code == 202
    people.revoke_operator(settings, "ada")
    assert asking(house, ada, "freeze", freeze).status_code == 403, "without a restart"
    assert asking(house, bob, "freeze", freeze).status_code == 202
    assert asking(house, "token", "thaw", freeze).status_code == 202, "the home's own goes on"

    [first, second, *_] = [decode(r.topic, r.value) for r in bus.follow(["commands.v1"], "start").poll(1)]
    assert (first.by, first.via, first.address, first.token[:4]) == ("ada", "cli", "127.0.0.1", "ada/")
    assert (second.by, second.via, second.reason) == ("bob", "http", "somebody teaches nonsense")
    again = people.add_operator(settings, "ada")
    assert again != ada
    names = [one["token"] for one in people.operators(settings)]
    assert first.token not in names, "another token has another name"
    assert [one["name"] for one in people.operators(settings)] == ["house", "ada", "bob"]
    assert ada not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["house", "Router", "a b", "", "../x", "ä"])
def test_no_operator_is_called_like_a_part_of_the_game_or_like_a_path(tmp_path, name):
    with pytest.raises(KeyringError, match=r"another one|is no name for an operator"):
        people.add_operator(Settings(home=tmp_path), name)


def test_a_token_that_is_not_there_cannot_be_revoked_and_the_houses_own_is_changed_elsewhere(tmp_path):
    with pytest.raises(KeyringError, match="no token of 'eve' was given here: gamenight operators lists"):
        people.revoke_operator(Settings(home=tmp_path), "eve")
    with pytest.raises(KeyringError, match="GAMENIGHT_OPERATOR_TOKEN"):
        people.revoke_operator(Settings(home=tmp_path), "house")


def test_wrong_tokens_are_counted_by_address_and_a_known_operator_comes_in_all_the_same(tmp_path):
    ring = Keyring(tmp_path, OPERATORS)
    token = ring.add("ada")
    operators = Operators("house token", ring.known)

    assert isinstance(operators.admitted(f"Bearer {token}", "192.0.2.1", 0.0), Operator)
    tries = [operators.admitted("Bearer wrong", "192.0.2.1", 0.0) for _ in range(31)]
    assert [one.status for one in tries if isinstance(one, Refusal)] == [403] * 30 + [429]
    assert operators.admitted(f"Bearer {token}", "192.0.2.1", 0.0) == Operator("ada", f"ada/{ring.known()['ada'].hex()[:6]}")
    stranger = operators.admitted("Bearer house token", "192.0.2.1", 0.0)
    assert isinstance(stranger, Refusal), "who never came in from there is not told whether a token is right"
    assert "try again in 2.0 s" in stranger.why


# --- the audit


def signed(event: Any, process: Any) -> Event:
    made: Event = Signer(process, SEEDS[process]).signed(event)
    return made


def test_the_audit_tells_each_command_with_its_outcome_and_what_the_door_refused(house, bus, tmp_path):
    ada = people.add_operator(Settings(home=tmp_path), "ada")
    given = asking(house, ada, "rollback", {"target": "xgboost", "reason": "confuses 4 and 9"}).json()["command_id"]
    settled = {"command_id": given, "target": "xgboost", "outcome": "done", "message": "base1 answers again"}
    bus.publish(CommandSettled.model_validate(settled | {"outcome": "failed", "message": "believe me"}))  # anybody's
    bus.publish(signed(CommandSettled.model_validate(settled), "trainer"))
    assert asking(house, ada, "promote", {"target": "gpt", "version": "3", "reason": "new"}).status_code == 422
    no_why = asking(house, "token", "thaw", {"target": "river"})
    bus.publish(PromoteModel(command_id=uuid4(), target="xgboost", version="9", by="ada", token="ada/000000"))  # a stranger's

    eventually(lambda: asking(house, ada, "audit").json()[-1]["outcome"] == "done")
    thaw, promote, rollback = asking(house, ada, "audit").json()

    assert (no_why.status_code, no_why.json()["error"]) == (422, "say why: --why TEXT, or `reason`")
    assert (thaw["who"], thaw["target"], thaw["outcome"]) == ("house", "river", "refused at the door")
    assert thaw["message"].startswith("say why")
    assert (promote["who"], promote["target"], promote["why"]) == ("ada", "gpt", "new")
    assert "no model with versions 'gpt'" in promote["message"]
    assert (rollback["outcome"], rollback["message"], rollback["via"]) == ("done", "base1 answers again", "cli")

    with serving(bus, home=tmp_path, command_keys=KEYS) as restarted:
        assert asking(restarted, "token", "audit").json() == [thaw, promote, rollback], "nor after a restart a stranger's"

    def found(query: str) -> list[str]:
        return [one["command"] for one in asking(house, ada, f"audit?{query}").json()]

    assert found("who=house") == ["thaw"]
    assert found("target=xgboost") == found("command=roll-back") == ["RollBackModel"]
    assert found("command=freeze-learning&who=nobody") == []
    none = asking(house, "token", "audit?command=quarantine")
    assert (none.status_code, none.json()["detail"][:59]) == (
        422,
        "no command 'quarantine': there is RetrainModel, CancelTrain",
    )
    assert found("limit=1") == ["thaw"]
    assert found(f"since={(now() + timedelta(hours=1)).isoformat().replace('+', '%2B')}") == []
    assert asking(house, "wrong", "audit").status_code == 403


def test_the_signing_keys_prove_what_the_api_shows_and_too_few_of_them_are_told(capsys):
    every: dict[str, Any] = {f"{process}_signing_key": seed for process, seed in SEEDS.items()}
    stranger = PromoteModel(command_id=uuid4(), target="xgboost", version="9", by="ada", signer="api", signature="00" * 64)
    record = Record("commands.v1", 0, 0, b"xgboost", stranger.record_value(), 0)

    proofs = proofs_of(Settings(command_keys=None, **every))

    assert proofs is not None
    assert "not of these bytes" in str(proofs.against(record, stranger))
    assert "not proven" not in capsys.readouterr().out
    assert proofs_of(Settings(command_keys=None, api_signing_key=SEEDS["api"])) is None
    assert "what is signed is not proven in full: see GAMENIGHT_COMMAND_KEYS" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["freeze", "retrain"])
def test_a_reason_that_names_a_player_is_refused_since_it_stays_when_they_are_forgotten(house, bus, way):
    player = str(uuid4())
    body = {"target": "river" if way == "freeze" else "xgboost", "reason": f"{player.upper()} teaches nonsense"}

    refused = asking(house, "token", way, body)

    assert refused.status_code == 422
    assert refused.json()["error"].startswith(
        f"a reason names nobody, since it is kept for good: say it without {player.upper()}"
    )
    assert not any(isinstance(decode(r.topic, r.value), Command) for r in bus.follow(["commands.v1"], "start").poll(1))


@pytest.mark.parametrize("reason", ["two\nlines", "\x1b[2Jgone", "\u202edlo", "\x9b2J"])
def test_a_reason_is_one_line_that_commands_no_terminal(house, bus, tmp_path, reason):
    refused = asking(house, "token", "freeze", {"target": "river", "reason": reason})

    assert (refused.status_code, refused.json()["error"]) == (422, "a reason is one line of printable characters")
    [kept] = [decode(record.topic, record.value) for record in bus.follow(["commands.v1"], "start").poll(1)]
    assert is_one_line(kept.reason)
    with pytest.raises(CommandDeclined, match="a reason is one line of printable characters"):
        people.add_operator(Settings(home=tmp_path), "dan", reason)


def test_who_is_given_a_token_and_who_loses_it_is_in_the_audit_once_also_when_no_game_ran(bus, tmp_path, monkeypatch):
    monkeypatch.setattr("api.app.LOOK_S", 0.05)
    settings = Settings(home=tmp_path, operator_token="token")
    people.add_operator(settings, "ada", "she is on call")
    before = people.add_operator(settings, "bob")
    people.revoke_operator(settings, "bob", "he has left")  # nobody has ever seen him

    def told(address: str) -> list[tuple[str, ...]]:
        return [
            (one["command"], one["target"].partition("/")[0], one["who"], one["via"], one["why"], one["outcome"])
            for one in asking(address, "token", "audit").json()
        ]

    bobs = [
        ("operators add", "bob", "house", "cli", "", "done"),
        ("operators revoke", "bob", "house", "cli", "he has left", "done"),
    ]
    added = ("operators add", "ada", "house", "cli", "she is on call", "done")
    with serving(bus, home=tmp_path, command_keys=KEYS) as address:
        eventually(lambda: set(told(address)) == {added, *bobs})
        people.revoke_operator(settings, "ada", "the night is over")
        eventually(lambda: len(told(address)) == 4)
    (tmp_path / "secrets" / "operators" / "eve").write_text("ab" * 32)  # by hand
    with serving(bus, home=tmp_path, command_keys=KEYS) as address:
        eventually(lambda: len(told(address)) == 5)

    assert told_of(bus) == [
        added,
        *bobs,
        ("operators revoke", "ada", "house", "cli", "the night is over", "done"),
        ("operators add", "eve", "house", None, "", "done"),
    ]
    assert before not in str([one.value for one in bus.follow(["commands.v1"], "start").poll(1)])
    assert list((tmp_path / "secrets" / "operators-notes").iterdir()) == []
    with pytest.raises(CommandDeclined, match="say why"):
        people.add_operator(settings.model_copy(update={"why_required": True}), "dan")


def told_of(bus: Bus) -> list[tuple[str | None, ...]]:
    """What commands.v1 itself has."""
    read = [decode(record.topic, record.value) for record in bus.follow(["commands.v1"], "start").poll(1)]
    return [
        (one.command, one.target.partition("/")[0], one.by, one.via, one.reason, "done")
        for one in read
        if isinstance(one, CommandDone)
    ]


def test_commands_that_are_no_longer_held_are_read_off_the_log_a_page_at_a_time(bus, tmp_path, monkeypatch):
    monkeypatch.setattr("api.app.AuditLog", lambda: AuditLog(5))
    began = now() - timedelta(minutes=30)
    given = [
        PromoteModel(command_id=uuid4(), target="xgboost", version=str(n), by="ada", at=began + timedelta(minutes=n))
        for n in range(12)
    ]
    for event in given:
        bus.publish(signed(event, "api"))
        done = {"command_id": event.command_id, "target": "xgboost", "outcome": "done", "message": ""}
        bus.publish(signed(CommandSettled.model_validate(done), "trainer"))
    bus.publish(PromoteModel(command_id=uuid4(), target="xgboost", version="9", by="ada", at=given[0].at))  # a stranger's
    with serving(bus, home=tmp_path, command_keys=KEYS) as address:
        found, pages, query = [], 0, "limit=3"
        while pages < 9:
            answer = asking(address, "token", f"audit?{query}")
            found += answer.json()
            pages += 1
            if (older := answer.headers.get("X-Older-Until")) is None:
                break
            query = f"limit=3&until={older.replace('+', '%2B')}"
        since = given[8].at.isoformat().replace("+", "%2B")
        assert "X-Older-Until" not in asking(address, "token", f"audit?since={since}").headers, "all of that time is here"

    assert [(one["what"], one["outcome"]) for one in found] == [(f"version={n}", "done") for n in reversed(range(12))]


def test_a_token_that_was_revoked_is_so_for_good_in_whatever_order_that_is_read():
    added, revoked = (
        CommandDone(command_id=uuid4(), command=command, target="ada", by="house")
        for command in (OPERATOR_ADDED, OPERATOR_REVOKED)
    )
    for order in ((added, revoked), (revoked, added)):
        audit = AuditLog()
        for event in order:
            audit.apply(event)
        assert dict(audit.tokens) == {"ada": False}
    audit = AuditLog()
    audit.apply(added)
    assert dict(audit.tokens) == {"ada": True}


def test_refusals_of_one_operator_are_kept_up_to_a_bound(house, bus, tmp_path):
    began = time.monotonic()
    for _ in range(70):
        assert asking(house, "token", "promote", {"target": "gpt"}).status_code == 422

    kept = [decode(r.topic, r.value) for r in bus.follow(["commands.v1"], "start").poll(1)]
    refused = sum(isinstance(one, CommandRefused) for one in kept)
    assert 60 <= refused <= 61 + time.monotonic() - began


def test_the_audit_names_no_player_and_forgets_what_was_said_of_one():
    audit, key = AuditLog(), uuid4()
    audit.apply(RestrictPlayer(command_id=key, player_id="eve", restriction="banned", by="ada", reason="eve again"))
    audit.apply(CommandSettled(command_id=key, target="players", outcome="done", message="nothing that eve taught counts"))
    [before] = audit.entries()

    audit.forget("eve")

    [after] = audit.entries()
    assert "eve" in before.model_dump_json(), "a text of before, which named the player"
    assert before.what == "restriction=banned"
    assert "eve" not in after.model_dump_json()
    assert after.outcome == "done"


def test_who_had_a_player_forgotten_is_told_when_the_command_is_cut_out_of_the_log():
    key, audit = uuid4(), AuditLog()
    audit.apply(CommandSettled(command_id=key, target="players", outcome="done", message=""))
    audit.apply(CommandCut(command_id=key, command="ForgetPlayer", target="players", by="ada", via="cli", token="ada/3f9c21"))

    [entry] = audit.entries(who="ada", command="forget")

    assert (entry.command, entry.token, entry.outcome, entry.target) == ("ForgetPlayer", "ada/3f9c21", "done", "players")


def test_a_command_of_before_the_audit_is_told_as_far_as_it_is_known():
    audit = AuditLog()
    audit.apply(RollBackModel(command_id=uuid4(), target="xgboost", by="operator@127.0.0.1"))

    [entry] = audit.entries()

    assert (entry.who, entry.via, entry.token, entry.outcome) == ("operator@127.0.0.1", None, None, "pending")


@pytest.mark.parametrize(("step", "outcome"), [("done", "done"), ("refused", "refused"), ("cancelled", "failed")])
def test_how_a_rebuild_of_before_the_audit_ended_is_told_by_its_last_step(step, outcome):
    audit, key = AuditLog(), uuid4()
    told = {"model": "xgboost", "version": "3", "command_id": key, "fraction": 1.0}
    audit.apply(TrainingAdvanced(**told, step="training"))
    audit.apply(TrainingAdvanced(**told, step=step, message="as it ended"))
    audit.apply(RetrainModel(command_id=key, target="xgboost", by="operator@127.0.0.1"))

    [entry] = audit.entries()
    audit.apply(CommandSettled(command_id=key, target="xgboost", outcome="done", message="its own outcome"))
    [later] = audit.entries()

    assert (entry.outcome, entry.message) == (outcome, "as it ended")
    assert (later.outcome, later.message) == ("done", "its own outcome")
