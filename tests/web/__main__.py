"""``python -m tests.web`` runs the tests beside the modules of web/, by Node's own runner; none may be left out."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
NODE: Final = Path(sys.executable).with_name("node")
FEWEST: Final = 101
"""The least number of tests; raise it as tests are added."""


def main() -> int:
    """Run the tests; return the exit status."""
    told = subprocess.run(
        (str(NODE), "--test", "--test-reporter=tap", "web/**/*.test.js"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    counts = {name: int(n) for name, n in re.findall(r"^# (tests|pass|skipped|todo) (\d+)$", told.stdout, re.M)}
    left_out = counts.get("skipped", 0) + counts.get("todo", 0)
    if told.returncode or left_out or counts.get("pass", 0) < FEWEST:
        print(told.stdout, told.stderr, sep="\n")
        print(f"web/: {counts}; at least {FEWEST} must pass, and none may be left out")
        return 1
    print(f"web/: {counts['pass']} tests passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
