"""Forgets players in a thousand random histories: ``python -m tests.bench.forgotten`` (some minutes).

They are those of tests/contract/test_forgetting.py, of which the tests run some. Each must end in the state of the history in
which the player never was, bit for bit. Exit status 1 if one does not.
"""

import os
import subprocess
import sys
import time
from typing import Annotated, Final

import typer

HISTORIES: Final = "tests/contract/test_forgetting.py"


def main(histories: Annotated[int, typer.Option(help="How many; a third of it for the log read anew.")] = 1000) -> None:
    """Run them, and print how many and how long."""
    began = time.perf_counter()
    env = {**os.environ, "GAMENIGHT_TEST_HISTORIES": str(histories)}
    done = subprocess.run([sys.executable, "-m", "pytest", HISTORIES, "-q", "--timeout=0"], env=env, check=False)
    told = "none differs" if done.returncode == 0 else "some DIFFER"
    print(f"{histories} histories in which a player is forgotten: {told} ({time.perf_counter() - began:.0f} s)")
    raise typer.Exit(done.returncode)


if __name__ == "__main__":
    typer.run(main)
