"""Sums up what identifies a set of lessons, in whatever order they come, and says which of them experiments learn. Pure.

It is here so that a set can be told from another without the model that they make.
"""

from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

EIGHTHS: Final = 8
"""How many parts the weight of a whole lesson has."""
MODULUS: Final = 1 << 256
LEAST: Final = 0.5
"""The weight from which an experiment learns a lesson, whole: river's estimators do not weigh lessons."""


class MarkedLesson(Protocol):
    """Identifies a lesson among all others."""

    @property
    def sign(self) -> int:
        """Whether it is added or taken out."""
        ...

    @property
    def model(self) -> str:
        """The online model."""
        ...

    @property
    def drawing_id(self) -> UUID | str:
        """The drawing."""
        ...

    @property
    def label(self) -> int:
        """The digit."""
        ...

    @property
    def weight(self) -> float:
        """How much it counts."""
        ...

    @property
    def embedding(self) -> bytes:
        """The drawing as it is read."""
        ...

    @property
    def reader(self) -> str:
        """Who has read it."""
        ...

    @property
    def newcomer(self) -> bool:
        """Whether too little is known of the player."""
        ...


def mark(lesson: MarkedLesson) -> int:
    """Return the number that a lesson adds to the sum of a set, modulo `MODULUS`; taken back, it subtracts it."""
    told = f"{lesson.model}|{lesson.drawing_id}|{lesson.label}|{lesson.reader}|{lesson.newcomer}|".encode() + lesson.embedding
    return lesson.sign * round(lesson.weight * EIGHTHS) * int.from_bytes(sha256(told).digest(), "big")


def is_whole(lesson: MarkedLesson) -> bool:
    """Say whether experiments learn a lesson: it is taught by somebody who counts alone, and counts half at least."""
    return lesson.sign > 0 and not lesson.newcomer and lesson.weight >= LEAST
