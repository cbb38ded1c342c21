"""What strangers send over a real socket, with the real broker behind it: an error frame or a close frame, a line in the log,
and nobody else is disturbed."""

import socket as network
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
import structlog
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api import sockets
from api.play import session
from producers.bus import open_bus
from tests.histories import named
from tests.serving import DEADLINE_S, SERVERS, Player, closing, eventually, opened, playing, serving


@pytest.fixture(scope="module")
def address(kafka: str) -> Iterator[str]:
    """The API on the real broker; no model answers here."""
    bus = open_bus(f"kafka://{kafka}")
    with serving(bus, allowed_origins="https://game.example, https://other.example", allowed_hosts="evil.example") as here:
        yield here
    bus.close()


@pytest.fixture
def others(address: str) -> Iterator[None]:
    """Somebody plays meanwhile, and must be served all the time."""
    drawn, stop = [], threading.Event()
    failures: list[BaseException] = []

    def go_on() -> None:
        try:
            with playing(address, name="Somebody else") as player:
                while not stop.wait(0.01):  # a fast machine saves more drawings than a player may send
                    player.saved(str(uuid4()))
                    drawn.append(time.monotonic())
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    thread = threading.Thread(target=go_on)
    thread.start()
    eventually(lambda: drawn or failures)
    yield
    before = len(drawn)
    eventually(lambda: len(drawn) > before or failures)
    stop.set()
    thread.join()
    assert not failures, failures


@pytest.fixture
def log(address: str) -> Iterator[list[dict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


ID = str(uuid4())
MISTAKES = {
    "NaN": ("NaN", "not_json"),
    "a number that is NaN": ('{"type":"draw","width":NaN}', "not_json"),
    "20,000 open brackets": ("[" * 20_000, "not_json"),
    "20,000 open braces": ('{"a":' * 10_000, "not_json"),
    "a lone surrogate": (r'{"type":"join","name":"\ud800"}', "not_json"),
    "a binary frame": (b"\x00\xff\xfe", "not_text"),
    "an empty frame": ("", "not_json"),
    "no JSON": ("hello", "not_json"),
    "no object": ("[1,2,3]", "not_json"),
    "an unknown type": ('{"type":"shutdown"}', "unknown_type"),
    "an unknown field": (f'{{"type":"withdraw","drawing_id":"{ID}","correction_id":"{ID}","sudo":true}}', "unknown_field"),
    "a label out of range": (f'{{"type":"correct","drawing_id":"{ID}","correction_id":"{ID}","label":10}}', "invalid"),
    "a huge integer": (f'{{"type":"correct","drawing_id":"{ID}","correction_id":"{ID}","label":{"9" * 300}}}', "invalid"),
    "65 strokes": (
        f'{{"type":"draw","drawing_id":"{ID}","strokes":[{",".join(["[[1,1]]"] * 65)}],"width":9,"height":9,"final":true}}',
        "invalid",
    ),
    "a drawing off the canvas": (
        f'{{"type":"draw","drawing_id":"{ID}","strokes":[[[1e12,1]]],"width":9,"height":9,"final":true}}',
        "invalid",
    ),
    "the largest frame": ("x" * 65_536, "not_json"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_answered_by_an_error_frame_and_play_goes_on(address, log, what):
    frame, code = MISTAKES[what]
    with playing(address) as player:
        player.say(frame)

        assert player.next("error")["code"] == code
        player.saved(str(uuid4()))
    [line] = [line for line in log if line["event"] == "frame refused"]
    assert (line["code"], line["player_id"], line["log_level"]) == (code, player.player_id, "warning")


def test_a_correction_of_another_players_drawing_is_answered_by_an_error_frame(address):
    with playing(address) as owner, playing(address) as stranger:
        owner.saved(name := str(uuid4()))
        drawing = str(named(name))
        stranger.say(f'{{"type":"correct","drawing_id":"{drawing}","correction_id":"{uuid4()}","label":1}}')

        error = stranger.next("error")
        assert (error["code"], error["drawing_id"]) == ("unknown_drawing", drawing)


def test_all_mistakes_at_once_disturb_nobody(address, others):
    for what in ("NaN", "20,000 open brackets", "a lone surrogate", "a binary frame", "an unknown type", "65 strokes"):
        frame, code = MISTAKES[what]
        with opened(address) as socket, playing(address) as player:
            socket.send(frame)
            player.say(frame)
            assert player.next("error")["code"] == code


def test_before_a_join_mistakes_are_answered_too(address):
    with opened(address) as socket:
        for frame, _ in MISTAKES.values():
            socket.send(frame)
            assert b'"type":"error"' in socket.recv(DEADLINE_S, decode=False)


@pytest.mark.parametrize("size", [65_537, 1 << 20, 8 << 20])
def test_a_frame_over_64_kib_ends_the_socket_with_1009(address, others, log, size):
    with playing(address) as player:
        with suppress(ConnectionClosed):
            player.say("x" * size)
        assert closing(player.socket)[0] == 1009
    eventually(lambda: [line for line in log if line["event"] == "socket ended" and line["code"] == 1009])


def test_a_large_message_in_small_fragments_ends_the_socket_with_1009(address, others):
    with playing(address) as player:
        with suppress(ConnectionClosed):
            player.socket.send(("x" * 1000 for _ in range(100)), text=True)
        assert closing(player.socket)[0] == 1009


def test_text_that_is_not_utf8_ends_the_socket_with_1007(address, others):
    with playing(address) as player:
        player.socket.send(b'{"type":"\xff"}', text=True)
        assert closing(player.socket)[0] == 1007


@pytest.mark.parametrize(
    "wire",
    [b"\xc1\x80\x00\x00\x00\x00", b"\x83\x80\x00\x00\x00\x00", b"\x81\x01x", b"\x09\x80\x00\x00\x00\x00"],
    ids=["reserved bits", "reserved opcode", "not masked", "fragmented ping"],
)
def test_bytes_that_are_no_websocket_frames_end_the_socket_with_1002(address, others, wire):
    with playing(address) as player:
        player.socket.socket.sendall(wire)
        assert closing(player.socket)[0] == 1002


def test_twenty_mistakes_end_the_socket_with_1008(address, others, log):
    with playing(address) as player:
        for _ in range(session.MISTAKES):
            player.say("oops")
        assert closing(player.socket) == (1008, "20 errors within 10 s")
    assert [line for line in log if line["event"] == "socket closed" and line["code"] == 1008]


def test_a_flood_ends_the_socket_with_1008(address, others):
    with playing(address) as player:
        frame = '{"type":"withdraw","drawing_id":"%s","correction_id":"%s"}' % (ID, ID)  # noqa: UP031
        with suppress(ConnectionClosed):
            for _ in range(100_000):
                player.say(frame)
        assert closing(player.socket)[0] == 1008


def test_a_client_that_never_reads_is_cut_and_holds_no_memory(address, others, monkeypatch):
    monkeypatch.setattr(sockets, "MAX_WAITING", 50)
    monkeypatch.setattr(session, "MISTAKES", 10**9)
    host, port = address.split(":")
    with network.socket() as raw:
        raw.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4096)
        raw.connect((host, int(port)))
        raw.sendall(
            f"GET /ws/play HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        fields = ",".join(f'"{letter * 40}":0' for letter in "abcde")
        wrong = f'{{"type":"join",{fields}}}'.encode()  # a short frame with a long answer
        frame = b"\x81" + struct.pack("!BH", 0x80 | 126, len(wrong)) + b"\x00\x00\x00\x00" + wrong
        raw.settimeout(DEADLINE_S)
        deadline = time.monotonic() + DEADLINE_S
        with suppress(ConnectionResetError, BrokenPipeError):
            while True:
                raw.sendall(frame)
                assert time.monotonic() < deadline, "it is still served"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", None),
        ("null", None),
        ("http://localhost:3000", None),
        ("http://127.0.0.1", None),
        ("https://game.example.evil.example", None),
        ("http://evil.example:8000", "evil.example:8000"),  # a name that is served, and nobody said that its pages are ours
        ("file://", None),
        ("http://[::1", None),
    ],
)
@pytest.mark.parametrize("path", ["/ws/play", "/ws/watch"])
def test_a_page_from_elsewhere_cannot_open_a_socket(address, log, path, origin, host):
    with pytest.raises(InvalidStatus) as refused, opened(address, path, host, origin=origin):
        pass
    assert refused.value.response.status_code == 403
    assert [line for line in log if line["event"] == "socket refused" and line["status"] == 403]


def test_the_games_own_pages_and_programs_can(address):
    port = address.split(":")[1]
    for origin, host in (
        (None, None),
        (f"http://{address}", None),
        (f"http://localhost:{port}", f"localhost:{port}"),
        ("https://game.example", None),
        ("https://other.example", None),
    ):
        with opened(address, host=host, origin=origin) as socket:
            assert Player(socket).player_id


def test_too_many_sockets_are_refused_with_503(address, monkeypatch):
    monkeypatch.setattr("api.app.MAX_SOCKETS", 0)
    with pytest.raises(InvalidStatus) as refused, opened(address):
        pass
    assert refused.value.response.status_code == 503


def test_a_socket_that_does_not_join_is_closed_with_1008(address, monkeypatch):
    monkeypatch.setattr(session, "JOIN_S", 0.1)
    with opened(address) as socket:
        assert closing(socket) == (1008, "no join within 0 s")


def test_a_fault_of_ours_ends_the_socket_with_1011_and_not_without_a_word(address, log, monkeypatch):
    with playing(address) as player:
        monkeypatch.setattr("api.play.session.parse", lambda data: 1 / 0)
        player.say("anything")
        assert closing(player.socket)[0] == 1011
        monkeypatch.undo()
    assert [line for line in log if line["event"] == "socket failed"]


def test_when_the_server_stops_every_socket_gets_a_close_frame(kafka):
    bus = open_bus(f"kafka://{kafka}")
    with serving(bus) as address, opened(address, "/ws/watch") as watcher, opened(address) as player:
        Player(player)
        began = time.monotonic()
        ends: list[tuple[int, str]] = []
        listening = [threading.Thread(target=lambda s=s: ends.append(closing(s))) for s in (watcher, player)]
        for each in listening:
            each.start()
        SERVERS[address].should_exit = True
        for each in listening:
            each.join()
    assert [code for code, _ in ends] == [1012, 1012]
    assert time.monotonic() - began < DEADLINE_S
    bus.close()
