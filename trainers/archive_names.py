"""Names of the archive's objects, which alone tell what of the log each of them holds (way 3, REBUILD). Pure.

A part is what one flush of a partition has written, and is of one hour. All parts of an hour that is over are merged into one
whole object. Both hold a row for each example, and a row is known by its partition and offset: while whole and parts are there
together, as in the middle of a merge, readers take each row once.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

PREFIX: Final = "examples/"
_DAY: Final = r"examples/dt=(\d{4}-\d\d-\d\d)/"
_SPAN: Final = r"p\d+-\d+-\d+"
_PART: Final = re.compile(rf"^{_DAY}({_SPAN})(?:\.h(\d\d))?\.parquet$")
_WHOLE: Final = re.compile(rf"^{_DAY}w(\d\d)((?:\.{_SPAN})+)\.parquet$")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The offsets of a partition in an object, both ends included."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        """Return the span as names have it."""
        return f"p{self.partition}-{self.first:012d}-{self.last:012d}"

    def overlaps(self, other: "Span") -> bool:
        """Say whether both may hold the same row."""
        return self.partition == other.partition and self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """An object of the archive, by its name."""

    key: str
    day: date
    hour: int | None
    """The hour of the day, UTC; None: it is an older part, of any hours of its day."""
    spans: tuple[Span, ...]
    whole: bool = False
    """Whether it was merged from parts."""

    @property
    def span(self) -> Span:
        """The one span of a part."""
        [span] = self.spans
        return span


def read_name(key: str) -> ArchiveObject | None:
    """Read a name; None: it is no object of the archive.

    >>> read_name("examples/dt=2026-11-22/p1-000000000003-000000000008.h13.parquet").span
    Span(partition=1, first=3, last=8)
    """
    if found := _PART.match(key):
        day, span, hour = found.groups()
        return ArchiveObject(key, date.fromisoformat(day), int(hour) if hour else None, (_span(span),))
    if found := _WHOLE.match(key):
        day, hour, spans = found.groups()
        return ArchiveObject(key, date.fromisoformat(day), int(hour), tuple(map(_span, spans[1:].split("."))), whole=True)
    return None


def named_objects(keys: Iterable[str]) -> list[ArchiveObject]:
    """Read names, and leave out those that are not the archive's."""
    return [found for key in keys if (found := read_name(key))]


def part_key(day: date, hour: int, span: Span) -> str:
    """Return the name of a part."""
    return f"{PREFIX}dt={day.isoformat()}/{span}.h{hour:02d}.parquet"


def whole_key(day: date, hour: int, spans: Sequence[Span]) -> str:
    """Return the name of the object of a whole hour."""
    return f"{PREFIX}dt={day.isoformat()}/w{hour:02d}.{'.'.join(map(str, sorted(spans)))}.parquet"


def ends_of(objects: Iterable[ArchiveObject]) -> dict[int, int]:
    """Return the first offset of each partition that no object holds."""
    out: dict[int, int] = {}
    for span in (span for one in objects for span in one.spans):
        out[span.partition] = max(out.get(span.partition, 0), span.last + 1)
    return dict(sorted(out.items()))


def overlapping(objects: Sequence[ArchiveObject]) -> set[str]:
    """Return the keys of the objects that may hold a row of another."""
    spans = sorted((span, one.key) for one in objects for span in one.spans)
    out: set[str] = set()
    widest: tuple[Span, str] | None = None
    for span, key in spans:
        if widest and span.overlaps(widest[0]):
            out |= {key, widest[1]}
        if widest is None or span.partition != widest[0].partition or span.last > widest[0].last:
            widest = span, key
    return out


# --- where a row is, whatever object it is merged into ----------------------------------------------------------------


def pixels_of(partition: int, offset: int, at: datetime) -> str:
    """Return where an example is archived: its day, partition and offset, which no merging changes.

    >>> pixels_of(2, 123, datetime(2026, 11, 22, 12, tzinfo=UTC))
    'examples/dt=2026-11-22/p2/123'
    """
    return f"{PREFIX}dt={at.astimezone(UTC).date().isoformat()}/p{partition}/{offset}"


def place_of(pixels: str) -> tuple[str, int, int]:
    """Return the prefix of a day's objects, the partition and the offset that `pixels_of` has named.

    Raises:
        ValueError: If it names no place.

    >>> place_of("examples/dt=2026-11-22/p2/123")
    ('examples/dt=2026-11-22/', 2, 123)
    """
    found = re.fullmatch(rf"({_DAY})p(\d+)/(\d+)", pixels)
    if not found:
        raise ValueError(f"{pixels!r} names no place in the archive: examples/dt=2026-11-22/p2/123 would")
    return found[1], int(found[3]), int(found[4])


def _span(text: str) -> Span:
    return Span(*(int(part) for part in text[1:].split("-")))
