"""How much a taker is given at a time, and what is sent together."""

import asyncio
from collections.abc import Sequence

import pytest

from streams import delivery
from streams.delivery import STEP, SendQueue, UnsentRecord, take_gathered


async def test_a_step_takes_what_comes_while_it_gathers_and_no_more_than_it_may():
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def bring() -> None:
        for number in range(STEP + 10):
            await asyncio.sleep(0)
            queue.put_nowait(number)

    bringing = asyncio.create_task(bring())
    assert await take_gathered(queue) == list(range(STEP))
    await bringing
    assert await take_gathered(queue) == list(range(STEP, STEP + 10))


async def test_what_waits_when_its_group_has_ended_is_sent_by_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(delivery, "LINGER_S", 0.3)
    sent: list[UnsentRecord] = []

    async def publish(records: Sequence[UnsentRecord]) -> None:
        sent.extend(records)

    queue, record = SendQueue(publish), UnsentRecord("guesses.v1", b"ada", b"{}", None)
    async with asyncio.TaskGroup() as sending:
        queue.send(sending, [record], lambda: None, calm=True)
        queue.send(sending, [record], lambda: None, calm=False)
    queue.stop()
    await asyncio.sleep(2 * delivery.LINGER_S)

    assert sent == [record]
