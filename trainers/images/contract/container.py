"""The SageMaker container contract, as the images use it: where inputs lie, where results go.

`SAGEMAKER_BASE_DIR` moves /opt/ml elsewhere and each `SM_*` variable moves one folder, so that the same `train` and
`serve` run in a container, on SageMaker, and as a local process of an ordinary user.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

PIXELS: Final = 784
"""Pixels of a raster: 28 rows of 28, 0 is paper and 255 is ink."""


def _place(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / default)


def channel(name: str) -> Path:
    """Return the folder of an input channel; it does not exist if the job has no such channel."""
    return _place(f"SM_CHANNEL_{name.upper()}", f"input/data/{name}")


def content_type(name: str) -> str:
    """Return the ContentType of an input channel, such as ``text/csv``, without parameters; empty: the job named none."""
    file = _place("SM_INPUT_CONFIG_DIR", "input/config") / "inputdataconfig.json"
    channels = json.loads(file.read_text()) if file.is_file() else {}
    return str(channels.get(name, {}).get("ContentType") or "").split(";")[0].strip().lower()


def model_dir() -> Path:
    """Return the folder of the model artifact's files, which training writes and serving reads."""
    return _place("SM_MODEL_DIR", "model")


def about(algorithm: str, reads: str) -> dict[str, Any]:
    """Return the description in the model artifact (about.json).

    Raises:
        ValueError: If it was made by another algorithm, or reads something else of a drawing.
    """
    told: dict[str, Any] = json.loads((model_dir() / "about.json").read_text())
    if told.get("algorithm") != algorithm:
        raise ValueError(f"the model was made by {told.get('algorithm')}, this image is {algorithm}")
    if told.get("features") != reads:
        raise ValueError(f"the model reads {told.get('features')}, this image computes {reads}")
    return told


def hyperparameters() -> dict[str, Any]:
    """Return the job's hyperparameters; SageMaker hands over every value as a string."""
    given = os.environ.get("SM_HPS")
    if given is None:
        file = _place("SM_INPUT_CONFIG_DIR", "input/config") / "hyperparameters.json"
        given = file.read_text() if file.is_file() else "{}"
    return dict(json.loads(given))


def write_failure(reason: str) -> None:
    """Say why the job failed; SageMaker shows the first 1,024 characters as its FailureReason."""
    folder = _place("SM_OUTPUT_DIR", "output")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure").write_text(reason)
