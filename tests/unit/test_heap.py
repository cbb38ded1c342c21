"""What the garbage collector is spared; in a process of its own, since it holds for a whole process."""

import subprocess
import sys

SCRIPT = """
import gc
from producers import heap
kept = [[n] for n in range(1000)]
heap.freeze()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert not gc.get_objects() or len(gc.get_objects()) < 1000, "what was there is not looked at again"
assert gc.isenabled() and gc.get_threshold()[0] > 700
"""


def test_what_exists_when_a_process_begins_to_serve_is_not_walked_again():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
