"""Sums up the counts of a model, to tell watchers how often it was right (way 2). Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from contracts.events import DIGITS, LATENCY_BUCKETS_MS, SHADOW, WINDOW_S, WINDOWS, ScoresCounted


def counted(score: Mapping[str, Any]) -> list[str]:
    """Return the versions of which the guesses were that `totals` has counted as shown, that of the most guesses first."""
    shown = {version: one["n"] for version, one in score["versions"].items() if one["n"] and not version.endswith(SHADOW)}
    return sorted(shown, key=lambda version: (-shown[version], version))


def totals(counts: Iterable[ScoresCounted]) -> dict[str, Any]:
    """Add up the counts of one model.

    Args:
        counts: The newest counts of each slot: of the model's versions, and of its windows of time.

    Returns:
        ``n`` and ``correct`` of what players saw; ``confusion``, row by row, and ``latency`` by bucket of the same;
        ``versions``, with the shadows; ``recent``: start, n and correct of each window that is not too old.
    """
    confusion, latency = [0] * (DIGITS * DIGITS), [0] * (len(LATENCY_BUCKETS_MS) + 1)
    versions: dict[str, dict[str, int]] = {}
    windows: dict[int, list[int]] = {}
    for count in counts:
        if count.window is not None:
            window = windows.setdefault(int(count.window.timestamp()), [0, 0])
            window[0] += count.n
            window[1] += count.correct
            continue
        version = versions.setdefault(str(count.version), {"n": 0, "correct": 0})
        version["n"] += count.n
        version["correct"] += count.correct
        if not str(count.version).endswith(SHADOW):
            confusion = [a + b for a, b in zip(confusion, count.confusion, strict=True)]
            latency = [a + b for a, b in zip(latency, count.latency, strict=True)]
    shown = [counted for version, counted in versions.items() if not version.endswith(SHADOW)]
    oldest = max(windows, default=0) - WINDOW_S * WINDOWS
    return {
        "n": sum(counted["n"] for counted in shown),
        "correct": sum(counted["correct"] for counted in shown),
        "confusion": confusion,
        "latency": latency,
        "versions": versions,
        "recent": [[start, *windows[start]] for start in sorted(windows) if start > oldest],
    }
