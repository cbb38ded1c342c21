"""Proves again on all stores what the certificate of a forgotten player says (beside all three ways: it only reads)."""

import io
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from contracts.events import (
    Command,
    ExperimentLearned,
    LessonsForgotten,
    LessonTaught,
    RestrictionSet,
    SeatOffered,
    SnapshotTaken,
    UnknownEvent,
    decode,
    generation,
    mark_of,
)
from contracts.ports import Bus, Record
from contracts.records import key_of
from contracts.settings import Settings
from producers.certificate import BadCertificate, checked, signing_key
from producers.cutting import CUTTABLE, OF_PLAYERS, scan, unnamed
from producers.whole_log import all_records
from streams.learner import Learner
from streams.online_base import load_base
from streams.online_model import is_of
from streams.refold.lessons_on_log import LessonsOnLog

_STATE = ("models.v1",)


class _Log(BaseModel):
    ends: dict[str, int]
    others_after: dict[str, str]


class _Experiments(BaseModel):
    partition: int
    offset: int


class Certificate(BaseModel):
    """What of a certificate is proved."""

    public_key: str
    player: str
    log: _Log
    experiments: _Experiments
    datasets: dict[str, int]
    """The digest of each, and how many drawings of the player it held."""


class Proof(NamedTuple):
    """One thing that was proved, or not."""

    what: str
    holds: bool
    found: str


def read_certificate(raw: str) -> Certificate:
    """Return what a certificate says, if its signature is right.

    Raises:
        BadCertificate: If it is no certificate, or was changed since it was signed.
    """
    try:
        told = Certificate.model_validate(checked(raw))
        unnamed(told.log.ends)
    except ValidationError as wrong:
        where = ".".join(map(str, wrong.errors()[0]["loc"]))
        raise BadCertificate(f"this is no certificate of a forgotten player: {where} is missing or wrong") from wrong
    except BadCertificate:
        raise
    except ValueError as wrong:
        raise BadCertificate(f"this is no certificate of a forgotten player ({wrong})") from wrong
    return told


def verify(told: Certificate, settings: Settings, bus: Bus) -> Iterator[Proof]:
    """Say whose the signature is, then look through all stores again.

    Args:
        told: The certificate.
        settings: Where the stores are.
        bus: Where the log is.
    """
    kept = settings.home / "secrets" / "certificate_key"
    ours = kept.is_file() and signing_key(settings.home).public_key().public_bytes_raw().hex() == told.public_key
    whose = "this home's key" if ours else "which is not this home's key: anybody may have signed it"
    yield Proof("signature", ours, f"by {told.public_key[:16]}, {whose}")
    yield from _log(told, bus)
    yield from _online(told, bus)
    yield from _stores(told, settings)


def _of(mark: str) -> Callable[[Record], bool]:
    """Return what says whether a record names the player of a mark."""

    @lru_cache(maxsize=65_536)
    def is_theirs(player: str) -> bool:
        return mark_of(player) == mark

    def wanted(record: Record) -> bool:
        if record.topic in OF_PLAYERS:
            key = key_of(record.key) or record.key or b""
            return is_theirs(key.decode("utf-8", "replace"))
        try:
            event = decode(record.topic, record.value)
        except UnknownEvent:
            return False
        if isinstance(event, RestrictionSet):
            return any(map(is_theirs, event.players))
        named = getattr(event, "player_id", None) if isinstance(event, Command | SeatOffered) else None
        key = key_of(getattr(event, "source_key", None)) or b""
        return (named is not None and is_theirs(named)) or is_theirs(key.decode("utf-8", "replace"))

    return wanted


def _log(told: Certificate, bus: Bus) -> Iterator[Proof]:
    ends = told.log.ends
    found = scan(bus, (*CUTTABLE, *_STATE), _of(told.player), unnamed(ends))
    n = len(found.records) + sum(found.cut.values())
    yield Proof("no record of the player", n == 0, f"{n} of {found.scanned} records of {len(CUTTABLE) + len(_STATE)} topics")
    differ = [place for place, digest in found.digests().items() if told.log.others_after.get(place) != digest]
    later = ""
    if differ:
        later = " (or another player was forgotten since: see the newest certificate)"
    same = f"{len(ends)} partitions up to the offsets of then"
    yield Proof("all other records are as they were", not differ, f"{', '.join(differ)} differ{later}" if differ else same)


def _online(told: Certificate, bus: Bus) -> Iterator[Proof]:
    """Fold the log's lessons anew, and compare with the model that answers."""
    base = load_base()
    series = Learner(base).series
    lessons = LessonsOnLog(base, series)
    newest = None
    experiments: dict[str, ExperimentLearned] = {}
    for record in all_records(bus, [LessonTaught.topic, SnapshotTaken.topic]):
        try:
            event = decode(record.topic, record.value)
        except UnknownEvent:
            continue
        if isinstance(event, ExperimentLearned):
            experiments[generation(event.version)] = event
        if isinstance(event, SnapshotTaken) and is_of(event, base, series):
            newest = event
        elif not isinstance(event, LessonTaught | LessonsForgotten):
            continue
        lessons.apply(event, record)
    faults = list(lessons.faults())
    now = "no online model yet" if newest is None else f"{newest.version}, digest {newest.digest[:16]}"
    yield Proof("the online model is the sum of the lessons on the log", not faults, faults[0] if faults else now)
    partition, offset = told.experiments.partition, told.experiments.offset
    still = {name: one for name, one in experiments.items() if not one.ended}
    before = [name for name, one in still.items() if dict(enumerate(one.offsets)).get(partition, -1) < offset]
    yield Proof(
        "no experiment has learned from them",
        not before,
        f"{', '.join(before)} not begun anew yet" if before else f"{len(still)} have begun anew",
    )


def _stores(told: Certificate, settings: Settings) -> Iterator[Proof]:
    import boto3
    import pyarrow.parquet as pq

    from producers.blobs import S3Blobs

    mark, blobs = told.player, S3Blobs(settings)
    objects = [key for key in blobs.keys("examples/") if key.endswith(".parquet")]
    theirs = 0
    for key in objects:
        players = pq.read_table(io.BytesIO(blobs.get(key)), columns=["player_id"])["player_id"].to_pylist()
        theirs += sum(mark_of(str(player)) == mark for player in players)
    yield Proof("no example on S3", theirs == 0, f"{theirs} rows of the player in {len(objects)} objects")
    manifests = [json.loads(blobs.get(key)) for key in blobs.keys("datasets/") if key.endswith("/manifest.json")]
    held = [one["digest"] for one in manifests if any(mark_of(player) == mark for player in one.get("players", {}))]
    there = [key for digest in told.datasets for key in blobs.keys(f"datasets/{digest}/") if key.endswith(".npz")]
    yield Proof(
        "no dataset has their drawings", not held and not there, f"{len(held) + len(there)} of {len(manifests)} datasets"
    )
    dynamodb = boto3.client("dynamodb", **settings.aws("dynamodb"))
    items: list[str] = []
    for table in (settings.table, f"{settings.table}-guesses"):  # trainers.tables names them
        pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="player_id")
        items += [item["player_id"]["S"] for page in pages for item in page["Items"]]
    n = sum(mark_of(player) == mark for player in items)
    yield Proof("no observation in DynamoDB", n == 0, f"{n} of {len(items)} items")


def certificate_of(settings: Settings, given: str) -> str:
    """Return a certificate by its file, or by the id of its command.

    Raises:
        FileNotFoundError: If there is none.
    """
    for path in (Path(given), settings.home / "certificates" / f"{given}.json"):
        if path.is_file():
            return path.read_text(errors="replace")
    raise FileNotFoundError(f"no certificate {given}: give a file, or the id of the command")
