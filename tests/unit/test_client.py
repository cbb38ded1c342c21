"""The client plays through dropped sockets, says in one line what is wrong, and takes everything that comes twice once."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import numpy as np
import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from gamenight.app import _Question
from gamenight.client import (
    App,
    AsyncApp,
    AsyncPlayer,
    GameNightError,
    GameNightRefused,
    GameNightSilent,
    GameNightUnreachable,
    Player,
    async_watch,
    watch,
)
from gamenight.conversation import Conversation
from tests.fake_game import MODELS, Game, playing
from tests.http_fake import Answers, HttpFake

SEVEN = [[(20, 20), (80, 20), (45, 100)]]
NOBODY = "http://127.0.0.1:9"


async def test_a_player_draws_sees_the_guesses_and_teaches():
    game = Game()
    async with playing(game) as url, AsyncPlayer(url, "Ada") as ada:
        drawing = await ada.draw(SEVEN)
        preview = await ada.draw(np.array(SEVEN), final=False, device="pen")
        receipt = await ada.correct(drawing, 7)

    assert (drawing.saved, drawing.digit, set(drawing.guesses), drawing.missed) == (True, 3, set(MODELS), {})
    assert (drawing.lead.model, drawing.lead.probability, len(drawing.lead.probabilities)) == ("xgboost", 0.5, 10)
    assert (preview.saved, preview.digit) == (False, 3)
    assert (receipt.outcome, receipt.whole, receipt.drawing_id) == ("learned", True, drawing.drawing_id)
    assert game.finals == {str(drawing.drawing_id): 1}
    assert game.corrections == {str(receipt.correction_id): 1}


async def test_a_drawing_under_way_when_the_socket_drops_is_sent_again_with_its_id_by_the_same_player():
    game = Game(hang_up_on=frozenset({1, 3}))
    async with playing(game) as url, AsyncPlayer(url, "Ada", wait_s=4) as ada:  # sooner than what waits is sent again anyway
        drawings = await asyncio.gather(ada.draw(SEVEN), ada.draw(SEVEN))

    assert all(drawing.saved for drawing in drawings)
    assert game.finals.keys() == {str(drawing.drawing_id) for drawing in drawings}
    assert game.finals.total() >= 4
    assert set(game.seats) == {None, "seat of Ada"}
    assert game.seats[None] == 1


async def test_the_same_without_asyncio_for_scripts_and_notebooks():
    game = Game(hang_up_on=frozenset({1}))

    def script(url: str) -> tuple[int, str, str]:
        with Player(url, "Ada") as ada:
            drawing = ada.draw(SEVEN)
            return drawing.digit, ada.correct(drawing.drawing_id, 7).outcome, ada.seat

    async with playing(game) as url:
        assert await asyncio.to_thread(script, url) == (3, "learned", "seat of Ada")


def test_where_no_game_is_everything_says_how_to_start_one_in_one_line():
    asking: list[Callable[[], Any]] = [
        lambda: Player(NOBODY),
        lambda: next(watch(NOBODY)),
        lambda: App("key", NOBODY).predict(SEVEN),
    ]
    for ask in asking:
        with pytest.raises(GameNightUnreachable, match=r"no game at http://127.0.0.1:9 .*`make play`") as refused:
            ask()
        assert len(str(refused.value).splitlines()) == 1
        assert isinstance(refused.value, GameNightError)


class Refusing(Game):
    """Lets nobody in but by seat ``good``, and takes no drawing; answers nothing where it is ``silent``."""

    silent = False

    def join(self, frame: Any) -> Any:
        if frame["seat"] == "good":
            yield from super().join(frame)
        else:
            yield {"type": "error", "code": "bad_seat", "message": "this seat is not valid here"}

    def draw(self, frame: Any) -> Any:
        if not self.silent:
            named = {"drawing_id": frame["drawing_id"]}
            yield {"type": "error", "code": "busy", "message": "wait", **named}
            yield {"type": "error", "code": "invalid", "message": "strokes: too few", **named}


async def test_what_the_game_refuses_is_told_with_its_code_and_not_sent_again():
    async with playing(Refusing()) as url:
        with pytest.raises(GameNightRefused, match=r"not valid here \(bad_seat\)"):
            await AsyncPlayer(url, seat="bad").__aenter__()
        async with AsyncPlayer(url, seat="good") as ada:
            with pytest.raises(GameNightRefused, match="too few") as refused:
                await ada.draw(SEVEN)
            assert refused.value.code == "invalid"
            assert ada.talk.outbox.due(time.monotonic() + 99, 0) == []


async def test_a_game_that_says_nothing_or_goes_away_is_not_waited_for_for_ever():
    game = Refusing()
    game.silent = True
    async with playing(game) as url:
        ada = await AsyncPlayer(url, seat="good", wait_s=1.0).__aenter__()
        with pytest.raises(GameNightSilent, match=r"not answered after 1 s: see http://127.*healthz"):
            await ada.draw(SEVEN)
    with pytest.raises(GameNightUnreachable, match=r"game not reached|socket closed"):
        await ada.draw(SEVEN)
    await ada.aclose()


async def test_a_drawing_that_is_too_large_for_a_frame_is_refused_and_does_not_stand_in_the_way_of_the_next():
    """It stayed in the outbox, and each socket that was opened anew was closed on it: the player was lost for good."""
    async with playing(Game()) as url, AsyncPlayer(url, "Ada", wait_s=2) as ada:
        with pytest.raises(GameNightRefused, match=r"takes [\d,]+ bytes, and the game takes 65,536: give fewer points"):
            await ada.draw([[(x / 7, x / 3, x) for x in range(4000)]])
        drawing = await ada.draw([[(x / 7, x / 3) for x in range(3000)]])

    assert drawing.saved


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://[", "", "http://", "ftp://game", 8310])
def test_what_is_no_address_is_told_as_that(url: Any):
    for ask in (lambda: Player(url), lambda: next(watch(url)), lambda: App("key", url).predict(SEVEN)):
        with pytest.raises(GameNightUnreachable, match="no game at"):
            ask()


def test_what_comes_twice_counts_once_and_late_guesses_take_the_place_of_a_miss():
    talk = Conversation("Ada", None, None, questions=True)
    talk.receive({"type": "joined", "player_id": "p", "seat": "s", "room": "AAAA", "models": [{"model": m} for m in MODELS]})
    named, given = uuid4(), uuid4()
    talk.draw(named, SEVEN, None, final=True, asked=None)
    drawing = talk.drawings[str(named)]

    def guess(model: str, label: int, **fields: Any) -> dict[str, Any]:
        rest = {"version": "1", "confidence": 0.9, "probabilities": [0.1] * 10, "hops": {}}
        return {"type": "guess", "drawing_id": str(named), "model": model, "label": label, **rest, **fields}

    for frame in (
        {"type": "saved", "drawing_id": str(named)},
        {"type": "missed", "drawing_id": str(named), "model": "river", "why": "late"},
        guess("xgboost", 1, lead="river"),
    ):
        talk.receive(frame)
        talk.receive(frame)
    assert talk.answered(drawing)
    assert drawing.missed == {"river": "late"}

    for label in (7, 8):
        talk.receive(guess("river", label))
    assert (drawing.digit, drawing.lead.model, drawing.missed) == (7, "river", {})

    talk.correct(named, given, 7)
    receipt = {"type": "receipt", "correction_id": str(given), "drawing_id": str(named), "outcome": "weighted", "weight": 0.5}
    for _ in range(2):
        talk.receive(receipt | {"stage": "learner", "models": {"river": {"p_before": 0.1, "p_after": 0.2}}, "why": "new"})
    assert not talk.receipts[str(given)].whole
    talk.receive(receipt | {"stage": "personal", "outcome": "learned", "models": {"yours": {}}})
    done = talk.receipts[str(given)]
    assert (done.whole, done.outcome, done.weight, done.why, set(done.models)) == (
        True,
        "weighted",
        0.5,
        "new",
        {"river", "yours"},
    )
    assert talk.outbox.due(0.0, 0.0) == []

    talk.receive({"type": "model", "model": "xgboost", "event": "resting", "note": "", "unavailable": "gone", "part": "shown"})
    talk.receive({"type": "of tomorrow"})
    assert talk.expected == ["river"]


async def test_a_watcher_has_a_snapshot_and_the_changes_and_again_after_an_interruption():
    opened: Counter[str] = Counter()

    async def dashboard(socket: ServerConnection) -> None:
        opened["sockets"] += 1
        for frame in ({"type": "snapshot"}, {"type": "scores", "n": opened["sockets"]}):
            await socket.send(orjson.dumps(frame), text=True)

    async with serve(dashboard, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        frames = async_watch(url)
        seen = [await anext(frames) for _ in range(4)]
        await frames.aclose()
        blocking = watch(url)
        first = await asyncio.to_thread(next, blocking)
        await asyncio.to_thread(blocking.close)  # type: ignore[attr-defined]

    assert [frame["type"] for frame in seen] == ["snapshot", "scores"] * 2
    assert first == {"type": "snapshot"}


class Predicting(Answers):
    """Is busy once, then answers; refuses another key than ``shop``."""

    asked: ClassVar[list[tuple[str, Any]]] = []
    busy: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.body()
        Predicting.asked.append((self.path, orjson.loads(body) if body[:1] == b"{" else body))
        if self.headers["X-API-Key"] != "shop":
            return self._problem(403, "no app has this API key", None)
        if Predicting.busy:
            return self._problem(503, "ask again", Predicting.busy.pop())
        rest = {
            "version": "1",
            "probabilities": [0.1] * 10,
            "models": {},
            "left_out": None,
            "ms": 1.0,
            "drawing_id": "d",
            "new": 1,
        }
        return self.answer(orjson.dumps({"digit": 7, "confidence": 0.9, "model": "river", **rest}))

    def _problem(self, status: int, detail: str, retry: str | None) -> None:
        body = orjson.dumps({"detail": detail})
        self.send_response(status)
        if retry is not None:
            self.send_header("Retry-After", retry)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def test_an_app_asks_again_while_the_game_is_busy_and_is_told_what_is_wrong():
    game = HttpFake(Predicting)
    Predicting.asked.clear()
    try:
        Predicting.busy[:] = ["0"]
        async with AsyncApp("shop", game.url) as app:
            answer = await app.predict(SEVEN, models=["river"])
        with App("shop", game.url) as app:
            picture = await asyncio.to_thread(lambda: app.predict(png=b"PNG", models=["river", "kmeans"]))
            pixels = await asyncio.to_thread(lambda: app.predict(image=np.zeros((28, 28), int)))
            Predicting.busy[:] = ["60"]
            with pytest.raises(GameNightRefused, match=r"ask again \(503\)") as busy:
                app.predict(SEVEN)
            with pytest.raises(GameNightRefused, match="this is no key of the game"):
                App("schlüssel\n", game.url).predict(SEVEN)
            with pytest.raises(ValueError, match="one of strokes, image and png"):
                app.predict(SEVEN, png=b"PNG")
        with pytest.raises(GameNightRefused, match="no app has this API key") as refused:
            App("other", game.url).predict(SEVEN)
    finally:
        game.close()

    assert (answer.digit, answer.confidence, picture.digit, pixels.model) == (7, 0.9, 7, "river")
    assert (busy.value.retry_after_s, refused.value.code, refused.value.retry_after_s) == (60.0, "403", None)
    strokes = {"models": ["river"], "strokes": [[[20.0, 20.0], [80.0, 20.0], [45.0, 100.0]]]}
    assert Predicting.asked[:3] == [
        ("/api/predict", strokes), ("/api/predict", strokes), ("/api/predict?models=river%2Ckmeans", b"PNG")
    ]  # fmt: skip
    assert Predicting.asked[3][1] == {"image": [[0] * 28] * 28}


def test_what_is_no_game_or_says_the_wait_in_another_way_is_no_fault_of_the_program():
    question = _Question(SEVEN, None, None, None, "key", 10.0)
    request = httpx.Request("POST", "http://127.0.0.1/api/predict")

    for retry, wait_s in (("-5", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)):
        assert question.read(httpx.Response(503, headers={"Retry-After": retry}, request=request)) == wait_s
    for body in (b"<html>", b"{}", b"[1]"):
        with pytest.raises(GameNightRefused, match=r"what answers at http://127.0.0.1/api/predict is no game"):
            question.read(httpx.Response(200, content=body, request=request))
    nan = _Question([[(float("nan"), 1)]], None, None, None, "key", 10.0).request["content"]
    assert orjson.loads(nan) == {"strokes": [[[None, 1.0]]]}, "the game says what is wrong with it"


def test_an_id_of_ones_own_makes_a_drawing_that_is_sent_twice_one():
    talk = Conversation("Ada", "KQZF", "seat", questions=False)
    named = UUID(int=1)

    frames = [talk.draw(named, [[(300, 10, 5)]], None, final=True, asked=7) for _ in range(2)]

    assert frames[0] == frames[1]
    assert (frames[0]["width"], frames[0]["strokes"]) == (300.0, [[[300.0, 10.0, 5.0]]])
    assert talk.outbox.due(0.0, 0.0) == [frames[0]]
    talk.receive({"type": "error", "code": "busy", "message": "wait", "drawing_id": str(named)})
    assert talk.refusals == {}, "it passes"
    assert talk.outbox.due(9.0, 6.0) == [frames[0]]
    assert talk.join() == {"type": "join", "name": "Ada", "room": "KQZF", "questions": False, "seat": "seat"}
