"""Spares the garbage collector the modules and models of a process, which stay: it would walk them while players wait."""

import gc
from typing import Final

_YOUNG: Final = 10_000
"""How many more containers than are gone may be made before the collector looks at the young ones; Python's own is 700."""


def freeze() -> None:
    """Call it once, when a process has loaded all that it needs, before it serves: what exists then is never walked again.

    In the learning process a walk over everything took 0.1 s, in which nothing else moved, and there was one every four seconds
    (docs/benchmarks.md, "What a drawing costs").
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
