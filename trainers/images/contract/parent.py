"""The model that a training job goes on from: the channel `model`, with the artifact of a version before (way 3, REBUILD).

SageMaker puts the artifact there as it is, a model.tar.gz. Named files are read out of it; nothing is unpacked or executed.

Source:
    Amazon SageMaker AI developer guide, "Use Incremental Training in Amazon SageMaker AI".
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import container

CHANNEL: Final = "model"
DIGEST: Final = "parent"
"""The hyperparameter with the sha256 of the artifact; a job without it takes what is in the channel."""
_MOST_BYTES: Final = 64 << 20
_MOST_MEMBERS: Final = 64


class BadParent(ValueError):
    """Training cannot go on from what is in the channel."""


@dataclass(frozen=True)
class Parent:
    """A model that training goes on from."""

    files: Mapping[str, bytes]
    """The content of each file that was asked for."""
    about: Mapping[str, Any]
    """Its about.json."""


def digest() -> str:
    """Return the sha256 of the artifact in the channel; empty: the job has no such channel."""
    artifact = _artifact()
    return "" if artifact is None else hashlib.sha256(artifact).hexdigest()


def read(algorithm: str, reads: str, *names: str) -> Parent | None:
    """Return the model that training goes on from; None: the job has no channel `model`.

    Args:
        algorithm: The image's name.
        reads: The name of what the model is shown of a drawing.
        names: The files that are needed of it.

    Raises:
        BadParent: If it is another image's, another than the hyperparameter `parent` names, or has no such files.
    """
    artifact, wanted = _artifact(), str(container.hyperparameters().get(DIGEST, ""))
    if artifact is None:
        if wanted:
            raise BadParent("the hyperparameter parent names an artifact, and the job has no channel 'model'")
        return None
    if wanted and hashlib.sha256(artifact).hexdigest() != wanted:
        raise BadParent("the channel 'model' holds another artifact than the hyperparameter parent names")
    files = _files(artifact, {"about.json", *names})
    told = json.loads(files.get("about.json", b"{}"))
    if told.get("algorithm") != algorithm or told.get("features") != reads:
        made_by = f"{told.get('algorithm')}, which reads {told.get('features')}"
        raise BadParent(f"the model was made by {made_by}: this image is {algorithm} and computes {reads}")
    if missing := [name for name in names if name not in files]:
        raise BadParent(f"the model has no {missing[0]}: it was made before training could go on from it, so train it anew")
    return Parent(files, told)


def _artifact() -> bytes | None:
    folder = container.channel(CHANNEL)
    if not folder.is_dir():
        return None
    found = sorted(file for file in folder.rglob("*.tar.gz") if file.is_file())
    if len(found) != 1:
        raise BadParent(f"the channel 'model' has {len(found)} files that end in .tar.gz, not one")
    if found[0].stat().st_size > _MOST_BYTES:
        raise BadParent(f"{found[0].name} has over {_MOST_BYTES >> 20} MiB")
    return found[0].read_bytes()


def _files(artifact: bytes, names: set[str]) -> dict[str, bytes]:
    out: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(artifact), mode="r|gz") as packed:
            for count, member in enumerate(packed):
                if count >= _MOST_MEMBERS or member.size > _MOST_BYTES:
                    raise BadParent("the artifact in the channel 'model' is larger than any model of this image")
                name = str(PurePosixPath(member.name))
                content = packed.extractfile(member) if name in names and member.isreg() else None
                if content is not None:
                    out[name] = content.read()
    except (tarfile.TarError, EOFError, OSError) as wrong:
        raise BadParent(f"the artifact in the channel 'model' cannot be read: {wrong}") from wrong
    return out
