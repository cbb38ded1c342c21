"""Reads lessons from their records without a model of pydantic, when many are read (way 2, LEARN). Pure.

A record in the very form in which our own writer puts it is read by one regular expression, in a third of the time. Whatever
has any other form, be it right or wrong, goes to `contracts.records.read`: so the two agree on every record.
"""

import re
from binascii import a2b_base64
from typing import Final, NamedTuple

from contracts.events import LessonsForgotten, LessonTaught, MessageRejected
from contracts.ports import Record
from contracts.records import read


class LessonLine(NamedTuple):
    """What the sums need of a `LessonTaught` or `LessonTakenBack`, under the same names."""

    sign: int
    model: str
    drawing_id: str
    player_id: str
    label: int
    weight: float
    embedding: bytes
    reader: str
    series: str
    number: int
    newcomer: bool


_DATE: Final = (
    rb"(?:19[7-9]\d|20\d\d|21\d\d)-"
    rb"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_TIME: Final = rb"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z"
_ID: Final = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME: Final = rb"[A-Za-z0-9 ,.:;/_+-]{0,200}"
_LINE: Final = re.compile(
    rb'\{"type":"Lesson(Taught|TakenBack)","at":"' + _DATE + rb"T" + _TIME + rb'","lesson_id":"' + _ID + rb'",'
    rb'"model":"([a-z][a-z0-9-]{0,31})","drawing_id":"(' + _ID + rb')","correction_id":"' + _ID + rb'",'
    rb'"player_id":"([A-Za-z0-9 ,.:;/_+-]{1,64})","label":(\d),"weight":(10\.0|\d\.\d{1,16}),'
    rb'"embedding":"([A-Za-z0-9_-]{341}[AQgw])==","reader":"(' + _NAME + rb')","series":"(' + _NAME + rb')",'
    rb'"number":(0|[1-9]\d{0,14}),"newcomer":(true|false),"shown":\[\]\}'
)
"""The form of a lesson with an embedding of 64 float32, as its writer puts it, and no other."""
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def lesson_of(record: Record, stage: str) -> LessonLine | MessageRejected | None:
    """Return the lesson of a record; a MessageRejected if it can be read by nobody; None if it is something else."""
    found = _LINE.fullmatch(record.value) if record.value is not None else None
    if found is None:
        return _parsed(record, stage)
    kind, model, drawing, player, label, weight, embedding, reader, series, number, newcomer = found.groups()
    return LessonLine(
        1 if kind == b"Taught" else -1,
        model.decode(),
        drawing.decode(),
        player.decode(),
        int(label),
        float(weight),
        a2b_base64(embedding.translate(_STANDARD) + b"=="),
        reader.decode(),
        series.decode(),
        int(number),
        newcomer == b"true",
    )


def forgotten_of(record: Record, stage: str) -> LessonsForgotten | None:
    """Return what a record says of lessons that are missing; None: it says something else."""
    event = read(record, stage) if b'"LessonsForgotten"' in (record.value or b"") else None
    return event if isinstance(event, LessonsForgotten) else None


def _parsed(record: Record, stage: str) -> LessonLine | MessageRejected | None:
    event = read(record, stage)
    if isinstance(event, MessageRejected):
        return event
    if not isinstance(event, LessonTaught):
        return None
    return LessonLine(
        event.sign,
        event.model,
        str(event.drawing_id),
        event.player_id,
        event.label,
        event.weight,
        event.embedding,
        event.reader,
        event.series,
        event.number,
        event.newcomer,
    )
