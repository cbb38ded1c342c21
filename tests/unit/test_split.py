"""Who and what is held back from training, and what a later version may be judged by."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from trainers.dataset import LabelledImages, holdout_from_npz, holdout_npz
from trainers.dataset import to_npz as old_npz
from trainers.split import HeldBack, Split, divided, held_back, is_held_back, rank, rank_of_drawing

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Drawing:
    player_id: str
    drawing_id: str
    drawn_at_us: int = 0
    device: str = "unknown"


DRAWINGS = [Drawing(f"player-{n % 40}", f"drawing-{n}", n * HOUR_US, ("unknown", "pen", "touch")[n % 3]) for n in range(400)]


def aside(share: float = 0.5, newest_s: float = 0.0) -> HeldBack:
    _, people, newest = divided(DRAWINGS, Split(share, newest_s))
    both = [*people, *newest]
    return held_back(np.zeros((len(both), 784), np.uint8), np.zeros(len(both), np.uint8), both, len(newest))


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
