"""How long a reader gathers, by how much came lately."""

from producers.pace import Pace


def test_who_draws_alone_is_never_waited_for():
    pace = Pace(rush=70, rush_s=0.02)

    assert {pace.wait_s(1, 0.1 * n) for n in range(100)} == {0.0}


def test_a_rush_gathers_and_is_over_when_little_comes():
    pace = Pace(rush=70, rush_s=0.02)

    waits = [pace.wait_s(2, 0.02 * n) for n in range(200)]

    assert waits[0] == 0.0
    assert waits[-1] == 0.02
    assert pace.wait_s(0, 4.0 + 5.0) == 0.0


def test_what_is_calm_gathers_only_after_something_has_come():
    pace = Pace(rush=350, rush_s=0.06, calm_s=0.02)

    assert pace.wait_s(1, 0.0) == 0.02
    assert pace.wait_s(0, 0.5) == 0.0


def test_the_more_comes_the_longer_it_gathers_up_to_a_bound():
    def waits(a_second: int) -> float:
        pace = Pace(rush=70, rush_s=0.02, most_s=0.06)
        return [pace.wait_s(a_second // 50, 0.02 * n) for n in range(200)][-1]

    assert waits(50) == 0.0
    assert 0.02 < waits(100) < waits(150) < 0.06
    assert waits(1000) == 0.06


def test_what_follows_from_a_prompt_record_is_not_held_back_but_in_a_rush():
    pace = Pace(rush=100, rush_s=0.05, calm_s=0.02, prompt=["corrections.v1"])

    assert pace.wait_s(1, 0.0, {"drawings.v1"}) == 0.02
    assert pace.wait_s(2, 0.5, {"drawings.v1", "corrections.v1"}) == 0.0
    assert pace.wait_s(1, 1.0, {"drawings.v1"}) == 0.02
    assert pace.wait_s(200, 1.5, {"corrections.v1"}) > 0.02


def test_drawings_and_answers_alone_are_held_while_little_comes():
    pace = Pace(rush=100, rush_s=0.05, held=["drawings.v1", "answers.v1"], held_s=0.03, few=50)

    pace.wait_s(1, 0.0)
    assert pace.hold_s({"drawings.v1"}) == pace.hold_s({"drawings.v1", "answers.v1"}) == 0.03
    assert pace.hold_s({"drawings.v1", "corrections.v1"}) == pace.hold_s(set()) == 0.0
    pace.wait_s(30, 0.1)
    assert pace.hold_s({"drawings.v1"}) == 0.0
