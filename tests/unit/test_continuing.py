"""Training that goes on from a version: from which, how often, and never from one that knows somebody who is left out now."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.events import ModelPublished
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from tests.histories import published
from tests.roster import ROSTER
from trainers import continuing, dataset_store, split
from trainers.endings import CannotContinue
from trainers.starting import Starter, hyperparameters

XGBOOST = ROSTER["xgboost"]


def version(name: str, minutes: int = 1, of: str | None = None, dataset: str = "", **lineage: str) -> ModelPublished:
    told = {"continued_from": of or "", "dataset_digest": dataset, "dataset": "a key" if dataset else ""} | lineage
    kept = {key: value for key, value in told.items() if value}
    return published(name, minutes, lineage=kept, digest=f"digest of {name}")


def chain(*versions: ModelPublished) -> dict[str, ModelPublished]:
    return {one.version: one for one in versions}


def trained_on(blobs: MemoryBlobs, digest: str, *players: str, **told: Any) -> None:
    manifest = {"digest": digest, "players": dict.fromkeys(players, 3), "held_back": 0.2, **told}
    blobs.put(f"datasets/{digest}/manifest.json", json.dumps(manifest).encode())


TRAINED = next(f"player {n}" for n in range(99) if not split.is_held_back(f"player {n}", 0.2))
HELD = next(f"player {n}" for n in range(99) if split.is_held_back(f"player {n}", 0.2))


def test_a_line_is_followed_to_its_end_and_a_circle_ends_too() -> None:
    known = chain(version("base1"), version("1", of="base1"), version("2", of="1"), version("3", of="4"), version("4", of="3"))

    assert [one.version for one in continuing.line(known["2"], known)] == ["2", "1", "base1"]
    assert [one.version for one in continuing.line(known["3"], known)] == ["3", "4"]


def test_training_goes_on_from_the_champion_with_its_settings_and_the_image_s_rounds() -> None:
    told = json.dumps({"rounds": "75", "max_depth": "6", "seed": "3", "parent": "of before"})
    champion = version("2", hyperparameters=told)

    assert continuing.parent_of(champion, XGBOOST, chain(champion)) is champion
    given = hyperparameters(XGBOOST, Settings(seed=7, training_rounds=9), {"eta": "0.2"}, champion)
    assert given == {**XGBOOST.continues, "max_depth": "6", "seed": "7", "parent": "digest of 2", "eta": "0.2"}


def test_it_is_refused_without_a_champion_and_after_some_in_a_row() -> None:
    known = chain(version("0"), *(version(str(n), of=str(n - 1)) for n in range(1, continuing.MOST + 1)))

    continuing.parent_of(known[str(continuing.MOST - 1)], XGBOOST, known)
    with pytest.raises(CannotContinue, match="xgboost 5 is the 5th continuation in a row: `gamenight retrain xgboost`"):
        continuing.parent_of(known[str(continuing.MOST)], XGBOOST, known)
    with pytest.raises(CannotContinue, match="no version of xgboost answers"):
        continuing.parent_of(None, XGBOOST, known)


def refused(versions: list[ModelPublished], blobs: MemoryBlobs, **left_out: str) -> str:
    with pytest.raises(CannotContinue) as why:
        continuing.refuse_tainted(blobs, versions, {name.replace("_", " "): told for name, told in left_out.items()})
    return str(why.value)


@pytest.mark.parametrize("why", ["banned", "not trusted"])
def test_it_is_refused_if_the_version_or_one_before_has_learned_from_somebody_who_is_left_out_now(why: str) -> None:
    blobs = MemoryBlobs()
    trained_on(blobs, "d1", TRAINED, HELD)
    trained_on(blobs, "d2", "somebody else")
    first, second = version("1", dataset="d1"), version("2", of="1", dataset="d2")
    left_out = {TRAINED.replace(" ", "_"): why}

    assert refused([first], blobs, **left_out) == (
        f"xgboost 1 has learned from a player who is {why}: `gamenight retrain xgboost` rebuilds it in full"
    )
    assert "xgboost 1 (which xgboost 2 goes on from) has learned" in refused([second, first], blobs, **left_out)
    continuing.refuse_tainted(blobs, [second], {TRAINED: why})
    continuing.refuse_tainted(blobs, [second, first], {HELD: why})  # whose drawings judged it, and taught it nothing
    continuing.refuse_tainted(blobs, [second, first], {HELD: why}, "a key that the home was given since")


def test_whose_drawings_judged_a_version_is_known_by_the_key_that_held_them_back() -> None:
    blobs = MemoryBlobs()
    keys = ("", "key", "another key")
    ours = next(name for name in (f"player {n}" for n in range(999)) if all(split.is_held_back(name, 0.2, key) for key in keys))
    trained_on(blobs, "d1", ours, split={"held_back_by": split.fingerprint("key")})

    continuing.refuse_tainted(blobs, [version("1", dataset="d1")], {ours: "banned"}, "key")
    for another in ("", "another key"):
        with pytest.raises(CannotContinue, match="has learned from a player who is banned"):
            continuing.refuse_tainted(blobs, [version("1", dataset="d1")], {ours: "banned"}, another)

    settings, datasets = Settings(aws_services="local", holdout_key="key"), SimpleNamespace(left_out=lambda: {ours: "banned"})
    child = version("2", of="1", dataset="none")
    model_log = SimpleNamespace(published=lambda model: chain(version("1", dataset="d1"), child))
    parts: tuple[Any, ...] = (settings, blobs, datasets, model_log, lambda s: None, lambda s: None)
    Starter(*parts).refuse_tainted(child)  # by the home's key


def test_it_is_refused_if_one_of_them_has_learned_from_somebody_who_is_forgotten() -> None:
    blobs = MemoryBlobs()
    trained_on(blobs, "d1", "bob", "ada")
    trained_on(blobs, "d2", "ada")
    versions = [version("2", of="1", dataset="d2"), version("1", of="base1", dataset="d1"), version("base1")]
    continuing.refuse_tainted(blobs, versions, {})

    dataset_store.without(blobs, "bob")

    assert "has learned from a player who is forgotten" in refused(versions, blobs)
    assert "does not say any more" in refused([version("9", dataset="gone")], blobs)


def test_a_certificate_names_every_version_that_knows_the_drawings_also_those_that_went_on_from_one() -> None:
    known = chain(
        version("base1"),
        version("1", dataset="d1"),
        version("2", of="1", dataset="d2"),
        version("3", dataset="d2"),
        version("4", of="2", dataset="d3"),
    )

    assert continuing.taught(known, {"d1": 12}) == {"1": 12, "2": 12, "4": 12}
