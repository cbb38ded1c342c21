"""How much a taker is given at a time."""

import asyncio

from streams.delivery import STEP, take_gathered


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
