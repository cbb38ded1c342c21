"""A sign of life for those who cannot ask: a file whose time is now, as long as the loop turns that does the work."""

import asyncio
from pathlib import Path
from typing import Final

EVERY_S: Final = 1.0
"""Seconds between two signs."""


async def beat(file: Path) -> None:
    """Touch a file for as long as the event loop turns."""
    while True:
        file.touch()
        await asyncio.sleep(EVERY_S)
