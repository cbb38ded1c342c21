"""Packs each event of a story once, and puts a story's events into its cell (way 2, LEARN). Pure.

A cell is a line of JSON that says what there is, and behind it the events, each compressed by itself: so a story that grows by
an event writes that event anew, and no other. An event is an LZ4 frame with the checksum of its content: two thirds of the
bytes, or fewer. What was compressed by zlib before is read too, and so is a cell from before that, one JSON document.
"""

import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from lz4 import frame
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import to_json

from contracts.events import CorrectionGiven, CorrectionWithdrawn, DrawingAnswered, DrawingSubmitted

CorrectionEvent = Annotated[CorrectionGiven | CorrectionWithdrawn, Field(discriminator="type")]
"""A player gives a correction of their drawing, or withdraws it."""
_E = TypeVar("_E", DrawingSubmitted, DrawingAnswered, CorrectionEvent)
_LZ4: Final = b"\x04\x22\x4d\x18"
"""What an LZ4 frame begins with; what zlib has compressed begins with an x."""
_MOST: Final = 16 << 20
"""The bytes of the largest event that is read; no record has a tenth of that."""
_CORRECTION: Final[TypeAdapter[CorrectionEvent]] = TypeAdapter(CorrectionEvent)


@dataclass(slots=True)
class KeptEvent(Generic[_E]):
    """An event of a story."""

    event: _E
    size: int
    """The bytes of its record."""
    packed: bytes = field(compare=False, repr=False)
    """It as it lies in the cell."""


def kept(event: _E, size: int, value: bytes = b"") -> KeptEvent[_E]:
    """Pack an event whose record has ``size`` bytes.

    Args:
        event: The event.
        size: The bytes of its record.
        value: The record's value if it is all of it that is kept: then it need not be written anew.
    """
    said = value if _says(value, event) else event.record_value()
    return KeptEvent(event, size, frame.compress(said, content_checksum=True))


def _says(value: bytes, event: DrawingSubmitted | DrawingAnswered | CorrectionEvent) -> bool:
    """Whether a value gives the event's times, which may have been put right, and its player as `names` looks for it."""
    return all(f'"{name}":'.encode() + to_json(getattr(event, name)) in value for name in ("player_id", *event.times))


@dataclass(slots=True)
class StoryEvents:
    """What a cell holds."""

    news: datetime
    drawing: KeptEvent[DrawingSubmitted] | None
    parts: list[KeptEvent[DrawingAnswered]]
    corrections: list[KeptEvent[CorrectionEvent]]


class _Head(BaseModel):
    """The line before the events: the drawing if there is one, then the parts of its answer, then the corrections."""

    news: AwareDatetime
    drawing: bool
    parts: int
    sizes: list[int]
    """The bytes of each event's record."""
    packed: list[int]
    """The bytes of each event in the cell."""


class _Whole(BaseModel):
    """The document of a cell from before events were packed one by one."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    news: AwareDatetime
    drawing: DrawingSubmitted | None = None
    parts: list[DrawingAnswered] = []
    corrections: list[CorrectionEvent] = []
    drawing_bytes: int = 0
    part_bytes: list[int] = []
    correction_bytes: list[int] = []


def write(story: StoryEvents) -> bytes:
    """Return the cell."""
    several: list[KeptEvent[Any]] = [] if story.drawing is None else [story.drawing]
    several += (*story.parts, *story.corrections)
    head = {
        "news": story.news,
        "drawing": story.drawing is not None,
        "parts": len(story.parts),
        "sizes": [one.size for one in several],
        "packed": [len(one.packed) for one in several],
    }
    return to_json(head) + b"\n" + b"".join([one.packed for one in several])


def read(cell: bytes) -> StoryEvents:
    """Read a cell.

    Raises:
        ValueError: If it is damaged.
    """
    if not _is_packed(cell):
        whole = _Whole.model_validate_json(_unpacked(cell))
        drawing = None if whole.drawing is None else kept(whole.drawing, whole.drawing_bytes)
        return StoryEvents(
            whole.news,
            drawing,
            [kept(part, size) for part, size in zip(whole.parts, whole.part_bytes, strict=True)],
            [kept(given, size) for given, size in zip(whole.corrections, whole.correction_bytes, strict=True)],
        )
    head, packed = _parted(cell)
    several = list(zip(packed, head.sizes, strict=True))
    first, last = int(head.drawing), int(head.drawing) + head.parts
    drawings = [KeptEvent(DrawingSubmitted.model_validate_json(_unpacked(raw)), n, raw) for raw, n in several[:first]]
    parts = [KeptEvent(DrawingAnswered.model_validate_json(_unpacked(raw)), n, raw) for raw, n in several[first:last]]
    corrections = [KeptEvent(_CORRECTION.validate_json(_unpacked(raw)), n, raw) for raw, n in several[last:]]
    return StoryEvents(head.news, drawings[0] if drawings else None, parts, corrections)


def names(cell: bytes, player_id: str) -> bool:
    """Whether the story of a cell can be a player's; false only if nothing is. It takes a tenth of the time of reading it.

    Raises:
        ValueError: If the cell is damaged.
    """
    wanted = b'"player_id":' + to_json(player_id)
    return any(wanted in _unpacked(raw) for raw in (_parted(cell)[1] if _is_packed(cell) else [cell]))


def _is_packed(cell: bytes) -> bool:
    return cell.startswith(b"{")  # what zlib has compressed does not: it begins with an x


def _unpacked(raw: bytes) -> bytes:
    try:
        if not raw.startswith(_LZ4):
            return zlib.decompress(raw)
        if (size := frame.get_frame_info(raw)["content_size"]) > _MOST:
            raise ValueError(f"an event of {size} bytes: the cell is damaged")
        unpacked: bytes = frame.decompress(raw)
    except (zlib.error, RuntimeError) as wrong:  # LZ4's is one
        raise ValueError(f"{wrong}: the cell is damaged") from wrong
    return unpacked


def _parted(cell: bytes) -> tuple[_Head, list[bytes]]:
    """Return what a cell says of its events, and each of them as it lies there."""
    line, _, rest = cell.partition(b"\n")
    head = _Head.model_validate_json(line)
    if sum(head.packed) != len(rest):
        raise ValueError(f"{len(rest)} bytes of events instead of {sum(head.packed)}: the cell is damaged")
    packed, at = [], 0
    for size in head.packed:
        packed.append(rest[at : at + size])
        at += size
    return head, packed
