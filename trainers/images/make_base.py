"""Makes the base version of an algorithm from MNIST with the image's own `train`.

`python trainers/images/make_base.py xgboost` writes base/model.tar.gz, the same bytes from the same data, seed and packages on
the same kind of machine, and base/base.json, which says what it is: digest, accuracy on MNIST's test images, hyperparameters
and command.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[2]


def write_channel(folder: Path, part: str) -> None:
    """Put one part of MNIST, `train` or `t10k`, into a channel."""
    images, labels = (
        np.frombuffer(gzip.decompress((ROOT / "data" / "mnist" / f"{part}-{name}.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    folder.mkdir(parents=True)
    weights = np.ones(len(labels), np.float32)
    np.savez(folder / "mnist.npz", images=images.reshape(len(labels), -1), labels=labels, weights=weights)


def pack(folder: Path) -> bytes:
    """Pack a folder's files as model.tar.gz; the same files give the same bytes."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return gzip.compress(tar.getvalue(), compresslevel=9, mtime=0)


def main() -> None:
    """Train, pack and describe."""
    parser = argparse.ArgumentParser(description="Make the base version of an algorithm from MNIST.")
    parser.add_argument("algorithm")
    parser.add_argument("--python", type=Path, help="Python that trains; not given: that of the image's environment in .tools")
    arguments = parser.parse_args()
    image = ROOT / "trainers" / "images" / arguments.algorithm
    tools = Path(os.environ.get("GAMENIGHT_TOOLS", ROOT / ".tools"))
    kind = "-train" if (image / "requirements-train.txt").is_file() else ""
    python = arguments.python or tools / "images" / f"{arguments.algorithm}{kind}" / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is not there: python -m deploy.local.install --training {arguments.algorithm}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        write_channel(place / "input" / "data" / "train", "train")
        write_channel(place / "input" / "data" / "validation", "t10k")
        began = time.monotonic()
        environment = os.environ | {"SAGEMAKER_BASE_DIR": scratch, "PYTHONPATH": str(image.parent / "contract")}
        subprocess.run([python, image / "train.py"], env=environment, check=True)
        seconds = time.monotonic() - began
        about = json.loads((place / "model" / "about.json").read_text())
        packed = pack(place / "model")
    base = image / "base"
    base.mkdir(exist_ok=True)
    (base / "model.tar.gz").write_bytes(packed)
    described = {
        "sha256": hashlib.sha256(packed).hexdigest(),
        "bytes": len(packed),
        "mnist_test_accuracy": round(about["metrics"]["validation-accuracy"], 4),
        "hyperparameters": about["hyperparameters"],
        "drawings": about["drawings"],
        "packages": {name: about[name] for name in (arguments.algorithm, "numpy") if name in about},
        "data": "MNIST, 60,000 training images; the 10,000 test images only watched",
        "command": f"python trainers/images/make_base.py {arguments.algorithm}",
        "seconds": round(seconds),
        "cpu_seconds": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    (base / "base.json").write_text(json.dumps(described, indent=2) + "\n")
    print(json.dumps(described, indent=2))


if __name__ == "__main__":
    main()
