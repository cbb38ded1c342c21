"""Runs the hops of a drawing without any work, for `tests.bench.floor`: written as the libraries' own documentation shows.

``uvicorn tests.bench.floor_hops:app`` is the way in and out: a WebSocket (FastAPI), the frame produced with acks=all, the
answer consumed and sent. ``python -m tests.bench.floor_hops`` is the process between: a consumer of a group and a producer
(aiokafka).
Both speak as much of the game's protocol as a simulated player waits for, so the same player measures the game and the floor.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

KAFKA = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
ASKED, ANSWERED = "floor-asked", "floor-answered"
MODEL = "floor"
GUESS = {
    "type": "guess",
    "model": MODEL,
    "version": "1",
    "label": 0,
    "confidence": 0.1,
    "probabilities": [0.1] * 10,
    "hops": {},
}

sockets: dict[str, WebSocket] = {}
producer: AIOKafkaProducer


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to Kafka, and read answers meanwhile."""
    global producer
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all")
    consumer = AIOKafkaConsumer(ANSWERED, bootstrap_servers=KAFKA)
    await producer.start()
    await consumer.start()
    reading = asyncio.create_task(answer(consumer))
    try:
        yield
    finally:
        reading.cancel()
        await consumer.stop()
        await producer.stop()


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer that the process is there."""
    return {"status": "ok"}


async def answer(consumer: AIOKafkaConsumer) -> None:
    """Send each answer to its player."""
    async for message in consumer:
        if socket := sockets.get(message.key.decode()):
            await socket.send_bytes(message.value)


@app.websocket("/ws/play")
async def play(socket: WebSocket) -> None:
    """Take a player's frames; each is on the log before the player is told that it is saved."""
    await socket.accept()
    player = f"player-{id(socket)}"
    sockets[player] = socket
    try:
        while True:
            text = await socket.receive_text()
            frame = orjson.loads(text)
            if frame["type"] == "join":
                models = [{"model": MODEL, "version": "1", "title": "Floor"}]
                await socket.send_json({"type": "joined", "player_id": player, "seat": "-", "room": "-", "models": models})
            elif frame["type"] == "draw":
                await producer.send_and_wait(ASKED, text.encode(), key=player.encode())
                if frame["final"]:
                    await socket.send_json({"type": "saved", "drawing_id": frame["drawing_id"]})
    except WebSocketDisconnect:
        pass
    finally:
        del sockets[player]


async def between() -> None:
    """Read each drawing, and write an answer that took no work."""
    consumer = AIOKafkaConsumer(ASKED, bootstrap_servers=KAFKA, group_id="floor", auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all")
    await consumer.start()
    await producer.start()
    try:
        async for message in consumer:
            drawing_id = orjson.loads(message.value)["drawing_id"]
            await producer.send_and_wait(ANSWERED, orjson.dumps(GUESS | {"drawing_id": drawing_id}), key=message.key)
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    uvloop.run(between())
