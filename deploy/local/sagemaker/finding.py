"""Finds a job's metrics in its log by the regular expressions that its creator gave.

``python -I -S finding.py DEFINITIONS`` reads lines and prints each metric as a line with a JSON list ``[name, number]``. It
runs as a process of its own, since the match of an expression may never end; such an expression is given up: ``[name, null]``.
"""

import json
import re
import signal
import sys

MOST_S = 0.2
"""Seconds of processor time that one expression may take for one line."""


class TooLong(Exception):
    """A regular expression took too long."""


def too_long(*_: object) -> None:
    """Raise `TooLong`; this is a signal handler, which Python lets run during a match."""
    raise TooLong


if __name__ == "__main__":
    sought = {one["Name"]: re.compile(one["Regex"]) for one in json.loads(sys.argv[1])}
    signal.signal(signal.SIGVTALRM, too_long)
    for raw in sys.stdin.buffer:
        line = raw.decode(errors="replace").rstrip("\n")
        for name, expression in list(sought.items()):
            value = None
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, MOST_S)
                found = expression.search(line)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                if found is None or not found.groups():
                    continue
                value = float(found.group(1))
            except TooLong:
                del sought[name]
            except (ValueError, TypeError):
                continue
            print(json.dumps([name, value]), flush=True)
