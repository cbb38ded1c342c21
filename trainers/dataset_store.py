"""Keeps datasets on S3, each under its digest, with a manifest of what it was made of (way 3, REBUILD).

A manifest does not change once it is written, but for what is forgotten. It has all that it takes to make the same bytes again:
the base by its digest, the place of each drawing on the log, the split and the weights. `verify` does that. The base, which is
MNIST, is stored once and not in each dataset.
"""

import hashlib
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from contracts.events import DIGITS, PLAYER_PARTITIONS, DatasetMade, mark_of, now
from contracts.ports import Blobs, NoSuchBlob
from trainers.archive_names import ends_of, named_objects
from trainers.dataset import Dataset, assemble, for_tuning, from_npz, read_archive, rows_from_npz, to_npz
from trainers.split import PUBLIC, fingerprint, key_named

PREFIX: Final = "datasets/"
BASES: Final = "bases/"
_DATA: Final = ("train/train.npz", "holdout/holdout.npz", "rows/rows.npz")
"""The files of a dataset; an older one has no rows, and the base is in its ``train``."""
_TUNING: Final = ("tuning/train/train.npz", "tuning/validation/validation.npz")
"""What settings are tried on and compared by: made of the others, and there as long as they are tried."""
KEEPING: Final = threading.Lock()
"""Held by a rebuild until what it stores is named by a step on the log, and by who deletes old datasets that none uses."""


@dataclass(frozen=True, slots=True)
class Making:
    """What a manifest says besides the data themselves."""

    keys: Sequence[str] = ()
    """The archive's objects that were read."""
    seed: int = 0
    weight: float = 1.0
    """How much a player's drawing counts beside one of the base."""
    excluded: Mapping[str, int] = field(default_factory=dict)
    """How many examples of players were left out, by the reason."""
    trust: float | None = None
    """How far the players' labels are trusted, 0..1, on average over their drawings; None: nothing is known of it."""
    known: frozenset[str] = frozenset()
    """The players of the newest dataset before that has any."""
    forgotten: int = 0
    """How many players are forgotten altogether, whose examples were nowhere by then."""
    images: Mapping[str, str] = field(default_factory=dict)
    """The version of each image that may train on it."""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a dataset is stored, and what it holds."""

    digest: str
    train: str
    """Key prefix of the channel that is trained on."""
    holdout: str
    """Key of the drawings that were held back."""
    base: str
    """Key prefix of the channel with the base; empty: it is in ``train``, as in older datasets."""
    offsets: str
    """How far it has read each partition of examples.v1, as ``0:120,1:96``."""
    feedback: int
    """How many of the drawings to train on are players'."""
    split: Mapping[str, str]
    """What the lineage says of the split; nothing where it was by drawing."""


def manifest(dataset: Dataset, making: Making, at: datetime) -> dict[str, Any]:
    """Describe what a dataset was made of, for its place on S3 and for the lineage of models that are trained on it."""
    files = dict(zip(_DATA, (dataset.train_bytes, dataset.holdout_bytes, dataset.rows_bytes), strict=True))
    counted = len(dataset.train) - dataset.feedback
    own, weights = dataset.train.labels[counted:], dataset.train.weights[counted:]
    return {
        "digest": dataset.digest,
        "at": at.isoformat(),
        "base": {"name": "MNIST", "digest": dataset.base_digest, "n": counted, "key": base_key(dataset.base_digest)},
        "train": {"n": len(dataset.train), "labels": _mix(dataset.train.labels), "feedback": dataset.feedback},
        "holdout": {
            "n": len(dataset.holdout),
            "labels": _mix(dataset.holdout.labels),
            "people": len(np.unique(dataset.holdout.people)),
        },
        "drawn": _mix(np.concatenate([own, dataset.holdout.labels])),
        "split": dataset.split.lineage(dataset.trained_until_us),
        "held_back": dataset.split.share,
        "newest_s": dataset.split.newest_s,
        "weight": making.weight,
        "label_weights": {f"{weight:g}": n for weight, n in sorted(Counter(weights.tolist()).items())},
        "newcomers": int(dataset.newcomers.sum()),
        "newcomers_weight": dataset.newcomers_weight,
        "players": dict(dataset.players),
        "new_people": len(set(dataset.players) - making.known),
        "excluded": dict(Counter(dataset.excluded) + Counter(making.excluded)),
        "forgotten_players": making.forgotten,
        "trust": making.trust,
        "objects": list(making.keys),
        "offsets": {str(part): to for part, to in ends_of(named_objects(making.keys)).items()},
        "shards": [
            {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        ],
        "code": code_version(),
        "images": dict(making.images),
        "seed": making.seed,
        "by": making.by,
    }


def _mix(labels: Any) -> list[int]:
    counted: list[int] = np.bincount(labels, minlength=DIGITS).tolist()
    return counted


def base_key(digest: str) -> str:
    """Return the key of a base's file."""
    return f"{BASES}{digest}/images.npz"


def store(blobs: Blobs, dataset: Dataset, making: Making) -> dict[str, Any]:
    """Store a dataset under its digest, the manifest last, and return the manifest; one that is there stays as it is."""
    prefix = f"{PREFIX}{dataset.digest}/"
    there = set(blobs.keys(prefix))
    if not set(blobs.keys(base_key(dataset.base_digest))):
        blobs.put(base_key(dataset.base_digest), dataset.base_bytes)
    if not {f"{prefix}manifest.json", *(f"{prefix}{name}" for name in _DATA)} <= there:
        files = (dataset.train_bytes, dataset.holdout_bytes, dataset.rows_bytes)
        for name, data in zip(_DATA, files, strict=True):
            blobs.put(prefix + name, data)
        if f"{prefix}manifest.json" not in there:  # else its data had been dropped for their age
            blobs.put(f"{prefix}manifest.json", json.dumps(manifest(dataset, making, now()), indent=1).encode())
    told = read_manifest(blobs, dataset.digest)
    if told.pop("gone", ""):
        _write(blobs, told)
    return told


def store_for_tuning(blobs: Blobs, dataset: Dataset) -> tuple[str, str, str]:
    """Store what settings of hyperparameters are tried on; return the key prefixes of base, train and validation."""
    base, train, validation = for_tuning(dataset)
    packed, prefix = to_npz(base), f"{PREFIX}{dataset.digest}/"
    key = base_key(hashlib.sha256(packed).hexdigest())
    if not set(blobs.keys(key)):
        blobs.put(key, packed)
    for name, part in zip(_TUNING, (train, validation), strict=True):
        blobs.put(prefix + name, to_npz(part))
    folders = [f"{prefix}{name}".rpartition("/")[0] + "/" for name in _TUNING]
    return key.rpartition("/")[0] + "/", folders[0], folders[1]


def drop_tuning(blobs: Blobs, digest: str) -> None:
    """Delete what settings were tried on."""
    for name in _TUNING:
        blobs.drop(f"{PREFIX}{digest}/{name}")


def read_manifest(blobs: Blobs, digest: str) -> dict[str, Any]:
    """Return a manifest. Raises `NoSuchBlob`."""
    told: dict[str, Any] = json.loads(blobs.get(f"{PREFIX}{digest}/manifest.json"))
    return told


def manifests(blobs: Blobs) -> Iterator[dict[str, Any]]:
    """Return all manifests."""
    for key in [key for key in blobs.keys(PREFIX) if key.endswith("/manifest.json")]:
        yield json.loads(blobs.get(key))


def _write(blobs: Blobs, told: Mapping[str, Any]) -> None:
    blobs.put(f"{PREFIX}{told['digest']}/manifest.json", json.dumps(told, indent=1).encode())


def stored(told: Mapping[str, Any]) -> Stored:
    """Return the place of the dataset that a manifest describes."""
    prefix = f"{PREFIX}{told['digest']}"
    reached = ",".join(f"{part}:{to}" for part, to in told["offsets"].items())
    base = base_key(told["base"]["digest"]).rpartition("/")[0] + "/" if "base" in told else ""
    holdout, feedback = f"{prefix}/holdout/holdout.npz", told["train"]["feedback"]
    return Stored(told["digest"], f"{prefix}/train/", holdout, base, reached, feedback, told.get("split", {}))


def announced(told: Mapping[str, Any]) -> DatasetMade:
    """Return the event that tells of a dataset: all but the names of the players."""
    return DatasetMade(
        at=datetime.fromisoformat(told["at"]) if "at" in told else now(),
        digest=told["digest"],
        base_digest=told.get("base", {}).get("digest", ""),
        feedback=told["train"]["feedback"],
        held_back=told["holdout"]["n"],
        people=len(told.get("players", {})),
        new_people=told.get("new_people", 0),
        labels=told.get("drawn", [0] * DIGITS),
        excluded=told.get("excluded", {}),
        trust=told.get("trust"),
        weight=told.get("weight", 1.0),
        offsets=[told["offsets"].get(str(partition), 0) for partition in range(PLAYER_PARTITIONS)],
        split=told.get("split", {}).get("held_back", ""),
        held_back_by=told.get("split", {}).get("held_back_by", PUBLIC),
        newcomers=told.get("newcomers", 0),
        newcomers_weight=told.get("newcomers_weight", 0.0),
        seed=told["seed"],
        code=told["code"],
        images=told.get("images", {}),
        shards={one["file"]: one["sha256"] for one in told.get("shards", ())},
        by=told.get("by", ""),
        gone=told.get("gone", ""),
    )


# --- what is deleted -------------------------------------------------------------------------------------------------


def without(blobs: Blobs, player_id: str) -> dict[str, int]:
    """Delete the datasets that hold drawings of a player; return the digest of each, and how many drawings that were.

    The manifest stays, without the player: lineages name it. It keeps the player's mark, so that the same is returned when this
    is done again, as after a kill.
    """
    gone: dict[str, int] = {}
    for told in manifests(blobs):
        marks = told.setdefault("forgotten", {})
        n = told.get("players", {}).pop(player_id, 0)
        if n:
            _drop_data(blobs, told["digest"])
            marks[mark_of(player_id)] = n
            _write(blobs, told | {"gone": "a player is forgotten whose drawings it held"})
        if mark_of(player_id) in marks:
            gone[told["digest"]] = marks[mark_of(player_id)]
    return gone


def drop_old(blobs: Blobs, days: int, at: datetime, used: set[str]) -> list[dict[str, Any]]:
    """Delete the data of datasets that are older than so many days and not in use; return their manifests, which stay."""
    out = []
    for told in list(manifests(blobs)):
        made_at = told.get("at")
        if not made_at or told.get("gone") or told["digest"] in used or "forgotten" in told:
            continue
        if at - datetime.fromisoformat(made_at) > timedelta(days=days):
            _drop_data(blobs, told["digest"])
            told["gone"] = f"it was older than {days} days"
            _write(blobs, told)
            out.append(told)
    return out


def _drop_data(blobs: Blobs, digest: str) -> None:
    for name in (*_DATA, *_TUNING):
        blobs.drop(f"{PREFIX}{digest}/{name}")


def is_gone(blobs: Blobs, digest: str) -> bool:
    """Say whether nothing but the manifest is left of a dataset, as when a player is forgotten whose drawings it held."""
    prefix = f"{PREFIX}{digest}/"
    there = set(blobs.keys(prefix))
    return f"{prefix}manifest.json" in there and f"{prefix}holdout/holdout.npz" not in there


# --- the same bytes again --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at, and whether it is as the manifest says."""

    what: str
    holds: bool
    told: str


def verify(blobs: Blobs, digest: str, secret: str = "") -> list[Finding]:
    """Compare a dataset with its manifest, file by file, and make it again from the archive.

    Args:
        blobs: The bucket.
        digest: The dataset's.
        secret: The home's key, by which people are held back; empty: it has none.

    Raises:
        NoSuchBlob: If there is no such dataset.
    """
    told = read_manifest(blobs, digest)
    if told.get("gone"):
        return [Finding("data", False, f"deleted: {told['gone']}")]
    if "shards" not in told:
        return [Finding("manifest", False, "made by a version before 0041, which does not say of which rows")]
    prefix, out, contents = f"{PREFIX}{digest}/", [], dict[str, bytes]()
    for name, key, wanted in [
        ("base", told["base"]["key"], told["base"]["digest"]),
        *((one["file"], prefix + one["file"], one["sha256"]) for one in told["shards"]),
    ]:
        try:
            contents[name] = blobs.get(key)
        except NoSuchBlob:
            out.append(Finding(name, False, f"{key} is not there"))
            continue
        found = hashlib.sha256(contents[name]).hexdigest()
        out.append(Finding(name, found == wanted, f"{len(contents[name])} bytes, sha256 {found[:12]}"))
    if not all(one.holds for one in out):
        return out
    key = key_named(by := told["split"].get("held_back_by", PUBLIC), secret)
    if key is None:
        mine = f"here is key {fingerprint(secret)}" if secret else "here is none"
        why = f"its people are held back by key {by}, and {mine}: set GAMENIGHT_HOLDOUT_KEY as the home has it that made it"
        return [*out, Finding("made again", False, why)]
    rows = rows_from_npz(contents[_DATA[2]])
    taken = [(one, *rows[one.place]) for one in read_archive(blobs)[0] if one.place in rows]
    examples = [replace(one, trust=trust, newcomer=new) for one, trust, new in taken]
    if (missing := len(rows) - len(examples)) > 0:
        return [*out, Finding("archive", False, f"{missing} of {len(rows)} examples are not in the archive any more")]
    again = assemble(from_npz(contents["base"]), examples, told["held_back"], told["weight"], told["newest_s"], key)
    if again.digest != digest and all(
        _arrays(contents[name]) == _arrays(made)
        for name, made in zip(_DATA, (again.train_bytes, again.holdout_bytes), strict=False)
    ):  # its files were written with `numpy.savez`, whose bytes are another's in another Python
        return [*out, Finding("made again", True, f"from {len(examples)} examples: the same arrays, in files of an older form")]
    return [*out, Finding("made again", again.digest == digest, f"from {len(examples)} examples: digest {again.digest[:12]}")]


def _arrays(raw: bytes) -> dict[str, tuple[str, bytes]]:
    """Return the arrays of an npz file, to be compared."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        return {name: (f"{found[name].dtype} {found[name].shape}", found[name].tobytes()) for name in found}


def code_version() -> str:
    """Return the version of this code: the project's, and a digest of everything under trainers/."""
    folder = Path(__file__).parent
    return f"{version('gamenight')}+{_digest_of(folder, '*.py')}"


def image_version(folder: Path) -> str:
    """Return a digest of an image: of its programs and of the packages that they run with."""
    return _digest_of(folder, "*.py", "*.txt", "image.json")


def _digest_of(folder: Path, *patterns: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in folder.rglob(pattern)):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
