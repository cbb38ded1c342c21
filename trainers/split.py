"""Decides which drawings are held back from training: all of some people's, and if wanted the newest ones of everybody. Pure.

A person's drawings are never on both sides: whoever is held back is so for ever, so a version is judged by hands that it has
never seen, and every later version by the same hands and more (way 3, REBUILD).

Only known players' drawings judge. A hash with the home's own key decides who is held back: with a key that everybody knows, an
attacker would take seats until some are held back, and write the gate's questions. A newcomer whom it chooses is in no part.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from contracts.events import Device

_KEY: Final = b"gamenight held back"
"""Makes this hash another than all others of the same ids. It never changes: a person would change sides."""
PUBLIC: Final = ""
"""The fingerprint of `_KEY` alone, by which people were held back before homes had keys, and are where none is given."""
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
    @property
    def newcomer(self) -> bool: ...


_T = TypeVar("_T", bound=ByPerson)


@dataclass(frozen=True, slots=True)
class Split:
    """How drawings are divided."""

    share: float
    """The share of the people whose drawings are held back, 0..1."""
    newest_s: float = 0.0
    """Of the others, the drawings of so many seconds before the newest one are held back too; 0: none."""
    secret: str = field(default="", repr=False)
    """The home's key that decides who is held back; empty: the one in the code decides."""

    def lineage(self, trained_until_us: int) -> dict[str, str]:
        """Return what a version's lineage must say, so that a later one can be compared on what neither has seen.

        Args:
            trained_until_us: When the newest drawing that is trained on was drawn, in microseconds since 1970.
        """
        until = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=trained_until_us)
        told = {"held_back": f"{self.share:g} of people", "trained_until": until.isoformat()}
        return told | ({"held_back_by": fingerprint(self.secret)} if self.secret else {})


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
    public_ranks: NDArray[np.uint8]
    """`ranks` by the key that is in the code."""

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, where: NDArray[np.bool_]) -> "HeldBack":
        """Return some of the drawings."""
        return HeldBack(*(getattr(self, name)[where] for name in FIELDS))

    def unseen(self, lineage: Mapping[str, str], published_us: int, held_back_by: str = PUBLIC) -> "HeldBack":
        """Return the drawings that another version has not seen either.

        A version of before there was a split by people was trained on most drawings of those who are held back now: of them
        count only the drawings that the old rule had held back, and those drawn since. One whose people were chosen by another
        key was trained on most of those who are held back now too: of them count whoever its key had held back, if that is the
        key in the code, and whoever drew nothing before it was trained.

        Args:
            lineage: That of the other version.
            published_us: When it was published, in microseconds since 1970.
            held_back_by: The fingerprint of the key by which these drawings are held back.
        """
        if lineage.get("learned_from") == ALONE or not lineage.get("dataset"):  # a base has seen no player's drawing
            return self
        told = lineage.get("held_back", "")
        until = published_us
        if "trained_until" in lineage:
            until = round(datetime.fromisoformat(lineage["trained_until"]).timestamp() * 1e6)
        if told.endswith(" of people"):
            hundredths = float(told.removesuffix(" of people")) * 100 + 1e-9
            known, by = self.ranks <= hundredths, lineage.get("held_back_by", PUBLIC)
            if by != held_back_by:
                known = self._first_us() > until
                known |= (self.public_ranks <= hundredths) & (by == PUBLIC)
            return self.at(np.where(self.newest, self.drawn_at_us > until, known))
        hundredths = int(self.ranks[~self.newest].max(initial=0))
        return self.at((self.drawn_at_us > published_us) | (~self.newest & (self.old_ranks <= hundredths)))

    def _first_us(self) -> NDArray[np.int64]:
        """Return for each drawing when its person drew the first of these."""
        first = np.full(int(self.people.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, self.people, self.drawn_at_us)
        return first[self.people]


FIELDS: Final = tuple(HeldBack.__dataclass_fields__)


def fingerprint(secret: str) -> str:
    """Return what names a home's key and does not tell it; `PUBLIC` if there is none.

    >>> fingerprint("a key"), fingerprint("")
    ('1fb43e637186', '')
    """
    return hashlib.blake2b(secret.encode(), key=b"gamenight names a key", digest_size=6).hexdigest() if secret else PUBLIC


def key_named(by: str, secret: str) -> str | None:
    """Return the key of a fingerprint, if it is this one or the one in the code (empty); None: it is another home's."""
    return secret if by == fingerprint(secret) else "" if by == PUBLIC else None


def rank(player_id: str, secret: str = "") -> float:
    """Return where a person stands, 0..1: a keyed hash decides, for ever. They are held back at shares above it.

    Args:
        player_id: Who it is; players know their own.
        secret: The home's key; empty: the key in the code, which everybody knows.
    """
    return _drawn(player_id, _KEY, secret)


def _drawn(player_id: str, key: bytes, secret: str) -> float:
    own = hashlib.blake2b(secret.encode(), key=key, digest_size=32).digest() if secret else key
    return int.from_bytes(hashlib.blake2b(player_id.encode(), key=own, digest_size=8).digest()) / 2**64


def rank_of_drawing(drawing_id: str) -> float:
    """Return where a drawing stood while the split was by drawing, 0..1."""
    return int.from_bytes(hashlib.sha256(f"held back/{drawing_id}".encode()).digest()[:8]) / 2**64


def is_held_back(player_id: str, share: float, secret: str = "") -> bool:
    """Say whether a person's drawings are held back; a larger share only adds people."""
    return rank(player_id, secret) < share


def compares(player_id: str, secret: str = "") -> bool:
    """Say whether settings are compared by a person's drawings, and not trained on them: of those who are not held back."""
    return _drawn(player_id, _TUNING_KEY, secret) < COMPARES


def divided(drawings: Sequence[_T], split: Split) -> tuple[list[_T], list[_T], list[_T]]:
    """Return what is trained on, what is held back for its person, and what for its time; in the last two is no newcomer.

    A newcomer's drawing that would be held back is in none of them: once the player is known, it judges.
    """
    people = {drawing.player_id: is_held_back(drawing.player_id, split.share, split.secret) for drawing in drawings}
    held = [drawing for drawing in drawings if people[drawing.player_id] and not drawing.newcomer]
    others = [drawing for drawing in drawings if not people[drawing.player_id]]
    newest = max((drawing.drawn_at_us for drawing in drawings if not drawing.newcomer), default=None)
    if not split.newest_s or newest is None:
        return others, held, []
    cut = newest - round(split.newest_s * 1e6)
    recent = [one for one in others if one.drawn_at_us > cut and not one.newcomer]
    return [one for one in others if one.drawn_at_us <= cut], held, recent


def held_back(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], drawings: Sequence[ByPerson], newest: int, secret: str = ""
) -> HeldBack:
    """Return held-back drawings with what the gate must know of each.

    Args:
        images: Shape (n, 784).
        labels: Shape (n,).
        drawings: The same n drawings.
        newest: How many of them, at the end, are held back for their time.
        secret: The home's key, by which people are held back.
    """
    number = {player: place for place, player in enumerate(sorted({drawing.player_id for drawing in drawings}))}
    n = len(drawings)
    return HeldBack(
        images,
        labels,
        np.array([number[drawing.player_id] for drawing in drawings], np.int32),
        np.array([_hundredths(rank(drawing.player_id, secret)) for drawing in drawings], np.uint8),
        np.array([_hundredths(rank_of_drawing(drawing.drawing_id)) for drawing in drawings], np.uint8),
        np.array([drawing.drawn_at_us for drawing in drawings], np.int64),
        np.arange(n) >= n - newest,
        np.array([DEVICES.index(drawing.device) for drawing in drawings], np.uint8),
        np.array([_hundredths(rank(drawing.player_id)) for drawing in drawings], np.uint8),
    )


def _hundredths(place: float) -> int:
    return int(place * 100) + 1
