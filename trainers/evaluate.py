"""Compares a candidate with the champion on the same pictures, with the code that would serve them (way 3, REBUILD).

Both answer MNIST's 10,000 test images and the held-back drawings, as variants of a temporary endpoint; the endpoint that
answers players is left alone.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, ModelPublished, variant_of
from trainers.dataset import LabelledImages
from trainers.marks import Marks
from trainers.serving import Serving, endpoint_of
from trainers.split import HeldBack

BATCH: Final = 500
SINGLES: Final = 25
"""How often each is asked a single drawing, to see how long that takes."""


def compare(
    serving: Serving,
    candidate: ModelPublished,
    champion: ModelPublished | None,
    mnist: LabelledImages,
    held_back: HeldBack,
    tell: Callable[[float], None],
) -> tuple[Marks, Marks | None, dict[str, float]]:
    """Return the marks of the candidate and of the champion, None if there is no champion yet, and how long each takes.

    The last are medians in milliseconds of answers to one drawing, asked in turn, as ModelPublished has them.

    Args:
        serving: Makes the temporary endpoint, and deletes it afterwards.
        candidate: The version to be promoted.
        champion: The version that answers the players now; None if there is none.
        mnist: MNIST's test images.
        held_back: Drawings that neither version was trained on; may be empty.
        tell: Called with the share that is done, 0..1, also while the endpoint comes up; what it raises ends the comparison.
    """
    endpoint = judge_of(candidate.model)
    others = [champion] if champion else []
    serving.serve(endpoint, candidate, others)
    steps = (1 + len(others)) * (len(mnist) + len(held_back))
    asked = 0

    def answers(version: ModelPublished, data: LabelledImages | HeldBack) -> Iterator[NDArray[np.float64]]:
        nonlocal asked
        for start in range(0, len(data), BATCH):
            answer = serving.ask(endpoint, data.images[start : start + BATCH], variant_of(version.version))
            asked += len(answer)
            tell(asked / steps)
            yield answer

    def marks_of(version: ModelPublished) -> Marks:
        known = np.concatenate([np.zeros(0, np.int64), *(answer.argmax(axis=1) for answer in answers(version, mnist))])
        told = np.concatenate([np.zeros((0, DIGITS)), *answers(version, held_back)])
        drawn = told[np.arange(len(told)), held_back.labels]
        certainty = np.stack([told.max(axis=1, initial=0), drawn], axis=1)
        return Marks(known == mnist.labels, told.argmax(axis=1) == held_back.labels, certainty)

    try:
        serving.ready(endpoint, candidate, others, lambda: tell(0.0))
        marks, *before = [marks_of(version) for version in (candidate, *others)]
        times = _times(serving, endpoint, [candidate, *others], mnist)
    finally:
        serving.retire(endpoint, candidate, others)
    return marks, before[0] if before else None, times


def judge_of(model: str) -> str:
    """Return the name of the endpoint on which a model's versions are compared, which is there only meanwhile."""
    return f"{endpoint_of(model)}-judge"


def _times(serving: Serving, endpoint: str, versions: list[ModelPublished], mnist: LabelledImages) -> dict[str, float]:
    names = ("answer_ms", "champion_answer_ms")
    took: dict[str, list[float]] = {name: [] for name, _ in zip(names, versions, strict=False)}
    for place in range(min(SINGLES, len(mnist))):
        for name, version in zip(took, versions, strict=True):
            began = time.perf_counter()
            serving.ask(endpoint, mnist.images[place : place + 1], variant_of(version.version))
            took[name].append((time.perf_counter() - began) * 1000)
    return {name: round(median(times), 3) for name, times in took.items() if times}
