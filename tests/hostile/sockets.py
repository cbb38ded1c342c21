"""Cases of messages over a socket that no player would send."""

import random
import struct
from collections.abc import Iterator
from uuid import uuid4

import orjson

from tests.hostile.client import Case, Doors, case, game, sends
from tests.hostile.frames import Talk, frame, opens, talks
from tests.strangers import handshake, wire


def sockets() -> Iterator[Case]:
    """Yield malformed handshakes, and frames that break the protocol, on both sockets."""
    for path in ("/ws/play", "/ws/watch"):
        for name, status, act in (
            ("no key", "400", opens(path, without="Sec-WebSocket-Key")),
            ("a short key", "400", opens(path, "Sec-WebSocket-Key: c2hvcnQ=", without="Sec-WebSocket-Key: dGhl")),
            ("two keys", "400", opens(path, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
            ("no version", "400|426", opens(path, without="Sec-WebSocket-Version")),
            ("version 12", "400|426", opens(path, "Sec-WebSocket-Version: 12", without="Sec-WebSocket-Version: 13")),
            ("no Upgrade", "404|426", opens(path, without="Upgrade")),
            ("no Connection", "404|426", opens(path, without="Connection")),
            ("a wrong token", "403", opens(path, "Authorization: Bearer wrong")),
            ("no token after Bearer", "401", opens(path, "Authorization: Bearer")),
            ("a cookie of 9,000 bytes", "431", opens(path, "Cookie: " + "c" * 9000)),
            ("100 headers", "431", opens(path, *[f"X-{i}: y" for i in range(100)])),
            ("a foreign origin", "403", opens(path, "Origin: http://evil.example")),
            ("no page's origin", "403", opens(path, "Origin: null")),
            ("another port's origin", "403", opens(path, "Origin: http://127.0.0.1:1")),
            ("a file's origin", "403", opens(path, "Origin: file://")),
            ("an origin that is none", "403", opens(path, "Origin: http://[::1")),
            ("a longer name's origin", "403", opens(path, "Origin: http://127.0.0.1.evil.example")),
            (
                "by POST",
                "400|404|405|426",
                lambda doors, source, path=path: sends(game, handshake(path, doors.game).replace(b"GET", b"POST"))(
                    doors, source
                ),
            ),
            (
                "by HTTP/1.0",
                "505",
                lambda doors, source, path=path: sends(game, handshake(path, doors.game).replace(b"1.1", b"1.0"))(
                    doors, source
                ),
            ),
        ):
            yield case(f"{path}: {name}", status, act)
        broken: dict[str, tuple[bytes, str]] = {
            **{f"reserved bits {bits}": (frame(1, b"x", reserved=bits), "close 1002") for bits in (1, 2, 4)},
            **{f"opcode {opcode}": (frame(opcode, b""), "close 1002") for opcode in (3, 7, 11, 15)},
            "not masked": (frame(1, b"x", masked=False), "close 1002"),
            "a ping in parts": (frame(9, b"", fin=False), "close 1002"),
            "a ping of 126 bytes": (frame(9, b"x" * 126), "close 1002"),
            "a part of nothing": (frame(0, b"x"), "close 1002"),
            "a text in a text": (frame(1, b"x", fin=False) + frame(1, b"x"), "close 1002"),
            "a length of 2^63": (b"\x81\xff" + b"\x80" + bytes(7) + bytes(4), "close 1002|close 1009"),
            "a length of 2^40": (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4), "close 1009"),
            "65,537 bytes": (frame(1, b"x" * 65_537), "close 1009"),
            "8 MB": (frame(2, b"x" * (8 << 20)), "close 1009"),
            "66 KB in parts": (frame(1, b"x", fin=False) + frame(0, b"x" * 1000, fin=False) * 66, "close 1009"),
            "not UTF-8": (frame(1, b"\xff"), "close 1007"),
            "half a UTF-8 letter": (frame(1, b"\xc3"), "close 1007"),
            "a close of one byte": (frame(8, b"\x03"), "close 1002"),
            "a close with 999": (frame(8, struct.pack("!H", 999)), "close 1002"),
            "a close with 1005": (frame(8, struct.pack("!H", 1005)), "close 1002"),
            "a close with no UTF-8": (frame(8, struct.pack("!H", 1000) + b"\xff"), "close 1002|close 1007"),
            "500 pings": (frame(9, b"") * 500, "close 1008"),
            "20,000 pings of 125 bytes": (frame(9, b"x" * 125) * 20_000, "close 1008"),
            "500 pongs": (frame(10, b"") * 500, "close 1008"),
            "5,000 empty parts": (frame(1, b"", fin=False) + frame(0, b"", fin=False) * 5000, "close 1008"),
            "50,000 empty texts": (frame(1, b"") * 50_000, "close 1008"),
            "50,000 binaries": (frame(2, b"x") * 50_000, "close 1008"),
            "noise": (random.Random(9).randbytes(5000), "close 1002|close 1007|close 1009"),
        }  # fmt: skip
        for name, (sent, expected) in broken.items():
            yield case(f"{path}: {name}", expected, talks(path, sent, until_close=True))
    yield case("a socket that there is not", "403|404", opens("/ws/nothing"))
    for sent in (b"hello", b"{}", b'{"type":"join","name":"Eve","room":null,"seat":null}'):
        yield case(f"/ws/watch: {sent[:20]!r}", "error:read_only", talks("/ws/watch", frame(1, sent)))
    yield case("/ws/watch: 20 words", "close 1008", talks("/ws/watch", frame(1, b"hello") * 20, until_close=True))


def mistakes() -> Iterator[Case]:
    """Yield invalid messages, before a join and after it."""
    some = str(uuid4())

    def draw(**fields: object) -> bytes:
        whole = {
            "type": "draw",
            "drawing_id": str(uuid4()),
            "strokes": [[[1, 1], [9, 9]]],
            "width": 9,
            "height": 9,
            "final": True,
        }
        return orjson.dumps(whole | fields)

    said: dict[str, tuple[bytes, str]] = {
        "NaN": (b"NaN", "not_json"),
        "empty": (b"", "not_json"),
        "20,000 open brackets": (b"[" * 20_000, "not_json"),
        "10,000 open braces": (b'{"a":' * 10_000, "not_json"),
        "a lone surrogate": (rb'{"type":"join","name":"\ud800"}', "not_json"),
        "a list": (b"[1,2]", "not_json"),
        "nulls": (bytes(100), "not_json"),
        "the largest frame": (b"x" * 65_536, "not_json"),
        "an unknown type": (b'{"type":"shutdown"}', "unknown_type"),
        "a type that is no text": (b'{"type":{"$ne":null}}', "unknown_type"),
        "a server's message": (f'{{"type":"saved","drawing_id":"{some}"}}'.encode(), "unknown_type"),
        "a name of nothing": (b'{"type":"join","name":"  ","room":null,"seat":null}', "invalid"),
        "a name of 33 letters": (b'{"type":"join","name":"' + b"a" * 33 + b'","room":null,"seat":null}', "invalid"),
        "a name that turns others around": (rb'{"type":"join","name":"\u202eEve","room":null,"seat":null}', "invalid"),
        "a room of vowels": (b'{"type":"join","name":"Eve","room":"AEIO","seat":null}', "invalid"),
        "a player_id of one's own": (b'{"type":"join","name":"Eve","player_id":"me","room":null,"seat":null}', "unknown_field"),
        "a label of 10": (
            f'{{"type":"correct","drawing_id":"{some}","correction_id":"{some}","label":10}}'.encode(), "invalid",
        ),
        "a label of 300 digits": (
            f'{{"type":"correct","drawing_id":"{some}","correction_id":"{some}","label":{"9" * 300}}}'.encode(), "invalid",
        ),
        "no strokes": (draw(strokes=[]), "invalid"),
        "65 strokes": (draw(strokes=[[[1, 1]]] * 65), "invalid"),
        "4,097 points": (draw(strokes=[[[1, 1]] * 4097]), "invalid"),
        "a point of one number": (draw(strokes=[[[1]]]), "invalid"),
        "a point far away": (draw(strokes=[[[1e12, 1]]]), "invalid"),
        "4,096 words for points": (draw(strokes=[[["", ""]] * 4096]), "invalid"),
        "a canvas of nothing": (draw(width=0), "invalid"),
        "a canvas of a mile": (draw(width=1e9), "invalid"),
        "an id that is none": (draw(drawing_id="1"), "invalid"),
        "a probe": (draw(probe=True), "unknown_field"),
        "a raster": (draw(raster="AAAA", models=["xgboost"]), "unknown_field"),
    }  # fmt: skip
    for name, (sent, code) in said.items():
        yield case(f"before a join: {name}", f"error:{code}", talks("/ws/play", frame(1, sent)))
        yield case(f"after a join: {name}", f"error:{code}", talks("/ws/play", frame(1, sent), joined=True))
    yield case("a drawing before a join", "error:not_joined", talks("/ws/play", frame(1, draw())))
    yield case("a binary frame", "error:not_text", talks("/ws/play", frame(2, b"x"), joined=True))
    join = frame(1, b'{"type":"join","name":"Eve","room":null,"seat":null}')
    yield case("a second join", "error:already_joined", talks("/ws/play", join, joined=True))
    for seat in ("x", "", "WyJhIiwiYiJd.YQ.YQ", "a" * 512):
        sent = orjson.dumps({"type": "join", "name": "Eve", "room": None, "seat": seat})
        yield case(f"a seat {seat[:20]!r}", "error:bad_seat", talks("/ws/play", frame(1, sent)))
    given = f'{{"type":"correct","drawing_id":"{uuid4()}","correction_id":"{some}","label":1}}'.encode()
    yield case("a correction of nobody's drawing", "receipt:refused", talks("/ws/play", frame(1, given), joined=True))
    yield case("20 mistakes", "close 1008", talks("/ws/play", frame(1, b"oops") * 20, joined=True, until_close=True))
    previews = b"".join(frame(1, draw(final=False)) for _ in range(200))
    yield case("200 previews at once", "close 1008", talks("/ws/play", previews, joined=True, until_close=True))
    yield case("a socket that does not join", "close 1008", _unjoined)


def _unjoined(doors: Doors, source: str) -> str:
    with wire(doors.game, source=source) as raw:
        talk = Talk(raw)
        raw.sendall(handshake("/ws/play", doors.game))
        talk.accepted()
        raw.settimeout(40)
        try:
            while True:
                opcode, payload = talk.next()
                if opcode == 8:
                    return f"close {int.from_bytes(payload[:2], 'big')}"
                if opcode == 9:
                    raw.sendall(frame(10, payload))
        except OSError:
            return "dropped"
