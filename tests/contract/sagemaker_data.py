"""Makes files that the SageMaker tests put into buckets: CSV, archives, packages."""

import io
import tarfile
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray


def csv(*columns: NDArray[Any]) -> bytes:
    """Return columns side by side as CSV without a header."""
    return "".join(",".join(map(str, row)) + "\n" for row in np.column_stack(columns).tolist()).encode()


def wheel(name: str, source: str) -> tuple[str, bytes]:
    """Return a package of one module, as pip installs it: the name of its file, and the file."""
    out = io.BytesIO()
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr(f"{name}.py", source)
        packed.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", "")
    return f"{name}-1.0-py3-none-any.whl", out.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    """Return a .tar.gz of some files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return out.getvalue()
