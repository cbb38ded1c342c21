"""How simulated people write, judge and insist, without a socket."""

import random
from uuid import UUID

import orjson
import pytest

from contracts.drawing import MAX_SIDE, check_limits, rasterize
from producers.handwriting import handwriting, ink
from producers.simulated_player import FIRST, SimulatedPlayer
from producers.simulation_options import SimulationOptions
from producers.tally import Spread, Tally

PENS = handwriting()
SURE = {"correct_probability": 1.0, "confirm_probability": 1.0, "error_rate": 0.0, "duplicates": 0.0, "speed": 0.0}
MODELS = [{"model": "xgboost"}, {"model": "river"}]


def person(tally: Tally, **options: object) -> SimulatedPlayer:
    somebody = SimulatedPlayer(
        0, SimulationOptions(players=1, drawings=tally.drawings, **{**SURE, **options}), PENS["26"], tally
    )
    somebody.receive({"type": "joined", "seat": "seat-1", "models": MODELS}, 0.0)
    return somebody


def guess(drawing_id: str, model: str, label: int, probability: float = 0.9) -> dict[str, object]:
    rest = (1 - probability) / 9
    probabilities = [probability if digit == label else rest for digit in range(10)]
    return {
        "type": "guess", "drawing_id": drawing_id, "model": model, "label": label, "probabilities": probabilities, "hops": {}
    }  # fmt: skip


def test_thirty_people_wrote_about_250_digits_each():
    assert len(PENS) == 30
    assert all(200 < len(written) < 300 for written in PENS.values())


def test_a_digit_written_twice_is_not_the_same_and_still_legal():
    written = PENS["26"][0]
    chance = random.Random(1)

    first, second = ink(written, chance), ink(written, chance)

    assert first.strokes != second.strokes
    for inked in (first, second):
        check_limits(inked.strokes)
        assert rasterize(inked.strokes).max() > 200
        times = [point[2] for stroke in inked.strokes for point in stroke]
        assert times == sorted(times)
        assert all(0 <= x <= inked.width <= MAX_SIDE for stroke in inked.strokes for x, _, _ in stroke)
        assert all(0 <= y <= inked.height <= MAX_SIDE for stroke in inked.strokes for _, y, _ in stroke)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.66, 1.0])
def test_a_preview_is_the_beginning_of_the_drawing(fraction):
    inked = ink(next(written for written in PENS["26"] if len(written.strokes) > 1), random.Random(2))
    points = [point for stroke in inked.strokes for point in stroke]

    begun = [point for stroke in inked.until(fraction) for point in stroke]

    assert begun == points[: max(1, round(fraction * len(points)))]


def test_a_wrong_consensus_is_put_right_and_a_right_one_confirmed():
    tally = Tally(2)
    somebody = person(tally)
    for offset in (1, 0):
        drawn = next(somebody.draws())
        somebody.pen_up(drawn, 1.0)
        truth = drawn.label
        somebody.receive(guess(drawn.drawing_id, "xgboost", (truth + offset) % 10, 0.95), 1.1)
        ready = somebody.receive(guess(drawn.drawing_id, "river", truth, 0.6), 1.2)
        assert ready == (drawn.drawing_id, 0.0)

        [frame] = somebody.judge(drawn.drawing_id, 1.3)

        assert orjson.loads(frame)["label"] == truth
    assert (tally.seen["corrected"], tally.seen["confirmed"]) == (1, 1)


def test_a_person_judges_by_the_guess_that_they_are_shown_first():
    tally = Tally(1)
    somebody = person(tally)
    drawn = next(somebody.draws())
    somebody.pen_up(drawn, 1.0)
    wrong = (drawn.label + 1) % 10
    somebody.receive(guess(drawn.drawing_id, "xgboost", wrong, 0.95) | {"lead": "river"}, 1.1)
    somebody.receive(guess(drawn.drawing_id, "river", drawn.label, 0.4) | {"lead": "river"}, 1.2)

    somebody.judge(drawn.drawing_id, 1.3)

    assert tally.seen["confirmed"] == 1
    assert (tally.guessed[FIRST, 0], tally.right[FIRST, 0]) == (1, 1)


def test_a_missed_guess_ends_the_waiting_and_is_counted():
    tally = Tally(1)
    somebody = person(tally)
    drawn = next(somebody.draws())
    somebody.pen_up(drawn, 1.0)
    somebody.receive(guess(drawn.drawing_id, "river", drawn.label), 1.1)
    miss = {"type": "missed", "drawing_id": drawn.drawing_id, "model": "xgboost", "resting": True, "why": "tired"}

    ready = [somebody.receive(miss, 1.2) for _ in range(2)]

    assert ready == [(drawn.drawing_id, 0.0), None]
    assert tally.missed == {"xgboost": 1}
    assert (tally.seen["answered by every model"], tally.seen["answered, but not by every model"]) == (0, 1)


def test_nobody_waits_for_a_model_that_is_not_there_or_not_shown():
    tally = Tally(2)
    somebody = person(tally)
    states = [
        {"model": "mxnet", "part": "shown", "unavailable": "not on this machine"},
        {"model": "kmeans", "part": "shadow", "unavailable": None},
        {"model": "river", "part": "shown", "unavailable": None},
    ]
    somebody.receive({"type": "joined", "seat": "seat-1", "models": states}, 0.0)
    first, second = somebody.draws()
    somebody.pen_up(first, 1.0)
    somebody.receive(guess(first.drawing_id, "river", first.label), 1.1)
    assert tally.seen["answered by every model"] == 1

    somebody.receive({"type": "model", "event": "available", **states[0], "unavailable": None}, 2.0)
    somebody.pen_up(second, 3.0)
    somebody.receive(guess(second.drawing_id, "river", second.label), 3.1)

    assert tally.seen["answered by every model"] == 1


def test_a_correction_is_through_with_the_learners_receipt_and_that_of_yours_is_timed_whenever_it_comes():
    tally = Tally(2)
    somebody = person(tally)
    for order in (("personal", "learner"), ("learner", "personal")):
        drawn = next(somebody.draws())
        somebody.pen_up(drawn, 0.0)
        somebody.receive({"type": "saved", "drawing_id": drawn.drawing_id}, 0.1)
        for model in ("xgboost", "river"):
            somebody.receive(guess(drawn.drawing_id, model, drawn.label), 0.2)
        [sent] = somebody.judge(drawn.drawing_id, 1.0)
        receipt = {"type": "receipt", "correction_id": orjson.loads(sent)["correction_id"], "outcome": "learned"}
        for stage in order:
            somebody.receive(receipt | {"stage": stage}, 1.1)
            assert somebody.waiting == (stage == "personal" == order[0])

    assert {what: tally.latency[what].n for what in ("receipt", "receipt of yours")} == {"receipt": 2, "receipt of yours": 2}
    assert tally.outcomes == {"learned": 2}


def test_what_is_not_acknowledged_is_sent_again_with_the_same_ids_until_it_is():
    tally = Tally(1)
    somebody = person(tally)
    drawn = next(somebody.draws())
    [frame] = somebody.pen_up(drawn, 0.0)

    assert somebody.again(1.0) == []
    assert somebody.again(5.0) == [frame]
    somebody.receive({"type": "saved", "drawing_id": drawn.drawing_id}, 5.1)
    assert somebody.again(60.0) == []
    truth = drawn.label
    for model in ("xgboost", "river"):
        somebody.receive(guess(drawn.drawing_id, model, truth), 60.0)
    [sent] = somebody.judge(drawn.drawing_id, 60.0)
    assert somebody.again(70.0) == [sent]
    assert somebody.waiting == 1
    correction_id = orjson.loads(sent)["correction_id"]
    somebody.receive({"type": "receipt", "correction_id": correction_id, "outcome": "learned"}, 71.0)

    assert somebody.waiting == 0
    assert somebody.again(100.0, everything=True) == []
    assert tally.saved == {UUID(drawn.drawing_id)}
    assert tally.receipted == {UUID(correction_id): UUID(drawn.drawing_id)}


def test_a_new_socket_takes_the_old_seat_and_asks_again_for_answers_that_may_be_lost():
    somebody = person(Tally(1))
    drawn = next(somebody.draws())
    [frame] = somebody.pen_up(drawn, 0.0)
    somebody.receive({"type": "saved", "drawing_id": drawn.drawing_id}, 0.1)

    assert orjson.loads(somebody.join())["seat"] == "seat-1"
    assert somebody.again(0.2, everything=True) == [frame]


def test_frames_that_come_twice_are_counted_once():
    tally = Tally(1)
    somebody = person(tally)
    drawn = next(somebody.draws())
    somebody.pen_up(drawn, 0.0)
    truth = drawn.label

    for _ in range(2):
        somebody.receive({"type": "saved", "drawing_id": drawn.drawing_id}, 0.1)
        somebody.receive(guess(drawn.drawing_id, "river", truth), 0.1)

    assert tally.seen["saved"] == 1
    assert (tally.guessed["river", 0], tally.right["river", 0]) == (1, 1)


def test_what_never_comes_is_given_up_and_told():
    tally = Tally(1)
    somebody = person(tally)
    somebody.pen_up(next(somebody.draws()), 0.0)

    somebody.give_up(29.0)
    assert somebody.waiting == 1
    somebody.give_up(31.0)

    assert somebody.waiting == 0
    assert (tally.seen["unfinished"], tally.seen["never saved"]) == (1, 1)


def test_what_is_late_is_waited_for_and_told_as_late_and_not_as_unfinished():
    """`gamenight simulate` once called receipts lost that came after its players' patience."""
    tally = Tally(1)
    somebody = person(tally, late_s=60.0)
    drawn = next(somebody.draws())
    somebody.pen_up(drawn, 0.0)

    for at in (29.0, 31.0, 32.0, 89.0):
        somebody.give_up(at)
    assert (somebody.waiting, tally.seen["late"], tally.seen["unfinished"]) == (1, 1, 0)
    somebody.give_up(91.0)
    assert (somebody.waiting, tally.seen["unfinished"]) == (0, 1)


def test_two_runs_with_one_seed_draw_the_same_under_other_ids():
    first, second = (next(person(Tally(1)).draws()) for _ in range(2))

    assert first.drawing_id != second.drawing_id
    assert orjson.loads(first.frame)["strokes"] == orjson.loads(second.frame)["strokes"]


def test_quantiles_are_right_to_one_percent():
    spread = Spread()
    for value in range(1, 1001):
        spread.add(value / 10)

    assert spread.n == 1000
    assert spread.quantile(0.5) == pytest.approx(50, rel=0.01)
    assert spread.quantile(0.99) == pytest.approx(99, rel=0.01)
    assert spread.quantile(1) == pytest.approx(100, rel=0.01)
