"""Makes the dataset of a rebuild, for training and for judging: MNIST and the players' labelled drawings (way 3, REBUILD).

The pure part makes the same bytes from the same examples, in whatever order and however often they come; a dataset's name is
the digest of those bytes. `read_archive`, `read_mnist` and `store` read and write files and S3.
"""

import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts.drawing import SIDE
from contracts.events import DIGITS, mark_of
from contracts.ports import Blobs
from trainers.archive import read_rows
from trainers.archive_names import ends_of, named_objects
from trainers.split import FIELDS, HeldBack, Split, divided
from trainers.split import held_back as hold_back

PIXELS: Final = SIDE * SIDE
MNIST: Final = Path(__file__).parents[1] / "data" / "mnist"
_COLUMNS: Final = ("drawing_id", "player_id", "revision", "label", "drawn_at", "raster")
_OVER: Final = "over_quota"


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
    holdout: HeldBack
    """Players' drawings that are not trained on."""
    split: Split
    trained_until_us: int
    """When the newest player's drawing that is trained on was drawn, in microseconds since 1970; 0: there is none."""
    feedback: int
    """How many of the drawings to train on are players'."""
    players: Mapping[str, int]
    """How many drawings each player has in the two parts together."""
    train_bytes: bytes = field(repr=False)
    holdout_bytes: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """sha256 of what is trained on and what is held back."""
        return hashlib.sha256(self.train_bytes + self.holdout_bytes).hexdigest()


# --- pure ------------------------------------------------------------------------------------------------------------


def usable(examples: Iterable[Feedback]) -> list[Feedback]:
    """Return what can be learned from: the latest correction of each drawing that has a label and pixels, each picture once.

    A drawing whose latest label came over the quota is left out.
    Of several drawings with the same pixels and label only the earliest is kept, so that a replayed drawing neither counts
    double nor is on both sides of the split.
    """
    latest: dict[str, Feedback] = {}
    for example in examples:
        if example.drawing_id not in latest or latest[example.drawing_id].revision < example.revision:
            latest[example.drawing_id] = example
    once: dict[tuple[bytes, int], Feedback] = {}
    for example in sorted(latest.values()):
        if example.over_quota:
            continue
        if example.label is not None and example.raster is not None and len(example.raster) == PIXELS:
            once.setdefault((example.raster, example.label), example)
    return sorted(once.values(), key=lambda example: example.drawing_id)


def assemble(
    mnist: LabelledImages, examples: Iterable[Feedback], held_back: float, weight: float, newest_s: float = 0.0
) -> Dataset:
    """Make the dataset of a rebuild: all of MNIST's training images, and the players' drawings that are not held back.

    Args:
        mnist: The base, each of weight 1 or as given.
        examples: Every revision of every example, in any order.
        held_back: Share of the people whose drawings are kept from training, 0..1.
        weight: How much a player's drawing counts beside one of MNIST.
        newest_s: The newest drawings of so many seconds are kept from training, whoever drew them; 0: none.
    """
    feedback, split = usable(examples), Split(held_back, newest_s)
    trained, people, newest = divided(feedback, split)
    kept = _images(trained, weight)
    aside = _images([*people, *newest], 1.0)
    holdout = hold_back(aside.images, aside.labels, [*people, *newest], len(newest))
    train = LabelledImages(
        np.concatenate([mnist.images, kept.images]),
        np.concatenate([mnist.labels, kept.labels]),
        np.concatenate([mnist.weights, kept.weights]),
    )
    players = Counter(example.player_id for example in feedback)
    until = max((example.drawn_at_us for example in trained), default=0)
    told = dict(sorted(players.items()))
    return Dataset(train, holdout, split, until, len(kept), told, to_npz(train), holdout_npz(holdout))


def _images(examples: Sequence[Feedback], weight: float) -> LabelledImages:
    pixels = b"".join(example.raster or b"" for example in examples)
    return LabelledImages(
        np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS),
        np.array([example.label for example in examples], np.uint8),
        np.full(len(examples), weight, np.float32),
    )


def to_npz(data: LabelledImages) -> bytes:
    """Encode ``images``, ``labels`` and ``weights`` as an npz file; the same data gives the same bytes."""
    out = io.BytesIO()
    np.savez(out, images=data.images, labels=data.labels, weights=data.weights)
    return out.getvalue()


def from_npz(raw: bytes) -> LabelledImages:
    """Decode what `to_npz` made."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        return LabelledImages(found["images"], found["labels"], found["weights"])


def holdout_npz(data: HeldBack) -> bytes:
    """Encode held-back drawings as an npz file; the same data gives the same bytes."""
    out = io.BytesIO()
    np.savez(out, **{name: getattr(data, name) for name in FIELDS})
    return out.getvalue()


def holdout_from_npz(raw: bytes) -> HeldBack:
    """Decode what `holdout_npz` made; in a file of before there was a split by people, all drawings are one person's.

    That is too careful, and so it is meant: nobody can tell their hands apart any more, and a rebuild makes a file that does.
    """
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        if "people" in found:
            return HeldBack(*(found[name] for name in FIELDS))
        none = np.zeros(len(found["labels"]), np.uint8)
        people, times, newest = none.astype(np.int32), none.astype(np.int64), none.astype(bool)
        return HeldBack(found["images"], found["labels"], people, none, none, times, newest)


def manifest(dataset: Dataset, keys: Sequence[str], seed: int) -> dict[str, Any]:
    """Describe what a dataset was made of, for its place on S3 and for the lineage of models that are trained on it."""
    holdout = np.bincount(dataset.holdout.labels, minlength=DIGITS).tolist()
    train = np.bincount(dataset.train.labels, minlength=DIGITS).tolist()
    return {
        "digest": dataset.digest,
        "train": {"n": len(dataset.train), "labels": train, "feedback": dataset.feedback},
        "holdout": {"n": len(dataset.holdout), "labels": holdout, "people": len(np.unique(dataset.holdout.people))},
        "split": dataset.split.lineage(dataset.trained_until_us),
        "players": dict(dataset.players),
        "objects": list(keys),
        "offsets": {str(part): to for part, to in ends_of(named_objects(keys)).items()},
        "code": code_version(),
        "seed": seed,
    }


# --- the world -------------------------------------------------------------------------------------------------------


def read_mnist(part: str, folder: Path = MNIST) -> LabelledImages:
    """Read MNIST's ``train`` (60,000) or ``t10k`` (10,000) images, each of weight 1."""
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, PIXELS)
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", 8)
    return LabelledImages(images, labels, np.ones(len(labels), np.float32))


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def read_archive(blobs: Blobs) -> tuple[list[Feedback], list[str]]:
    """Read every archived revision of every example, and the keys of their objects."""
    tables, objects = read_rows(blobs, [*_COLUMNS, _OVER])
    return [example for table in tables for example in _feedback(table)], [one.key for one in objects]


def _feedback(table: pa.Table) -> list[Feedback]:
    columns = {name: table[name] for name in _COLUMNS}
    columns["drawn_at"] = pc.cast(columns["drawn_at"], "int64")
    over = table[_OVER].to_pylist() if _OVER in table.column_names else [None] * len(table)
    rows = zip(*(columns[name].to_pylist() for name in _COLUMNS), over, strict=True)
    return [
        Feedback(at, drawing, player, revision, label, raster, bool(late))
        for drawing, player, revision, label, at, raster, late in rows
    ]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a dataset is stored, and what it holds."""

    digest: str
    train: str
    """Key prefix of the channel that is trained on."""
    holdout: str
    """Key of the drawings that were held back."""
    offsets: str
    """How far it has read each partition of examples.v1, as ``0:120,1:96``."""
    feedback: int
    """How many of the drawings to train on are players'."""
    split: Mapping[str, str]
    """What the lineage says of the split; nothing where it was by drawing."""


def store(blobs: Blobs, dataset: Dataset, keys: Sequence[str], seed: int) -> Stored:
    """Store a dataset under its digest, the manifest last; if the manifest is there, nothing is sent again."""
    prefix = f"datasets/{dataset.digest}"
    told = manifest(dataset, keys, seed)
    if not any(key == f"{prefix}/manifest.json" for key in blobs.keys(f"{prefix}/")):
        blobs.put(f"{prefix}/train/train.npz", dataset.train_bytes)
        blobs.put(f"{prefix}/holdout/holdout.npz", dataset.holdout_bytes)
        blobs.put(f"{prefix}/manifest.json", json.dumps(told, indent=1).encode())
    return stored(told)


def without(blobs: Blobs, player_id: str) -> dict[str, int]:
    """Delete the datasets that hold drawings of a player; return the digest of each, and how many drawings that were.

    The manifest stays, without the player: lineages name it. It keeps the player's mark, so that the same is returned when this
    is done again, as after a kill.
    """
    gone: dict[str, int] = {}
    for key in [key for key in blobs.keys("datasets/") if key.endswith("/manifest.json")]:
        told = json.loads(blobs.get(key))
        marks = told.setdefault("forgotten", {})
        n = told.get("players", {}).pop(player_id, 0)
        if n:
            place = stored(told)
            for data in (f"{place.train}train.npz", place.holdout):
                blobs.drop(data)
            marks[mark_of(player_id)] = n
            blobs.put(key, json.dumps(told, indent=1).encode())
        if mark_of(player_id) in marks:
            gone[told["digest"]] = marks[mark_of(player_id)]
    return gone


def is_gone(blobs: Blobs, digest: str) -> bool:
    """Say whether nothing but the manifest is left of a dataset, as when a player is forgotten whose drawings it held."""
    prefix = f"datasets/{digest}/"
    there = set(blobs.keys(prefix))
    return f"{prefix}manifest.json" in there and f"{prefix}holdout/holdout.npz" not in there


def stored(told: Mapping[str, Any]) -> Stored:
    """Return the place of the dataset that a manifest describes."""
    prefix = f"datasets/{told['digest']}"
    reached = ",".join(f"{part}:{to}" for part, to in told["offsets"].items())
    holdout, feedback = f"{prefix}/holdout/holdout.npz", told["train"]["feedback"]
    return Stored(told["digest"], f"{prefix}/train/", holdout, reached, feedback, told.get("split", {}))


def code_version() -> str:
    """Return the version of this code: the project's, and a digest of everything under trainers/."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{version('gamenight')}+{digest.hexdigest()[:12]}"
