"""What a tuning job tries."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.sagemaker.candidates import candidates, combinations, wrong

RANGES: dict[str, Any] = {
    "IntegerParameterRanges": [{"Name": "depth", "MinValue": "2", "MaxValue": "4"}],
    "ContinuousParameterRanges": [
        {"Name": "rate", "MinValue": "0.0001", "MaxValue": "1", "ScalingType": "Logarithmic"},
        {"Name": "decay", "MinValue": "0.5", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"},
    ],
    "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
}


def test_chance_stays_within_the_ranges_and_is_the_same_with_the_same_seed() -> None:
    found = list(itertools.islice(candidates("Random", RANGES, 7), 400))

    assert found == list(itertools.islice(candidates("Bayesian", RANGES, 7), 400))
    assert found != list(itertools.islice(candidates("Random", RANGES, 8), 400))
    assert {one["depth"] for one in found} == {"2", "3", "4"}
    assert {one["kind"] for one in found} == {"a", "b"}
    rates = [float(one["rate"]) for one in found]
    assert all(0.0001 <= rate <= 1 for rate in rates)
    assert 0.35 < sum(rate < 0.01 for rate in rates) / 400 < 0.65, "each order of magnitude gets its share"
    assert all(0.5 <= float(one["decay"]) <= 0.999 for one in found)


def test_nothing_is_tried_twice_while_there_is_something_else() -> None:
    few = {"IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "5"}]}
    assert sorted(one["depth"] for one in itertools.islice(candidates("Random", few, 3), 5)) == ["1", "2", "3", "4", "5"]
    assert len(list(itertools.islice(candidates("Random", few, 3), 9))) == 9


def test_a_grid_is_every_combination_once() -> None:
    grid = {"CategoricalParameterRanges": [{"Name": "eta", "Values": ["0.1", "0.3"]}, {"Name": "depth", "Values": ["3", "5"]}]}
    found = list(candidates("Grid", grid, 0))
    assert len(found) == combinations(grid) == 4
    assert {(one["eta"], one["depth"]) for one in found} == {("0.1", "3"), ("0.1", "5"), ("0.3", "3"), ("0.3", "5")}


def numbers(name: str, low: str, high: str, scale: str = "Auto") -> dict[str, str]:
    return {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scale}


@pytest.mark.parametrize(
    ("strategy", "ranges", "told"),
    [
        ("Random", {}, "nothing can be tuned"),
        ("Grid", RANGES, "only categorical"),
        ("Random", {"IntegerParameterRanges": [numbers("depth", "5", "3")]}, "depth is empty"),
        ("Random", {"IntegerParameterRanges": [numbers("depth", "a", "3")]}, "depth has no numbers"),
        ("Random", {"ContinuousParameterRanges": [numbers("eta", "nan", "3")]}, "eta is empty"),
        ("Random", {"IntegerParameterRanges": [numbers("depth", "1", "1" + "0" * 400)]}, "depth goes beyond whole numbers"),
        ("Random", {"IntegerParameterRanges": [numbers("depth", "-" + "9" * 19, "1")]}, "depth goes beyond whole numbers"),
        (
            "Random",
            {"ContinuousParameterRanges": [numbers("eta", "-1e308", "1e308", "Linear")]},
            "eta is wider than any number",
        ),
        ("Random", {"ContinuousParameterRanges": [numbers("eta", "0", "1", "Logarithmic")]}, "above 0"),
        ("Random", {"ContinuousParameterRanges": [numbers("eta", "0", "1", "ReverseLogarithmic")]}, "within 0 and 1"),
        ("Random", {"ContinuousParameterRanges": [numbers("eta", "0", "1"), numbers("eta", "0", "1")]}, "needs one range"),
    ],
)
def test_ranges_that_cannot_be_searched_are_refused(strategy: str, ranges: dict[str, Any], told: str) -> None:
    assert told in wrong(strategy, ranges)
    assert wrong("Random", RANGES) == ""


@given(st.integers(-50, 50), st.integers(0, 10_000), st.sampled_from(["Auto", "Linear"]))
def test_whole_numbers_stay_whole_and_within(low: int, width: int, scale: str) -> None:
    ranges = {"IntegerParameterRanges": [numbers("n", str(low), str(low + width), scale)]}
    for one in itertools.islice(candidates("Random", ranges, 1), 5):
        assert low <= int(one["n"]) <= low + width
        assert math.isfinite(int(one["n"]))
