"""Shows that a process is alive: touches a file as long as the event loop runs (all ways)."""

import asyncio
from pathlib import Path
from typing import Final

EVERY_S: Final = 1.0
"""Seconds between two signs."""


async def beat(file: Path) -> None:
    """Touch a file again and again, as long as the event loop runs."""
    while True:
        file.touch()
        await asyncio.sleep(EVERY_S)
