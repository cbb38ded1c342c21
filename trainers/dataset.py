"""Makes the dataset of a rebuild, for training and for judging: MNIST and the players' labelled drawings (way 3, REBUILD).

The pure part makes the same bytes from the same examples, in whatever order and however often they come; a dataset's name is
the digest of those bytes. `read_archive` and `read_mnist` read S3 and files; `trainers.dataset_store` keeps datasets.
"""

import gzip
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts.drawing import SIDE
from contracts.ports import Blobs
from trainers.archive import read_rows
from trainers.newcomers import trust_of_each
from trainers.split import FIELDS, UNKNOWN, HeldBack, Split, compares, divided
from trainers.split import held_back as hold_back

PIXELS: Final = SIDE * SIDE
MNIST: Final = Path(__file__).parents[1] / "data" / "mnist"
_COLUMNS: Final = ("drawing_id", "player_id", "revision", "label", "drawn_at", "raster")
_OVER: Final = "over_quota"
_DEVICE: Final = "device"
_COMPARED: Final = 12
"""Settings are compared by one in so many of MNIST's training images."""
_MOST_SAY: Final = 20.0
"""The most that a person's drawing counts beside one of MNIST, where settings are compared."""


@dataclass(frozen=True, slots=True, order=True)
class Feedback:
    """A player's drawing with their latest correction of it."""

    drawn_at_us: int
    """Microseconds since 1970, UTC."""
    drawing_id: str
    player_id: str
    revision: int
    label: int | None
    """The digit drawn; None: the player withdrew their correction."""
    raster: bytes | None
    """784 pixels; None: no model has read the drawing."""
    over_quota: bool = False
    """Whether the label came over the quota, so that no model of everybody's learns it."""
    place: tuple[int, int] = (0, 0)
    """Partition and offset on examples.v1."""
    trust: float = 1.0
    """How much the label counts beside others', above 0 and at most 1."""
    device: str = UNKNOWN
    """What it was drawn with."""
    newcomer: bool = False
    """Whether nothing is known of the player yet: then all newcomers' labels together count little."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Rasters with their labels and weights."""

    images: NDArray[np.uint8]
    """Shape (n, 784)."""
    labels: NDArray[np.uint8]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Dataset:
    """All the data of one rebuild."""

    train: LabelledImages
    """The base, then the players' drawings."""
    holdout: HeldBack
    """Players' drawings that are not trained on."""
    split: Split
    trained_until_us: int
    """When the newest player's drawing that is trained on was drawn, in microseconds since 1970; 0: there is none."""
    feedback: int
    """How many of the drawings to train on are players'."""
    newcomers: NDArray[np.bool_]
    """Of each player's drawing to train on, whether it is a newcomer's."""
    compares: NDArray[np.bool_]
    """Of each player's drawing to train on, whether settings of hyperparameters are compared by it."""
    players: Mapping[str, int]
    """How many drawings each player has in the two parts together."""
    excluded: Mapping[str, int]
    """How many examples were left out, by the reason; see `sorted_out` and `trainers.split.divided`."""
    base_digest: str
    """sha256 of the base's file."""
    base_bytes: bytes = field(repr=False)
    train_bytes: bytes = field(repr=False)
    """The players' drawings to train on."""
    holdout_bytes: bytes = field(repr=False)
    rows_bytes: bytes = field(repr=False)
    """Where on the log each of the players' drawings is, as `rows_npz` has it."""

    @property
    def newcomers_weight(self) -> float:
        """The weight of all newcomers' drawings together, beside one of the base."""
        return float(self.train.weights[len(self.train) - self.feedback :][self.newcomers].sum(dtype=np.float64))

    @property
    def digest(self) -> str:
        """sha256 of what is trained on, the base by its digest, and what is held back."""
        return hashlib.sha256(self.base_digest.encode() + self.train_bytes + self.holdout_bytes).hexdigest()


# --- pure ------------------------------------------------------------------------------------------------------------


def usable(examples: Iterable[Feedback]) -> list[Feedback]:
    """Return what can be learned from: the latest correction of each drawing that has a label and pixels, each picture once.

    A drawing whose latest label came over the quota is left out.
    Of several drawings with the same pixels and label only the earliest is kept, so that a replayed drawing neither counts
    double nor is on both sides of the split.
    """
    return sorted_out(examples)[0]


def sorted_out(examples: Iterable[Feedback]) -> tuple[list[Feedback], dict[str, int]]:
    """Return what `usable` returns, and how many examples are left out, by the reason."""
    latest: dict[str, Feedback] = {}
    out = dict.fromkeys(("replaced", "over quota", "withdrawn", "unread", "repeated"), 0)
    revisions: set[tuple[str, int]] = set()
    for example in examples:
        before = latest.get(example.drawing_id)
        revisions.add((example.drawing_id, example.revision))
        if before is None or before.revision < example.revision:
            latest[example.drawing_id] = example
    out["replaced"] = len(revisions) - len(latest)
    once: dict[tuple[bytes, int], Feedback] = {}
    for example in sorted(latest.values()):
        if example.over_quota:
            out["over quota"] += 1
        elif example.label is None:
            out["withdrawn"] += 1
        elif example.raster is None or len(example.raster) != PIXELS:
            out["unread"] += 1
        else:
            out["repeated"] += once.setdefault((example.raster, example.label), example) is not example
    return sorted(once.values(), key=lambda example: example.drawing_id), {why: n for why, n in out.items() if n}


def assemble(
    mnist: LabelledImages,
    examples: Iterable[Feedback],
    held_back: float,
    weight: float,
    newest_s: float = 0.0,
    secret: str = "",
) -> Dataset:
    """Make the dataset of a rebuild: all of MNIST's training images, and the players' drawings that are not held back.

    Args:
        mnist: The base, each of weight 1 or as given.
        examples: Every revision of every example, in any order.
        held_back: Share of the people whose drawings are kept from training, 0..1.
        weight: How much a player's drawing counts beside one of MNIST, if its label is trusted wholly.
        newest_s: The newest drawings of so many seconds are kept from training, whoever drew them; 0: none.
        secret: The home's key, by which people are held back; empty: the one in the code.
    """
    (feedback, excluded), split = sorted_out(examples), Split(held_back, newest_s, secret)
    trained, people, newest = divided(feedback, split)
    held = [*people, *newest]
    if new := sum(example.newcomer for example in trained):
        each = trust_of_each((example.trust for example in trained if not example.newcomer), new)
        trained = [replace(example, trust=min(example.trust, each)) if example.newcomer else example for example in trained]
    if neither := len(feedback) - len(trained) - len(held):
        excluded["held back, and not known yet"] = neither
    kept = _images(trained, weight)
    aside = _images(held, 1.0)
    holdout = hold_back(aside.images, aside.labels, held, len(newest), secret)
    train = LabelledImages(
        np.concatenate([mnist.images, kept.images]),
        np.concatenate([mnist.labels, kept.labels]),
        np.concatenate([mnist.weights, kept.weights]),
    )
    players = Counter(example.player_id for example in [*trained, *held])
    until = max((example.drawn_at_us for example in trained), default=0)
    base = to_npz(mnist)
    return Dataset(
        train,
        holdout,
        split,
        until,
        len(kept),
        np.array([example.newcomer for example in trained], bool),
        np.array([compares(example.player_id, secret) and not example.newcomer for example in trained], bool),
        dict(sorted(players.items())),
        excluded,
        hashlib.sha256(base).hexdigest(),
        base,
        to_npz(kept),
        holdout_npz(holdout),
        rows_npz(trained, held),
    )


def for_tuning(made: Dataset) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """Return what settings of hyperparameters are tried on: base, players' drawings, and the drawings that compare them.

    Nothing of what is held back for the gate is among them. The last are all drawings of some of the people who are trained on,
    and every twelfth of MNIST's training images; either half has the same say, as far as there are enough drawings of people.
    """
    n, every = len(made.train) - made.feedback, np.arange(len(made.train))
    aside = np.concatenate([every[:n] % _COMPARED == 0, made.compares])
    people = int(aside[n:].sum())
    weights = np.ones(len(every), np.float32)
    if people:
        trusted = made.train.weights[n:]
        weights[n:] = trusted / trusted[aside[n:]].mean() * min(_MOST_SAY, aside[:n].sum() / people)
    of_mnist, of_players = ~aside & (every < n), ~aside & (every >= n)
    train = made.train
    return (
        LabelledImages(train.images[of_mnist], train.labels[of_mnist], train.weights[of_mnist]),
        LabelledImages(train.images[of_players], train.labels[of_players], train.weights[of_players]),
        LabelledImages(train.images[aside], train.labels[aside], weights[aside]),
    )


def _images(examples: Sequence[Feedback], weight: float) -> LabelledImages:
    pixels = b"".join(example.raster or b"" for example in examples)
    return LabelledImages(
        np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS),
        np.array([example.label for example in examples], np.uint8),
        np.array([weight * example.trust for example in examples], np.float32),
    )


def to_npz(data: LabelledImages) -> bytes:
    """Encode ``images``, ``labels`` and ``weights`` as an npz file; the same data gives the same bytes."""
    return _npz(images=data.images, labels=data.labels, weights=data.weights)


def from_npz(raw: bytes) -> LabelledImages:
    """Decode what `to_npz` made."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        return LabelledImages(found["images"], found["labels"], found["weights"])


def holdout_npz(data: HeldBack) -> bytes:
    """Encode held-back drawings as an npz file; the same data gives the same bytes.

    Devices are left out where none is known, and public ranks where no other key decides, so that datasets of before these were
    told are the same as ever.
    """
    same = {"devices": not data.devices.any(), "public_ranks": np.array_equal(data.public_ranks, data.ranks)}
    return _npz(**{name: getattr(data, name) for name in FIELDS if not same.get(name)})


def holdout_from_npz(raw: bytes) -> HeldBack:
    """Decode what `holdout_npz` made; in a file of before there was a split by people, all drawings are one person's.

    That is too careful, and so it is meant: nobody can tell their hands apart any more, and a rebuild makes a file that does.
    """
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        if "people" in found:
            none = np.zeros(len(found["labels"]), np.uint8)
            told: dict[str, Any] = {"devices": none, "public_ranks": found["ranks"], **found}
            return HeldBack(*(told[name] for name in FIELDS))
        none = np.zeros(len(found["labels"]), np.uint8)
        people, times, newest = none.astype(np.int32), none.astype(np.int64), none.astype(bool)
        return HeldBack(found["images"], found["labels"], people, none, none, times, newest, none, none)


def rows_npz(trained: Sequence[Feedback], held: Sequence[Feedback]) -> bytes:
    """Encode where drawings are on the log, in the order of a dataset's two files, how much each counts, and whose is new."""
    both = [*trained, *held]
    places = np.array([one.place for one in both], np.int64).reshape(-1, 2)
    trust = np.array([*(one.trust for one in trained), *(1.0 for _ in held)], np.float64)
    new = {"newcomer": np.array([one.newcomer for one in both])} if any(one.newcomer for one in both) else {}
    return _npz(partition=places[:, 0], offset=places[:, 1], trained=np.arange(len(places)) < len(trained), trust=trust, **new)


def _npz(**arrays: NDArray[Any]) -> bytes:
    """Encode arrays as `numpy.savez` does, but in the same bytes by every Python: zip files of 3.11.2 and 3.12 differ."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980
            entry.create_system, entry.external_attr = 3, 0o600 << 16
            told = io.BytesIO()
            np.lib.format.write_array(told, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            file.writestr(entry, told.getbuffer())
    return out.getvalue()


def rows_from_npz(raw: bytes) -> dict[tuple[int, int], tuple[float, bool]]:
    """Return how much each drawing's label counts and whether it is a newcomer's, by its place on the log.

    In an older file each counts whole, and nobody is called a newcomer.
    """
    with np.load(io.BytesIO(raw), allow_pickle=False) as rows:
        places = zip(rows["partition"].tolist(), rows["offset"].tolist(), strict=True)
        trust = rows["trust"].tolist() if "trust" in rows else repeat(1.0)
        new = rows["newcomer"].tolist() if "newcomer" in rows else repeat(False)
        return dict(zip(places, zip(trust, new, strict=False), strict=False))


# --- the world -------------------------------------------------------------------------------------------------------


def read_mnist(part: str, folder: Path = MNIST) -> LabelledImages:
    """Read MNIST's ``train`` (60,000) or ``t10k`` (10,000) images, each of weight 1."""
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, PIXELS)
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", 8)
    return LabelledImages(images, labels, np.ones(len(labels), np.float32))


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def read_archive(blobs: Blobs, since: Mapping[int, int] | None = None) -> tuple[list[Feedback], list[str]]:
    """Read every archived revision of every example, and the keys of their objects; only ``since`` these offsets, if given."""
    first = since or {}
    tables, objects = read_rows(
        blobs, [*_COLUMNS, _OVER, _DEVICE], lambda one: any(span.last >= first.get(span.partition, 0) for span in one.spans)
    )
    examples = (example for table in tables for example in _feedback(table))
    return [one for one in examples if one.place[1] >= first.get(one.place[0], 0)], [one.key for one in objects]


def _feedback(table: pa.Table) -> list[Feedback]:
    columns = {name: table[name] for name in _COLUMNS}
    columns["drawn_at"] = pc.cast(columns["drawn_at"], "int64")
    over, devices = (
        table[name].to_pylist() if name in table.column_names else [None] * len(table) for name in (_OVER, _DEVICE)
    )
    places = zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True)
    rows = zip(*(columns[name].to_pylist() for name in _COLUMNS), over, places, devices, strict=True)
    return [
        Feedback(at, drawing, player, revision, label, raster, bool(late), place, device=device or UNKNOWN)
        for drawing, player, revision, label, at, raster, late, place, device in rows
    ]
