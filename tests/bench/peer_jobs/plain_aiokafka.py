"""The jobs in plain aiokafka, after its documentation: a group with manual commits; local state and offsets in one file."""

import asyncio
import sys
from collections import Counter

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from tests.bench.peer_jobs.job import ANSWERS, CORRECTIONS, COUNTS, DRAWINGS, KAFKA, STATE, Model, counted

SAVE_S = 1.0
"""How often the documentation's example of local state writes its file, in seconds."""


def producer() -> AIOKafkaProducer:
    return AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all", enable_idempotence=True)


async def answer() -> None:
    model = Model()
    consumer = AIOKafkaConsumer(
        DRAWINGS, bootstrap_servers=KAFKA, group_id="peer-answer", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with consumer, producer() as out:
        while True:
            for place, messages in (await consumer.getmany(timeout_ms=1000)).items():
                sent = []
                for message in messages:
                    said = model.answer(orjson.loads(message.value))
                    sent.append(await out.send(ANSWERS, orjson.dumps(said), message.key))
                await asyncio.gather(*sent)
                await consumer.commit({place: messages[-1].offset + 1})


class LocalState:
    """The counts and offsets of a partition, together in one file."""

    def __init__(self) -> None:
        self._kept: dict[TopicPartition, dict] = {}

    def load(self, partitions: set[TopicPartition]) -> None:
        self._kept.clear()
        for place in partitions:
            file = STATE / f"{place.topic}-{place.partition}.json"
            self._kept[place] = orjson.loads(file.read_bytes()) if file.exists() else {"next": 0, "counts": {}}

    def save(self) -> None:
        for place, kept in self._kept.items():
            file = STATE / f"{place.topic}-{place.partition}.json"
            new = file.with_suffix(".new")
            new.write_bytes(orjson.dumps(kept))
            new.replace(file)

    def next(self, place: TopicPartition) -> int:
        return self._kept[place]["next"]

    def add(self, place: TopicPartition, counts: Counter[str], last: int) -> None:
        self._kept[place]["counts"] |= counts
        self._kept[place]["next"] = last + 1

    def count(self, place: TopicPartition, player: str) -> int:
        return self._kept[place]["counts"].get(player, 0)


class Rebalanced(ConsumerRebalanceListener):
    def __init__(self, consumer: AIOKafkaConsumer, state: LocalState) -> None:
        self._consumer = consumer
        self._state = state

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._state.save()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._state.load(assigned)
        for place in assigned:
            self._consumer.seek(place, self._state.next(place))


async def save_every_second(state: LocalState) -> None:
    while True:
        await asyncio.sleep(SAVE_S)
        state.save()


async def fold() -> None:
    state = LocalState()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=KAFKA, group_id="peer-fold", enable_auto_commit=False, auto_offset_reset="none"
    )
    async with consumer, producer() as out:
        consumer.subscribe([CORRECTIONS], listener=Rebalanced(consumer, state))
        saving = asyncio.create_task(save_every_second(state))
        while not saving.done():
            for place, messages in (await consumer.getmany(timeout_ms=1000)).items():
                counts: Counter[str] = Counter()
                sent = []
                for message in messages:
                    correction = orjson.loads(message.value)
                    player = correction["player_id"]
                    said = counted(counts.get(player) or state.count(place, player), correction)
                    counts[player] = said["n"]
                    sent.append(await out.send(COUNTS, orjson.dumps(said), message.key))
                await asyncio.gather(*sent)
                state.add(place, counts, messages[-1].offset)


if __name__ == "__main__":
    asyncio.run({"answer": answer, "fold": fold}[sys.argv[1]]())
