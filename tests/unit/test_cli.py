"""The command line: one line that says what to do, and exit codes that a script can go by."""

import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from websockets.sync.server import Server, ServerConnection, serve

from contracts.events import now
from deploy import retraining
from deploy.cli import main
from deploy.export_files import ExportRefused
from deploy.failures import CommandFailed, Interrupted
from deploy.local.archive import free_ports
from deploy.local.run_state import only_one
from deploy.plain_console import PlainConsole
from deploy.replay import ReplayRefused
from deploy.retraining import follow
from producers.certificate import signed
from producers.connection import BrokerAbsent
from producers.simulation_report import report
from producers.tally import Tally


@dataclass
class Done:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


Gamenight = Callable[..., Done]


@pytest.fixture
def gamenight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gamenight:
    """Runs the command in a home of its own, with nothing listening on the game's port."""

    def run(*arguments: str, **environment: Any) -> Done:
        [port] = free_ports(1)
        named = {"GAMENIGHT_HOME": tmp_path, "GAMENIGHT_PORT": port, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        for name, value in (named | environment).items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "argv", ["gamenight", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.mark.parametrize(
    "command", [["models"], ["retrain", "xgboost"], ["simulate", "--drawings", "1"]], ids=lambda one: one[0]
)
def test_without_a_game_a_command_says_how_to_start_it_in_one_line(gamenight: Gamenight, command: list[str]) -> None:
    done = gamenight(*command, GAMENIGHT_OPERATOR_TOKEN="x")

    assert done.returncode == 1
    assert "make play" in done.stderr or "gamenight up" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("fold", "raised", "told"),
    [
        ("joiner", BrokerAbsent("no Kafka broker"), "no Kafka broker"),
        ("joiner", ReplayRefused("another replay is at work"), "another replay is at work"),
        ("juggler", None, "there is no fold 'juggler'"),
    ],
)
def test_a_replay_that_cannot_run_has_another_status_than_one_that_finds_a_difference(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, fold: str, raised: Exception | None, told: str
) -> None:
    def replay(*_: Any) -> None:
        assert raised is not None
        raise raised

    monkeypatch.setattr("deploy.replay.replay", replay)

    done = gamenight("replay", "--fold", fold)

    assert (done.returncode, told in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say where to: --out"),
        (["--out", "x.csv", "--until", "yesterday"], "'yesterday' is no time: write it as"),
        (["--out", "x.csv", "--since", "2026-11-29", "--until", "2026-11-28"], "is not before --until 2026-11-28"),
        (["--out", "x.xlsx"], "x.xlsx: the ending says what is written: .csv"),
        (["--out", "x.csv", "--out", "./x.csv"], "x.csv is named twice"),
    ],
)
def test_an_export_that_is_asked_for_wrongly_says_what_is_right(gamenight: Gamenight, words: list[str], told: str) -> None:
    done = gamenight("export", *words)

    assert (done.returncode, told in done.stderr, len(done.stderr.splitlines())) == (2, True, 1)


def test_an_export_takes_the_times_that_the_audit_takes(gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[Any] = []

    def exported(_: Any, __: Any, ___: Any, what: Any, ____: Any) -> Any:
        wanted.append(what)
        raise ExportRefused("enough")

    monkeypatch.setattr("deploy.export.export", exported)
    monkeypatch.setattr("producers.bus.open_bus", lambda *_, **__: SimpleNamespace(close=lambda: None))

    assert gamenight("export", "--out", "x.csv", "--since", "2h").stderr == "enough\n"
    assert timedelta(hours=2) <= now() - wanted[0].since < timedelta(hours=2, minutes=10)


def test_what_can_be_seen_beforehand_is_told_before_kafka_is_waited_for(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is not there was told of after half a minute."""
    monkeypatch.setattr("producers.bus.open_bus", lambda *_, **__: pytest.fail("Kafka was asked"))
    binary = tmp_path / "certificate.json"
    binary.write_bytes(b"\xff{")
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(signed({"player": "ada", "log": {"ends": {}}}, Ed25519PrivateKey.generate())))
    for words, status, told in [
        (["as-of", "2099-01-01"], 2, "is after now"),
        (["as-of", "2026-11-29", str(tmp_path / "none.png")], 2, "none.png cannot be asked"),
        (["forget", "--verify", "none"], 2, "no certificate none: give a file"),
        (["forget", "--verify", str(binary)], 1, "this is no certificate of a forgotten player"),
        (["forget", "--verify", str(forged)], 1, "of a forgotten player: log.others_after is missing or wrong"),
        (["dataset", "show", "a/b"], 2, "'a/b' is no name and no id"),
        (["follow", ".."], 2, "'..' is no name and no id"),
        (["tuning", "a/b"], 2, "'a/b' is no name and no id"),
    ]:
        done = gamenight(*words)
        assert (done.returncode, told in done.stderr, len(done.stderr.splitlines())) == (status, True, 1), done


def test_a_replay_without_a_broker_leaves_nothing_in_the_home(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(*_: object) -> None:
        raise BrokerAbsent("no Kafka broker")

    monkeypatch.setattr("deploy.replay.open_admin", absent)

    assert gamenight("replay", GAMENIGHT_HOME=tmp_path / "home").returncode == 2
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_a_file_and_ctrl_c_are_told_in_a_line_and_as_json(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.touch()
    monkeypatch.setattr("deploy.replay.open_admin", lambda *_: SimpleNamespace(describe_cluster=dict, close=lambda: None))
    for words in (["keys", "add", "shop"], ["replay"]):
        done = gamenight(*words, GAMENIGHT_HOME=home)
        assert (done.returncode, done.stderr) == (
            1,
            f"Not a directory: {home}/{'secrets/keys' if 'shop' in words else 'replay'}\n",
        )

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.cli._asked", interrupted)
    assert gamenight("models").stderr == "stopped by Ctrl-C\n"
    assert json.loads(gamenight("models", "--json").stdout) == {"error": "stopped by Ctrl-C", "status": 130}


def test_a_setting_that_is_wrong_is_named(gamenight: Gamenight) -> None:
    done = gamenight("models", GAMENIGHT_STREAM_WORKERS="many")

    assert done.returncode == 1
    assert done.stderr.startswith("GAMENIGHT_STREAM_WORKERS='many': ")


def test_up_names_the_taken_port_and_starts_nothing(gamenight: Gamenight, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = gamenight("up", GAMENIGHT_PORT=port)

    assert done.returncode == 1
    assert f"port {port} for api is taken" in done.stderr
    assert "GAMENIGHT_PORT" in done.stderr
    assert not (tmp_path / "logs").exists()


def test_reset_takes_what_the_game_made_and_nothing_else(gamenight: Gamenight, tmp_path: Path) -> None:
    for name in ("kafka", "secrets", "holiday-photos"):
        (tmp_path / name).mkdir()

    assert gamenight("reset", "--yes").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["holiday-photos"]


def test_reset_asks_first(gamenight: Gamenight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kafka").mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    done = gamenight("reset")
    assert (done.returncode, "and the audit" in done.stdout + done.stderr) == (2, True)
    assert (tmp_path / "kafka").is_dir()


def test_reset_refuses_while_the_game_runs(gamenight: Gamenight, tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with only_one(tmp_path):
        done = gamenight("reset", "--yes")

    assert done.returncode == 2
    assert "already runs" in done.stderr
    assert (tmp_path / "kafka").is_dir()


def test_doctor_says_what_to_do_for_people_and_for_machines(gamenight: Gamenight) -> None:
    told, said = gamenight("doctor"), gamenight("doctor", "--json")

    assert (told.returncode, said.returncode) == (1, 1)
    assert "start it with make play" in told.stdout
    found = json.loads(said.stdout)
    assert (found["up_pid"], found["status"], list(found["missing"])) == (None, "unavailable", ["api"])
    assert "- api: nothing answers at http://127.0.0.1:" in told.stdout
    assert found["parts"][0] == {
        "name": "kafka", "phase": "outside", "pid": None, "since": None, "restarts": 0, "memory_mb": None,
        "note": "127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS)",
    }  # fmt: skip
    assert any("make play" in advice for advice in found["advice"])


COUNTED = {"n": 812, "correct": 790, "share": 0.9729, "low": 0.9593, "high": 0.982}
NOTHING = {"n": 0, "correct": 0, "share": None, "low": None, "high": None}
VERSION = {"created": "2026-11-22T12:00:00Z", "arn": "arn:aws:sagemaker:a:b:model-package/x/3", "digest": "d" * 64,
           "artifact": "s3://b/k", "gate": "passed", "failed": "", "metrics": {"mnist_accuracy": 0.9915},
           "lineage": {"training_job": "gamenight-xgboost-3", "seed": "7"}}  # fmt: skip
CHAMPION = VERSION | {"version": "3", "status": "champion", "live": COUNTED, "as_shadow": NOTHING}
CANARY = VERSION | {"version": "4", "status": "canary", "live": NOTHING, "as_shadow": COUNTED}
ONE = {"model": "xgboost", "title": "XGBoost", "kind": "batch", "part": "shown", "lead": True, "resting": None,
       "standing": "champion", "cost_per_hour_usd": 0.115, "version": "3", "unavailable": None, "candidate": {"share": 0.1},
       "live": COUNTED, "versions": [CHAMPION, CANARY]}  # fmt: skip
RIVER = ONE | {"model": "river", "frozen": "by ada: the night", "title": "River", "kind": "online", "lead": False,
               "standing": "challenger",
               "cost_per_hour_usd": None, "candidate": None, "versions": []}  # fmt: skip
ENDPOINT = {
    "model": "xgboost",
    "title": "XGBoost",
    "standing": "champion",
    "endpoint": "gamenight-xgboost",
    "arn": "arn:aws:sagemaker:a:b:endpoint/x",
    "created": "2026-11-22T12:00:00Z",
    "modified": "2026-11-23T12:00:00Z",
    "status": "InService",
    "reason": "",
    "resting": "connection refused",
    "unavailable": None,
    "cost_per_hour_usd": 0.115,
    "variants": [{"variant": "v3", "version": "3", "role": "champion", "weight": 1.0, "players": 0.9, "instances": 1,
                  "instance_type": "ml.m5.large", "papers": CHAMPION}],
    "latency": {"n": 256, "p50_ms": 3.1, "p95_ms": 8.0},
}  # fmt: skip


JOB: Any = {
    "id": "4ef251bb-5507-571e-aa83-c1128ec9d503", "model": "xgboost", "version": "4", "state": "running", "position": None,
    "trigger": "count", "by": "trainer", "reason": "500 new labels", "asked_at": "2026-11-22T11:00:00Z",
    "began": "2026-11-22T11:00:02Z", "ended": None, "step": "training", "fraction": 0.4, "message": "round=30/75",
    "cancelling": False,
}  # fmt: skip
RUNNING: Any = JOB
QUEUED: Any = JOB | {
    "id": "5" * 36,
    "model": "kmeans",
    "version": None,
    "state": "queued",
    "position": 1,
    "began": None,
    "message": "",
}
CANCELLED: Any = JOB | {
    "id": "6" * 36,
    "state": "cancelled",
    "ended": "2026-11-22T11:02:07Z",
    "message": "cancelled by bob [why]",
}
DATASET: Any = {
    "digest": "ab" * 32, "made": "2026-11-22T11:00:00Z", "base_digest": "cd" * 32, "trained_on": 2880, "held_back": 720,
    "people": 14, "new_people": 3, "labels": [360] * 10, "excluded": {"withdrawn": 12}, "trust": 0.97, "weight": 3.0,
    "offsets": [7, 0, 0, 0], "split": "0.2 of people", "held_back_by": "12cd", "newcomers": 7, "newcomers_weight": 3.0,
    "seed": 1, "code": "0.1+ab", "images": {"xgboost": "12ab"},
    "shards": {"train/train.npz": "ef" * 32}, "by": "ada", "gone": "",
    "versions": [{"model": "xgboost", "version": "4", "approved": False}],
}  # fmt: skip


class _Game(BaseHTTPRequestHandler):
    """What is listed, and what becomes of commands: each in its own words."""

    listed: ClassVar = {
        "/api/ops/players": [
            {"player_id": "eve", "corrections": 50, "learned": 2, "weighted": 3, "set_aside": 45,
             "last": "2026-11-22T12:00:00Z", "restriction": "banned"},
            {"player_id": "bob", "corrections": 0, "learned": 0, "weighted": 0, "set_aside": 0, "last": None,
             "restriction": "quarantined"},
        ],
        "/api/accuracy": [
            {"model": "xgboost", "title": "XGBoost", "version": "3", "since": "2026-11-22T12:00:00Z",
             "latency_ms": {"50": 20, "95": 80}, "labelled": {"n": 70, "share": 0.643},
             "estimated": {"whole": {"picked": 80, "known": 78, "share": 0.923, "low": 0.783, "high": 0.988},
                           "silent": 2, "unasked": 9}},
            {"model": "yours", "title": "Yours", "version": None, "since": None, "latency_ms": {"50": None, "95": None},
             "labelled": {"n": 0, "share": None},
             "estimated": {"whole": {"picked": 0, "known": 0, "share": None, "low": None, "high": None},
                           "silent": 0, "unasked": 0}},
        ],
        "/api/models": [ONE, RIVER],
        "/api/drift": {
            "actions": {"online-errors": "freeze"}, "cooldown_s": 60, "least_hands": 3, "by": "ada", "note": "",
            "detections": [
                {"at": "2026-11-22T12:00:00Z", "subject": "river", "what": "wrong guesses", "before": 0.05, "after": 0.4,
                 "n": 27, "hands": 9,
                 "deed": {"action": "freeze", "outcome": "refused", "message": "cooldown: 9 s ago"}},
                {"at": "2026-11-22T11:00:00Z", "subject": "ink", "what": "much ink", "before": 0.1, "after": 0.5, "n": 12,
                 "hands": 7, "deed": None},
            ],
        },
        "/api/jobs?limit=20": [RUNNING, QUEUED, CANCELLED],
        "/api/jobs/4ef2": RUNNING,
        "/api/datasets": [DATASET],
        "/api/datasets/abab": DATASET,
        "/api/endpoints": [ENDPOINT, ENDPOINT | {"endpoint": "", "model": "mxnet", "status": "Unavailable", "resting": None,
                                                 "unavailable": "Linux x86-64 only", "variants": [], "latency": None,
                                                 "cost_per_hour_usd": None}],
    }  # fmt: skip
    ordered: ClassVar[list[tuple[str, Any]]] = []
    outcomes: ClassVar = {"done": "version 3 answers", "refused": "the gate did not approve 9", "failed": "no such endpoint"}
    asked: ClassVar = {"n": 0}

    def do_GET(self) -> None:
        if self.path.startswith("/api/ops/commands/"):
            self.asked["n"] += 1
            outcome = self.path.rpartition("/")[2] if self.asked["n"] % 2 == 0 else "pending"
            self._say(200, {"outcome": outcome, "message": self.outcomes.get(outcome, "")})
        else:
            found = self.listed.get(self.path)
            self._say(200 if found else 503, found or {"reason": "xgboost did not answer"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer right":
            self._say(403, {"detail": "this token is not the operators'"})
            return
        self.ordered.append((self.path, body))
        self._say(202, {"command_id": body["reason"]})

    def _say(self, status: int, what: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def game() -> Iterator[int]:
    """The port of something that answers like the game's API."""
    _Game.ordered.clear()
    _Game.asked["n"] = 0
    server = HTTPServer(("127.0.0.1", 0), _Game)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", [path for path in _Game.listed if path != "/api/jobs/4ef2"])
def test_what_others_have_written_is_shown_with_its_brackets(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A reason with a closing tag of rich's, such as [/x], and `gamenight models` said nothing but a traceback."""

    def spoiled(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: spoiled(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [spoiled(one) for one in value]
        told = name in {"title", "reason", "unavailable", "frozen", "resting", "message", "player_id", "made", "code", "what"}
        return "[/x] [b]" if told and isinstance(value, str) else value

    monkeypatch.setattr("deploy.cli._asked", lambda *_: SimpleNamespace(json=lambda: spoiled(_Game.listed[path])))
    words = {"/api/datasets/abab": ["dataset", "show", "abab"]}.get(path, [path.rpartition("/")[2].partition("?")[0]])

    done = gamenight(*words, COLUMNS="200")

    assert (done.returncode, done.stderr) == (0, "")
    assert "[/x] [b]" in done.stdout or path == "/api/datasets"


AUDITED: Any = {
    "command_id": "7937b601-0f74-4bad-82ba-4a152b9c106f", "at": "2026-11-22T12:00:00Z", "command": "PromoteModel",
    "target": "tensorflow", "what": "version=base2 force=True", "who": "ada", "via": "cli", "address": "127.0.0.1",
    "token": "ada/3f9c21", "why": "better \x1b[2J\x1b]0;title\x07on\nsevens", "outcome": "failed",
    "message": "\x9b31mno endpoint", "settled": None,
}  # fmt: skip


@pytest.mark.parametrize("width", [80, 200])
def test_the_audit_shows_what_was_done_whole_and_commands_no_terminal(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    answer = SimpleNamespace(json=lambda: [AUDITED], headers={}, text="card\n\x1b[2Jof\n")
    monkeypatch.setattr("deploy.cli._asked", lambda *_, **__: answer)
    monkeypatch.setattr("deploy.cli.console", PlainConsole(width=width, highlight=False, markup=False))

    said = gamenight("audit").stdout

    assert not {"\x1b", "\x07", "\x9b", "\u2026"} & set(said)
    assert "PromoteModeltensorflowversion=base2force=True" in "".join(_column(said, "command")).replace(" ", "")
    assert gamenight("card", "xgboost", "3").stdout == "card\n[2Jof\n"


def _column(table: str, name: str) -> list[str]:
    """Return the cells of a column that is as wide as the space up to the next heading."""
    head, *lines = table.splitlines()[1:]
    begin = head.index(name)
    end = begin + len(name) + len(head[begin + len(name) :]) - len(head[begin + len(name) :].lstrip())
    return [line[begin:end] for line in lines]


def test_models_are_listed_for_people_and_for_machines(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))
    said = gamenight("models", GAMENIGHT_PORT=game).stdout

    for told in (
        "xgboost",
        "champion",
        "challenger",
        "0.115",
        "model-package/x/3",
        "97.3% (95.9% to 98.2%) of 812",
        "canary 10%",
        "as shadow 97.3%",
        "dddddddddddd",
    ):
        assert told in said
    assert json.loads(gamenight("models", "--json", GAMENIGHT_PORT=game).stdout) == _Game.listed["/api/models"]


@pytest.mark.parametrize(
    ("listing", "kept"), [("models", "97.3% (95.9% to 98.2%) of 812"), ("endpoints", "v3 (champion): 1, 90%")]
)
def test_what_matters_most_is_whole_in_a_narrow_terminal(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch, listing: str, kept: str
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=80, highlight=False))
    said = gamenight(listing, GAMENIGHT_PORT=game).stdout

    assert kept in said
    assert "\u2026" not in said, "nothing is cut off"


def test_endpoints_are_listed_for_people_and_for_machines(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))
    said = gamenight("endpoints", GAMENIGHT_PORT=game).stdout

    for told in (
        "gamenight-xgboost",
        "InService",
        "2026-11-22 12:00",
        "v3 (champion): 1, 90%",
        "0.115",
        "3.1 / 8.0",
        "rests: connection refused",
    ):
        assert told in said
    assert "Linux x86-64 only" in said
    assert json.loads(gamenight("endpoints", "--json", GAMENIGHT_PORT=game).stdout) == _Game.listed["/api/endpoints"]


def test_accuracy_is_shown_as_labels_give_it_and_as_it_is(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))

    said = gamenight("accuracy", GAMENIGHT_PORT=game).stdout

    rows = [line.split() for line in said.splitlines()]
    interval = ["78.3%", "to", "98.8%"]
    assert ["XGBoost", "3", "2026-11-22", "12:00", "64.3%", "70", "92.3%", *interval, "78", "80", "80", "ms"] in rows
    assert ["Yours", "0", "0", "0"] in rows
    assert "of 9 that were drawn freely, players did not say of 2 what they were" in said
    assert json.loads(gamenight("accuracy", "--json", GAMENIGHT_PORT=game).stdout) == _Game.listed["/api/accuracy"]


@pytest.mark.parametrize(
    ("version", "counted", "told"),
    [
        ("4", ["3", "base1"], "70, none of 4 yet: 3, base1"),
        ("3", ["3"], "70"),
        ("mnist3+9", ["mnist3"], "70"),
        (None, ["a"], "70"),
    ],
)
def test_labelled_guesses_of_other_versions_are_not_taken_for_those_of_the_one_that_answers(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, version: str | None, counted: list[str], told: str
) -> None:
    listed = {
        path: [_Game.listed[path][0] | {"version": version, "counted": counted}] for path in ("/api/accuracy", "/api/models")
    }
    monkeypatch.setattr("deploy.cli._asked", lambda _, path: SimpleNamespace(json=lambda: listed[path]))
    monkeypatch.setattr("deploy.cli.console", Console(width=250, highlight=False, markup=False))

    assert f" 64.3% {told} 92.3% " in " ".join(gamenight("accuracy").stdout.split())
    assert (", none of" in gamenight("models", "xgboost").stdout) is ("none of" in told)


@pytest.mark.parametrize("command", ["accuracy", "players"])
def test_headings_are_whole_in_a_narrow_terminal(gamenight: Gamenight, game: int, monkeypatch: Any, command: str) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=80, highlight=False))

    assert "\u2026" not in gamenight(command, GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="right").stdout


@pytest.mark.parametrize("width", [80, 200])
def test_ids_of_rejected_messages_are_whole(gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """They were cut off at 80 columns, and `rejected show` refused what was left."""
    one = {"rejection_id": "7937b601-0f74-4bad-82ba-4a152b9c106f", "at": "2026-11-22T12:00:00Z", "source": "corrections.v1"}
    one |= {"partition": 0, "offset": 123456, "stage": "joiner", "state": "repaired", "whole": False, "error": "it is " * 20}
    monkeypatch.setattr("deploy.cli._asked", lambda *_: SimpleNamespace(json=lambda: [one]))
    monkeypatch.setattr("deploy.cli.console", Console(width=width, highlight=False, markup=False))

    told = gamenight("rejected").stdout

    assert one["rejection_id"] in told
    assert "\u2026" not in told
    assert ("corrections.v1/0/123456" in told) is (width == 200)
    assert len(told.splitlines()) < 15, "no column is two letters wide"


def test_players_are_listed_for_people_and_for_machines(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))
    given = {"GAMENIGHT_PORT": game, "GAMENIGHT_OPERATOR_TOKEN": "right"}

    rows = [line.split() for line in gamenight("players", **given).stdout.splitlines()]

    assert ["eve", "50", "2", "3", "45", "2026-11-22", "12:00", "banned"] in rows
    assert ["bob", "0", "0", "0", "0", "quarantined"] in rows
    assert json.loads(gamenight("players", "--json", **given).stdout) == _Game.listed["/api/ops/players"]


@pytest.mark.parametrize(
    ("command", "path", "name", "first"),
    [
        ("models", "/api/models", "xgboost", ["XGBoost (xgboost)", "in the policy champion", "version 4, canary 10%"]),
        ("endpoints", "/api/endpoints", "gamenight-xgboost", ["a:b:endpoint/x", "model XGBoost, champion", "3.1 / 8.0",
                                                              "variant v3: version 3, champion", "answers 90% of the players"]),
    ],
    ids=["models", "endpoints"],
)  # fmt: skip
def test_one_is_shown_whole_with_what_its_versions_are_made_of(
    gamenight: Gamenight, game: int, command: str, path: str, name: str, first: list[str]
) -> None:
    said = " ".join(gamenight(command, name, GAMENIGHT_PORT=game).stdout.split())

    for told in (*first, "$0.115 an hour", "97.3% (95.9% to 98.2%) of 812", "sha256:dddd", "model-package/x/3", "s3://b/k",
                 "mnist_accuracy 0.9915", "lineage training_job gamenight-xgboost-3 seed 7", "gate passed"):  # fmt: skip
        assert told in said
    assert json.loads(gamenight(command, name, "--json", GAMENIGHT_PORT=game).stdout) == _Game.listed[path][0]


def test_what_has_drifted_and_what_was_done_about_it_is_listed_and_who_froze_a_model(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))

    said = " ".join(gamenight("drift", GAMENIGHT_PORT=game).stdout.split())
    models = " ".join(gamenight("models", GAMENIGHT_PORT=game).stdout.split())

    assert "river: wrong guesses 5.0% 40.0% 27 of 9 players freeze, refused: cooldown: 9 s ago" in said
    assert "ink: much ink 10.0% 50.0% 12 of 7 players nothing yet" in said
    assert "policy: online-errors: freeze; cooldown 60 s, of 3 players or more" in said
    assert json.loads(gamenight("drift", "--json", GAMENIGHT_PORT=game).stdout) == _Game.listed["/api/drift"]
    assert gamenight("drift", "--policy", "ink", GAMENIGHT_PORT=game).stderr.startswith("--policy 'ink': write KIND=ACTION")
    assert "frozen by ada: the night" in models


def test_a_model_that_is_not_there_is_named_with_those_that_are(gamenight: Gamenight, game: int) -> None:
    done = gamenight("models", "gpt", GAMENIGHT_PORT=game)

    assert (done.returncode, done.stderr) == (2, "no model or endpoint is called 'gpt': there is xgboost, river\n")


@pytest.mark.parametrize(("outcome", "status"), [("done", 0), ("refused", 2), ("failed", 1)])
def test_a_command_is_waited_for_and_its_exit_status_says_what_became_of_it(
    gamenight: Gamenight, game: int, outcome: str, status: int
) -> None:
    given = {"GAMENIGHT_PORT": game, "GAMENIGHT_OPERATOR_TOKEN": "right"}
    told = gamenight("promote", "xgboost", "3", "--reason", outcome, **given)
    said = gamenight("promote", "xgboost", "3", "--reason", outcome, "--json", **given)

    assert (told.returncode, told.stdout) == (status, f"{outcome}: {_Game.outcomes[outcome]}\n")
    assert (said.returncode, json.loads(said.stdout)["outcome"]) == (status, outcome)


@pytest.mark.parametrize(
    ("command", "path", "body"),
    [
        (["rollback", "xgboost"], "rollback", {"target": "xgboost", "version": None}),
        (["rollback", "xgboost", "base1"], "rollback", {"target": "xgboost", "version": "base1"}),
        (["canary", "kmeans", "4", "--share", "0.25"], "try",
         {"target": "kmeans", "version": "4", "role": "canary", "share": 0.25}),
        (["shadow", "kmeans", "4"], "try", {"target": "kmeans", "version": "4", "role": "shadow"}),
        (["untry", "kmeans"], "try", {"target": "kmeans", "role": "none"}),
        (["lead", "bandit"], "policy", {"lead": "bandit"}),
        (["quarantine", "eve"], "restrict", {"player_id": "eve", "restriction": "quarantined"}),
        (["ban", "eve"], "restrict", {"player_id": "eve", "restriction": "banned"}),
        (["pardon", "eve"], "restrict", {"player_id": "eve", "restriction": "none"}),
        (["forget", "eve", "--yes"], "forget", {"player_id": "eve"}),
        (["freeze"], "freeze", {"target": "river"}),
        (["freeze", ""], "freeze", {"target": ""}),
        (["untry", "kmeans", ""], "try", {"target": "kmeans", "role": "none", "version": ""}),
        (["thaw", "river"], "thaw", {"target": "river"}),
        (["drift", "--policy", "ink=retrain", "--policy", "online-errors=freeze", "--cooldown", "60", "--hands", "2"],
         "drift-policy", {"actions": {"ink": "retrain", "online-errors": "freeze"}, "cooldown_s": 60, "least_hands": 2}),
        (["part", "mxnet", "off"], "policy", {"parts": {"mxnet": "off"}}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_each_command_orders_what_it_says(
    gamenight: Gamenight, game: int, command: list[str], path: str, body: dict[str, Any]
) -> None:
    done = gamenight(*command, "--reason", "done", GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="right")

    assert done.returncode == 0
    assert _Game.ordered == [(f"/api/ops/{path}", body | {"reason": "done"})]


def test_rebuilds_are_listed_with_the_queue_and_cancelled_by_the_first_letters_of_their_id(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))
    said = gamenight("jobs", GAMENIGHT_PORT=game).stdout
    for told in ("running 40% (training)", "queued, number 1", "count", "2:05", "cancelled by bob [why]"):
        assert told in said
    assert json.loads(gamenight("jobs", "--json", GAMENIGHT_PORT=game).stdout) == [RUNNING, QUEUED, CANCELLED]

    done = gamenight("cancel", "4ef2", "--reason", "done", GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="right")
    assert done.returncode == 0
    assert _Game.ordered == [("/api/ops/cancel", {"training_id": RUNNING["id"], "reason": "done"})]


def test_datasets_are_readable_in_a_narrow_terminal_and_listed_by_dataset_alone(
    gamenight: Gamenight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left out was told three letters a line."""
    listed = [DATASET | {"excluded": {"of players who are not trusted": 12, "withdrawn": 3}}]
    monkeypatch.setattr("deploy.cli._asked", lambda *_: SimpleNamespace(json=lambda: listed))
    monkeypatch.setattr("deploy.cli.console", Console(width=80, highlight=False, markup=False))

    narrow = gamenight("datasets").stdout

    assert "\u2026" not in narrow
    assert "12 of players who" in narrow
    assert gamenight("dataset").stdout == narrow
    assert json.loads(gamenight("dataset", "--json").stdout) == listed


def test_datasets_are_listed_and_one_is_shown(gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.cli.console", Console(width=200, highlight=False, markup=False))
    listed, shown = gamenight("datasets", GAMENIGHT_PORT=game).stdout, gamenight("dataset", "show", "abab", GAMENIGHT_PORT=game)
    for told in ("abababababab", "3,600", "97%", "12 withdrawn", "xgboost 4 (refused)"):
        assert told in listed
    for told in ("7 of these, together of weight 3", "(0.2 of people, chosen by the home's key 12cd)"):
        assert told in shown.stdout
    for told in ("0: 360 (10%)", "examples.v1/0: 7", f"bases/{'cd' * 32}", "14, of whom 3 are not in the dataset before"):
        assert told in shown.stdout
    assert json.loads(gamenight("dataset", "show", "abab", "--json", GAMENIGHT_PORT=game).stdout) == DATASET


@pytest.mark.parametrize("name", ["train", "retrain"])
def test_a_base_is_trained_by_either_name(gamenight: Gamenight, game: int, name: str) -> None:
    given = {"GAMENIGHT_PORT": game, "GAMENIGHT_OPERATOR_TOKEN": "right"}
    own = ("--set", "epochs=2", "--set", "learning_rate=0.01")
    done = gamenight(name, "tensorflow", "--base", *own, "--no-wait", "--reason", "ordered", "--json", **given)

    assert json.loads(done.stdout) == {"command_id": "ordered"}
    gamenight(name, "xgboost", "--try", "eta=0.1,0.3", "--try", "rounds=40", "--continue", "--no-wait", **given)
    asked = {"target": "xgboost", "base": False, "reason": "", "grid": {"eta": ["0.1", "0.3"], "rounds": ["40"]}, "warm": True}
    assert _Game.ordered.pop() == ("/api/ops/retrain", asked)
    body = {"target": "tensorflow", "base": True, "reason": "ordered"}
    assert _Game.ordered == [("/api/ops/retrain", body | {"hyperparameters": {"epochs": "2", "learning_rate": "0.01"}})]


@pytest.mark.parametrize("name", ["train", "retrain"])
def test_a_rebuild_of_no_model_orders_nothing_and_lists_the_models(gamenight: Gamenight, game: int, name: str) -> None:
    done = gamenight(name, "--no-wait", GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="right")

    assert (done.returncode, done.stdout, _Game.ordered) == (2, "", [])
    assert done.stderr == "say which model is to be rebuilt: xgboost, tensorflow, mxnet, kmeans\n"


def test_without_a_token_an_operators_command_says_where_one_comes_from(gamenight: Gamenight, game: int) -> None:
    done = gamenight("lead", "bandit", GAMENIGHT_PORT=game)

    assert done.returncode == 1
    assert "GAMENIGHT_OPERATOR_TOKEN" in done.stderr


def test_what_the_game_refuses_is_passed_on_in_its_words(gamenight: Gamenight, game: int) -> None:
    done = gamenight("retrain", "xgboost", "--no-wait", GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="wrong")

    assert done.returncode == 1
    assert done.stderr == "this token is not the operators'\n"


def _dashboard(frames: list[dict[str, Any]]) -> Server:
    def tell(socket: ServerConnection) -> None:
        for frame in frames:
            socket.send(json.dumps(frame))

    return serve(tell, "127.0.0.1", 0)


@pytest.mark.parametrize(("end", "status"), [("done", 0), ("refused", 2), ("failed", 1), ("cancelled", 1)])
def test_a_rebuild_is_followed_to_its_end(end: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    advance = {"type": "training", "model": "xgboost", "version": "2", "message": "", "log": ["[12] error [0.01]"]}
    frames = [
        {"type": "snapshot"},
        advance | {"command_id": "other", "step": "failed", "fraction": 1.0},
        advance | {"command_id": "ours", "step": "training", "fraction": 0.5},
        advance | {"command_id": "ours", "step": end, "fraction": 1.0, "message": "so it is"},
    ]
    with _dashboard(frames) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        assert follow(url, lambda: "ours", Console(), as_json=False) == status
        assert "[12] error [0.01]" in capsys.readouterr().out
        assert follow(url, lambda: "ours", Console(), as_json=True) == status
        server.shutdown()
        thread.join()

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last.get("error"), last.get("status")) == (("so it is", status) if status else (None, None))


@pytest.mark.parametrize("as_json", [True, False])
def test_a_rebuild_that_waits_tells_its_place_in_the_queue_and_again_when_another_has_ended(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    advance = {"type": "training", "model": "xgboost", "version": "2", "message": "", "fraction": 1.0}
    places = iter([2, 1])
    queued = {"model": "xgboost", "version": None, "state": "queued", "message": ""}
    with _dashboard([advance | {"command_id": one, "step": "done"} for one in ("another", "ours")]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        follow(url, lambda: "ours", Console(width=200), as_json, lambda _: queued | {"position": next(places)})
        server.shutdown()
        thread.join()

    assert next(places, None) is None, "it was asked again"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()] if as_json else []
    told = [("queued", "number 2 in the queue"), ("queued", "number 1 in the queue"), ("done", "")]
    assert [(one["step"], one["message"]) for one in lines] == (told if as_json else [])


def test_a_rebuild_that_is_commanded_is_asked_for_its_place(
    gamenight: Gamenight, game: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.retraining.follow", lambda *given: print(given[4]("4ef2")["id"]) or 0)

    done = gamenight("retrain", "xgboost", GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="right")

    assert (done.returncode, done.stdout) == (0, f"{RUNNING['id']}\n")


def test_ctrl_c_says_that_the_rebuild_goes_on_and_one_that_has_ended_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with _dashboard([]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        assert follow(url, lambda: "ours", Console(width=200), as_json=False, state=lambda one: CANCELLED) == 1
        monkeypatch.setattr("deploy.retraining._listen", interrupted)
        with pytest.raises(
            Interrupted, match="it goes on: gamenight follow ours shows it again, gamenight cancel ours ends it"
        ):
            follow(url, lambda: "ours", Console(width=200), as_json=False)
        server.shutdown()
        thread.join()
    assert "cancelled by bob" in capsys.readouterr().out


def test_frames_of_the_dashboard_that_tell_of_no_rebuild_do_not_keep_one_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr("deploy.retraining.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    waits = {"type": "training", "command_id": "another", "step": "training", "fraction": 0.1, "message": ""}
    kinds = [{"type": "models"}, waits, *[{"type": "models"}] * 99]
    left = iter(kinds)
    watched = SimpleNamespace(recv=lambda timeout: json.dumps(next(left)))
    with pytest.raises(CommandFailed, match="no rebuild was heard of for 15 minutes"):
        retraining._listen(watched, "ours", print)  # type: ignore[arg-type]
    assert 90 < len(list(left)) < 99


def test_a_game_that_goes_away_ends_the_wait_and_one_that_wants_no_socket_begins_none() -> None:
    with _dashboard([]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        with pytest.raises(CommandFailed, match=r"is lost .*: gamenight follow ours shows the rebuild again"):
            follow(url, lambda: "ours", Console(), as_json=True)
        server.shutdown()
        thread.join()
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as no_game:
        threading.Thread(target=no_game.handle_request, daemon=True).start()
        with pytest.raises(CommandFailed, match="no game answers at"):
            follow(f"http://127.0.0.1:{no_game.server_port}", lambda: pytest.fail("ordered"), Console(), as_json=True)


def test_a_key_is_shown_once_listed_by_name_and_revoked(gamenight: Gamenight, tmp_path: Path) -> None:
    given = gamenight("keys", "add", "shop", GAMENIGHT_API_KEYS="app:secret")
    listed = json.loads(gamenight("keys", "--json", GAMENIGHT_API_KEYS="app:secret").stdout)
    told = gamenight("keys", GAMENIGHT_API_KEYS="app:secret").stdout
    revoked = gamenight("keys", "revoke", "shop", GAMENIGHT_API_KEYS="app:secret")
    after = json.loads(gamenight("keys", "--json", GAMENIGHT_API_KEYS="app:secret").stdout)

    assert (given.returncode, len(given.stdout.split())) == (0, 1)
    assert "shown only now" in given.stderr
    assert [(one["name"], one["given"] is None) for one in listed] == [("app", True), ("shop", False)]
    assert "shop" in told
    assert given.stdout.strip() not in told
    assert "secret" not in told
    assert (revoked.returncode, after) == (0, [{"name": "app", "given": None}])


@pytest.mark.parametrize("command", [("add", "app"), ("revoke", "app"), ("revoke", "till"), ("add", "a b")], ids=" ".join)
def test_a_key_that_cannot_be_given_or_revoked_says_why_in_one_line(gamenight: Gamenight, command: tuple[str, str]) -> None:
    done = gamenight("keys", *command, GAMENIGHT_API_KEYS="app:secret")

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_simulation_that_was_stopped_says_so_and_ends_with_130(gamenight, monkeypatch):
    """It ended with 0: a script went on as if everything had been played."""

    async def played(options, progress, enough):
        enough.set()
        return report(options, Tally(1), now(), 1.0)

    monkeypatch.setattr("producers.simulation.simulate", played)
    told, shown = gamenight("simulate", "--no-audit", "--json"), gamenight("simulate", "--no-audit")

    assert (told.returncode, told.stderr, json.loads(told.stdout)["interrupted"]) == (130, "", True)
    assert (shown.returncode, shown.stderr) == (130, "stopped by Ctrl-C\n")


def test_what_was_played_is_told_although_its_log_cannot_be_audited(gamenight, monkeypatch):
    async def played(options, *_):
        return report(options, Tally(1), now(), 1.0)

    def away(*_, **__):
        raise BrokerAbsent("no broker at 127.0.0.1:1")

    monkeypatch.setattr("producers.simulation.simulate", played)
    monkeypatch.setattr("producers.bus.open_bus", away)
    told = gamenight("simulate", "--json")
    shown = gamenight("simulate")

    why = "not audited, since the log cannot be read: no broker at 127.0.0.1:1"
    assert (told.returncode, json.loads(told.stdout)["error"], json.loads(told.stdout)["audit"]) == (1, why, None)
    assert (shown.returncode, "drawings" in shown.stdout, why in shown.stderr) == (1, True, True)
