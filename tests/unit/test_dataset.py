"""The dataset: the same for every order of arrival, and never what it is judged on."""

import io
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.dataset import Feedback, LabelledImages, assemble, holdout_from_npz, read_mnist, sorted_out, usable
from trainers.split import DEVICES, FIELDS

BASE = LabelledImages(np.zeros((3, 784), np.uint8), np.array([1, 2, 3], np.uint8), np.ones(3, np.float32))


def said(n: int, label: int | None = 7, revision: int = 1, ink: int | None = None, player: str = "ada") -> Feedback:
    raster = (n if ink is None else ink).to_bytes(4) * 196
    return Feedback(1000 + n, f"drawing-{n}", player, revision, label, raster)


def test_without_players_it_is_mnist_alone_and_always_the_same():
    alone = assemble(BASE, [], 0.2, 3.0)
    assert (len(alone.train), alone.feedback, len(alone.holdout)) == (3, 0, 0)
    assert alone.digest == assemble(BASE, [], 0.5, 1.0).digest


def test_the_latest_correction_of_a_drawing_counts():
    [kept] = usable([said(1, 3, revision=2), said(1, 7, revision=1)])
    assert kept.label == 3


def test_a_correction_taken_back_and_a_drawing_that_nobody_read_teach_nothing():
    assert usable([said(1), said(1, None, revision=2), Feedback(5, "d", "ada", 1, 4, None)]) == []


def test_a_drawing_whose_latest_label_came_over_the_quota_is_left_out():
    late = replace(said(1, 3, revision=2), over_quota=True)
    assert usable([said(1), late]) == []
    assert usable([late, said(1, 4, revision=3)]) == [said(1, 4, revision=3)]


def test_the_same_picture_counts_once_however_often_it_is_drawn():
    first, replayed, contradicted = said(1, ink=9), said(2, ink=9), said(3, label=1, ink=9)
    assert [first, contradicted] == usable([replayed, contradicted, first])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_dataset_is_the_same_bytes_for_every_order_and_repetition(data):
    history = [said(n % 12, label=(n * 7) % 10, revision=1 + n // 12, player=f"player-{n % 12 % 5}") for n in range(30)]
    shuffled = data.draw(st.permutations(history + history[: data.draw(st.integers(0, 30))]))
    assert assemble(BASE, history, 0.3, 3.0, 2e-6).digest == assemble(BASE, shuffled, 0.3, 3.0, 2e-6).digest


def test_held_back_drawings_say_what_they_were_drawn_with_and_where_nobody_knows_the_bytes_are_those_of_before():
    history = [said(n, player=f"player-{n % 9}") for n in range(60)]
    pens = [replace(one, device="pen" if one.player_id == "player-0" else "unknown") for one in history]
    before, now = assemble(BASE, history, 0.9, 3.0), assemble(BASE, pens, 0.9, 3.0)

    assert set(np.load(io.BytesIO(before.holdout_bytes)).files) == set(FIELDS) - {"devices", "public_ranks"}
    assert not holdout_from_npz(before.holdout_bytes).devices.any()
    there = holdout_from_npz(now.holdout_bytes)
    told = {DEVICES[device] for device, person in zip(there.devices, there.people, strict=True) if person == 0}
    assert told == {"pen"}
    assert there.at(there.people == 1).devices.tolist() == [0] * int((there.people == 1).sum())
    assert (before.train_bytes, before.rows_bytes) == (now.train_bytes, now.rows_bytes)


def test_players_drawings_weigh_as_told_beside_mnist():
    made = assemble(BASE, [said(n, player=f"player-{n % 9}") for n in range(50)], 0.2, 3.0)
    assert made.feedback + len(made.holdout) == 50
    assert 3 + made.feedback == len(made.train)
    assert [1.0] * 3 + [3.0] * made.feedback == made.train.weights.tolist()
    trained = {image.tobytes() for image in made.train.images}
    assert not any(image.tobytes() in trained for image in made.holdout.images)


def test_what_is_left_out_is_counted_by_its_reason_and_once():
    late = replace(said(4), over_quota=True)
    history = [said(1, 3), said(1, 7, revision=2), said(2), said(2, None, revision=2), said(3, ink=1), late]
    told = {"replaced": 2, "withdrawn": 1, "repeated": 1, "over quota": 1}
    assert sorted_out([*history, replace(said(5), raster=None), *history[:3]])[1] == told | {"unread": 1}


def test_no_feedback_at_all_is_mnist_alone():
    made = assemble(BASE, [], 0.2, 3.0)
    assert (len(made.train), len(made.holdout)) == (3, 0)
    assert made.holdout.images.shape == (0, 784)


def test_mnist_is_whole():
    train, test = read_mnist("train"), read_mnist("t10k")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert test.labels[:4].tolist() == [7, 2, 1, 0]
