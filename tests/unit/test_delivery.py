"""How much a taker is given at a time, and when a record that several take is acknowledged."""

import asyncio

from contracts.ports import Record
from streams.delivery import STEP, Delivery, shared, take_gathered


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


def test_a_record_that_several_take_is_acknowledged_when_the_last_of_them_has_done_so():
    acknowledged: list[int] = []
    record = Record("examples.v1", 0, 7, None, b"{}", 0)
    first, second, third = shared(Delivery(record, lambda: acknowledged.append(7)), 3)

    assert first.record is second.record is third.record is record
    for one in (second, first, second, first):
        one.ack()
    assert acknowledged == [], "the third has not"
    third.ack()
    assert acknowledged == [7]
