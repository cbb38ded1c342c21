"""From the bus to sockets, on the bus in memory: each player's own, once, and nothing of anybody else's."""

import asyncio
import re
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from api.folds.audit_log import AuditLog
from api.folds.command_status import CommandStatus
from api.folds.drift_board import DriftBoard
from api.folds.endpoint_latency import EndpointLatency
from api.folds.honest import HonestAccuracy
from api.folds.model_board import ModelBoard
from api.folds.process_board import ProcessBoard
from api.folds.recent_drawings import RecentDrawings
from api.health import Health
from api.metrics import Metrics
from api.play.feed import PlayerFeed
from api.play.forgetting import Forgetting
from api.play.frames import Guess, frame_of
from api.play.session import Session
from api.probes import Probes
from api.relay import _PACES, LIVE, SCORES, STATE, Relay
from contracts.events import (
    EVENTS,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingSubmitted,
    Event,
    GuessMade,
    GuessMissed,
    MessageRejected,
    ModelPromoted,
    Outcome,
    PolicySet,
    ScoresCounted,
    SignaturesBegan,
    decode,
    now,
)
from contracts.ports import Bus, Partition, Record
from producers.bus import BusError, open_bus
from producers.pace import Pace
from tests.histories import guess, named
from tests.serving import DEADLINE_S, closing, eventually, get, opened, playing, serving

_REJECTED = re.compile(r"^gamenight_records_rejected_total\{topic=.*\} [1-9]", re.MULTILINE)


@pytest.fixture
def bus() -> Bus:
    return open_bus(f"memory://{uuid4()}")


def receipt(
    player_id: str, correction: str = "c1", drawing: str = "d1", outcome: Outcome = Outcome.LEARNED
) -> CorrectionReceipt:
    return CorrectionReceipt(
        correction_id=named(correction), drawing_id=named(drawing), player_id=player_id, outcome=outcome, models={}
    )


def test_a_guess_goes_to_its_own_player_only(bus):
    with serving(bus) as address, playing(address) as ada, playing(address) as bob:
        ada.draw("of ada")
        assert ada.next("saved")["drawing_id"] == str(named("of ada"))

        bus.publish(guess("of ada", 7, player=ada.player_id))
        bus.publish(receipt(ada.player_id, drawing="of ada"))

        heard = ada.next("guess")
        assert (heard["drawing_id"], heard["model"], heard["label"]) == (str(named("of ada")), "river", 7)
        assert ada.next("receipt")["outcome"] == "learned"
        bob.fence()


def test_a_guess_says_its_hops_up_to_this_socket(bus):
    with serving(bus) as address, playing(address) as ada:
        ada.draw("d1")
        ada.next("saved")

        bus.publish(guess("d1", 7, player=ada.player_id).model_copy(update={"at": now()}))

        hops = ada.next("guess")["hops"]
        assert list(hops) == ["bus_in", "read", "wait", "model", "bus_out", "total"]
        assert 0 <= hops["bus_out"] <= hops["total"] < DEADLINE_S * 1000


def test_what_comes_twice_from_the_bus_is_told_once(bus):
    with serving(bus) as address, playing(address) as ada:
        for _ in range(3):
            bus.publish(guess("d1", 7, player=ada.player_id))
            bus.publish(receipt(ada.player_id))
        bus.publish(guess("d1", 3, model="xgboost", player=ada.player_id))
        bus.publish(receipt(ada.player_id, outcome=Outcome.SUPERSEDED))

        told = [ada.hear() for _ in range(5)]

        assert sorted(frame["type"] for frame in told) == ["guess", "guess", "receipt", "receipt", "room"]
        ada.fence()


def test_a_correction_has_a_receipt_of_each_who_learned_and_all_of_them_again_when_it_is_repeated(bus):
    with serving(bus) as address, playing(address) as ada:
        ada.draw("d1")
        ada.next("saved")
        correction = {"type": "correct", "drawing_id": str(named("d1")), "correction_id": str(named("c1")), "label": 1}
        ada.say(correction)
        eventually(lambda: on(bus, "corrections.v1"))
        for stage in ("learner", "personal", "learner", "personal"):
            bus.publish(receipt(ada.player_id).model_copy(update={"stage": stage}))

        assert [ada.next("receipt")["stage"] for _ in range(2)] == ["learner", "personal"]
        ada.fence()
        ada.say(correction)
        assert [ada.next("receipt")["stage"] for _ in range(2)] == ["learner", "personal"]


def test_a_model_that_gives_no_answer_is_told_and_one_that_comes_after_all_counts(bus):
    def missed(resting: bool, model: str = "xgboost", final: bool = True) -> GuessMissed:
        return GuessMissed(
            drawing_id=named("d1"), player_id=ada.player_id, model=model, final=final, resting=resting, why="too slow"
        )

    with serving(bus) as address, playing(address) as ada:
        ada.draw("d1")
        ada.next("saved")
        bus.publish(missed(False))
        bus.publish(missed(False))
        bus.publish(missed(False, "mxnet", final=False))

        told = ada.next("missed")
        assert (told["drawing_id"], told["model"], told["resting"], told["why"]) == (
            str(named("d1")), "xgboost", False, "too slow"
        )  # fmt: skip
        ada.fence()
        ada.draw("d1")
        assert [ada.hear()["type"], ada.hear()["type"]] == ["saved", "missed"]
        bus.publish(guess("d1", 7, model="xgboost", player=ada.player_id))
        assert ada.next("guess")["model"] == "xgboost"
        ada.draw("d1")
        assert [ada.hear()["type"], ada.hear()["type"]] == ["saved", "guess"]
        ada.fence()


def test_what_is_tried_in_the_shadow_never_comes_to_players(bus):
    with serving(bus) as address, playing(address) as ada:
        bus.publish(PolicySet(lead="everyone", parts={"kmeans": "shadow"}))
        assert ada.next("model")["part"] == "shadow"
        ada.draw("d1")
        ada.next("saved")
        for fields in ({"model": "xgboost", "role": "shadow"}, {"model": "kmeans"}):
            bus.publish(guess("d1", 3, player=ada.player_id, **fields))
        bus.publish(guess("d1", 7, model="xgboost", player=ada.player_id, role="canary", lead="xgboost"))

        told = ada.next("guess")
        assert (told["model"], told["label"], told["role"], told["lead"]) == ("xgboost", 7, "canary", "xgboost")
        ada.fence()


def test_everyone_says_who_is_left_out(bus):
    with serving(bus) as address, playing(address) as ada:
        bus.publish(guess("d1", 7, model="everyone", player=ada.player_id, left_out={"mxnet": "late"}))
        told = ada.next("guess")

        assert told["left_out"] == {"mxnet": "late"}
        assert not {"fallback", "lead"} & set(told)
        assert set(told) <= set(Guess.model_fields)
        Guess.model_validate(told)


def test_players_hear_that_a_model_rests_and_that_it_is_back(bus):
    rests = {"drawing_id": named("d1"), "model": "river", "final": True, "resting": True, "why": "refused"}
    with serving(bus) as address, playing(address) as ada:
        bus.publish(GuessMissed(player_id="somebody", **rests))
        resting = ada.next("model")
        assert (resting["model"], resting["event"], resting["resting"]) == ("river", "resting", "refused")
        with playing(address) as bob:
            assert {m["model"]: m["resting"] for m in bob.models if m["resting"]} == {"river": "refused"}
        later = guess("d2", player="somebody").model_copy(update={"at": now() + timedelta(seconds=2)})
        bus.publish(later)
        assert (back := ada.next("model"))["event"] == "back"
        assert back["resting"] is None


def test_every_socket_of_a_player_is_told(bus):
    with serving(bus) as address, playing(address) as one, playing(address, one.seat) as two:
        assert one.player_id == two.player_id

        one.draw("d1")
        one.next("saved")
        assert two.next("saved")["drawing_id"] == str(named("d1"))
        bus.publish(guess("d1", 7, player=one.player_id))

        assert one.next("guess") == two.next("guess")


def test_a_record_that_cannot_be_read_stops_nothing(bus):
    class Broken(DrawingSubmitted):
        topic = "guesses.v1"

        def record_value(self) -> bytes:
            return b'{"type":"GuessMade","label":77}'

    class Nonsense(DrawingSubmitted):
        topic = "receipts.v1"

        def record_value(self) -> bytes:
            return b"\xff\xfe"

    nonsense = Nonsense(drawing_id=uuid4(), player_id="ada", strokes=[[[1, 1]]], width=9, height=9, final=True)
    bus.publish(nonsense).result()
    with serving(bus) as address, playing(address) as ada:
        bus.publish(Broken(**(nonsense.model_dump() | {"player_id": ada.player_id}))).result()

        bus.publish(guess("d1", 7, player=ada.player_id))

        ada.next("guess")
        eventually(lambda: len(_REJECTED.findall(get(address, "/metrics").text)) == 2)


def test_a_subscriber_that_fails_keeps_the_event_from_nobody_and_the_record_is_rejected_once(bus, monkeypatch):
    def fail(*_: object) -> None:
        raise KeyError("a fold that is broken")

    monkeypatch.setattr(Probes, "apply", fail)
    monkeypatch.setattr(EndpointLatency, "apply", fail)
    with serving(bus) as address, playing(address) as ada:
        bus.publish(guess("d1", 7, player=ada.player_id))

        assert ada.next("guess")["label"] == 7
        eventually(lambda: rejections(bus))
        bus.publish(guess("d2", 7, player=ada.player_id))
        assert ada.next("guess")["label"] == 7
        eventually(lambda: len(rejections(bus)) == 2)

    assert [(one.source, one.source_offset, one.stage) for one in rejections(bus)] == [
        ("guesses.v1", 0, "api"),
        ("guesses.v1", 1, "api"),
    ]
    assert "a fold that is broken" in rejections(bus)[0].error


def test_a_drawing_that_another_process_had_is_known_from_the_guess_on_it(bus):
    with serving(bus) as address, playing(address) as ada:
        bus.publish(guess("d1", 7, player=ada.player_id))
        ada.next("guess")

        ada.draw("d1")

        assert ada.next("saved")["drawing_id"] == str(named("d1"))
        assert ada.next("guess")["label"] == 7
        eventually(lambda: len(on(bus, "drawings.v1")) == 1)  # to be told what the others said


def test_a_promotion_is_told_to_every_player_and_one_of_the_past_is_not(bus):
    def promoted(version: str) -> ModelPromoted:
        return ModelPromoted(model="xgboost", version=version, title="XGBoost", endpoint="e", variant="v")

    bus.publish(promoted("1")).result()
    with serving(bus) as address, playing(address) as ada:
        bus.publish(promoted("2"))

        told = ada.next("model")

        assert (told["model"], told["version"], told["event"]) == ("xgboost", "2", "promoted")
        eventually(lambda: {m["model"]: m["version"] for m in get(address, "/api/models").json()}["xgboost"] == "2")


def test_after_a_restart_drawings_receipts_and_seats_of_before_are_known(bus):
    with serving(bus) as address, playing(address) as ada:
        ada.draw("d1")
        ada.next("saved")
    bus.publish(guess("d1", 7, player=ada.player_id)).result()
    bus.publish(receipt(ada.player_id)).result()

    with serving(bus) as address, playing(address, ada.seat) as again:
        assert again.player_id == ada.player_id
        again.draw("d1")
        assert again.next("saved")["drawing_id"] == str(named("d1"))
        assert again.next("guess")["label"] == 7
        correction = {"type": "correct", "drawing_id": str(named("d1")), "label": 1}
        again.say(correction | {"correction_id": str(named("c1"))})
        assert again.next("receipt")["correction_id"] == str(named("c1"))
        again.say(correction | {"correction_id": str(named("c2"))})
        eventually(lambda: [event.correction_id for event in on(bus, "corrections.v1")] == [named("c2")])
    assert [event.drawing_id for event in on(bus, "drawings.v1")] == [named("d1")] * 2, "the second to be told what others said"


def test_a_start_reads_the_newest_of_what_was_played_and_no_more(bus, monkeypatch):
    monkeypatch.setattr("api.relay.NEWEST", 3)
    for n in range(50):
        bus.publish(guess(f"d{n}", 7, player="ada", table="t1"))
        bus.publish(receipt("ada", correction=f"c{n}", drawing=f"d{n}"))
    with serving(bus) as address, playing(address) as ada:
        heard = get(address, "/api/routing").json()["tables"]

        assert [table["guesses"] for table in heard] == [3]
        ada.draw("new")
        assert ada.next("saved")["drawing_id"] == str(named("new"))


def test_after_an_error_a_topic_is_read_on_where_it_was_left_whatever_the_records_times(bus, monkeypatch):
    follow, opened_at, broken = bus.follow, [], threading.Event()

    def breaking(topics, since):
        tail = follow(topics, since)
        if "guesses.v1" in topics:
            opened_at.append(since)
            poll = tail.poll
            tail.poll = lambda timeout_s: (broken.is_set() and len(opened_at) == 1 and _fail()) or poll(timeout_s)
        return tail

    monkeypatch.setattr(bus, "follow", breaking)
    with serving(bus) as address, playing(address) as ada:
        bus.publish(guess("d1", 7, player=ada.player_id))
        assert ada.next("guess")["drawing_id"] == str(named("d1"))
        broken.set()
        eventually(lambda: len(opened_at) == 2)
        bus.publish(guess("d2", 7, player=ada.player_id))

        assert ada.next("guess")["drawing_id"] == str(named("d2"))
        ada.fence()
    places = [place for place, offset in opened_at[1].items() if place[0] == "guesses.v1" and offset > 0]
    assert len(places) == 1


def _fail():
    raise RuntimeError("the broker went away")


@pytest.mark.parametrize("fails", ["poll", "positions"])
def test_whatever_ends_a_reading_is_named_by_health_and_it_is_read_on_where_it_was_left(bus, monkeypatch, fails):
    follow, broken = bus.follow, threading.Event()

    def breaking(topics, since):
        tail = follow(topics, since)
        if "guesses.v1" in topics:
            works = getattr(tail, fails)

            def fail(*given):
                if broken.is_set():
                    raise KeyError("a fault of the client library")
                return works(*given)

            setattr(tail, fails, fail)
        return tail

    monkeypatch.setattr(bus, "follow", breaking)
    with serving(bus) as address, playing(address) as ada:
        broken.set()
        bus.publish(guess("d1", 7, player=ada.player_id))

        eventually(lambda: "a fault of the client library" in get(address, "/healthz").json()["missing"].get("kafka", ""))
        broken.clear()
        assert ada.next("guess")["drawing_id"] == str(named("d1"))
        bus.publish(guess("d2", 7, player=ada.player_id))
        assert ada.next("guess")["drawing_id"] == str(named("d2"))
        eventually(lambda: "kafka" not in get(address, "/healthz").json()["missing"])


def test_a_tick_that_fails_is_followed_by_the_next(bus, monkeypatch):
    changes, failing = ModelBoard.changes, threading.Event()

    def failing_sometimes(board):
        if failing.is_set():
            failing.clear()
            raise KeyError("a fault of the board")
        return changes(board)

    monkeypatch.setattr(ModelBoard, "changes", failing_sometimes)
    with serving(bus) as address, opened(address, "/ws/watch") as watcher:
        assert orjson.loads(watcher.recv(DEADLINE_S))["type"] == "snapshot"
        failing.set()
        eventually(lambda: not failing.is_set())
        with playing(address):
            frame = {}
            while frame.get("online") != 1:
                frame = orjson.loads(watcher.recv(DEADLINE_S))


def test_a_session_that_fails_as_time_passes_is_closed_and_the_others_go_on(bus, monkeypatch):
    ticked, failing = Session.tick, set[str]()
    ticks: dict[str | None, int] = {}

    def tick(session, now):
        ticks[session.player_id] = ticks.get(session.player_id, 0) + 1
        if session.player_id in failing:
            raise KeyError("a fault of the session")
        return ticked(session, now)

    monkeypatch.setattr(Session, "tick", tick)
    with serving(bus) as address, playing(address) as bob, playing(address) as ada:
        failing.add(bob.player_id)

        assert closing(bob.socket) == (1011, "a fault of the server")
        before = ticks.get(ada.player_id, 0)
        eventually(lambda: ticks[ada.player_id] > before + 1)
        ada.fence()


def test_a_correction_of_a_drawing_that_this_process_never_saw_is_put_on_the_log_and_its_refusal_is_told(bus):
    with serving(bus) as address, playing(address) as ada:
        ada.say({"type": "correct", "drawing_id": str(named("of last week")), "correction_id": str(named("c1")), "label": 1})
        eventually(lambda: [event.drawing_id for event in on(bus, "corrections.v1")] == [named("of last week")])

        bus.publish(receipt(ada.player_id, drawing="of last week", outcome=Outcome.REFUSED).model_copy(update={"why": "gone"}))

        told = ada.next("receipt")
        assert (told["outcome"], told["why"], told["correction_id"]) == ("refused", "gone", str(named("c1")))


def test_a_watcher_gets_a_snapshot_and_then_what_changes(bus):
    def counted(n: int) -> ScoresCounted:
        return ScoresCounted(
            model="river",
            version="mnist1",
            window=None,
            source=0,
            n=n,
            correct=n,
            confusion=[n] + [0] * 99,
            latency=[n] + [0] * 11,
        )

    bus.publish(counted(4)).result()
    with serving(bus) as address, opened(address, "/ws/watch") as watcher:
        first = orjson.loads(watcher.recv(DEADLINE_S))
        assert (first["type"], first["scores"]["river"]["n"], first["online"]) == ("snapshot", 4, 0)
        bus.publish(counted(5))
        frame = {}
        while frame.get("type") != "scores":
            frame = orjson.loads(watcher.recv(DEADLINE_S))
        assert frame["scores"]["river"]["n"] == 5
        with playing(address) as ada:
            ada.draw("d1")
            while (frame.get("online"), frame.get("drawings")) != (1, 1):
                frame = orjson.loads(watcher.recv(DEADLINE_S))


def test_a_watcher_who_speaks_is_told_to_listen(bus):
    with serving(bus) as address, opened(address, "/ws/watch") as watcher:
        orjson.loads(watcher.recv(DEADLINE_S))
        watcher.send("hello")
        frame = orjson.loads(watcher.recv(DEADLINE_S))
        while frame["type"] != "error":
            frame = orjson.loads(watcher.recv(DEADLINE_S))
        assert frame["code"] == "read_only"


def test_every_event_of_a_topic_that_is_read_has_a_subscriber():
    folds = (ModelBoard, CommandStatus, AuditLog, RecentDrawings, Health, HonestAccuracy, DriftBoard, ProcessBoard, Forgetting)
    taken = tuple(kind for fold in folds for kind in fold.takes)
    taken += (*PlayerFeed.beside, SignaturesBegan)  # the last by what proves records, inside the relay
    unheard = [event.__name__ for event in EVENTS if event.topic in (*LIVE, *STATE, *SCORES) and not issubclass(event, taken)]
    assert unheard == []


# --- the fold that sees twice --------------------------------------------------------------------------------------------


async def test_the_fold_takes_what_the_relay_gives_it(bus):
    recent, relay = RecentDrawings(frame_of), Relay(bus, Metrics())
    relay.subscribe(recent)
    relay.start()
    bus.publish(guess("d1", 7))
    try:
        async with asyncio.timeout(DEADLINE_S):
            while (drawing := recent.drawing(named("d1"))) is None:
                await asyncio.sleep(0.01)
    finally:
        await relay.stop()

    assert drawing.kept
    assert rejections(bus) == []


def test_a_guess_on_a_preview_is_told_every_time_until_the_finished_drawing_is_there():
    recent = RecentDrawings(frame_of)
    preview = guess("d1", 7, final=False)

    assert recent.apply(preview) is not None
    assert recent.apply(preview) is not None
    recent.add_drawing(named("d1"), "ada")
    assert recent.apply(preview) is None
    assert recent.apply(guess("d1", 7)) is not None


def test_a_guess_on_another_players_drawing_is_nobodys():
    recent = RecentDrawings(frame_of)
    recent.add_drawing(named("d1"), "ada")
    assert recent.apply(guess("d1", 7, player="eve")) is None


def test_the_oldest_are_forgotten_first():
    recent = RecentDrawings(frame_of, max_drawings=3, max_corrections=2)
    ids = [UUID(int=i) for i in range(5)]
    for each in ids:
        recent.add_drawing(each, "ada")
        recent.add_correction(each, "ada")

    assert [recent.drawing(each) is not None for each in ids] == [False, False, True, True, True]
    assert [recent.correction(each) is not None for each in ids] == [False, False, False, True, True]


def test_of_older_drawings_it_is_known_who_answered_and_no_frames_are_kept():
    recent = RecentDrawings(frame_of, max_told=2)
    for name in ("d1", "d2", "d3"):
        assert recent.apply(guess(name, 7)) is not None

    kept = [recent.drawing(named(name)) for name in ("d1", "d2", "d3")]

    assert [len(drawing.frames()) for drawing in kept if drawing] == [0, 1, 1]
    assert recent.apply(guess("d1", 7)) is None


def test_the_total_is_told_only_by_the_process_that_had_the_frame():
    recent = RecentDrawings(frame_of)
    recent.add_drawing(named("d1"), "ada", received_at=10.0)

    def hops(made: GuessMade) -> dict[str, float]:
        text = recent.apply(made, recent.timed(made, made.at + timedelta(milliseconds=1.25), 10.025))
        assert text is not None
        told: dict[str, float] = orjson.loads(text)["hops"]
        return told

    mine, other = guess("d1", 7), guess("d2", 7)
    invented = guess("d3", 7).model_copy(update={"hops": {"total": 1.0}})

    assert hops(mine) == {**mine.hops, "bus_out": 1.25, "total": 25.0}
    assert hops(other) == {**other.hops, "bus_out": 1.25}
    assert hops(invented) == {"bus_out": 1.25}


def rejections(bus: Bus) -> list[MessageRejected]:
    """All that was told on rejected.v1."""
    tail = bus.follow(["rejected.v1"], "start")
    told = [decode(record.topic, record.value) for record in tail.poll(0)]
    tail.close()
    return [one for one in told if isinstance(one, MessageRejected)]


def on(bus: Bus, topic: str) -> list[Any]:
    """All events of a topic."""
    tail = bus.follow([topic], now() - timedelta(days=1))
    events: list[Event] = [decode(record.topic, record.value) for record in tail.poll(0)]
    tail.close()
    assert all(isinstance(event, DrawingSubmitted | CorrectionGiven) for event in events)
    return events


@pytest.mark.parametrize("topics", [LIVE, STATE, SCORES], ids=["live", "state", "scores"])
async def test_a_reader_gathers_by_the_pace_of_what_came_and_goes_on_where_it_was_after_a_failure(bus, monkeypatch, topics):
    class Answers(Pace):
        def wait_s(self, n: int, now: float) -> float:
            return 0.001 * n

    class Listener:
        def caught_up(self) -> bool:
            return True

        async def poll(self, timeout_s: float) -> list[Record]:
            if not come:
                reader.cancel()
                await asyncio.Event().wait()
            if (records := come.pop(0)) is None:
                raise BusError("the broker is away")
            return records

        def positions(self) -> dict[Partition, int]:
            return {("guesses.v1", 0): 9 - len(come)}

        async def close(self) -> None:
            closed.append(True)

    async def listen(topics, since):
        asked.append(since)
        return Listener()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    waits, asked, closed = [], [], []
    record = bus.publish(guess("d1", 7)).result()
    come = [[record], [], None, [record] * 3]
    monkeypatch.setattr(bus, "listen", listen)
    monkeypatch.setattr("api.relay._PACES", {topics: lambda: Answers(rush=1, rush_s=1)})
    relay = Relay(bus, Metrics())
    reader = asyncio.create_task(relay._read(topics, {("guesses.v1", 0): -500}))
    monkeypatch.setattr("api.relay.asyncio.sleep", sleep)

    with pytest.raises(asyncio.CancelledError):
        await reader

    assert waits[:3] == [0.001, 0.5, 0.003]
    assert asked == [{("guesses.v1", 0): -500}, {("guesses.v1", 0): 6}]
    assert len(closed) == 2
    assert relay.trouble == ""


async def test_readers_wait_while_too_much_is_still_to_be_rejected_and_the_loop_goes_on(bus, monkeypatch):
    class Listener:
        def caught_up(self) -> bool:
            return True

        async def poll(self, timeout_s: float) -> list[Record]:
            polled.append(len(polled))
            await asyncio.sleep(0)
            return [Record("guesses.v1", 0, len(polled), b"ada", b"no event", 1)]

        def positions(self) -> dict[Partition, int]:
            return {}

        async def close(self) -> None:
            """Nothing is open."""

    async def listen(topics, since):
        return Listener()

    async def has(count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(polled) < count:
                await asyncio.sleep(0.001)

    polled, broker = [], threading.Event()
    monkeypatch.setattr(bus, "listen", listen)
    monkeypatch.setattr("api.relay._MOST_TOLD", 2)
    monkeypatch.setattr("api.relay._PACES", {LIVE: lambda: Pace(rush=1e9, rush_s=0)})
    relay = Relay(bus, Metrics())
    monkeypatch.setattr(relay._rejections, "tell", lambda rejected: broker.wait(DEADLINE_S))
    reader = asyncio.create_task(relay._read(LIVE, {}))
    try:
        await has(3)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(polled) == 3
        broker.set()
        await has(10)
    finally:
        broker.set()
        reader.cancel()


def test_one_who_plays_alone_is_never_waited_for():
    assert {pace().wait_s(1, 0.0) for pace in _PACES.values()} == {0.0}
