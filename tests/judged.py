"""The base that folds learn with in tests, and drawings of which its judge is sure."""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from contracts.events import DIGITS, ExampleLabelled, Features
from streams.additive import BASIS
from streams.online_base import load_base
from streams.trust import JUDGE_SCALE
from tests.histories import READER, example, features

_JUDGE: Final = np.zeros((DIGITS, BASIS.width), np.int64)
_JUDGE[range(DIGITS), range(DIGITS)] = JUDGE_SCALE // 100
BASE: Final = replace(load_base(), reader=READER, judge=_JUDGE)
"""What the features of these drawings are learned with: they are noise that no network has read. The judge is sure of none but
of what `clear` makes: it looks at the first ten numbers of an embedding."""


def clear(digit: int, seed: int) -> Features:
    """Return features of which the judge of `BASE` is sure."""
    noise = np.frombuffer(features(seed).embedding, "<f4") / 4
    noise[:10] = 3.5 * (np.arange(10) == digit)
    return features(seed).model_copy(update={"embedding": noise.astype("<f4").tobytes()})


def clear_one(number: int, label: int | None, *, right: bool = True, **fields: Any) -> ExampleLabelled:
    """Return a clear drawing, labelled as what it is or not: it is evidence of its player."""
    digit = number % 10 if label is None else label if right else (label + 1) % 10
    given = {"correction": f"c{number}", "features": clear(digit, number), "at": number}
    return example(f"d{number}", label, **(given | fields))
