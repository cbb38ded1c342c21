"""The command line: one line that says what to do, and exit codes that a script can go by."""

import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console
from websockets.sync.server import Server, ServerConnection, serve

from deploy.cli import main
from deploy.local.archive import free_ports
from deploy.local.supervisor import only_one
from deploy.retraining import follow


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


@pytest.mark.parametrize("command", [["models"], ["retrain"], ["simulate", "--drawings", "1"]], ids=lambda one: one[0])
def test_without_a_game_a_command_says_how_to_start_it_in_one_line(gamenight: Gamenight, command: list[str]) -> None:
    done = gamenight(*command, GAMENIGHT_OPERATOR_TOKEN="x")

    assert done.returncode == 1
    assert "make play" in done.stderr or "gamenight up" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


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

    assert gamenight("reset").returncode == 1
    assert (tmp_path / "kafka").is_dir()


def test_reset_refuses_while_the_game_runs(gamenight: Gamenight, tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with only_one(tmp_path):
        done = gamenight("reset", "--yes")

    assert done.returncode == 1
    assert "already runs" in done.stderr
    assert (tmp_path / "kafka").is_dir()


def test_doctor_says_what_to_do_for_people_and_for_machines(gamenight: Gamenight) -> None:
    told, said = gamenight("doctor"), gamenight("doctor", "--json")

    assert (told.returncode, said.returncode) == (1, 1)
    assert "start it with make play" in told.stdout
    found = json.loads(said.stdout)
    assert (found["up_pid"], found["playable"]) == (None, False)
    assert found["parts"][0] == {
        "name": "kafka", "phase": "outside", "pid": None, "since": None, "restarts": 0, "memory_mb": None,
        "note": "127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS)",
    }  # fmt: skip
    assert any("make play" in advice for advice in found["advice"])


class _Models(BaseHTTPRequestHandler):
    listed: ClassVar = [{"model": "river", "title": "River", "kind": "online", "version": "mnist1+7", "versions": []}]

    def do_GET(self) -> None:
        body = json.dumps(self.listed if self.path == "/api/models" else {"reason": "xgboost did not answer"}).encode()
        self.send_response(200 if self.path == "/api/models" else 503)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b'{"detail":"this token is not the operators\'"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def game() -> Iterator[int]:
    """The port of something that answers like the game's API."""
    server = HTTPServer(("127.0.0.1", 0), _Models)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_models_are_listed_for_people_and_for_machines(gamenight: Gamenight, game: int) -> None:
    assert "mnist1+7" in gamenight("models", GAMENIGHT_PORT=game).stdout
    assert json.loads(gamenight("models", "--json", GAMENIGHT_PORT=game).stdout) == _Models.listed


def test_what_the_game_refuses_is_passed_on_in_its_words(gamenight: Gamenight, game: int) -> None:
    done = gamenight("retrain", "--no-wait", GAMENIGHT_PORT=game, GAMENIGHT_OPERATOR_TOKEN="wrong")

    assert done.returncode == 1
    assert "403: this token is not the operators'" in done.stderr


def _dashboard(frames: list[dict[str, Any]]) -> Server:
    def tell(socket: ServerConnection) -> None:
        for frame in frames:
            socket.send(json.dumps(frame))

    return serve(tell, "127.0.0.1", 0)


@pytest.mark.parametrize(("end", "status"), [("done", 0), ("refused", 2), ("failed", 1)])
def test_a_rebuild_is_followed_to_its_end(end: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    advance = {"type": "training", "model": "xgboost", "version": "2", "message": "", "log": ["[12] error [0.01]"]}
    frames = [
        {"type": "snapshot"},
        advance | {"command_id": "other", "step": "failed", "fraction": 1.0},
        advance | {"command_id": "ours", "step": "training", "fraction": 0.5},
        advance | {"command_id": "ours", "step": end, "fraction": 1.0},
    ]
    with _dashboard(frames) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        assert follow(url, lambda: "ours", Console(), as_json=False) == status
        server.shutdown()
        thread.join()

    assert "[12] error [0.01]" in capsys.readouterr().out


def test_a_game_that_goes_away_ends_the_wait() -> None:
    with _dashboard([]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        assert follow(url, lambda: "ours", Console(), as_json=True) == 1
        server.shutdown()
        thread.join()
