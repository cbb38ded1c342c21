"""Strokes become the raster that MNIST would show."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from contracts.drawing import SIDE, EmptyDrawing, OversizedDrawing, check_limits, framed, ink, rasterize, rasterize_all
from streams.embedding import EmbeddingNetwork
from streams.online_base import load_base
from streams.online_model import of_base
from trainers.dataset import read_mnist

SEVEN = [[[10.0, 10.0], [90.0, 12.0], [40.0, 120.0]], [[30.0, 60.0], [75.0, 58.0]]]
points = st.tuples(st.floats(-500, 3000), st.floats(-500, 3000)).map(list)
drawings = st.lists(st.lists(points, min_size=1, max_size=20), min_size=1, max_size=4)

GOLDEN = """
............................
............................
............................
............................
............................
............................
......-------...............
.....################+......
.....-################......
...................##-......
..................+##.......
..................##-.......
.................-##........
.................##-........
................-##.........
.........-----++##+.........
.........##########.........
.........####++##+-.........
..............-##...........
..............+#+...........
..............##-...........
.............+##............
.............##-............
............+##.............
............##-.............
...........-##..............
...........##-..............
..........-##...............
""".strip().splitlines()


def plainly(strokes: list[list[list[float]]]) -> np.ndarray:
    """The definition, one pixel and one segment at a time."""
    at = np.concatenate([np.array(stroke, dtype=float)[:, :2] for stroke in strokes])
    extent = (at.max(axis=0) - at.min(axis=0)).max()
    scale = 20 / extent if extent > 0 else 1.0
    middle = (at.max(axis=0) + at.min(axis=0)) / 2
    paths = [(np.array(stroke, dtype=float)[:, :2] - middle) * scale + 14.5 for stroke in strokes]
    grid = np.stack(np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5), axis=-1)

    def coverage(shift: np.ndarray) -> np.ndarray:
        nearest = np.full((SIDE, SIDE), np.inf)
        for path in paths:
            for a, b in itertools.pairwise(path) if len(path) > 1 else [(path[0], path[0])]:
                d = b - a
                along = np.clip(((grid - a - shift) @ d) / max(d @ d, 1e-12), 0, 1)[..., None]
                nearest = np.minimum(nearest, np.linalg.norm(grid - a - shift - along * d, axis=-1))
        return np.clip(1.6 - nearest, 0, 1)

    ink = coverage(np.zeros(2))
    mass = np.array([(ink * grid[..., 0]).sum(), (ink * grid[..., 1]).sum()]) / ink.sum()
    return coverage(14.5 - mass) * 255


def test_a_seven_looks_as_it_always_did():
    assert ["".join(".-+#"[value // 64] for value in row) for row in rasterize(SEVEN).tolist()] == GOLDEN


@given(drawings)
@settings(max_examples=25, deadline=None)
def test_ink_is_the_distance_to_the_pen_path(strokes):
    # Points nearer than 0.15 px are merged, which moves the path by less than that: 38 levels of 255.
    assert np.abs(rasterize(strokes) - plainly(strokes)).max() < 40


def test_ink_is_exact_where_no_points_are_merged():
    assert np.abs(rasterize(SEVEN) - plainly(SEVEN)).max() <= 1


@given(st.lists(drawings, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_drawings_together_come_out_as_each_alone(several):
    together = rasterize_all(several)

    assert all((alone == rasterize(strokes)).all() for alone, strokes in zip(together, several, strict=True))


@given(drawings, st.sampled_from([0.25, 2.0, 16.0]), st.sampled_from([-256.0, 0.0, 1024.0]))
@settings(max_examples=25, deadline=None)
def test_neither_the_size_nor_the_place_on_the_canvas_matters(strokes, zoom, move):
    whole = [[[float(round(x)), float(round(y))] for x, y in stroke] for stroke in strokes]  # so that moving is exact
    moved = [[[x * zoom + move, y * zoom + move] for x, y in stroke] for stroke in whole]

    extent = np.ptp([point for stroke in whole for point in stroke], axis=0).max()
    if extent > 0:
        assert np.abs(rasterize(whole).astype(int) - rasterize(moved)).max() <= 1


def test_a_dot_is_a_dot_in_the_middle():
    raster = rasterize([[[500.0, 3.0]]])

    rows, columns = np.nonzero(raster)
    assert raster.max() == 255
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (13, 15, 13, 15)


def test_time_is_no_coordinate():
    assert (rasterize(SEVEN) == rasterize([[[x, y, 1e12] for x, y in stroke] for stroke in SEVEN])).all()


def test_the_longest_side_of_the_path_is_twenty_pixels():
    rows, _ = np.nonzero(rasterize([[[0.0, 0.0], [0.0, 900.0]]]) > 127)

    assert rows.max() - rows.min() + 1 in (22, 23)  # 20 of the path, and the pen at both ends


@pytest.mark.parametrize("strokes", [[], [[]]])
def test_a_drawing_without_a_point_is_refused(strokes):
    with pytest.raises(EmptyDrawing):
        rasterize(strokes)
    with pytest.raises(EmptyDrawing):
        check_limits(strokes)


@pytest.mark.parametrize("strokes", [[[[1.0, 1.0]]] * 65, [[[1.0, 1.0]] * 4097]])
def test_a_drawing_over_the_limits_is_refused(strokes):
    with pytest.raises(OversizedDrawing):
        check_limits(strokes)


# --- images --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist() -> tuple[np.ndarray, np.ndarray]:
    """The first 200 of MNIST's test images, with their labels."""
    images = read_mnist("t10k")
    return np.asarray(images.images)[:200].reshape(-1, SIDE, SIDE), np.asarray(images.labels)[:200]


@pytest.fixture(scope="module")
def right() -> Callable[[Sequence[np.ndarray], np.ndarray], float]:
    """How many of some rasters the base of river reads right, 0..1."""
    network, base = EmbeddingNetwork(), load_base()
    river = of_base(base).solved

    def share(rasters: Sequence[np.ndarray], labels: np.ndarray) -> float:
        rows = base.basis.rows(network.embed(np.stack(rasters).reshape(-1, SIDE * SIDE)))
        return float((river.probabilities(rows).argmax(axis=1) == labels).mean())

    return share


def test_an_image_of_mnist_is_framed_already(mnist):
    assert all(np.array_equal(framed(ink(image)[0]), image) for image in mnist[0])


@pytest.mark.parametrize("dark", [False, True], ids=["light on dark", "dark on light"])
@pytest.mark.parametrize("size", [20, 61, 103, 280])
def test_a_digit_of_any_size_and_place_is_read_as_well_as_in_its_frame(mnist, right, size, dark):
    images, labels = mnist
    rasters = []
    for i, image in enumerate(images):
        scaled = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
        sheet = np.zeros((size + 40, size + 90), np.uint8)
        sheet[i % 40 : i % 40 + size, i % 90 : i % 90 + size] = scaled
        drawn, was_dark = ink(255 - sheet if dark else sheet)
        assert was_dark is dark
        rasters.append(framed(drawn))

    assert right(rasters, labels) >= right(images, labels) - 0.01


@pytest.mark.parametrize("width", [1, 3, 9, 20])
def test_thin_and_thick_pens_make_the_same_digit(width, right):
    strokes = [[[30, 40], [150, 42], [70, 240]], [[60, 140], [130, 136]]]
    sheet = Image.new("L", (280, 280), 255)
    for stroke in strokes:
        ImageDraw.Draw(sheet).line([tuple(point) for point in stroke], fill=0, width=width, joint="curve")

    raster = framed(ink(np.asarray(sheet))[0])

    assert right([raster], np.array([7])) == 1
    assert raster.max() >= 200


@pytest.mark.parametrize("paper", [0, 128, 255])
def test_an_image_that_shows_nothing_is_refused(paper):
    sheet = np.full((50, 40), paper, np.uint8)
    sheet[20, 20] = paper + 9 if paper < 200 else paper - 9
    with pytest.raises(EmptyDrawing):
        ink(sheet)
    with pytest.raises(EmptyDrawing):
        framed(np.zeros((9, 9), np.uint8))


def test_a_framed_image_has_a_box_of_20_pixels_and_its_mass_in_the_middle():
    image = np.zeros((300, 200), np.uint8)
    image[50:250, 20:40] = 255
    image[200:250, 20:140] = 255

    raster = framed(image)

    rows = np.flatnonzero((raster > 127).any(axis=1))
    assert len(rows) == 20
    grid, mass = np.arange(SIDE) + 0.5, raster.astype(float)
    assert mass.sum(axis=0) @ grid / mass.sum() == pytest.approx(14.5, abs=0.1)
    assert mass.sum(axis=1) @ grid / mass.sum() == pytest.approx(14.5, abs=0.1)
