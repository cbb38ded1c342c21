"""Compares a candidate with the champion on the same pictures, with the code that would serve them (way 3, REBUILD).

Both answer MNIST's 10,000 test images and the held-back drawings, as variants of a temporary endpoint; the endpoint that
answers players is left alone.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import ModelPublished, variant_of
from trainers.dataset import LabelledImages
from trainers.gate import Marks
from trainers.serving import Serving, endpoint_of
from trainers.split import HeldBack

BATCH: Final = 500


def compare(
    serving: Serving,
    candidate: ModelPublished,
    champion: ModelPublished | None,
    mnist: LabelledImages,
    held_back: HeldBack,
    tell: Callable[[float], None],
) -> tuple[Marks, Marks | None]:
    """Return the marks of the candidate and of the champion; None if there is no champion yet.

    Args:
        serving: Makes the temporary endpoint, and deletes it afterwards.
        candidate: The version to be promoted.
        champion: The version that answers the players now; None if there is none.
        mnist: MNIST's test images.
        held_back: Drawings that neither version was trained on; may be empty.
        tell: Called with the share that is done, 0..1.
    """
    endpoint = f"{endpoint_of(candidate.model)}-judge"
    others = [champion] if champion else []
    serving.serve(endpoint, candidate, others)
    steps = (1 + len(others)) * (len(mnist) + len(held_back))
    asked = 0

    def right(version: ModelPublished, data: LabelledImages | HeldBack) -> NDArray[np.bool_]:
        nonlocal asked
        hits = np.zeros(len(data), np.bool_)
        variant = variant_of(version.version)
        for start in range(0, len(data), BATCH):
            part = slice(start, start + BATCH)
            answer = serving.ask(endpoint, data.images[part], variant)
            hits[part] = answer.argmax(axis=1) == data.labels[part]
            asked += len(answer)
            tell(asked / steps)
        return hits

    try:
        serving.ready(endpoint, candidate, others)
        marks, *before = [Marks(right(version, mnist), right(version, held_back)) for version in (candidate, *others)]
    finally:
        serving.retire(endpoint, candidate, others)
    return marks, before[0] if before else None
