"""Labelled guesses go to files whole: the newest word of each drawing, as Tableau, DuckDB and everybody else read it."""

import csv
import fcntl
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tableauhyperapi import Connection, HyperProcess, TableName, Telemetry

from contracts.events import Event, PlayersForgotten, RestrictionSet, mark_of
from deploy.export import TOPICS_READ, Export, Wanted, export
from deploy.export_files import ExportRefused, written
from deploy.labelled_guesses import COLUMNS, SCHEMA
from producers.bus import open_bus
from streams.learner import Learner
from streams.online_base import load_base
from tests.histories import example, lesson, named, seconds, shown, taken_back

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
BASE = load_base()
MODELS = ("river", "yours", "xgboost")


def exported(events: Sequence[Event], *files: Path, name: str, **wanted: Any) -> Export:
    """Export from a log with these events."""
    bus = open_bus(f"memory://{name}", TOPICS_READ)
    for event in events:
        bus.publish(event).result()
    try:
        return export(bus, BASE, files, Wanted(**wanted))
    finally:
        bus.close()


@pytest.fixture
def exports(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Exports to a Parquet file, and returns its rows too."""

    def run(events: Sequence[Event], **wanted: Any) -> tuple[Export, list[dict[str, Any]]]:
        path = tmp_path / "guesses.parquet"
        done = exported(events, path, name=request.node.name, **wanted)
        return done, pq.read_table(path).to_pylist()

    return run


def guessed(*labels: int) -> list[Any]:
    """Guesses of as many models."""
    return [shown(label, model=model) for label, model in zip(labels, MODELS, strict=False)]


def test_a_row_is_a_guess_and_the_newest_label_counts_however_often_and_late_it_comes(exports: Any):
    first, changed = (
        example("d1", 1, guesses=guessed(7, 1)),
        example("d1", 7, revision=5, guesses=guessed(7, 1), gold=True, asked=7, device="pen"),
    )
    back = [example("d2", 3), example("d2", None, revision=4)]

    done, rows = exports([changed, changed, first, *reversed(back)])

    assert [(row["model"], row["label"], row["guess"], row["correct"]) for row in rows] == [
        ("river", 7, 7, True), ("yours", 7, 1, False)
    ]  # fmt: skip
    assert (done.guesses, done.drawings, done.players, done.models) == (2, 1, 1, {"river": 1, "yours": 1})
    one = rows[0]
    assert (one["drawing_id"], one["drawn_at"], one["player"]) == (str(named("d1")), seconds(0), mark_of("ada"))
    assert (one["asked"], one["gold"], one["picked"], one["strokes"], one["points"]) == (7, True, None, 1, 2)
    assert (one["probability"], one["p7"], one["p1"], one["latency_ms"]) == (0.91, 0.91, pytest.approx(0.01), 8.0)
    assert one["device"] == "pen"
    assert "ada" not in str(rows)


def test_the_weight_is_that_of_the_lesson_in_force(exports: Any):
    series = Learner(BASE).series

    def taught(name: str, number: int, weight: float, **fields: Any) -> Any:
        return lesson(name, drawing_id=named(name), number=number, weight=weight, series=series, **fields)

    half, none = taught("d1", 1, 0.5), taught("d2", 2, 1.0)
    said = [half, none, taken_back(half, 3), taught("d1", 4, 0.25, newcomer=True), taken_back(none, 5), none, half]
    old = [lesson("d3", drawing_id=named("d3"), number=9, series="of another kind")]

    _, rows = exports([example(name) for name in ("d1", "d2", "d3")] + said + old)

    assert {row["drawing_id"]: (row["weight"], row["newcomer"]) for row in rows} == {
        str(named("d1")): (0.25, True), str(named("d2")): (None, None), str(named("d3")): (None, None)
    }  # fmt: skip


def test_who_is_banned_or_forgotten_is_left_out_and_who_is_quarantined_is_marked(exports: Any):
    events: list[Event] = [example(f"d{player}", player_id=player) for player in ("ada", "bob", "cyd", "dan")]
    events += [
        RestrictionSet(players={"bob": "banned", "cyd": "quarantined"}), PlayersForgotten(marks=[mark_of("dan")])
    ]  # fmt: skip

    done, rows = exports(events)

    assert {row["player"]: row["quarantined"] for row in rows} == {mark_of("ada"): False, mark_of("cyd"): True}
    assert (done.banned, done.forgotten, done.drawings) == (1, 1, 2)


def test_a_time_and_models_can_be_asked_for(exports: Any):
    events = [example(f"d{at}", at=at, guesses=guessed(1, 1, 2)) for at in range(4)]

    _, rows = exports(events, since=seconds(1), until=seconds(3), models=["xgboost", "river"])

    assert [(row["drawn_at"], row["model"]) for row in rows] == [
        (seconds(at), model) for at in (1, 2) for model in ("river", "xgboost")
    ]
    with pytest.raises(ExportRefused, match=r"no labelled guess of trees .*: there is river, xgboost, yours"):
        exports(events, models=["trees"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same guesses of three people in all formats."""
    folder = tmp_path_factory.mktemp("files")
    paths = {ending: folder / f"guesses.{ending}" for ending in ("csv", "parquet", "hyper")}
    events = [
        example(f"d{n}", n % 10, at=n, player_id=f"p{n % 3}", guesses=guessed(n % 10, n % 7, n % 9), picked=[None, 0.2][n % 2])
        for n in range(1500)
    ]
    exported(events, *paths.values(), name="files")
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths.values())
    return paths


def test_csv_parquet_and_tableau_extract_have_the_same_rows(files: dict[str, Path]):
    table = pq.read_table(files["parquet"])
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    counts = {
        model: (1500, sum(row["correct"] for row in rows if row["model"] == model)) for model in sorted(MODELS)
    }  # fmt: skip
    with files["csv"].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["drawing_id"], line["model"], float(line["p3"])) for line in lines] == [
        (row["drawing_id"], row["model"], row["p3"]) for row in rows
    ]
    with (
        HyperProcess(Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU, parameters={"log_config": ""}) as engine,
        Connection(engine.endpoint, files["hyper"]) as extract,
    ):
        name = TableName("Extract", "guesses")
        columns = [column.name.unescaped for column in extract.catalog.get_table_definition(name).columns]
        said = "SELECT model, COUNT(*), SUM(CASE WHEN correct THEN 1 ELSE 0 END) FROM"
        assert columns == SCHEMA.names
        assert {m: (n, right) for m, n, right in extract.execute_list_query(f"{said} {name} GROUP BY 1")} == counts
        [[first]] = extract.execute_list_query(f"SELECT MIN(drawn_at) FROM {name}")
        assert first.to_datetime() == seconds(0).replace(tzinfo=None)


def test_the_document_has_each_column_and_its_questions_are_answered(files: dict[str, Path]):
    text = DOCUMENT.read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", text, re.MULTILINE))
    queries = re.findall(r"```sql\n(.+?)```", text, re.DOTALL)

    assert told == {column.name: column.about for column in COLUMNS}
    assert len(queries) >= 6
    for query in queries:
        assert duckdb.sql(query.replace("guesses.parquet", str(files["parquet"]))).fetchall(), query
    of_guesses = [query for query in queries if "correct" in query]
    assert len(of_guesses) >= 6
    assert [query for query in of_guesses if "NOT shadow" not in query and "NOT s.shadow" not in query] == []
    [best] = [query for query in queries if "arg_max" in query]
    found = duckdb.sql(best.replace("guesses.parquet", str(files["parquet"]))).fetchall()
    assert (len(found), found[0][1:3]) == (10, ("river", 100.0))


# --- whole, or not at all


@pytest.mark.parametrize("ending", ["csv", "parquet", "hyper"])
def test_what_fails_in_the_middle_leaves_the_older_file_and_nothing_else(tmp_path: Path, ending: str):
    path = tmp_path / f"guesses.{ending}"
    path.write_text("older")

    def failing() -> Iterator[None]:
        with written(path, SCHEMA) as writer:
            writer.write(pa.RecordBatch.from_pylist([], schema=SCHEMA))
            yield
            raise OSError("no space left on device")

    with pytest.raises(ExportRefused, match="is not written: no space"):
        list(failing())

    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [(path.name, "older")]


def test_a_file_takes_its_name_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, reader = tmp_path / "guesses.csv", tmp_path / "a reader's"
    path.write_text("older")
    os.link(path, reader)  # whoever has it open

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    for home, call in ((os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as broken:
            broken.setattr(home, call, full)
            with pytest.raises(ExportRefused, match="no space left"), written(path, SCHEMA):
                pass
        assert path.read_text() == "older", call
    with written(path, SCHEMA):
        [made] = (tmp_path / ".guesses.csv.part").iterdir()
        inode = made.stat().st_ino

    assert reader.read_text() == "older", "it was written over and not replaced"
    assert path.stat().st_ino == inode, "it was copied, so somebody has seen half of it"


def test_what_a_killed_export_has_left_goes_and_two_at_once_are_refused(tmp_path: Path):
    path = tmp_path / "guesses.csv"
    part = tmp_path / ".guesses.csv.part"
    part.mkdir()
    (part / "rows.csv").write_text("half")
    held = os.open(part, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)

    with pytest.raises(ExportRefused, match="another export is writing"), written(path, SCHEMA):
        pass
    os.close(held)
    with written(path, SCHEMA):
        pass

    assert [found.name for found in tmp_path.iterdir()] == ["guesses.csv"]
    assert len(path.read_text().splitlines()) == 1


def test_an_export_that_begins_as_another_ends_does_not_write_into_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It held the lock of a folder without a name, and a third one could write beside it."""
    path, part = tmp_path / "guesses.csv", tmp_path / ".guesses.csv.part"
    lock = fcntl.flock

    def ends(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        part.rmdir()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", ends)
    with written(path, SCHEMA):
        pass

    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x.xlsx", "the ending says"),
        ("nowhere/x.csv", "cannot be written to"),
        (".", "the ending says"),
        ("d.csv", "is a folder"),
        ("x.csv", r"\.x\.csv\.part is in the way: delete it"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, name: str, told: str):
    (tmp_path / "d.csv").mkdir()
    (tmp_path / ".x.csv.part").touch()

    with pytest.raises(ExportRefused, match=told) as refused, written(tmp_path / name, SCHEMA):
        pass

    assert len(str(refused.value).splitlines()) == 1


def test_without_tableaus_library_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tableauhyperapi", None)

    with pytest.raises(ExportRefused, match="make setup-notebook"), written(tmp_path / "x.hyper", SCHEMA):
        pass

    assert list(tmp_path.iterdir()) == []
