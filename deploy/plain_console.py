"""Prints what others have written without the terminal escapes that it may hold."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from contracts.plain_text import without_commands


class PlainConsole(Console):
    """A console on which text commands nothing: reasons, messages and failures are of others."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, their text without control characters."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(without_commands(segment.text), segment.style)
