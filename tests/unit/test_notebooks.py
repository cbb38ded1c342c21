"""The notebooks are stored as people wrote them, and the server that shows them is for this machine alone."""

import os
import subprocess
from pathlib import Path
from typing import Final
from unittest.mock import MagicMock

import nbformat
import pytest

from producers.blobs import MemoryBlobs

ROOT: Final = Path(__file__).parents[2]
NOTEBOOKS: Final = sorted((ROOT / "notebooks").glob("**/*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    nbformat.validate(notebook)
    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


def test_the_notebook_of_the_observations_leaves_no_copy_of_what_players_drew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    last = nbformat.read(ROOT / "notebooks" / "observations.ipynb", 4).cells[-1].source
    blobs, fake, run = MemoryBlobs(), MagicMock(), "notebook-20261129-120000"
    for key in (f"notebooks/{run}/train/train.csv", f"notebooks/{run}/output/model.tar.gz", "notebooks/other/train.csv"):
        blobs.put(key, b"7,3,0,255")
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text("7,3,0,255")
    known = dict.fromkeys(("endpoint", "EndpointConfig", "Model", "session", "settings"), fake)

    exec(last, {**known, "run": run, "os": os, "S3Blobs": lambda settings: blobs})

    assert list(blobs.keys("")) == ["notebooks/other/train.csv"]
    assert list(tmp_path.iterdir()) == []


def test_before_a_cell_that_teaches_the_running_game_the_text_says_so():
    found = 0
    for path in NOTEBOOKS:
        text = ""
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                text = cell.source
            elif "simulate" in cell.source or ".correct(" in cell.source:
                found += 1
                assert "teaches the models of the running game" in text, (path.name, cell.id)
    assert found


def test_every_notebook_is_run_by_a_test():
    run = (ROOT / "tests" / "integration" / "test_one_more_model.py").read_text()

    assert len(NOTEBOOKS) == 3
    assert [path.stem for path in NOTEBOOKS if f'RunningNotebook("{path.stem}"' not in run] == []


def test_the_server_listens_on_this_machine_alone_and_wants_a_token():
    recipe = subprocess.run(["make", "-n", "-o", "setup", "-o", "setup-notebook", "notebook"], cwd=ROOT, capture_output=True,
                            text=True, check=True).stdout  # fmt: skip

    assert "jupyter lab --ServerApp.ip=127.0.0.1 " in recipe
    assert f'GAMENIGHT_HOME="{ROOT / ".gamenight"}" GAMENIGHT_AWS="local"' in recipe
    assert "token" not in recipe
    assert "password" not in recipe
