"""Runs the notebooks as `make notebook` has them, in a copy of their folder: against a game that a test has started."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

import nbformat

from tests.product import ROOT, Product

FOLDER: Final = ROOT / "notebooks"
PATIENCE_S: Final = 300
BIN: Final = Path(sys.executable).parent


class RunningNotebook:
    """A notebook that runs, in a ``with``; `said` waits for its end."""

    def __init__(self, name: str, game: Product, folder: Path) -> None:
        """Copy the notebook's folder, and start it there."""
        shutil.copytree(FOLDER, folder)
        self._path = folder / f"{name}.ipynb"
        told = game.settings.environment() | {"PATH": f"{BIN}:{os.environ['PATH']}", "IPYTHONDIR": str(folder / ".ipython")}
        words = [str(BIN / "jupyter-execute"), "--inplace", f"--timeout={PATIENCE_S}", self._path.name]
        self._process = subprocess.Popen(
            words, cwd=folder, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.communicate()

    def said(self) -> tuple[str, int]:
        """Return all text that it printed, and how many charts it drew; a cell that fails fails the test."""
        out, _ = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0, out[-4000:]
        outputs: list[Any] = [one for cell in nbformat.read(self._path, 4).cells for one in cell.get("outputs", ())]
        texts = [one.get("text") or one.get("data", {}).get("text/plain", "") for one in outputs]
        return "\n".join(texts), sum("image/png" in one.get("data", {}) for one in outputs)
