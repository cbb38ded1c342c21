"""Fetches examples from the archive on S3 into a DataFrame (way 3): labelled drawings with pixels and guesses.

The archive has a Parquet object for each flush, and every revision of an example; of each drawing the newest one is returned.
"""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.settings import Settings
from gamenight.errors import GameNightError, GameNightUnreachable
from gamenight.home import settings_of_this_machine

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_PREFIX: Final = "examples/"
_AMAZON: Final = "Amazon S3, which is asked where GAMENIGHT_AWS is not local"
_TRIES: Final = 20
_NEEDED: Final = ("drawing_id", "revision", "label", "drawn_at")


def fetch_examples(
    settings: Settings | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    columns: Sequence[str] | None = None,
) -> "pd.DataFrame":
    """Return the labelled drawings of the archive, a row each, in the order in which they were drawn.

    A drawing comes to the archive at most a minute after its label (``GAMENIGHT_ARCHIVE_EVERY_S``). Players who are forgotten
    are not in it; those who are banned are (`gamenight players` lists them).

    Args:
        settings: Where S3 is; None: with the game of this machine, unless the environment names another.
        since: Drawings from this time on; without a zone it is UTC.
        until: Drawings before this time.
        columns: What to read besides drawing, label and time; None: all. Pixels and embeddings are most of it.

    Raises:
        GameNightUnreachable: If S3 does not answer.
        GameNightError: If there is no archive yet, or it has no such column, or ``since`` or ``until`` is no time.
    """
    import pyarrow as pa

    columns = [columns] if isinstance(columns, str) else columns
    least, most = _moment("since", since or _BEGIN), _moment("until", until or _END)
    settings = settings or settings_of_this_machine()
    tables, there = _tables(settings, None if columns is None else [*_NEEDED, *columns])
    if not tables:
        raise GameNightError(f"s3://{settings.bucket}/{_PREFIX} is empty: nobody has labelled a drawing, or not a minute ago")
    found: Any = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    if missing := sorted(set(columns or ()) - set(there)):
        raise GameNightError(f"the archive has no column {', '.join(missing)}: there is {', '.join(there)}")
    newest = found.sort_values("revision", kind="stable").drop_duplicates("drawing_id", keep="last")
    labelled = newest[newest["label"].notna() & (newest["drawn_at"] >= least) & (newest["drawn_at"] < most)]
    return labelled.astype({"label": "int8"}).sort_values(["drawn_at", "drawing_id"]).reset_index(drop=True)


def _moment(name: str, given: Any) -> datetime:
    if not isinstance(given, datetime):
        raise GameNightError(f"{name}: a datetime, as datetime(2026, 11, 30, tzinfo=UTC), not {given!r}")
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _tables(settings: Settings, columns: list[str] | None) -> "tuple[list[pa.Table], list[str]]":
    """Read these columns of all objects, and the names of all columns.

    When an object is gone that was listed, since the trainer merges them, all are listed anew.
    """
    import boto3
    import pyarrow.parquet as pq
    from botocore.exceptions import BotoCoreError, ClientError

    where: dict[str, Any] = settings.aws("s3")
    s3: Any = boto3.client("s3", **where)
    for tries in range(_TRIES):
        tables, there = [], dict[str, None]()
        try:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=_PREFIX)
            for key in [one["Key"] for page in pages for one in page.get("Contents", ())]:
                if key.endswith(".parquet"):
                    body = s3.get_object(Bucket=settings.bucket, Key=key)["Body"].read()
                    parquet = pq.ParquetFile(io.BytesIO(body))
                    there |= dict.fromkeys(parquet.schema_arrow.names)
                    tables.append(parquet.read(columns=columns))
        except (BotoCoreError, ClientError) as wrong:
            if isinstance(wrong, s3.exceptions.NoSuchKey) and tries + 1 < _TRIES:
                continue
            raise GameNightUnreachable(where["endpoint_url"] or _AMAZON, wrong) from wrong
        return tables, list(there)
    return [], []


_BEGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(2200, 1, 1, tzinfo=UTC)


def pixels(examples: "pd.DataFrame") -> NDArray[np.uint8]:
    """Return the pixels of examples, shape (n, 784), row by row, 0 is paper; a drawing that no model has read is all paper.

    Raises:
        GameNightError: If the examples were fetched without their rasters.
    """
    if "raster" not in examples:
        raise GameNightError('the examples have no rasters: fetch them with "raster" among the columns')
    rows = [raster if isinstance(raster, bytes) else bytes(784) for raster in examples["raster"]]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 784)
