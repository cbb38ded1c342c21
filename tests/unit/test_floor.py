"""The arithmetic of the benches that compare: distributions put together, ratios beside their targets."""

from producers.tally import Spread
from tests.bench.floor import ratios


def spread(*values: float) -> Spread:
    made = Spread()
    for value in values:
        made.add(value)
    return made


def test_distributions_of_two_runs_are_put_together():
    whole, one = spread(1, 1, 1, 100), spread(*[100] * 4)

    whole.update(one)

    assert whole.n == 8
    assert abs(whole.quantile(0.5) - 100) < 1.1
    assert one.n == 4


def test_the_game_stands_as_a_ratio_to_the_floors_first_answer():
    found = ratios(
        {
            "floor": {"first guess": spread(*[5.0] * 99, 10.0)},
            "game": {"first guess": spread(*[9.0] * 100), "all guesses": spread(*[15.0] * 98, 30.0, 30.0)},
        }
    )

    assert {what: (one["target"], one["met"]) for what, one in found.items()} == {
        "first guess, p50": (2.0, True),
        "first guess, p99": (2.0, True),
        "all guesses, p50": (2.5, False),
        "all guesses, p99": (2.5, False),
    }
    assert abs(found["all guesses, p50"]["ratio"] - 3) < 0.1
    assert abs(found["all guesses, p99"]["ratio"] - 6) < 0.2, "the second worst of a hundred, beside the floor's own"
