"""Merges the archive's parts into one object for each hour that is over, and drops what is too old (way 3, REBUILD).

The merged object is written before its parts are deleted, and readers take each row once: so a trainer may be killed anywhere.
The next time the same rows are merged again, under the same name. Late parts of an hour are merged into a new object together
with the old one.

An object of a whole hour is written if it is not there yet. So a write of a trainer that was superseded meanwhile, and comes
late, does not bring back whom the other one has forgotten. A part that comes late goes with the next merge, an hour later.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from contracts.events import DatasetMade, now
from contracts.ports import BlobExists, Blobs, NoSuchBlob
from contracts.settings import Settings
from trainers import dataset_store
from trainers.archive import encoded, hour_of, listed, read_object, unmarked
from trainers.archive_names import ArchiveObject, Span, ends_of, whole_key
from trainers.example_columns import SCHEMA
from trainers.model_log import ModelLog

MARGIN: Final = timedelta(minutes=5)
"""How long after its end an hour counts as over: by then its examples are archived."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Merge:
    """Objects of one day that become an object for each of their hours."""

    day: date
    objects: tuple[ArchiveObject, ...]


def due_merges(objects: Sequence[ArchiveObject], at: datetime) -> list[Merge]:
    """Return what is to be merged: of each hour that is over, all that is not one object."""
    closed = hour_of(at - MARGIN)
    days: dict[date, list[ArchiveObject]] = defaultdict(list)
    for one in objects:
        days[one.day].append(one)
    out = []
    for day, several in sorted(days.items()):
        over = [one for one in several if (day, 23 if one.hour is None else one.hour) < closed]
        old = [one for one in over if one.hour is None]
        hours: dict[int | None, list[ArchiveObject]] = defaultdict(list)
        for one in over:
            hours[None if old else one.hour].append(one)  # an older part may have rows of any hour
        out += [
            Merge(day, tuple(group)) for _, group in sorted(hours.items(), key=lambda item: item[0] or 0) if _is_apart(group)
        ]
    return out


def _is_apart(group: Sequence[ArchiveObject]) -> bool:
    return len(group) > 1 or not group[0].whole


def carry_out(blobs: Blobs, merge: Merge, check: Callable[[], None], marks: Collection[str] = ()) -> list[str]:
    """Write an object for each hour, then delete those that are merged into it; return the new keys.

    Rows are merged a partition at a time, so that no more of them are in memory; each is a row group of the object.

    Args:
        blobs: The bucket.
        merge: What is merged.
        check: Raises if this trainer must not go on, as when another one has taken over.
        marks: Of the players who are forgotten, of whom a late write of another trainer may have brought rows back.
    """
    spans: dict[int | None, list[Span]] = defaultdict(list)
    for one in merge.objects:
        spans[one.hour] += one.spans
    files: dict[int, tuple[io.BytesIO, pq.ParquetWriter]] = {}
    examples = 0
    for partition in sorted({span.partition for one in merge.objects for span in one.spans}):
        table = _merged(blobs, merge.objects, partition)
        examples += len(table)
        hours: list[Any] = pc.hour(table["at"]).to_pylist()
        for hour in sorted(set(hours)):
            rows = table.filter(pa.array([one == hour for one in hours]))
            spans[hour].append(Span(partition, rows["offset"][0].as_py(), rows["offset"][-1].as_py()))
            if hour not in files:
                out = io.BytesIO()
                files[hour] = out, pq.ParquetWriter(out, SCHEMA, compression="zstd")
            files[hour][1].write_table(unmarked(rows, marks))  # the name still says how far the log is archived
    made: list[str] = []
    for hour, (out, writer) in sorted(files.items()):
        writer.close()
        key = whole_key(merge.day, hour, _hull(spans[hour]))
        _write(blobs, merge, key, out.getvalue(), check)
        made.append(key)
    if not made:  # nothing but empty objects, whose names still count
        hour = next((one.hour for one in merge.objects if one.hour is not None), 0)
        made.append(whole_key(merge.day, hour, _hull([span for one in merge.objects for span in one.spans])))
        _write(blobs, merge, made[0], encoded(SCHEMA.empty_table()), check)
    for one in merge.objects:
        if one.key not in made:
            check()
            blobs.drop(one.key)
    log.info("archive merged", day=merge.day.isoformat(), objects=len(merge.objects), into=len(made), examples=examples)
    return made


def _write(blobs: Blobs, merge: Merge, key: str, rows: bytes, check: Callable[[], None]) -> None:
    """Write an object of an hour: anew if it was itself merged with late parts, else if it is not there yet."""
    check()
    with suppress(BlobExists):
        blobs.put(key, rows, only_if_absent=all(one.key != key for one in merge.objects))


def _merged(blobs: Blobs, objects: Sequence[ArchiveObject], partition: int) -> pa.Table:
    """Return the rows that some objects have of a partition, each once, by offset."""
    tables = [SCHEMA.empty_table()]
    for one in objects:
        if not any(span.partition == partition for span in one.spans):
            continue
        table = read_object(blobs, one).filter(pc.field("partition") == partition)
        missing = [field for field in SCHEMA if field.name not in table.column_names]
        for field in missing:  # an older object has fewer columns
            table = table.append_column(field, pa.nulls(len(table), field.type))
        tables.append(table.select(SCHEMA.names).cast(SCHEMA))
    table = pa.concat_tables(tables).sort_by("offset")
    offsets = table["offset"].to_pylist()
    first = [at == 0 or offset != offsets[at - 1] for at, offset in enumerate(offsets)]
    return (table if all(first) else table.filter(pa.array(first))).combine_chunks()


def _hull(spans: Sequence[Span]) -> list[Span]:
    out: dict[int, Span] = {}
    for span in spans:
        before = out.get(span.partition, span)
        out[span.partition] = Span(span.partition, min(before.first, span.first), max(before.last, span.last))
    return sorted(out.values())


def due_drops(objects: Sequence[ArchiveObject], days: int, at: datetime) -> list[ArchiveObject]:
    """Return the objects that are older than so many days."""
    oldest = (at.astimezone(UTC) - timedelta(days=days)).date()
    return [one for one in objects if one.day < oldest]


def drop(blobs: Blobs, objects: Sequence[ArchiveObject], old: Sequence[ArchiveObject], check: Callable[[], None]) -> int:
    """Delete old objects, but for the names that say how far a partition is archived: of those the rows go.

    Returns:
        How many objects are gone or emptied.
    """
    ends, gone = ends_of(objects), 0
    for one in old:
        check()
        if any(span.last + 1 == ends[span.partition] for span in one.spans):
            if len(table := read_object(blobs, one)):
                blobs.put(one.key, encoded(table.slice(0, 0)))
                gone += 1
        else:
            blobs.drop(one.key)
            gone += 1
    if gone:
        log.info("archive shortened", objects=gone)
    return gone


def tidy(blobs: Blobs, at: datetime, days: int | None, check: Callable[[], None], marks: Collection[str] = ()) -> int:
    """Merge the hours that are over, and drop what is older than ``days`` (None: nothing); return how many objects are gone.

    Rows of players with these marks are dropped on the way.
    """
    objects, gone = listed(blobs), 0
    if days is not None and (old := due_drops(objects, days, at)):
        gone = drop(blobs, objects, old, check)
        objects = listed(blobs)
    for merge in due_merges(objects, at):
        try:
            gone += len(merge.objects) - len(carry_out(blobs, merge, check, marks))
        except (pa.ArrowException, NoSuchBlob) as wrong:  # the other hours are merged, and this one is tried again
            log.error("an hour is not merged", objects=[one.key for one in merge.objects], error=str(wrong))
    return gone


class Tidying:
    """Tidies archive and datasets at the start and some minutes after each hour."""

    def __init__(
        self,
        settings: Settings,
        blobs: Blobs,
        model_log: ModelLog,
        say: Callable[[DatasetMade], None],
        check: Callable[[], None],
    ) -> None:
        """Keep the bucket.

        Args:
            settings: Say how many days are kept.
            blobs: The bucket.
            model_log: The log, folded.
            say: Publishes that the data of a dataset are deleted.
            check: Raises if this trainer must not go on.
        """
        self._days = settings.archive_days
        self._blobs = blobs
        self._model_log = model_log
        self._say = say
        self._check = check
        self._done: tuple[date, int] | None = None

    def __call__(self) -> int:
        """Tidy if another hour is over; not while somebody waits to be forgotten, whose examples are counted by objects."""
        hour = hour_of(now() - MARGIN)
        if hour == self._done or self._model_log.forgettings():
            return 0
        gone = tidy(self._blobs, now(), self._days, self._check, frozenset(self._model_log.marks))
        if self._days is not None:
            with dataset_store.KEEPING:
                for told in dataset_store.drop_old(self._blobs, self._days, now(), self._in_use()):
                    self._say(dataset_store.announced(told))
        self._done = hour
        return gone

    def _in_use(self) -> set[str]:
        """Return the digests of the datasets of which versions answer or may answer again, of those of rebuilds that are at
        work, and of the newest of all."""
        newest = max(self._model_log.datasets().values(), key=lambda one: one.at, default=None)
        used = {newest.digest} if newest else set()
        used |= {one.last.dataset for one in self._model_log.rebuilds() if one.last and one.state == "running"}
        for model in self._model_log.roster.batch:
            champion = self._model_log.champion(model)
            named = {champion.version, champion.previous} if champion else set()
            named |= {one.version for one in self._model_log.beside(model)}
            several = self._model_log.published(model).items()
            used |= {one.lineage.get("dataset_digest", "") for version, one in several if version in named}
        return used
