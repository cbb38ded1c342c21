"""What a bus promises, run by every bus there is: a fake that skips a scenario is no fake."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import ClassVar
from uuid import uuid4

import pytest

from contracts.events import TOPICS, CorrectionGiven, CorrectionProbed, DrawingSubmitted, Event, PolicySet, decode
from contracts.ports import LoopBus, Record, Tail
from contracts.records import key_of
from producers import kafka_bus
from producers.bus import BusError, open_bus
from producers.placement import MAX_VALUE, BusClosed, BusFull, EventTooLarge, UnknownTopic, partition_of
from tests.histories import example, lesson

Opener = Callable[[], LoopBus]
DEADLINE_S = 20.0


@contextmanager
def attached(bus: LoopBus) -> Iterator[None]:
    """Attach a bus to an event loop in a thread of its own."""
    loop, done = asyncio.new_event_loop(), threading.Event()
    ready, end = threading.Event(), asyncio.Event()

    async def hold() -> None:
        async with bus.attached():
            ready.set()
            await end.wait()
        done.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(hold(),))
    thread.start()
    ready.wait(DEADLINE_S)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(DEADLINE_S)
        loop.close()
        assert done.is_set()


@pytest.fixture(params=["memory", "kafka", "kafka on a loop"])
def opener(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens buses on one log; they are closed afterwards."""
    url = f"memory://{uuid4()}" if request.param == "memory" else f"kafka://{request.getfixturevalue('kafka')}"
    with ExitStack() as opened:

        def open_another() -> LoopBus:
            bus = open_bus(url)
            opened.callback(bus.close)
            if request.param == "kafka on a loop":
                opened.enter_context(attached(bus))
            return bus

        yield open_another


@pytest.fixture
def bus(opener: Opener) -> LoopBus:
    return opener()


@pytest.fixture
def player() -> str:
    """A player of this test alone: other tests share the log."""
    return str(uuid4())


def drawing(player: str, x: float = 1) -> DrawingSubmitted:
    return DrawingSubmitted(drawing_id=uuid4(), player_id=player, strokes=[[[x, 1]]], width=9, height=9, final=True)


def correction(player: str) -> CorrectionGiven:
    return CorrectionGiven(correction_id=uuid4(), drawing_id=uuid4(), player_id=player, label=3)


def polled(tail: Tail, player: str, n: int) -> list[Record]:
    """The first ``n`` records of a player, or fewer at the deadline."""
    deadline, found = time.monotonic() + DEADLINE_S, []
    while len(found) < n and time.monotonic() < deadline:
        found += [record for record in tail.poll(0.2) if key_of(record.key) == player.encode()]
    return found


def events(records: list[Record]) -> list[Event]:
    return [decode(record.topic, record.value) for record in records]


def test_who_follows_sees_what_is_published_afterwards(bus, player):
    tail = bus.follow(["drawings.v1"], "end")
    sent = drawing(player)

    bus.publish(sent)

    assert events(polled(tail, player, 1)) == [sent]
    tail.close()


def test_what_is_published_right_after_following_from_the_end_is_seen_without_a_poll_in_between(bus, player):
    for _ in range(5):
        tail = bus.follow(["drawings.v1"], "end")
        sent = drawing(player)
        bus.publish(sent).result(DEADLINE_S)
        assert events(polled(tail, player, 1)) == [sent]
        tail.close()


def test_from_the_end_nothing_earlier_is_seen(bus, player):
    bus.publish(drawing(player)).result(DEADLINE_S)
    tail = bus.follow(["drawings.v1"], "end")
    assert tail.caught_up()
    later = drawing(player)

    bus.publish(later)

    assert events(polled(tail, player, 1)) == [later]
    tail.close()


def test_from_the_start_everything_is_seen_in_the_order_of_the_partition(bus, player):
    sent = [drawing(player, x) for x in range(50)]
    for each in sent:
        bus.publish(each)
    bus.flush(DEADLINE_S)

    tail = bus.follow(["drawings.v1"], "start")

    assert events(polled(tail, player, 50)) == sent
    tail.close()


def test_from_a_time_what_is_older_is_not_seen(bus, player):
    bus.publish(drawing(player)).result(DEADLINE_S)
    old = bus.publish(drawing(player)).result(DEADLINE_S)
    since = datetime.fromtimestamp((old.timestamp_ms + 1) / 1000, UTC)
    while datetime.now(UTC) <= since:
        time.sleep(0.001)
    newer = drawing(player)
    bus.publish(newer).result(DEADLINE_S)

    tail = bus.follow(["drawings.v1"], since)

    assert events(polled(tail, player, 1)) == [newer]
    tail.close()


def test_from_a_time_to_come_only_what_is_published_later_is_seen(bus, player):
    bus.publish(drawing(player)).result(DEADLINE_S)
    tail = bus.follow(["drawings.v1"], datetime(2100, 1, 1, tzinfo=UTC))
    assert tail.caught_up()
    later = drawing(player)

    bus.publish(later)

    assert events(polled(tail, player, 1)) == [later]
    tail.close()


def test_from_kept_offsets_a_reader_goes_on_where_it_was(bus, player):
    first = bus.publish(drawing(player)).result(DEADLINE_S)
    missed = drawing(player)
    bus.publish(missed).result(DEADLINE_S)

    tail = bus.follow(["drawings.v1"], {("drawings.v1", first.partition): first.offset + 1})

    assert events(polled(tail, player, 1)) == [missed]
    tail.close()


def test_who_is_opened_where_another_stopped_misses_nothing_and_reads_nothing_twice(bus, player):
    tail = bus.follow(["drawings.v1", "corrections.v1"], "end")
    bus.publish(drawing(player)).result(DEADLINE_S)
    polled(tail, player, 1)
    places = tail.positions()
    tail.close()
    later = [drawing(player), correction(player)]
    for each in later:
        bus.publish(each).result(DEADLINE_S)

    tail = bus.follow(["drawings.v1", "corrections.v1"], places)

    assert {event.type: event for event in events(polled(tail, player, 2))} == {event.type: event for event in later}
    assert len(places) == 8
    tail.close()


def test_a_place_below_zero_counts_from_the_end(bus, player):
    sent = [drawing(player, x) for x in range(3)]
    [where] = {bus.publish(each).result(DEADLINE_S).partition for each in sent}
    others = {("drawings.v1", part): -1 for part in range(4)}

    tail = bus.follow(["drawings.v1"], others | {("drawings.v1", where): -2})

    assert events(polled(tail, player, 2)) == sent[1:]
    tail.close()


def test_a_place_beyond_the_end_is_of_another_log_which_is_read_from_its_start(bus, player):
    sent = drawing(player)
    kept = bus.publish(sent).result(DEADLINE_S)

    tail = bus.follow(["drawings.v1"], {("drawings.v1", part): kept.offset + 1_000_000 for part in range(4)})

    assert events(polled(tail, player, 1)) == [sent]
    tail.close()


def test_a_reader_has_caught_up_when_it_has_polled_what_was_there(bus, player):
    for _ in range(3):
        bus.publish(drawing(player)).result(DEADLINE_S)
    tail = bus.follow(["drawings.v1"], "start")
    assert not tail.caught_up()
    found: list[Record] = []

    deadline = time.monotonic() + DEADLINE_S
    while not tail.caught_up() and time.monotonic() < deadline:
        found += tail.poll(0.2)

    assert tail.caught_up()
    assert len([record for record in found if key_of(record.key) == player.encode()]) == 3
    tail.close()


def test_two_readers_see_the_same(bus, player):
    tails = [bus.follow(["drawings.v1"], "end") for _ in range(2)]
    sent = [drawing(player) for _ in range(3)]

    for each in sent:
        bus.publish(each)

    assert [events(polled(tail, player, 3)) for tail in tails] == [sent, sent]
    for tail in tails:
        tail.close()


def test_several_topics_are_followed_by_one_reader(bus, player):
    tail = bus.follow(["drawings.v1", "corrections.v1"], "end")

    bus.publish(drawing(player))
    bus.publish(correction(player))

    assert {record.topic for record in polled(tail, player, 2)} == {"drawings.v1", "corrections.v1"}
    tail.close()


def test_the_acknowledgement_says_where_the_event_lies(bus, player):
    tail = bus.follow(["drawings.v1"], "end")

    kept = [bus.publish(drawing(player)).result(DEADLINE_S) for _ in range(2)]

    found = polled(tail, player, 2)
    assert [(r.topic, r.partition, r.offset, r.timestamp_ms) for r in kept] == [
        (r.topic, r.partition, r.offset, r.timestamp_ms) for r in found
    ]
    assert kept[1].offset > kept[0].offset
    tail.close()


def test_all_events_of_a_player_meet_on_the_partition_of_their_hash(bus, player):
    kept = [bus.publish(event).result(DEADLINE_S) for event in (drawing(player), drawing(player), correction(player))]

    assert {record.partition for record in kept} == {partition_of(player.encode(), 4)}


def test_no_two_records_of_a_player_have_one_key_and_a_compacted_topic_keeps_its_own(bus, player):
    twice, entry = drawing(player), PolicySet(lead="everyone")

    first, again, other = (bus.publish(event).result(DEADLINE_S).key for event in (twice, twice, drawing(player)))

    assert len({first, again, other}) == 3
    assert {key_of(key) for key in (first, again, other)} == {player.encode()}
    assert bus.publish(entry).result(DEADLINE_S).key == b"policy"


@pytest.mark.parametrize("player", ["ada", "bob", "eve", "7f1c"])
def test_examples_lessons_and_probes_of_a_player_are_on_one_partition(bus, player):
    said = [example(player_id=player), lesson(player_id=player), CorrectionProbed(probe_id=uuid4(), player_id=player)]

    assert len({bus.publish(event).result(DEADLINE_S).partition for event in said}) == 1


def test_what_was_published_is_there_when_the_bus_is_opened_again(opener, player):
    first = opener()
    sent = drawing(player)
    first.publish(sent)
    first.close()

    tail = opener().follow(["drawings.v1"], "start")

    assert events(polled(tail, player, 1)) == [sent]
    tail.close()


def test_publishing_never_raises_but_its_future_does(bus, player):
    class Stray(Event):
        topic: ClassVar[str] = "stray.v1"
        key: ClassVar[str] = "type"
        type: str = "Stray"

    huge = drawing(player).model_copy(update={"room": "x" * MAX_VALUE})

    assert isinstance(bus.publish(Stray()).exception(DEADLINE_S), UnknownTopic)
    assert isinstance(bus.publish(huge).exception(DEADLINE_S), EventTooLarge)
    assert bus.publish(drawing(player)).exception(DEADLINE_S) is None


def test_a_partition_that_is_not_there_is_refused(bus):
    class Lost(DrawingSubmitted):
        def partition(self) -> int:
            return 99

    lost = Lost(drawing_id=uuid4(), player_id="p", strokes=[[[1, 1]]], width=9, height=9, final=True)

    assert isinstance(bus.publish(lost).exception(DEADLINE_S), BusError)


def test_the_largest_event_that_is_allowed_passes(bus, player):
    tail = bus.follow(["drawings.v1"], "end")
    room = "x" * (MAX_VALUE - len(drawing(player).model_copy(update={"room": ""}).record_value()))
    largest = drawing(player).model_copy(update={"room": room})
    assert len(largest.record_value()) == MAX_VALUE

    bus.publish(largest).result(DEADLINE_S)

    assert len(polled(tail, player, 1)) == 1
    tail.close()


def test_a_closed_bus_takes_nothing(bus, player):
    bus.close()

    assert isinstance(bus.publish(drawing(player)).exception(DEADLINE_S), BusClosed)
    bus.close()


def test_an_unknown_topic_cannot_be_followed(bus):
    with pytest.raises(UnknownTopic, match=r"stray\.v1"):
        bus.follow(["stray.v1"], "start")


def test_a_poll_without_news_returns_empty_after_its_timeout(bus):
    tail = bus.follow(["commands.v1"], "end")
    assert tail.poll(0.05) == []
    tail.close()


def test_closing_a_reader_ends_the_poll_of_another_thread(bus):
    tail = bus.follow(["commands.v1"], "end")
    done: list[list[Record]] = []
    polling = threading.Thread(target=lambda: done.append(tail.poll(DEADLINE_S)))
    polling.start()

    tail.close()
    polling.join(5)

    assert not polling.is_alive()
    assert done == [[]]
    assert tail.poll(DEADLINE_S) == []


def test_publishing_from_many_threads_loses_nothing(bus, player):
    tail = bus.follow(["drawings.v1"], "end")
    sent: list[DrawingSubmitted] = []

    def publish() -> None:
        for _ in range(25):
            each = drawing(player)
            sent.append(each)
            bus.publish(each)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = events(polled(tail, player, 100))
    assert {event.drawing_id for event in found} == {event.drawing_id for event in sent}
    tail.close()


def test_when_too_much_waits_for_kafka_publishing_fails_instead_of_growing(kafka, player, monkeypatch):
    monkeypatch.setattr(kafka_bus, "MAX_UNACKNOWLEDGED", 100)
    bus = open_bus(f"kafka://{kafka}")

    assert isinstance(bus.publish(drawing(player)).exception(DEADLINE_S), BusFull)

    monkeypatch.undo()
    assert bus.publish(drawing(player)).exception(DEADLINE_S) is None
    bus.close()


# --- on an event loop ----------------------------------------------------------------------------------------------------


async def test_who_listens_on_a_loop_goes_on_from_its_offsets_and_knows_when_it_has_caught_up(bus, player):
    sent = [drawing(player, x) for x in range(20)]
    kept = [bus.publish(each).result(DEADLINE_S) for each in sent]
    partition = kept[0].partition
    since = {("drawings.v1", n): -1 for n in range(TOPICS["drawings.v1"].partitions)}

    listener = await bus.listen(["drawings.v1"], since | {("drawings.v1", partition): kept[5].offset})
    assert not listener.caught_up()
    found: list[Record] = []
    async with asyncio.timeout(DEADLINE_S):
        while not listener.caught_up():
            found += await listener.poll(0.2)
    assert events([record for record in found if key_of(record.key) == player.encode()]) == sent[5:]
    assert listener.positions()["drawings.v1", partition] == kept[-1].offset + 1
    later = drawing(player)
    bus.publish(later)
    found = []
    async with asyncio.timeout(DEADLINE_S):
        while not found:
            found = [record for record in await listener.poll(0.2) if key_of(record.key) == player.encode()]
    assert events(found) == [later]
    await listener.close()


async def test_who_listens_to_nothing_hears_nothing_in_time(bus):
    ends = {("seats.v1", n): 1 << 40 for n in range(TOPICS["seats.v1"].partitions)}
    listener = await bus.listen(["seats.v1"], ends)
    async with asyncio.timeout(DEADLINE_S):
        while not listener.caught_up():
            await listener.poll(0.1)
        assert await listener.poll(0.1) == []
    await listener.close()


async def test_who_listens_to_a_topic_that_there_is_not_is_told_so(bus):
    with pytest.raises(UnknownTopic):
        await bus.listen(["no.such.topic"], {})


@pytest.mark.parametrize("opener", ["memory", "kafka"], indirect=True)
async def test_what_was_published_before_a_bus_leaves_its_loop_is_delivered(bus, player):
    tail = bus.follow(["drawings.v1"], "end")
    sent = [drawing(player, x) for x in range(50)]
    async with bus.attached():
        kept = [bus.publish(each) for each in sent]

    assert all(future.done() for future in kept)
    assert events(polled(tail, player, 50)) == sent
    after = drawing(player)
    bus.publish(after)
    assert events(polled(tail, player, 1)) == [after]
    tail.close()
