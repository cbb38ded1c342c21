"""Decides whether training may go on from a version, and which versions that one went on from (way 3, REBUILD).

A version that is continued keeps what its parent has learned, and the parent's parents: also of players whose drawings are
in no dataset any more. So whoever is left out of datasets now, banned, not trusted or forgotten, must be in none of theirs:
else a version is rebuilt in full. A line has an end for another reason too: boosted trees grow with each continuation.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from contracts.events import ModelPublished
from contracts.ports import Blobs, NoSuchBlob
from contracts.roster import RosterEntry
from trainers import dataset_store, split
from trainers.endings import CannotContinue

MOST: Final = 5
"""The most continuations in a row; then a version is rebuilt in full."""
PARENT: Final = "parent"
"""The hyperparameter with the digest of the artifact that training goes on from: so it is part of what a version is made of."""
FROM: Final = "continued_from"
"""In the lineage: the version that training went on from."""
_OWN: Final = (PARENT, "seed")


def line(version: ModelPublished, published: Mapping[str, ModelPublished]) -> Iterator[ModelPublished]:
    """Yield a version, and those that its training went on from, the nearest first."""
    seen: set[str] = set()
    found: ModelPublished | None = version
    while found is not None and found.version not in seen:
        seen.add(found.version)
        yield found
        found = published.get(found.lineage.get(FROM, ""))


def taught(published: Mapping[str, ModelPublished], datasets: Mapping[str, int]) -> dict[str, int]:
    """Return how many of somebody's drawings each version knows, by itself or by a version that it went on from; no zeros.

    Args:
        published: All versions of a model.
        datasets: How many of the drawings each dataset holds, by digest.
    """
    known = {
        name: max(datasets.get(one.lineage.get("dataset_digest", ""), 0) for one in line(version, published))
        for name, version in published.items()
    }
    return {name: n for name, n in known.items() if n}


def by_digest(digest: str | None, published: Mapping[str, ModelPublished]) -> ModelPublished | None:
    """Return the version with an artifact of this digest; None: there is none."""
    return next((one for one in published.values() if digest and one.digest == digest), None)


def made_with(parent: ModelPublished) -> dict[str, str]:
    """Return the hyperparameters that a version was trained with, but for those of its own run; nothing if it does not say."""
    told: dict[str, Any] = json.loads(parent.lineage.get("hyperparameters") or "{}")
    return {name: str(value) for name, value in told.items() if name not in _OWN}


def parent_of(champion: ModelPublished | None, entry: RosterEntry, published: Mapping[str, ModelPublished]) -> ModelPublished:
    """Return the version that training goes on from: the champion.

    Raises:
        CannotContinue: If there is none, its image cannot do so, or it has been done too often.
    """
    full = f"`gamenight retrain {entry.model}` rebuilds it in full"
    if champion is None:
        raise CannotContinue(f"no version of {entry.model} answers that training could go on from: {full}")
    if not entry.continues:
        raise CannotContinue(
            f"the image of {entry.model} cannot go on from a version (its image.json has no `continues`): {full}"
        )
    if (often := len(list(line(champion, published))) - 1) >= MOST:
        raise CannotContinue(f"{entry.model} {champion.version} is the {often}th continuation in a row: {full}")
    return champion


def refuse_tainted(blobs: Blobs, versions: Sequence[ModelPublished], left_out: Mapping[str, str], secret: str = "") -> None:
    """Refuse to go on from versions that have learned from somebody of whom no version learns now.

    Args:
        blobs: The bucket, with the datasets' manifests.
        versions: The version that training goes on from, and those that it went on from.
        left_out: Why each player is left out of datasets, by player.
        secret: The home's key, by which people are held back.

    Raises:
        CannotContinue: If one of them has, or nobody can tell.
    """
    for one in versions:
        if (why := _against(blobs, one, left_out, secret)) is not None:
            named = f"{one.model} {one.version}"
            through = "" if one is versions[0] else f" (which {versions[0].model} {versions[0].version} goes on from)"
            raise CannotContinue(f"{named}{through} {why}: `gamenight retrain {one.model}` rebuilds it in full")


def _against(blobs: Blobs, version: ModelPublished, left_out: Mapping[str, str], secret: str) -> str | None:
    lineage = version.lineage
    if lineage.get("learned_from") == split.ALONE or not lineage.get("dataset"):  # a base has learned of no player
        return None
    try:
        told = dataset_store.read_manifest(blobs, lineage.get("dataset_digest", ""))
    except NoSuchBlob:
        return "does not say any more of whom it has learned"
    if told.get("forgotten"):
        return "has learned from a player who is forgotten"
    share = float(told.get("held_back", 0))
    players = [player for player in told.get("players", {}) if player in left_out]
    key = split.key_named(told.get("split", {}).get("held_back_by", split.PUBLIC), secret)  # None: nobody can tell who judged
    found = {left_out[player] for player in players if key is None or not split.is_held_back(player, share, key)}
    return f"has learned from a player who is {min(found)}" if found else None
