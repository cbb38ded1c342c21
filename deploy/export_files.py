"""Writes rows as CSV, Parquet or a Tableau extract: whole, or not at all (beside all ways).

A file is written in a folder ``.NAME.part`` beside it, and takes its name when it is whole and on the disk. Whoever writes a
file holds the lock of that folder; what a killed export has left in it goes with the next one.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

_TABLE: Final = "guesses"


class ExportRefused(RuntimeError):
    """Nothing can be exported as it was asked; the message says what to do."""


class RowWriter(Protocol):
    """A file to which rows are written."""

    def write(self, rows: "pa.RecordBatch") -> None:
        """Add some rows."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...


class _Csv:
    def __init__(self, path: Path, schema: "pa.Schema") -> None:
        self._file = pc.CSVWriter(path, schema)

    def write(self, rows: "pa.RecordBatch") -> None:
        self._file.write_batch(rows)

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, schema: "pa.Schema", compression: Literal["zstd", "snappy"] = "zstd") -> None:
        self._file = pq.ParquetWriter(path, schema, compression=compression)

    def write(self, rows: "pa.RecordBatch") -> None:
        self._file.write_batch(rows)

    def close(self) -> None:
        self._file.close()


class _Hyper:
    """A Tableau extract: Tableau's own engine makes it of a Parquet file, a process of its own that reads it piece by piece."""

    def __init__(self, path: Path, schema: "pa.Schema") -> None:
        try:
            import tableauhyperapi
        except ImportError as missing:
            raise ExportRefused("a .hyper file needs Tableau's library: `make setup-notebook` installs it") from missing
        self._api, self._path, self._schema = tableauhyperapi, path, schema
        self._between = path.with_suffix(".parquet")
        self._parquet = _Parquet(self._between, schema, "snappy")

    def write(self, rows: "pa.RecordBatch") -> None:
        self._parquet.write(rows)

    def close(self) -> None:
        self._parquet.close()
        hyper = self._api
        quoted = [hyper.escape_name(name) for name in self._schema.names]
        table = hyper.TableName(hyper.SchemaName("Extract"), _TABLE)
        nullable = {True: hyper.NULLABLE, False: hyper.NOT_NULLABLE}
        columns = [
            hyper.TableDefinition.Column(field.name, self._type(field.type), nullable[field.nullable]) for field in self._schema
        ]
        read = [f"{name} AT TIME ZONE 'UTC'" if pa.types.is_timestamp(field.type) else name
                for name, field in zip(quoted, self._schema, strict=True)]  # fmt: skip
        source = hyper.escape_string_literal(str(self._between))
        settings = {"log_config": ""}  # no log in the folder from which the command is given
        silent = hyper.Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU
        try:
            with (
                hyper.HyperProcess(silent, parameters=settings) as engine,
                hyper.Connection(engine.endpoint, self._path, hyper.CreateMode.CREATE_AND_REPLACE) as extract,
            ):
                extract.catalog.create_schema(table.schema_name)
                extract.catalog.create_table(hyper.TableDefinition(table, columns))
                extract.execute_command(
                    f"INSERT INTO {table} ({', '.join(quoted)})"  # noqa: S608 - names of ours and a path, all escaped
                    f" SELECT {', '.join(read)} FROM external({source}, FORMAT => 'parquet')"
                )
        except hyper.HyperException as wrong:
            raise ExportRefused(f"Tableau's library cannot write the extract: {str(wrong).splitlines()[0]}") from wrong
        self._between.unlink()

    def _type(self, kind: "pa.DataType") -> Any:
        types = self._api.SqlType
        if pa.types.is_timestamp(kind):
            return types.timestamp()  # Tableau shows no zones: it is UTC
        if pa.types.is_boolean(kind):
            return types.bool()
        if pa.types.is_integer(kind):
            return types.int() if kind.bit_width > 16 else types.small_int()
        return types.double() if pa.types.is_floating(kind) else types.text()


FORMATS: Final[Mapping[str, Callable[[Path, "pa.Schema"], RowWriter]]] = {".csv": _Csv, ".parquet": _Parquet, ".hyper": _Hyper}
"""How files of a name's ending are written."""


def check_files(paths: Sequence[Path]) -> None:
    """Refuse files that cannot be meant, before anything is read.

    Raises:
        ExportRefused: If an ending says no format, a file is a folder, or two are the same.
    """
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise ExportRefused(f"{path.name}: the ending says what is written: {', '.join(FORMATS)}")
        if path.is_dir():
            raise ExportRefused(f"{path} is a folder: name a file")
        if [other.resolve() for other in paths].count(path.resolve()) > 1:
            raise ExportRefused(f"{path} is named twice")


@contextmanager
def written(path: Path, schema: "pa.Schema") -> Iterator[RowWriter]:
    """Yield what writes a file; it takes its name when the block has ended well, and there is nothing of it otherwise.

    Raises:
        ExportRefused: If no file of that name can be written.
    """
    check_files([path])
    part = path.parent / f".{path.name}.part"
    lock = _locked(part, path)
    try:
        whole = part / f"rows{path.suffix.lower()}"
        writer = FORMATS[path.suffix.lower()](whole, schema)
        try:
            yield writer
            writer.close()
            _keep(whole, path)
        except OSError as wrong:
            raise ExportRefused(f"{path} is not written: {wrong.strerror or wrong}") from wrong
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def _locked(part: Path, path: Path) -> int:
    """Make the folder in which a file is written, and hold its lock; return the lock."""
    while True:
        try:
            part.mkdir(exist_ok=True)
            lock = os.open(part, os.O_RDONLY)
        except FileExistsError as wrong:
            raise ExportRefused(f"{part} is in the way: delete it, or name another file") from wrong
        except OSError as wrong:
            raise ExportRefused(f"{path.parent} cannot be written to: {wrong.strerror}") from wrong
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), part.stat()):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise ExportRefused(f"another export is writing {path}: wait for it, or name another file") from None
        except FileNotFoundError:
            pass
        os.close(lock)  # another export has just ended, and the folder is gone or is a third one's


def _keep(whole: Path, path: Path) -> None:
    """Give a file its name, once its bytes are on the disk."""
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    whole.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
