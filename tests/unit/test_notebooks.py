"""The notebooks are stored as people wrote them, and the server that shows them is for this machine alone."""

import subprocess
from pathlib import Path
from typing import Final

import nbformat
import pytest

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
