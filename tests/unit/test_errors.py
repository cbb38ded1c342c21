"""What every command of `gamenight` says when it cannot do what is wanted: one plain line, or JSON, and a status."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import httpx
import pytest
import typer
from typer.testing import CliRunner

from api.limits import in_seconds
from contracts.settings import Settings
from deploy.cli import app, main
from deploy.failures import CommandDeclined, CommandFailed, answered, failure_of, outcome_of
from deploy.local import doctor
from deploy.local.archive import free_ports
from deploy.local.run_state import AlreadyRunning
from tests.unit.test_cli import game as game

ID: Final = "7937b601-0f74-4bad-82ba-4a152b9c106f"
PUBLIC: Final[dict[str, list[str]]] = {
    "models": [],
    "endpoints": [],
    "accuracy": [],
    "drift": [],
    "costs": [],
    "card": ["xgboost", "3"],
    "candidates": [],
    "jobs": [],
    "follow": [ID],
    "tuning": [ID],
    "datasets": [],
    "dataset": [],
    "dataset show": ["ab" * 32],
    "dataset verify": ["ab" * 32],
}
"""What asks the game without a token."""
OPERATORS: Final[dict[str, list[str]]] = {
    "train": ["xgboost", "--no-wait"],
    "retrain": ["xgboost", "--no-wait"],
    "promote": ["xgboost", "3"],
    "rollback": ["xgboost"],
    "canary": ["xgboost", "3"],
    "shadow": ["xgboost", "3"],
    "untry": ["xgboost"],
    "lead": ["bandit"],
    "part": ["xgboost", "off"],
    "players": [],
    "quarantine": ["eve"],
    "ban": ["eve"],
    "pardon": ["eve"],
    "forget": ["eve", "--yes"],
    "freeze": [],
    "thaw": [],
    "audit": ["--since", "2h"],
    "cancel": [ID],
    "rejected": [],
    "rejected list": [],
    "rejected show": [ID],
    "rejected repair": [ID, "--set", "label=3"],
    "rejected replay": [ID],
}
"""What needs the game and a token."""
HERE: Final = {
    "up", "reset", "topics", "acls", "replay", "explain", "as-of", "doctor", "simulate", "compare", "export",
    "keys", "keys add", "keys revoke", "operators", "operators list", "operators add", "operators revoke",
}  # fmt: skip
"""What asks no game, or more than the game."""


def commands(group: Any, path: str = "") -> Iterator[str]:
    """All commands, as one types them."""
    for name, command in group.commands.items():
        here = f"{path} {name}".strip()
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield here
        if hasattr(command, "commands"):
            yield from commands(command, here)


ALL: Final = sorted(commands(typer.main.get_command(app)))


class Said(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> Run:
    def ran(*arguments: str, **environment: Any) -> Said:
        given = {"GAMENIGHT_HOME": tmp_path, "GAMENIGHT_PORT": free_ports(1)[0], "GAMENIGHT_OPERATOR_TOKEN": "wrong"}
        for name, value in (given | environment).items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "argv", ["gamenight", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return ran


def one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text.strip()


def test_every_command_is_in_one_of_the_tables():
    """A command that comes to the product comes here, or fails this."""
    assert not {*OPERATORS, *PUBLIC} & HERE
    assert set(ALL) - {*OPERATORS, *PUBLIC, *HERE} == set()


@pytest.mark.parametrize("command", ALL)
def test_an_option_that_is_none_is_told_in_a_line_that_says_where_to_look(run: Run, command: str):
    said = run(*command.split(), "--nope")

    assert (said.status, said.out) == (2, "")
    assert one_line(said.err).startswith("No such option: --nope")
    assert said.err.endswith(f": see gamenight {command} --help\n")
    told = run(*command.split(), "--nope", "--json")
    assert (told.status, told.err, json.loads(one_line(told.out)).keys()) == (2, "", {"error", "status"})


@pytest.mark.parametrize("command", [name for name in ALL if name in OPERATORS or name in PUBLIC])
def test_without_a_game_each_command_says_how_to_start_one_for_people_and_for_machines(run: Run, command: str):
    arguments = [*command.split(), *(OPERATORS | PUBLIC)[command]]
    people, machines = run(*arguments), run(*arguments, "--json")

    assert (people.status, people.out) == (1, "")
    assert "start it with make play" in one_line(people.err)
    assert (machines.status, machines.err) == (1, "")
    told = json.loads(one_line(machines.out))
    assert told["status"] == 1
    assert "start it with make play" in told["error"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["promote"], "Missing argument 'model'"),
        (["promote", "xgboost"], "Missing argument 'version'"),
        (["retrain"], "say which model is to be rebuilt: xgboost, tensorflow, mxnet, kmeans"),
        (["canary", "xgboost", "3", "--share", "7"], "'--share': it must be less than or equal to 1"),
        (["rejected", "show", "nonsense"], "'rejection_id': it must be a valid UUID"),
        (["rejected", "--topic", "nothing.v1"], "no topic 'nothing.v1': there is drawings.v1"),
        (["rejected", "repair", ID, "--set", "label"], "write FIELD=VALUE"),
        (["rejected", "repair", ID, "--value", "/nowhere"], "/nowhere cannot be read"),
        (["audit", "--since", "yesterday"], "'yesterday' is no time: write 30m, 2h, 7d"),
        (["drift", "--policy", "ink"], "write KIND=ACTION"),
        (["forget"], "give a player to forget, or --verify"),
        (["as-of", "noon"], "'noon' is no time: write it as 2026"),
        (["replay", "--fold", "juggler"], "there is no fold 'juggler': say one of joiner"),
        (["keys", "revoke", "nobody"], "no key of 'nobody' was given here: gamenight keys lists"),
        (["operators", "revoke", "nobody"], "no token of 'nobody' was given here: gamenight operators lists"),
        (["operators", "add", "router"], "use another one"),
        (["operators", "add", "a b"], "is no name for an operator: use up to 32 letters"),
        (["follow", ""], "'' is no name and no id: see gamenight jobs"),
        (["tuning", ""], "'' is no name and no id: see gamenight jobs"),
        (["cancel", ""], "'' is no name and no id: see gamenight jobs"),
        (["dataset", "show", ""], "'' is no name and no id: see gamenight datasets"),
        (["card", "", "1"], "'' is no name and no id: see gamenight models"),
        (["simulate", "--url", "ftp://x"], "--url 'ftp://x' is no address of a game: write http://HOST:PORT"),
        (["export", "--out", "x.csv", "--since", "2100-01-01"], "--since 2100-01-01 is after now"),
        (["drift", "--why", "the night"], "--why says why something is changed: give --policy"),
        (["frobnicate"], "No such command 'frobnicate': see gamenight --help"),
    ],
)
def test_what_makes_no_sense_is_told_with_what_would_be_right_and_ends_with_2(run: Run, arguments: list[str], told: str):
    said = run(*arguments)

    assert said.status == 2
    assert told in one_line(said.err)
    machine = run(*arguments, "--json")
    assert (machine.status, json.loads(one_line(machine.out))["status"]) == (2, 2)
    assert told in json.loads(machine.out)["error"]


OLDER: Final = "the game knows no /api/ops/audit: it is older than this gamenight, start it again"
FOREIGN: Final = "what answers at http://game is no Game Night: see GAMENIGHT_HOST and GAMENIGHT_PORT"
DOCTOR: Final = ": see gamenight doctor"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"GAMENIGHT_OPERATOR_TOKEN": "é☃"}, "is no token: it has characters that are not printable ASCII"),
        ({"GAMENIGHT_OPERATOR_TOKEN": "two\nlines"}, "is no token: it has characters that are not printable ASCII"),
        ({"GAMENIGHT_HOST": "\u2603"}, "is no address: see GAMENIGHT_HOST"),
        ({"GAMENIGHT_PORT": "70000"}, "GAMENIGHT_PORT='70000': Input should be less than or equal to 65535"),
    ],
)
@pytest.mark.parametrize("command", ["models", "players", "freeze"])
def test_a_token_or_an_address_that_is_none_is_told_in_a_line_without_the_token(
    run: Run, command: str, given: dict[str, str], told: str
):
    people, machines = run(command, **given), run(command, "--json", **given)

    assert (people.status, people.out) == (1, "")
    assert told in one_line(people.err)
    assert "lines" not in people.err
    assert (machines.status, machines.err) == (1, "")
    assert told in json.loads(one_line(machines.out))["error"]


@pytest.mark.parametrize("command", [["retrain", "xgboost"], ["simulate", "--drawings", "1"]], ids=lambda one: one[0])
def test_a_host_with_a_label_too_long_is_told_in_a_line_by_those_who_open_a_socket(run: Run, command: list[str]):
    said = run(*command, GAMENIGHT_HOST="a" * 70, GAMENIGHT_OPERATOR_TOKEN="right")

    assert (said.status, said.out) == (1, "")
    assert "label too long" in one_line(said.err)


@pytest.mark.parametrize("arguments", [["models", "--json"], ["models"]])
def test_ctrl_c_while_the_command_is_imported_is_told_in_a_line(arguments: list[str]):
    program = (
        "import sys; sys.argv = ['gamenight', *sys.argv[1:]]\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'deploy.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from deploy.entry import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)

    told = [done.stdout, done.stderr] if "--json" in arguments else [done.stderr, done.stdout]
    assert (done.returncode, told[1]) == (130, "")
    assert "stopped by Ctrl-C" in one_line(told[0])
    script = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert script == {"gamenight": "deploy.entry:main"}


def answer(status: int, body: Any) -> httpx.Response:
    request = httpx.Request("GET", "http://game/api/ops/audit")
    return httpx.Response(status, content=body if isinstance(body, bytes) else json.dumps(body).encode(), request=request)


@pytest.mark.parametrize(
    ("response", "kind", "told"),
    [
        (answer(422, {"error": "no model 'gpt'", "detail": []}), CommandDeclined, "no model 'gpt'"),
        (answer(422, {"detail": [{"msg": "one"}, {"msg": "two"}]}), CommandDeclined, "one; two"),
        (answer(409, {"detail": "not like this"}), CommandDeclined, "not like this"),
        (answer(404, {"detail": "no rejection"}), CommandDeclined, "no rejection"),
        (answer(404, {"detail": "Not Found"}), CommandFailed, OLDER),
        (answer(403, {"detail": "this token is not the operators'"}), CommandFailed, "this token is not the operators'"),
        (answer(429, b"too many requests: try again in 0.1 s"), CommandFailed, "too many requests: try again in 0.1 s"),
        (answer(503, {"reason": "xgboost did not answer"}), CommandFailed, "xgboost did not answer"),
        (answer(500, b"Internal Server Error"), CommandFailed, "the game answered with 500 (Internal Server Error)" + DOCTOR),
        (answer(502, b""), CommandFailed, "the game answered with 502: see gamenight doctor"),
        (answer(400, b"two\nlines"), CommandDeclined, "two lines"),
        (answer(422, []), CommandDeclined, "[]"),
        (answer(403, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"), CommandFailed, FOREIGN),
        (answer(404, b"<html>Not Found</html>"), CommandFailed, FOREIGN),
        (answer(403, {"message": "Missing Authentication Token"}), CommandFailed, FOREIGN),
        (answer(200, b"<html>another page</html>"), CommandFailed, FOREIGN),
        (answer(200, b""), CommandFailed, FOREIGN),
    ],
)  # fmt: skip
def test_what_the_game_says_instead_of_an_answer_is_passed_on_in_its_own_words(response: httpx.Response, kind: Any, told: str):
    with pytest.raises(kind) as failed:
        answered(response)

    assert type(failed.value) is kind
    assert str(failed.value) == told


@pytest.mark.parametrize(("minutes", "worth_a_look"), [(1, True), (11, False)])
def test_the_doctor_lets_a_process_that_has_recovered_be_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minutes: int, worth_a_look: bool
):
    """Whoever had died three times was ill for ever."""
    since = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    router = {"name": "router", "phase": "ready", "pid": None, "started_at": since, "restarts": 4, "note": ""}
    monkeypatch.setattr(doctor, "holder", lambda _: 1)
    monkeypatch.setattr(doctor, "read_state", lambda _: {"components": [router]})
    monkeypatch.setattr(doctor, "health", lambda _: SimpleNamespace(status="ok", missing={}))
    monkeypatch.setattr(doctor, "_lag", lambda _: ({}, ""))

    assert [one for one in doctor.examine(Settings(home=tmp_path)).advice if "died 4 times" in one] == (
        [f"router died 4 times: the causes are in {tmp_path}/logs/router.log"] if worth_a_look else []
    )


def test_the_doctor_advises_more_stream_workers_for_routers_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    behind = {"drawings.v1": 1001}
    monkeypatch.setattr(doctor, "health", lambda _: SimpleNamespace(status="ok", missing={}))
    monkeypatch.setattr(doctor, "_lag", lambda _: ({"gamenight-router": behind, "gamenight-learning": behind}, ""))

    told = [one for one in doctor.examine(Settings(home=tmp_path)).advice if "behind" in one]

    assert [("gamenight-router" in one, "GAMENIGHT_STREAM_WORKERS" in one) for one in told] == [(True, True), (False, False)]


@pytest.mark.parametrize(("shares", "noted"), [("", True), ("5,25,50", False)])
def test_the_doctor_notes_that_no_canary_is_used_and_calls_that_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shares: str, noted: bool
):
    monkeypatch.setattr(doctor, "holder", lambda _: 1)
    monkeypatch.setattr(doctor, "health", lambda _: SimpleNamespace(status="ok", missing={}))
    monkeypatch.setattr(doctor, "_lag", lambda _: ({}, ""))
    monkeypatch.setenv("GAMENIGHT_GATE_CANARY_PERCENT", shares)
    monkeypatch.setenv("GAMENIGHT_HOME", str(tmp_path))

    done = CliRunner().invoke(app, ["doctor"])

    assert ("note: no canary is used" in done.stdout) == noted
    assert done.exit_code == 0


def test_what_was_not_confirmed_or_cannot_be_while_the_game_runs_is_refused_and_what_is_anothers_names_the_owner():
    locked = PermissionError(13, "Permission denied", "/home/secrets/aws_access_key_id")

    assert failure_of(typer.Abort()) == ("not done: it was not confirmed", 2)
    assert failure_of(AlreadyRunning(Path("/home"), 7)).status == 2  # type: ignore[union-attr]
    told = "Permission denied: /home/secrets/aws_access_key_id: run it as the owner of the home"
    assert failure_of(locked) == (told, 1)


def test_whoever_forgets_is_told_that_there_is_no_game_before_they_are_asked(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("typer.confirm", lambda *_, **__: pytest.fail("somebody was asked"))

    said = run("forget", "eve")

    assert (said.status, said.out) == (1, "")
    assert "start it with make play" in one_line(said.err)


def test_an_endpoint_is_not_described_as_a_model(run: Run):
    said = run("endpoints", "--help").out

    assert "Show only this endpoint" in " ".join(said.split())
    assert "version is made of" not in " ".join(said.split())


def test_a_fault_of_the_program_is_shown_whole():
    assert failure_of(KeyError("x")) is None


def test_nothing_is_said_twice_and_no_wait_is_of_no_time():
    assert outcome_of("refused", "refused: worse") == "refused: worse"
    assert outcome_of("failed", "") == "failed"
    assert [in_seconds(wait) for wait in (0.0001, 0.04, 0.1, 1.0, 1.01)] == ["0.1 s", "0.1 s", "0.1 s", "1.0 s", "1.1 s"]
