"""Decides which drawings are held back from training: all of some people's, and if wanted the newest ones of everybody. Pure.

A person's drawings are never on both sides: whoever is held back is so for ever, so a version is judged by hands that it has
never seen, and every later version by the same hands and more (way 3, REBUILD).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from contracts.events import Device

_KEY: Final = b"gamenight held back"
"""Makes this hash another than all others of the same ids. It never changes: a person would change sides."""
UNKNOWN: Final = "unknown"
DEVICES: Final = (UNKNOWN, *get_args(Device))
"""What drawings are made with, in the order of their numbers: append only."""
_TUNING_KEY: Final = b"gamenight settings"
COMPARES: Final = 0.2
"""Of the people who are trained on, the share by whose drawings settings of hyperparameters are compared."""
ALONE: Final = "MNIST alone"
"""What the lineage of a version says that has learned of no player's drawing."""


class ByPerson(Protocol):
    """What the split needs to know of a drawing."""

    @property
    def player_id(self) -> str: ...
    @property
    def drawing_id(self) -> str: ...
    @property
    def drawn_at_us(self) -> int: ...
    @property
    def device(self) -> str: ...


_T = TypeVar("_T", bound=ByPerson)


@dataclass(frozen=True, slots=True)
class Split:
    """How drawings are divided."""

    share: float
    """The share of the people whose drawings are held back, 0..1."""
    newest_s: float = 0.0
    """Of the others, the drawings of so many seconds before the newest one are held back too; 0: none."""

    def lineage(self, trained_until_us: int) -> dict[str, str]:
        """Return what a version's lineage must say, so that a later one can be compared on what neither has seen.

        Args:
            trained_until_us: When the newest drawing that is trained on was drawn, in microseconds since 1970.
        """
        until = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=trained_until_us)
        return {"held_back": f"{self.share:g} of people", "trained_until": until.isoformat()}


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Drawings that a version was not trained on."""

    images: NDArray[np.uint8]
    """Shape (n, 784)."""
    labels: NDArray[np.uint8]
    people: NDArray[np.int32]
    """Whose drawing each is: an index that means nothing outside of this dataset."""
    ranks: NDArray[np.uint8]
    """Each drawing's person is held back at shares of so many hundredths, and at larger ones."""
    old_ranks: NDArray[np.uint8]
    """The same by the rule of datasets that were divided by drawing, whoever drew."""
    drawn_at_us: NDArray[np.int64]
    newest: NDArray[np.bool_]
    """Whether the drawing is held back for its time, and its person is not."""
    devices: NDArray[np.uint8]
    """What each was drawn with, as the place in `DEVICES`."""

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, where: NDArray[np.bool_]) -> "HeldBack":
        """Return some of the drawings."""
        return HeldBack(*(getattr(self, name)[where] for name in FIELDS))

    def unseen(self, lineage: Mapping[str, str], published_us: int) -> "HeldBack":
        """Return the drawings that another version has not seen either.

        A version of before there was a split by people was trained on most drawings of those who are held back now: of them
        count only the drawings that the old rule had held back, and those drawn since.

        Args:
            lineage: That of the other version.
            published_us: When it was published, in microseconds since 1970.
        """
        if lineage.get("learned_from") == ALONE or not lineage.get("dataset"):  # a base has seen no player's drawing
            return self
        told = lineage.get("held_back", "")
        until = published_us
        if "trained_until" in lineage:
            until = round(datetime.fromisoformat(lineage["trained_until"]).timestamp() * 1e6)
        if told.endswith(" of people"):
            hundredths = float(told.removesuffix(" of people")) * 100 + 1e-9
            return self.at(np.where(self.newest, self.drawn_at_us > until, self.ranks <= hundredths))
        hundredths = int(self.ranks[~self.newest].max(initial=0))
        return self.at((self.drawn_at_us > published_us) | (~self.newest & (self.old_ranks <= hundredths)))


FIELDS: Final = tuple(HeldBack.__dataclass_fields__)


def rank(player_id: str) -> float:
    """Return where a person stands, 0..1: a keyed hash decides, for ever. They are held back at shares above it."""
    return int.from_bytes(hashlib.blake2b(player_id.encode(), key=_KEY, digest_size=8).digest()) / 2**64


def rank_of_drawing(drawing_id: str) -> float:
    """Return where a drawing stood while the split was by drawing, 0..1."""
    return int.from_bytes(hashlib.sha256(f"held back/{drawing_id}".encode()).digest()[:8]) / 2**64


def is_held_back(player_id: str, share: float) -> bool:
    """Say whether a person's drawings are held back; a larger share only adds people."""
    return rank(player_id) < share


def compares(player_id: str) -> bool:
    """Say whether settings are compared by a person's drawings, and not trained on them: of those who are not held back."""
    drawn = int.from_bytes(hashlib.blake2b(player_id.encode(), key=_TUNING_KEY, digest_size=8).digest()) / 2**64
    return drawn < COMPARES


def divided(drawings: Sequence[_T], split: Split) -> tuple[list[_T], list[_T], list[_T]]:
    """Return what is trained on, what is held back for its person, and what for its time."""
    people = {drawing.player_id: is_held_back(drawing.player_id, split.share) for drawing in drawings}
    held = [drawing for drawing in drawings if people[drawing.player_id]]
    others = [drawing for drawing in drawings if not people[drawing.player_id]]
    if not split.newest_s or not drawings:
        return others, held, []
    cut = max(drawing.drawn_at_us for drawing in drawings) - round(split.newest_s * 1e6)
    return [one for one in others if one.drawn_at_us <= cut], held, [one for one in others if one.drawn_at_us > cut]


def held_back(images: NDArray[np.uint8], labels: NDArray[np.uint8], drawings: Sequence[ByPerson], newest: int) -> HeldBack:
    """Return held-back drawings with what the gate must know of each.

    Args:
        images: Shape (n, 784).
        labels: Shape (n,).
        drawings: The same n drawings.
        newest: How many of them, at the end, are held back for their time.
    """
    number = {player: place for place, player in enumerate(sorted({drawing.player_id for drawing in drawings}))}
    n = len(drawings)
    return HeldBack(
        images,
        labels,
        np.array([number[drawing.player_id] for drawing in drawings], np.int32),
        np.array([_hundredths(rank(drawing.player_id)) for drawing in drawings], np.uint8),
        np.array([_hundredths(rank_of_drawing(drawing.drawing_id)) for drawing in drawings], np.uint8),
        np.array([drawing.drawn_at_us for drawing in drawings], np.int64),
        np.arange(n) >= n - newest,
        np.array([DEVICES.index(drawing.device) for drawing in drawings], np.uint8),
    )


def _hundredths(place: float) -> int:
    return int(place * 100) + 1
