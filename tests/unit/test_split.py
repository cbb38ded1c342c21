"""Who and what is held back from training, and what a later version may be judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from trainers.dataset import LabelledImages, holdout_from_npz, holdout_npz
from trainers.dataset import to_npz as old_npz
from trainers.split import (
    PUBLIC,
    HeldBack,
    Split,
    compares,
    divided,
    fingerprint,
    held_back,
    is_held_back,
    key_named,
    rank,
    rank_of_drawing,
)

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Drawing:
    player_id: str
    drawing_id: str
    drawn_at_us: int = 0
    device: str = "unknown"
    newcomer: bool = False


DRAWINGS = [Drawing(f"player-{n % 40}", f"drawing-{n}", n * HOUR_US, ("unknown", "pen", "touch")[n % 3]) for n in range(400)]


def aside(share: float = 0.5, newest_s: float = 0.0, secret: str = "", drawings: Sequence[Drawing] = DRAWINGS) -> HeldBack:
    _, people, newest = divided(drawings, Split(share, newest_s, secret))
    both = [*people, *newest]
    return held_back(np.zeros((len(both), 784), np.uint8), np.zeros(len(both), np.uint8), both, len(newest), secret)


def test_a_persons_drawings_are_never_on_both_sides():
    trained, people, newest = divided(DRAWINGS, Split(0.3))
    assert newest == []
    assert len(trained) + len(people) == len(DRAWINGS)
    assert {one.player_id for one in trained}.isdisjoint({one.player_id for one in people})
    assert {one.player_id for one in people} == {f"player-{n}" for n in range(40) if is_held_back(f"player-{n}", 0.3)}


def test_whoever_is_held_back_is_so_for_ever_and_a_larger_share_only_adds():
    ids = [f"player-{n}" for n in range(4000)]
    fifth = {player for player in ids if is_held_back(player, 0.2)}
    assert 700 < len(fifth) < 900
    assert fifth < {player for player in ids if is_held_back(player, 0.3)}
    assert not any(is_held_back(player, 0.0) for player in ids)
    assert all(is_held_back(player, 1.0) for player in ids)
    assert (round(rank("ada"), 6), round(rank("bob"), 6)) == (RANKS["ada"], RANKS["bob"]), "another hash moves people over"


RANKS = {"ada": 0.919779, "bob": 0.619286}


def test_the_newest_drawings_are_held_back_of_those_who_are_not():
    trained, people, newest = divided(DRAWINGS, Split(0.3, newest_s=10 * 3600))
    assert {one.drawing_id for one in newest} <= {f"drawing-{n}" for n in range(390, 400)}
    assert max(one.drawn_at_us for one in trained) <= 389 * HOUR_US
    assert not any(is_held_back(one.player_id, 0.3) for one in newest)
    assert len(trained) + len(people) + len(newest) == len(DRAWINGS)


def test_what_is_stored_says_whose_by_a_number_and_reads_back():
    made = aside(newest_s=36_000)
    back = holdout_from_npz(holdout_npz(made))
    assert all(np.array_equal(getattr(made, name), getattr(back, name)) for name in HeldBack.__dataclass_fields__)
    assert b"player-" not in holdout_npz(made)
    assert len(set(made.people.tolist())) == 40 - sum(not is_held_back(f"player-{n}", 0.5) for n in range(30))


def test_drawings_of_which_nobody_knows_whose_they_are_count_as_one_persons():
    old = LabelledImages(np.zeros((3, 784), np.uint8), np.array([1, 2, 3], np.uint8), np.ones(3, np.float32))
    assert holdout_from_npz(old_npz(old)).people.tolist() == [0, 0, 0]


def test_a_base_has_seen_nobody():
    made = aside()
    assert len(made.unseen({}, 0)) == len(made)
    assert len(made.unseen({"learned_from": "MNIST alone", "dataset": "s3://b/d"}, 0)) == len(made)


def test_beside_a_version_with_a_smaller_share_only_its_people_count():
    before = {"dataset": "s3://b/d", **Split(0.25).lineage(0)}
    made = aside(0.5)
    kept = made.unseen(before, 0)
    assert 0 < len(kept) < len(made)
    assert (kept.ranks <= 25).all()
    assert len(made.unseen({"dataset": "s3://b/d", **Split(0.5).lineage(0)}, 0)) == len(made)


def test_beside_a_version_that_was_divided_by_drawing_only_what_it_cannot_have_seen_counts():
    published = round(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1e6)
    made = aside(0.5)
    kept = made.unseen({"dataset": "s3://b/d"}, published)
    _, people, _ = divided(DRAWINGS, Split(0.5))
    share = max(rank(one.player_id) for one in people)
    share = (int(share * 100) + 1) / 100  # nobody knows the share of then; what holds now is a bound that is safe
    assert 0 < len(kept) == sum(rank_of_drawing(one.drawing_id) < share for one in people) < len(people)
    late = round((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=200)).timestamp() * 1e6)
    assert (made.unseen({"dataset": "s3://b/d"}, late).drawn_at_us > late).sum() == (made.drawn_at_us > late).sum()


def test_of_the_newest_only_those_count_that_came_after_the_other_versions_data():
    made = aside(0.5, newest_s=36_000)
    kept = made.unseen({"dataset": "s3://b/d", **Split(0.5, 36_000).lineage(394 * HOUR_US)}, 0)
    assert (kept.drawn_at_us[kept.newest] > 394 * HOUR_US).all()
    assert kept.newest.sum() < made.newest.sum()
    assert (~kept.newest).sum() == (~made.newest).sum()


def test_a_seat_that_was_ground_to_be_held_back_is_so_no_oftener_than_any_other_unless_the_key_is_known():
    home, guess = "the home's own key", "a key that somebody guessed"
    for known in ("", guess):
        seats = [seat for n in range(10_000) if rank(seat := f"seat-{n}", known) < 0.02 and not compares(seat, known)]
        found = sum(is_held_back(seat, 0.2, home) for seat in seats)
        assert 0.1 * len(seats) < found < 0.3 * len(seats), "a fifth, as of all"
        assert sum(compares(seat, home) for seat in seats) > 0.1 * len(seats)
    assert home not in fingerprint(home) + repr(Split(0.2, 0.0, home))
    assert len({fingerprint(key) for key in (home, guess, "")}) == 3


def test_the_lineage_names_the_key_and_only_who_has_it_is_told_it():
    assert Split(0.2).lineage(0) == {"held_back": "0.2 of people", "trained_until": "1970-01-01T00:00:00+00:00"}
    assert Split(0.2, 0.0, "key").lineage(0) == {**Split(0.2).lineage(0), "held_back_by": fingerprint("key")}
    named = [key_named(by, "key") for by in (fingerprint("key"), PUBLIC, fingerprint("another"))]
    assert named == ["key", "", None]


def test_a_newcomer_judges_nothing_and_teaches_nothing_that_it_would_be_judged_by():
    new = {f"player-{n}" for n in range(0, 40, 2)}
    drawings = [replace(one, newcomer=one.player_id in new) for one in DRAWINGS]
    trained, people, newest = divided(drawings, Split(0.3, newest_s=100 * 3600))

    assert not [one for one in (*people, *newest) if one.newcomer]
    assert [one for one in trained if one.newcomer]
    assert not [one for one in trained if is_held_back(one.player_id, 0.3)]
    cut = max(one.drawn_at_us for one in drawings if not one.newcomer) - 100 * HOUR_US
    assert max(one.drawn_at_us for one in trained) <= cut < min(one.drawn_at_us for one in newest)

    alone = divided([replace(one, newcomer=True) for one in DRAWINGS], Split(0.3, newest_s=100 * 3600))
    assert (alone[0], alone[1:]) == (
        [replace(one, newcomer=True) for one in DRAWINGS if not is_held_back(one.player_id, 0.3)],
        ([], []),
    )


def test_beside_a_version_of_another_key_only_those_count_whom_it_cannot_have_seen():
    came = [replace(one, player_id=f"{one.player_id}-came", drawn_at_us=one.drawn_at_us + 500 * HOUR_US) for one in DRAWINGS]
    made = aside(0.5, secret="new", drawings=[*DRAWINGS, *came])
    back = holdout_from_npz(holdout_npz(made))
    assert np.array_equal(back.public_ranks, made.public_ranks)
    of_before = {"dataset": "s3://b/d", **Split(0.5).lineage(450 * HOUR_US)}
    late = (made.drawn_at_us > 450 * HOUR_US).sum()
    held = [one for one in DRAWINGS if is_held_back(one.player_id, 0.5, "new")]
    both = sum(is_held_back(one.player_id, 0.5) for one in held)
    assert 0 < both < len(held)

    by_new, by_old = fingerprint("new"), {**of_before, "held_back_by": fingerprint("old")}
    assert len(made.unseen({**of_before, "held_back_by": by_new}, 0, by_new)) == len(made), "the same key"
    assert len(back.unseen(of_before, 0, by_new)) == late + both, "whom the public key had held back, and who came since"
    assert len(made.unseen(by_old, 0, by_new)) == late, "nobody knows whom another key had held back"
    again = aside(0.5, drawings=[*DRAWINGS, *came])
    assert len(again.unseen(by_old, 0)) == (again.drawn_at_us > 450 * HOUR_US).sum(), "also where the home has lost its key"
    returned = {"dataset": "s3://b/d", **Split(0.5, 0.0, "old").lineage(520 * HOUR_US)}
    assert made.unseen(returned, 0, by_new).drawn_at_us.min() > 520 * HOUR_US
    assert len(set(made.unseen(returned, 0, by_new).people.tolist())) < len(set(made.people.tolist())) / 2, "whole people"
