"""Reads a job's metrics from its log while it runs: this module talks to `finding`, which runs in a process of its own."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from deploy.local import die_with_parent
from deploy.local.sagemaker import finding, wire
from deploy.local.sagemaker.containers import TakeLine
from deploy.local.sagemaker.document import Document

_LINE: Final = 4096
"""The most characters of a line that are searched."""
_MOST_WAITING: Final = 2**20
"""The most bytes of lines that may wait to be searched; beyond it, lines are skipped."""
_LAST_S: Final = 5.0
"""How long a job that has ended waits for the metrics in its last lines."""


@asynccontextmanager
async def found(
    definitions: Sequence[Document], into: dict[str, Document], say: TakeLine, nice: int
) -> AsyncIterator[TakeLine]:
    """Start looking for metrics; yields the function that takes each line that the job prints.

    Args:
        definitions: Name and Regex of each metric.
        into: Where the last value of each metric goes, by name, as DescribeTrainingJob shows it.
        say: Called with each expression that was given up.
        nice: The niceness of the process.
    """
    if not definitions:
        yield lambda line: None
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), str(nice)),
        *(sys.executable, "-I", "-S", finding.__file__, json.dumps(definitions)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # else its niceness would be that of this whole service, where the kernel weighs sessions
    )
    assert process.stdin
    assert process.stdout
    lines = process.stdin
    taking = asyncio.create_task(_take(process.stdout, into, say))

    def read(line: str) -> None:
        if not lines.is_closing() and lines.transport.get_write_buffer_size() < _MOST_WAITING:
            lines.write(line[:_LINE].encode(errors="replace") + b"\n")

    try:
        yield read
    finally:
        lines.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(taking, _LAST_S)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _take(results: asyncio.StreamReader, into: dict[str, Document], say: TakeLine) -> None:
    while line := await results.readline():
        name, value = json.loads(line)
        if value is None:
            say(f"metric {name}: its regular expression takes too long, it is not looked for any more")
        else:
            into[name] = {"MetricName": name, "Value": value, "Timestamp": wire.now()}
