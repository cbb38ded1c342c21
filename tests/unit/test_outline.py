"""An outline says where the edges of the ink run, whatever drawings are beside it."""

import numpy as np

from streams.outline import OUTLINE, ink_of, look_at, outlines_of_ink


def stroke(down: slice, across: slice) -> np.ndarray:
    """A raster with one bar of ink."""
    raster = np.zeros((28, 28), np.uint8)
    raster[down, across] = 255
    return raster.reshape(1, 784)


UPRIGHT, BESIDE, LEVEL = (
    stroke(slice(4, 24), slice(13, 15)),
    stroke(slice(4, 24), slice(15, 17)),
    stroke(slice(13, 15), slice(4, 24)),
)
RISING = np.fliplr(np.eye(28, dtype=np.uint8) * 255).reshape(1, 784)
FALLING = np.eye(28, dtype=np.uint8).reshape(1, 784) * 255


def outlines(rasters: np.ndarray) -> np.ndarray:
    return outlines_of_ink(ink_of(rasters))


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float((outlines(one) @ outlines(other).T)[0, 0])


def test_a_bar_is_like_the_bar_beside_it_and_unlike_one_that_runs_another_way():
    assert alike(UPRIGHT, UPRIGHT) > alike(UPRIGHT, BESIDE) > 0.9
    assert alike(UPRIGHT, LEVEL) < 0.3
    assert alike(RISING, FALLING) < 0.3
    assert alike(UPRIGHT, RISING) < 0.6


def test_an_outline_is_the_same_bit_for_bit_alone_and_among_others_and_as_it_is_remembered():
    rasters = np.random.default_rng(1).integers(0, 256, (40, 784), np.uint8)

    together = outlines(rasters)

    assert together.shape == (40, OUTLINE)
    look_at(rasters[:20])
    assert np.array_equal(together, np.concatenate([outlines_of_ink(one[None]) for one in ink_of(rasters)]))
    for count in (1, 3, 8):
        for first in range(0, 40, count):
            assert np.array_equal(together[first : first + count], outlines(rasters[first : first + count]))


def test_paper_and_a_full_raster_are_read_too():
    assert not outlines(np.zeros((1, 784), np.uint8)).any()
    assert np.linalg.norm(outlines(np.full((1, 784), 255, np.uint8))) > 0.99
