"""Cases of an address that does something too often."""

from collections.abc import Iterator
from uuid import uuid4

import orjson

from tests.hostile.client import PATIENCE_S, Act, Case, Doors, case, heard
from tests.hostile.frames import Talk, frame
from tests.strangers import handshake, wire


def addresses() -> Iterator[Case]:
    """Yield the cases in which a script runs on one address."""

    def rooms(doors: Doors, source: str) -> str:
        """Guess the names of rooms, each over a new socket."""
        names = [f"{a}{b}ZZ" for a in "BCDF" for b in "GHJKL"]
        said = []
        for name in names:
            sent = orjson.dumps({"type": "join", "name": "Eve", "room": name, "seat": None})
            with wire(doors.game, source=source) as raw:
                talk = Talk(raw)
                raw.sendall(handshake("/ws/play", doors.game))
                if not talk.accepted():
                    return "refused"
                raw.sendall(frame(1, sent))
                said.append(orjson.loads(talk.next()[1]))
        told = [message.get("code", message["type"]) for message in said]
        return "error:busy" if told == ["joined"] * 10 + ["busy"] * 10 else str(told)

    yield case("20 rooms are guessed", "error:busy", rooms)

    def many(path: str) -> Act:
        def act(doors: Doors, source: str) -> str:
            held, statuses = [], []
            try:
                for _ in range(80):
                    raw = wire(doors.game, source=source)
                    held.append(raw)
                    raw.sendall(handshake(path, doors.game))
                    statuses.append(heard(raw))
            finally:
                for raw in held:
                    raw.close()
            return "429" if statuses == ["101"] * 64 + ["429"] * 16 else str(statuses)

        return act

    yield case("80 sockets that play", "429", many("/ws/play"))
    yield case("80 sockets that watch", "429", many("/ws/watch"))

    def connections(doors: Doors, source: str) -> str:
        held = [wire(doors.game, source=source) for _ in range(128)]
        try:
            with wire(doors.game, source=source) as raw:
                return heard(raw)
        finally:
            for raw in held:
                raw.close()

    yield case("129 connections that say nothing", "429", connections)

    def asks(doors: Doors, source: str) -> str:
        asked = f"GET /web/lib/base.css HTTP/1.1\r\nHost: {doors.game}\r\n\r\n".encode()
        with wire(doors.game, source=source) as raw:
            raw.settimeout(PATIENCE_S)
            for _ in range(200):
                raw.sendall(asked * 10)
                got = b""
                while (n := got.count(b"HTTP/1.1 ")) < 10 and b"HTTP/1.1 429" not in got:
                    got += raw.recv(1 << 16)
                if b"HTTP/1.1 429" in got:
                    return "429"
        return f"{n} more"

    yield case("2,000 requests, ten at once", "429", asks)

    def draws(doors: Doors, source: str) -> str:
        """Let twelve players of one address each draw as much as a player may: the address has a limit of its own."""
        held = [wire(doors.game, source=source) for _ in range(12)]
        try:
            talkers = [Talk(raw) for raw in held]
            for raw, talk in zip(held, talkers, strict=True):
                raw.sendall(handshake("/ws/play", doors.game))
                if not talk.accepted():
                    return "refused"
                raw.sendall(frame(1, b'{"type":"join","name":"Eve","room":null,"seat":null}'))
                strokes = {"strokes": [[[1, 1], [9, 9]]], "width": 9, "height": 9, "final": False}
                for _ in range(18):
                    raw.sendall(frame(1, orjson.dumps({"type": "draw", "drawing_id": str(uuid4()), **strokes})))
            return talkers[-1].outcome(until_close=False)
        finally:
            for raw in held:
                raw.close()

    yield case("216 drawings of twelve players", "error:busy", draws)
