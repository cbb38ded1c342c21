"""The archive's hours: merged once they are over, and each row there once at any moment."""

import io
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from contracts.events import ForgetPlayer, mark_of
from producers.blobs import MemoryBlobs
from tests.sinks import keep, parquet
from tests.unit.test_archive import NOON, example
from trainers import archive, compaction
from trainers.archive import Archive, raster_at, read_rows
from trainers.archive_names import PREFIX, Span, pixels_of, read_name
from trainers.compaction import tidy
from trainers.example_sink import Placed

LATER = NOON + timedelta(hours=9)


class Killed(Exception):
    """The trainer was killed."""


class Mortal(MemoryBlobs):
    """A bucket whose writer dies before its n-th change."""

    left = 1 << 30

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def put(self, key, data, *, only_if_absent=False):
        self._live()
        super().put(key, data, only_if_absent=only_if_absent)

    def drop(self, key):
        self._live()
        super().drop(key)


def filled(blobs: MemoryBlobs, hours: int = 3, parts: int = 4) -> int:
    """Archive some parts an hour of two partitions, the second of which begins late; return how many rows there are."""
    rows = 0
    for partition in (0, 2):
        sink, offset = Archive(blobs), 100 * partition
        for n in range(hours * parts):
            at = NOON + timedelta(minutes=60 * n / parts)
            batch = [Placed(offset + k, example(offset + k, player=f"p{k}", at=at)) for k in range(3)]
            keep(sink, partition, batch)
            offset, rows = offset + 3, rows + 3
    return rows


def read(blobs: MemoryBlobs) -> list[tuple[int, int]]:
    tables, _ = read_rows(blobs, ["player_id"])
    return [
        place for table in tables for place in zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True)
    ]


def nothing() -> None:
    """Let the trainer go on."""


def never(event: object) -> None:
    """Take no event."""
    pytest.fail(f"nothing is to be told, and not {event}")


def test_an_hour_that_is_over_becomes_one_object_and_says_of_each_partition_what_it_holds():
    blobs = MemoryBlobs()
    rows, places = filled(blobs), Archive(blobs).places()
    before = sorted(read(blobs))
    assert len(list(blobs.keys(PREFIX))) == 24

    assert tidy(blobs, NOON + timedelta(hours=2, minutes=4), None, nothing) == 7, "the second hour ended four minutes ago"
    assert tidy(blobs, LATER, None, nothing) == 14

    keys = list(blobs.keys(PREFIX))
    assert [read_name(key).hour for key in keys] == [12, 13, 14]
    assert read_name(keys[0]).spans == (Span(0, 0, 11), Span(2, 200, 211))
    assert (sorted(read(blobs)), len(before), Archive(blobs).places()) == (before, rows, places)
    assert tidy(blobs, LATER, None, nothing) == 0
    assert raster_at(blobs, pixels_of(2, 205, NOON)) == bytes([205]) * 784, "an observation still points to its pixels"


def test_a_trainer_that_is_killed_anywhere_in_a_merge_loses_and_doubles_nothing():
    whole = MemoryBlobs()
    filled(whole, hours=2, parts=2)
    before = sorted(read(whole))
    tidy(whole, LATER, None, nothing)
    for n in range(12):
        blobs = Mortal()
        filled(blobs, hours=2, parts=2)
        blobs.left = n
        try:
            tidy(blobs, LATER, None, nothing)
        except Killed:
            assert sorted(read(blobs)) == before, f"in the middle, after {n} changes"
        blobs.left = 1 << 30
        tidy(blobs, LATER, None, nothing)
        assert list(blobs.keys(PREFIX)) == list(whole.keys(PREFIX))
        assert {blobs.get(key) for key in blobs.keys(PREFIX)} == {whole.get(key) for key in whole.keys(PREFIX)}


def test_late_parts_and_older_parts_are_merged_too():
    blobs = MemoryBlobs()
    filled(blobs, hours=1)
    tidy(blobs, LATER, None, nothing)
    keep(Archive(blobs), 0, [Placed(12, example(12, at=NOON))])
    older = "examples/dt=2026-11-22/p1-000000000000-000000000002.parquet"
    several = [Placed(n, example(n, at=NOON + timedelta(hours=n))) for n in range(3)]
    table = pq.read_table(io.BytesIO(parquet(1, several))).drop_columns(["partition", "over_quota"])
    blobs.put(older, archive.encoded(table))
    before = sorted(read(blobs))
    assert tidy(blobs, LATER, None, nothing) == 1, "its day is not over: the older part stays, the late one is merged"
    tidy(blobs, LATER + timedelta(days=1), None, nothing)
    assert sorted(read(blobs)) == before
    assert [read_name(key).hour for key in blobs.keys(PREFIX)] == [12, 13, 14]
    assert Archive(blobs).places() == {0: 13, 1: 3, 2: 212}


def test_a_reader_that_meets_a_merge_begins_anew():
    class Merging(MemoryBlobs):
        done = False

        def get(self, key):
            if not self.done:
                self.done = True
                tidy(self, LATER, None, nothing)
            return super().get(key)

    blobs = Merging()
    rows = filled(blobs)
    assert len(set(read(blobs))) == len(read(blobs)) == rows


def test_a_player_is_cut_out_of_merged_objects_and_an_hour_without_anybody_still_tells_how_far_it_goes():
    blobs = MemoryBlobs()
    filled(blobs)
    places = Archive(blobs).places()
    tidy(blobs, LATER, None, nothing)
    for player in ("p0", "p1", "p2"):
        told: dict[str, int] = {}
        archive.without(blobs, player, told.__setitem__)
        assert sum(told.values()) == 24
    assert (read(blobs), Archive(blobs).places()) == ([], places)
    keep(Archive(blobs), 0, [Placed(36, example(36, at=NOON))])
    tidy(blobs, LATER, None, nothing)
    assert (read(blobs), Archive(blobs).places()) == ([(0, 36)], {**places, 0: 37})


def test_old_days_go_and_the_archive_still_knows_how_far_it_is():
    blobs = MemoryBlobs()
    filled(blobs)
    places = Archive(blobs).places()
    assert tidy(blobs, NOON + timedelta(days=2), 2, nothing) == 21
    assert tidy(blobs, NOON + timedelta(days=3), 2, nothing) == 3
    assert (read(blobs), Archive(blobs).places()) == ([], places)
    assert [read_name(key).hour for key in blobs.keys(PREFIX)] == [14]


def test_nothing_is_merged_while_somebody_waits_to_be_forgotten_nor_by_a_trainer_that_must_not(monkeypatch):
    from contracts.settings import Settings
    from tests.roster import ROSTER
    from trainers.model_log import ModelLog

    blobs, model_log = MemoryBlobs(), ModelLog(ROSTER)
    filled(blobs)
    monkeypatch.setattr(compaction, "now", lambda: LATER)
    command = ForgetPlayer(command_id="6f1b2c8e-6a0d-5c57-9d0e-2f6c1a5e7b11", player_id="p0", by="ada")
    model_log.apply(command)

    def superseded() -> None:
        raise Killed

    assert compaction.Tidying(Settings(), blobs, model_log, never, superseded)() == 0
    model_log.forget(command.command_id)
    with pytest.raises(Killed):
        compaction.Tidying(Settings(), blobs, model_log, never, superseded)()
    assert len(list(blobs.keys(PREFIX))) == 24
    tidying = compaction.Tidying(Settings(), blobs, model_log, never, nothing)
    assert (tidying(), tidying()) == (21, 0)


def test_an_object_that_nobody_can_read_stops_no_other_hour_from_being_merged():
    blobs = MemoryBlobs()
    filled(blobs)
    broken = next(key for key in blobs.keys(PREFIX) if read_name(key).hour == 13)
    blobs.put(broken, blobs.get(broken)[:100])

    tidy(blobs, LATER, None, nothing)

    hours = [read_name(key).hour for key in blobs.keys(PREFIX)]
    assert (hours.count(12), hours.count(13), hours.count(14)) == (1, 8, 1)


def test_rows_of_a_forgotten_player_that_a_late_write_has_brought_back_go_with_the_next_merge_or_forgetting():
    blobs, again = MemoryBlobs(), MemoryBlobs()
    filled(blobs)
    filled(again)
    rows, places, marks = len(read(blobs)), Archive(blobs).places(), {mark_of("p2")}

    tidy(blobs, LATER, None, nothing, marks)
    archive.without(again, "p0", lambda key, n: None, nothing, marks)

    assert (len(read(blobs)), Archive(blobs).places()) == (rows * 2 // 3, places), "p2 came last in each part"
    assert len(read(again)) == rows // 3


def test_a_trainer_that_has_lost_the_lease_while_it_read_an_object_does_not_write_it():
    blobs = MemoryBlobs()
    filled(blobs)
    before = {key: blobs.get(key) for key in blobs.keys(PREFIX)}

    def superseded() -> None:
        raise Killed

    with pytest.raises(Killed):
        archive.without(blobs, "p0", lambda key, n: None, superseded)
    assert {key: blobs.get(key) for key in blobs.keys(PREFIX)} == before


def test_an_hour_is_merged_a_partition_at_a_time(monkeypatch):
    blobs, sizes, merged = MemoryBlobs(), list[int](), compaction._merged

    def watched(*given):
        table = merged(*given)
        sizes.append(len(table))
        return table

    monkeypatch.setattr(compaction, "_merged", watched)
    filled(blobs, hours=1)
    tidy(blobs, LATER, None, nothing)
    assert sizes == [12, 12]
    [key] = blobs.keys(PREFIX)
    assert pq.ParquetFile(io.BytesIO(blobs.get(key))).num_row_groups == 2


def test_a_merge_of_a_superseded_trainer_that_comes_late_brings_nobody_back():
    class Late(MemoryBlobs):
        """A bucket where a write waits for long, once: meanwhile another trainer merges, and somebody is forgotten."""

        waits = True

        def put(self, key, data, *, only_if_absent=False):
            if self.waits:
                self.waits = False
                tidy(self, LATER, None, nothing)
                archive.without(self, "p1", lambda key, n: None)
            super().put(key, data, only_if_absent=only_if_absent)

    blobs = Late()
    blobs.waits = False
    rows = filled(blobs)
    blobs.waits = True

    tidy(blobs, LATER, None, nothing)

    players = [player for table in read_rows(blobs, ["player_id"])[0] for player in table["player_id"].to_pylist()]
    assert (len(players), set(players)) == (rows * 2 // 3, {"p0", "p2"})
