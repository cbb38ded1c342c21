"""What app developers ask over HTTP, on the bus in memory with a router that says what it is told to."""

import base64
import io
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import orjson
import pytest
from PIL import Image
from pydantic import ValidationError

from api.apps.keyring import Keyring
from api.apps.pictures import MAX_PNG, BadPicture, read_png
from api.apps.predict_request import MAX_BODY, MAX_COMMAS, PredictRequest, Problem, read_request
from api.apps.predictor import MAX_OPEN
from api.play.messages import Draw
from contracts.drawing import EmptyDrawing
from contracts.events import DrawingSubmitted, EndpointSeen, PolicySet
from contracts.ports import Bus
from producers.bus import open_bus
from tests.answering import answering, at_work
from tests.roster import MODELS
from tests.serving import DEADLINE_S, eventually, get, serving

SEVEN = [[[20, 20], [80, 20], [45, 100]]]
BAR = np.zeros((28, 28), np.uint8)
BAR[4:24, 13:15] = 255


@pytest.fixture
def bus() -> Iterator[Bus]:
    """A bus on which river and the batch models answer."""
    opened = open_bus(f"memory://{uuid4()}")
    for model in MODELS:
        if model not in ("everyone", "yours"):
            opened.publish(at_work(model))
    yield opened
    opened.close()


@pytest.fixture
def address(bus: Bus) -> Iterator[str]:
    with serving(bus, api_keys="shop:secret-1,till:secret-2", guess_budget_ms=500) as here:
        yield here


def png(pixels: Any, mode: str | None = None) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels), mode).save(out, "PNG")
    return out.getvalue()


def ask(address: str, body: Any = None, *, key: str | None = "secret-1", **kwargs: Any) -> httpx.Response:
    given = {"X-API-Key": key} if key else {}
    kwargs = {"json": body} | kwargs if body is not None else kwargs
    headers = given | kwargs.pop("headers", {})
    url = f"http://{address}/api/predict"
    return httpx.post(url, headers=headers, timeout=DEADLINE_S, trust_env=False, **kwargs)


# --- what is asked -------------------------------------------------------------------------------------------------------


def test_a_drawing_in_strokes_is_a_digit(bus, address):
    heard: list[DrawingSubmitted] = []
    with answering(bus, heard=heard):
        answer = ask(address, {"strokes": SEVEN}).json()

    assert (answer["digit"], answer["confidence"], answer["model"], answer["version"]) == (7, 0.91, "everyone", "base1")
    assert len(answer["probabilities"]) == 10
    assert list(answer["models"]) == ["everyone"]
    assert (answer["left_out"], answer["ink"]) == ({}, None)
    [asked] = heard
    assert (asked.player_id, asked.probe, asked.final, asked.models, asked.raster) == ("app-shop", True, False, None, None)
    assert answer["drawing_id"] == str(asked.drawing_id)


@pytest.mark.parametrize(
    ("body", "ink"),
    [
        ({"image": BAR.tolist()}, "light"),
        ({"image": BAR.ravel().tolist()}, "light"),
        ({"image": (BAR / 255).tolist()}, "light"),
        ({"image": (255 - BAR).tolist()}, "dark"),
        ({"png": base64.b64encode(png(BAR)).decode()}, "light"),
        ({"png": "data:image/png;base64," + base64.b64encode(png(255 - BAR)).decode()}, "dark"),
    ],
    ids=["rows", "flat", "0 to 1", "dark", "png", "data url"],
)
def test_an_image_is_read_whichever_way_round_it_is(bus, address, body, ink):
    heard: list[DrawingSubmitted] = []
    with answering(bus, heard=heard):
        answer = ask(address, body)

    assert (answer.status_code, answer.json()["ink"]) == (200, ink)
    assert heard[0].strokes == []
    assert heard[0].raster == BAR.tobytes()


def test_a_png_may_be_the_whole_body(bus, address):
    heard: list[DrawingSubmitted] = []
    with answering(bus, heard=heard):
        answer = ask(address, content=png(BAR), headers={"Content-Type": "image/png"}, params={"models": "river,xgboost"})

        again = ask(
            address,
            content=png(BAR),
            headers={"Content-Type": "image/png"},
            params=[("models", "river"), ("models", "xgboost")],
        )

    assert list(answer.json()["models"]) == list(again.json()["models"]) == ["river", "xgboost"]
    assert (heard[0].raster, heard[0].models) == (BAR.tobytes(), ["river", "xgboost"])


@pytest.mark.parametrize(
    ("wish", "asked", "answers"),
    [
        ("river", ["river"], ["river"]),
        (["xgboost", "river"], ["xgboost", "river"], ["xgboost", "river"]),
        (["river", "everyone", "river"], None, ["river", "everyone"]),
        ("champion", None, ["everyone"]),
        (["champion"], None, ["everyone"]),
        (["all"], None, list(MODELS)),
        ("all", None, list(MODELS)),
    ],
    ids=str,
)
def test_who_is_asked_answers_and_the_first_of_them_says_the_digit(bus, address, wish, asked, answers):
    heard: list[DrawingSubmitted] = []
    with answering(bus, heard=heard):
        answer = ask(address, {"strokes": SEVEN, "models": wish}).json()

    assert list(answer["models"]) == answers
    assert answer["model"] == answers[0]
    assert heard[0].models == asked


def test_the_champion_is_who_players_are_shown_first(bus, address):
    bus.publish(PolicySet(lead="xgboost"))
    eventually(lambda: get(address, "/api/routing").json()["lead"] == "xgboost")
    with answering(bus):
        assert ask(address, {"strokes": SEVEN}).json()["model"] == "xgboost"
        bus.publish(PolicySet(lead="bandit"))
        eventually(lambda: get(address, "/api/routing").json()["lead"] == "bandit")
        assert ask(address, {"strokes": SEVEN}).json()["model"] == "everyone"


# --- who does not answer -------------------------------------------------------------------------------------------------


def test_who_rests_is_told_and_the_others_answer(bus, address):
    with answering(bus, resting=("xgboost",)):
        answer = ask(address, {"strokes": SEVEN, "models": ["xgboost", "river"]})

    assert answer.status_code == 200
    told = answer.json()
    assert (told["model"], told["models"]["xgboost"]) == ("river", {"error": "it rests: connection refused"})


def test_when_all_rest_it_is_503_at_once_and_says_when_to_come_again(bus, address):
    with answering(bus, resting=("xgboost",)):
        answer = ask(address, {"strokes": SEVEN, "models": "xgboost"})

    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["missing"] == {"xgboost": "it rests: connection refused"}


def test_nobody_in_time_is_504_and_somebody_in_time_is_an_answer(bus, address):
    with answering(bus, "river"):
        late = ask(address, {"strokes": SEVEN, "models": "kmeans"})
        partly = ask(address, {"strokes": SEVEN, "models": ["kmeans", "river"]})

    assert (late.status_code, late.json()["missing"]) == (504, {"kmeans": "it did not answer in time"})
    assert "ask again" in late.json()["detail"]
    assert (partly.status_code, partly.json()["model"]) == (200, "river")
    assert partly.json()["models"]["kmeans"] == {"error": "it did not answer in time"}


def test_who_cannot_be_here_or_is_not_shown_is_not_asked(bus, address):
    heard: list[DrawingSubmitted] = []
    bus.publish(
        EndpointSeen(
            model="mxnet", version="none", endpoint="gamenight-mxnet", status="Unavailable", reason="Linux x86-64 only"
        )
    )
    bus.publish(PolicySet(lead="everyone", parts={"kmeans": "shadow"}))
    eventually(lambda: get(address, "/api/routing").json()["parts"]["kmeans"] == "shadow")
    with answering(bus, heard=heard):
        answer = ask(address, {"strokes": SEVEN, "models": ["mxnet", "kmeans", "river"]}).json()
        none = ask(address, {"strokes": SEVEN, "models": "mxnet"})

    assert answer["models"]["mxnet"] == {"error": "Linux x86-64 only"}
    assert answer["models"]["kmeans"] == {"error": "the policy does not show this model (its part is shadow)"}
    assert [drawing.models for drawing in heard] == [["river"]]
    assert (none.status_code, "Linux x86-64 only" in none.json()["detail"]) == (503, True)


def test_a_shadow_of_a_model_does_not_answer_for_it(bus, address):
    with answering(bus, role="shadow"):
        assert ask(address, {"strokes": SEVEN, "models": "river"}).status_code == 504


# --- what is refused -----------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no JSON": ({"content": b"hello"}, 400, "no JSON"),
    "no object": ({"content": b"[1]"}, 400, "JSON object"),
    "NaN": ({"content": b'{"image":[NaN]}'}, 400, "no JSON"),
    "20,000 brackets": ({"content": b"[" * 20_000}, 400, "no JSON"),
    "no form": ({"json": {}}, 422, "exactly one of"),
    "two forms": ({"json": {"strokes": SEVEN, "png": "x"}}, 422, "not strokes and png"),
    "an unknown field": ({"json": {"strokes": SEVEN, "sudo": 1}}, 422, "sudo"),
    "no points": ({"json": {"strokes": []}}, 422, "strokes"),
    "65 strokes": ({"json": {"strokes": [[[1, 1]]] * 65}}, 422, "strokes"),
    "5,000 points": ({"json": {"strokes": [[[1, 1]] * 2500] * 2}}, 422, "at most 4096"),
    "off the canvas": ({"json": {"strokes": [[[1e12, 1]]]}}, 422, "strokes"),
    "27 rows": ({"json": {"image": [[0] * 28] * 27}}, 422, "28 rows of 28"),
    "783 numbers": ({"json": {"image": [0] * 783}}, 422, "784"),
    "256": ({"json": {"image": [256] * 784}}, 422, "image"),
    "words": ({"json": {"image": ["1"] * 784}}, 422, "image"),
    "an empty image": ({"json": {"image": [0] * 784}}, 422, "shows nothing"),
    "no base64": ({"json": {"png": "é"}}, 422, "base64"),
    "a JPEG": ({"json": {"png": "data:image/jpeg;base64,AAAA"}}, 422, "data:image/png"),
    "no PNG": ({"json": {"png": "AAAA"}}, 422, "not a PNG"),
    "an unknown model": ({"json": {"strokes": SEVEN, "models": "gpt"}}, 422, "'gpt': ask one of everyone"),
    "no models": ({"json": {"strokes": SEVEN, "models": []}}, 422, "models"),
    "champion beside another": (
        {"json": {"strokes": SEVEN, "models": ["champion", "river"]}},
        422,
        '"champion" and "all" stand alone, not in a list',
    ),
    "a parameter that is none": (
        {"content": png(BAR), "headers": {"Content-Type": "image/png"}, "params": {"model": "river"}},
        422,
        "model: the address has no such parameter; it has models",
    ),
    "models of JSON in the address": (
        {"json": {"strokes": SEVEN}, "params": {"models": "river"}},
        422,
        "names them in its body",
    ),
    "a JPEG as the body": (
        {"content": b"\xff\xd8", "headers": {"Content-Type": "image/jpeg; q=1"}},
        422,
        "image/jpeg: send a PNG with Content-Type: image/png",
    ),
    "a form": ({"files": {"png": png(BAR)}}, 422, "multipart/form-data: send a PNG with Content-Type: image/png"),
    "gzip": ({"json": {"strokes": SEVEN}, "headers": {"Content-Encoding": "gzip"}}, 422, "gzip is not read"),
    "too much": ({"content": b"x" * 2_000_000}, 413, "at most"),
    "too much, in parts": ({"content": (b"x" * 100_000 for _ in range(20))}, 413, "at most"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(address, what):
    given, status, told = REFUSED[what]

    answer = ask(address, **given)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert told in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert answer.json()["status"] == status


def test_another_method_is_refused_as_every_error_is(address):
    answer = httpx.get(f"http://{address}/api/predict", timeout=DEADLINE_S, trust_env=False)

    assert (answer.status_code, answer.headers["content-type"], answer.headers["allow"]) == (
        405,
        "application/problem+json",
        "POST",
    )
    assert (answer.json()["status"], answer.json()["detail"]) == (405, "/api/predict is asked by POST: see /docs")


DRAW = {"type": "draw", "drawing_id": "0b6d2c1e-5b6f-4a53-9d0e-2f1f6c1f0a77", "width": 1, "height": 1, "final": True}


def filled(head: bytes, unit: bytes, tail: bytes) -> bytes:
    """The largest body that is ``unit`` over and over."""
    return head + b",".join([unit] * ((MAX_BODY - len(head) - len(tail)) // (len(unit) + 1))) + tail


@pytest.mark.parametrize(
    "body",
    [
        filled(b'{"image":[', b'""', b"]}"),
        filled(b'{"image":[', b"[]", b"]}"),
        filled(b'{"image":[', b"{}", b"]}"),
        filled(b'{"strokes":[[', b'["",""]', b"]]}"),
        filled(b'{"strokes":[[', b"[1,1]", b"]]}"),
        filled(b'{"models":[', b'""', b"]}"),
        filled(b"{", b'"a":1', b"}"),
    ],
    ids=lambda body: body[:20].decode(),
)
def test_half_a_million_values_are_refused_before_they_are_parsed(monkeypatch, body):
    monkeypatch.setattr("api.apps.predict_request.orjson.loads", lambda _: pytest.fail("it was parsed"))

    with pytest.raises(Problem, match=f"over {MAX_COMMAS} values"):
        read_request(body)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (PredictRequest, {"image": [""] * 784}),
        (PredictRequest, {"image": [[""] * 28] * 28}),
        (PredictRequest, {"image": [999] * 784}),
        (PredictRequest, {"image": [""] * MAX_COMMAS}),
        (PredictRequest, {"strokes": [[["", "", ""]] * 4096]}),
        (PredictRequest, {"strokes": [[[1e99] * 3] * 4096]}),
        (PredictRequest, {"strokes": [[""] * 4096]}),
        (Draw, DRAW | {"strokes": [[["", ""]] * 4096]}),
    ],
)
def test_thousands_of_wrong_values_cost_one_error(model, given):
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(given)

    assert wrong.value.error_count() == 1


def test_the_largest_drawing_is_read():
    points = [[float(i % 280) + 0.125, 100.0625, 1_700_000_000_000 + i] for i in range(4096)]
    assert read_request(orjson.dumps({"strokes": [points]})).strokes == [points]


def test_when_too_much_is_under_way_an_app_is_refused_before_its_body_is_read(bus, address):
    host, port = address.split(":")
    head = f"POST /api/predict HTTP/1.1\r\nHost: {address}\r\nX-API-Key: secret-1\r\nContent-Length: 9\r\n\r\n"
    with ExitStack() as slow:
        sockets = [slow.enter_context(socket.create_connection((host, int(port)))) for _ in range(MAX_OPEN)]
        for one in sockets:
            one.sendall(head.encode())
        eventually(lambda: ask(address, {"png": ""}).status_code == 503)
        refused = ask(address, {"png": ""}, key="secret-2")

        sockets[0].sendall(b"hello you")
        answered = sockets[0].recv(100)

    assert (refused.status_code, refused.json()["title"], refused.headers["retry-after"]) == (503, "Busy", "1")
    assert answered.startswith(b"HTTP/1.1 400")
    with answering(bus):
        eventually(lambda: ask(address, {"strokes": SEVEN}, key="secret-2").status_code == 200)


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch, address):
    monkeypatch.setattr("api.apps.routes.BODY_S", 0.05)

    def slow() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.5)

    answer = ask(address, content=slow())

    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


def test_a_png_may_be_asked_of_as_many_models_as_json_names(address):
    names = ",".join(f"model-{i}" for i in range(17))
    answer = ask(address, content=png(BAR), headers={"Content-Type": "image/png"}, params={"models": names})

    assert (answer.status_code, answer.json()["detail"]) == (422, "models: 17 names, at most 16 go together")


# --- keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_is_asked_for_and_a_wrong_one_is_refused(bus, address):
    with answering(bus):
        bearer = ask(address, {"strokes": SEVEN}, key=None, headers={"Authorization": "Bearer secret-2"})
    nobody, stranger = ask(address, {"strokes": SEVEN}, key=None), ask(address, {"strokes": SEVEN}, key="secret")

    assert bearer.status_code == 200
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert "X-API-Key" in nobody.json()["detail"]
    assert stranger.status_code == 403


def test_without_any_key_set_nobody_is_let_in(bus, tmp_path):
    with serving(bus, home=tmp_path) as address:
        answer = ask(address, {"strokes": SEVEN})
    assert (answer.status_code, "GAMENIGHT_API_KEYS" in answer.json()["detail"]) == (503, True)


def test_each_app_has_a_rate_of_its_own(bus):
    with serving(bus, api_keys="shop:secret-1,till:secret-2", predictions_per_minute=2) as address, answering(bus):
        first, second, third = (ask(address, {"strokes": SEVEN}) for _ in range(3))
        other = ask(address, {"strokes": SEVEN}, key="secret-2")

    assert [(r.status_code, r.headers["ratelimit-remaining"]) for r in (first, second)] == [(200, "1"), (200, "0")]
    assert third.status_code == 429
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert "2 predictions a minute" in third.json()["detail"]
    assert other.status_code == 200


def test_no_predictions_a_minute_are_none_and_no_fault(bus):
    with serving(bus, api_keys="shop:secret-1", predictions_per_minute=0) as address:
        answer = ask(address, {"strokes": SEVEN})

    assert (answer.status_code, answer.json()["title"]) == (503, "Switched off")
    assert "GAMENIGHT_PREDICTIONS_PER_MINUTE is 0" in answer.json()["detail"]


def test_a_key_is_good_from_when_it_is_given_until_it_is_revoked_without_a_restart(bus, tmp_path):
    with serving(bus, api_keys="shop:secret-1", home=tmp_path) as address, answering(bus):
        before = ask(address, {"strokes": SEVEN}, key="to come")
        key = Keyring(tmp_path).add("till")
        given = ask(address, {"strokes": SEVEN}, key=key)
        Keyring(tmp_path).revoke("till")
        revoked = ask(address, {"strokes": SEVEN}, key=key)
        fixed = ask(address, {"strokes": SEVEN})

    assert [answer.status_code for answer in (before, given, revoked, fixed)] == [403, 200, 403, 200]


def test_whoever_guesses_keys_is_soon_not_listened_to_and_an_app_at_the_same_address_is(bus, monkeypatch):
    monkeypatch.setattr("api.apps.keys.WRONG_PER_MINUTE", 2)
    with serving(bus, api_keys="shop:secret-1,till:secret-2") as address, answering(bus):
        assert ask(address, {"strokes": SEVEN}).status_code == 200
        guessed = [ask(address, {"strokes": SEVEN}, key=f"guess-{i}") for i in range(3)]
        found = ask(address, {"strokes": SEVEN}, key="secret-2")  # a right guess is not told either
        app = ask(address, {"strokes": SEVEN})

    assert [answer.status_code for answer in guessed] == [403, 403, 429]
    assert "wrong keys from this address" in guessed[2].json()["detail"]
    assert 1 <= int(guessed[2].headers["retry-after"]) <= 30
    assert (found.status_code, app.status_code) == (429, 200)


# --- pages of other origins ----------------------------------------------------------------------------------------------


def test_a_page_of_a_known_origin_may_ask_and_another_may_not(bus):
    page, stranger = {"Origin": "https://shop.example"}, {"Origin": "https://evil.example"}
    with serving(bus, api_keys="shop:secret-1", allowed_origins="https://shop.example") as address, answering(bus):
        url = f"http://{address}/api/predict"
        asked = ask(address, {"strokes": SEVEN}, headers=page)
        refused = ask(address, {}, headers=page)
        other = ask(address, {"strokes": SEVEN}, headers=stranger)
        wants = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}
        before = [httpx.options(url, headers=origin | wants, trust_env=False) for origin in (page, stranger)]

    for answer in (asked, refused, before[0]):
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "x-api-key" in before[0].headers["access-control-allow-headers"].lower()
    assert "RateLimit-Remaining" in asked.headers["access-control-expose-headers"]
    for answer in (other, before[1]):
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]
    assert (before[0].status_code, before[1].status_code) == (200, 400)


# --- pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [
        png(BAR),
        png(255 - BAR),
        png(BAR.astype(np.uint16) * 257),
        png(BAR > 0),
        png(np.stack([BAR, BAR, BAR], -1)),
        png(np.stack([255 - BAR, 255 - BAR, 255 - BAR, np.full_like(BAR, 255)], -1)),
        png(np.stack([0 * BAR, 0 * BAR, 0 * BAR, BAR], -1)),
        png(np.stack([255 - 0 * BAR, 255 - 0 * BAR, 255 - 0 * BAR, BAR], -1)),
        png(np.stack([255 - BAR, np.full_like(BAR, 255)], -1), "LA"),
    ],
    ids=["gray", "inverted", "16 bit", "1 bit", "RGB", "RGBA", "black on nothing", "white on nothing", "LA"],
)
def test_every_kind_of_png_is_read(picture):
    assert read_png(picture)[0].tolist() == BAR.tolist()


def test_a_png_with_a_palette_is_read():
    out = io.BytesIO()
    Image.fromarray(255 - BAR).convert("P").save(out, "PNG", transparency=3)
    assert read_png(out.getvalue())[0].tolist() == BAR.tolist()


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = png(np.zeros((2049, 10), np.uint8))
    with pytest.raises(BadPicture, match="10 x 2049 pixels"):
        read_png(bomb)
    with pytest.raises(BadPicture, match="make it smaller"):
        read_png(png(BAR) + b"\0" * MAX_PNG)


def test_a_broken_png_is_refused_and_nothing_else_happens():
    whole = png(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    rng = np.random.default_rng(1)
    for i in range(400):
        broken = bytearray(whole[: rng.integers(8, len(whole))] if i % 2 else whole)
        for _ in range(int(rng.integers(1, 4))):
            broken[int(rng.integers(8, len(broken)))] ^= int(rng.integers(1, 256))
        try:
            read_png(bytes(broken))
        except (BadPicture, EmptyDrawing):
            continue
