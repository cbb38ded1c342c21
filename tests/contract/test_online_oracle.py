"""Each player's own model against plain arithmetic: same lessons, same numbers; and what it is worth to people."""

import math
from functools import cache
from itertools import product

import numpy as np
import pytest

from contracts.events import ExampleLabelled
from contracts.ports import Origin
from streams.online_base import load_base
from streams.personal_model import PersonalModels
from tests.histories import MemoryCells, folded
from tests.writers import Drawings, drawings


def outline(ink: np.ndarray) -> np.ndarray:
    """Where the edges of a drawing run, one pixel after the other; ``ink``: shape (28, 28)."""
    paper = np.pad(ink.astype(float), 1)
    smooth = np.zeros((30, 30))
    for y, x in product(range(1, 29), repeat=2):
        smooth[y, x] = sum((2 - abs(i)) * (2 - abs(j)) * paper[y + i, x + j] for i in (-1, 0, 1) for j in (-1, 0, 1))
    edges = np.zeros((4, 28, 28))
    for y, x in product(range(28), repeat=2):
        across, down = smooth[y + 1, x + 2] - smooth[y + 1, x], smooth[y + 2, x + 1] - smooth[y, x + 1]
        slanted = min(abs(across), abs(down))
        edges[:2, y, x] = abs(across) - slanted, abs(down) - slanted
        edges[2 if across * down > 0 else 3, y, x] = 1.5 * slanted
    near = [[round(64 * math.exp(-(((x - 2.5 - 4.4 * place) / 3) ** 2) / 2)) for x in range(28)] for place in range(6)]
    counted = np.floor(np.einsum("iy,cyx,jx->cij", near, edges, near) / 1024).ravel()
    return counted / max(np.linalg.norm(counted), 1)


@cache
def drawn(writer: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A drawing's embedding of length 1, and its outline."""
    one = drawings(writer)
    embedding = one.embeddings[number].astype(float)
    return embedding / np.linalg.norm(embedding), outline(one.rasters[number].reshape(28, 28) >= 96)


@cache
def known_before() -> tuple[np.ndarray, np.ndarray]:
    """The metric of embeddings, and the outlines of MNIST's drawings in the base."""
    base = load_base()
    ink = np.unpackbits(base.ink, axis=1).reshape(-1, 28, 28)
    return np.linalg.inv(base.sums.products[:64, :64] / 8 + 256 * np.eye(64)), np.stack([outline(one) for one in ink])


def by_the_formula(taught: dict[int, int], asked: int, writer: str) -> np.ndarray:
    """The answer as `kernel_memory` states it; ``taught``: labels by the drawing's number."""
    one, numbers, (metric, opposed) = drawings(writer), sorted(taught), known_before()
    hit = np.array([one.shared[number].argmax() == taught[number] for number in numbers])
    r = (hit.sum() + 6) / (len(hit) + 6)
    scores = np.log(one.shared[numbers] + 0.002) / 9
    scores += 0.1 - scores.mean(axis=1, keepdims=True)
    scores = np.clip(np.rint(15 * (scores + 0.3)), 0, 15) / 15 - 0.3  # what is kept of them
    signs = np.exp(9 * scores) / np.exp(9 * scores).sum(axis=1, keepdims=True)
    kept = one.embeddings[numbers].astype(float)
    kept = np.rint(127 * kept / abs(kept).max(axis=1, keepdims=True))  # and of the embeddings
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    outlines = np.stack([drawn(writer, number)[1] for number in numbers])

    def h(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return 10 * np.exp(8 * (some @ others.T - 1))

    def alike(embeddings: np.ndarray, made: np.ndarray, shares: np.ndarray) -> np.ndarray:
        against = h(made, opposed) @ np.linalg.solve(h(opposed, opposed) + 3 * np.eye(len(opposed)), h(opposed, outlines))
        by_sign = 3 * (1 - min(1, r / 0.6) ** 2) * shares @ signs.T
        return 10 * 128**2 * embeddings @ metric @ kept.T + h(made, outlines) - against + by_sign

    noise = np.diag(np.where(hit, 0.3, 0.3 + 10 * r**4))
    lacking = 2 * np.eye(10)[[taught[number] for number in numbers]] - scores - 0.1
    embedding, made = drawn(writer, asked)
    votes = alike(embedding[None], made[None], one.shared[[asked]]) @ np.linalg.solve(
        alike(kept, outlines, signs) + noise, lacking
    )
    p = (one.shared[asked] + 0.002) * np.exp(9 * votes[0])
    return p / p.sum()


@pytest.mark.parametrize(("writer", "another"), [("28", 0), ("36", 3)], ids=["European 1s", "symbols of one's own"])
def test_yours_has_the_numbers_of_the_formula_on_a_stream_of_real_drawings(writer, another):
    one, own, cells = drawings(writer), PersonalModels(load_base()), MemoryCells()
    list(own.open(cells, 0))
    taught: dict[int, int] = {}
    rng = np.random.default_rng(20181103)

    def tell(example: ExampleLabelled) -> None:
        list(own.apply(cells, example, Origin(0, 0, 0)))

    for number in range(120):
        p, version = own.answer(0, "p", one.embeddings[[number]], one.rasters[[number]], one.shared[[number]])
        if taught:
            np.testing.assert_allclose(p[0], by_the_formula(taught, number, writer), rtol=2e-4, atol=1e-8)
        else:
            assert p.tolist() == one.shared[[number]].tolist()
        assert version == f"own3+{len(taught)}"
        chance = rng.random()
        guessed = int(one.shared[number].argmax())
        if chance < 0.8:
            taught[number] = (int(one.labels[number]) + another) % 10
            tell(one.example("p", number, label=taught[number]))
        if chance < 0.1:
            tell(one.example("p", number, label=guessed, revision=4, correction=f"again {number}"))
            taught[number] = guessed
        if chance < 0.05:
            tell(one.example("p", number, revision=5).model_copy(update={"label": None}))
            del taught[number]
    which, whose = slice(100, 140), [(0, player) for player in ("p", "nobody") for _ in range(20)]
    together, versions = own.answers(whose, one.embeddings[which], one.rasters[which], one.shared[which])
    apart = [
        own.answer(*them, one.embeddings[[n]], one.rasters[[n]], one.shared[[n]])
        for n, them in enumerate(whose, start=which.start)
    ]
    assert (together.tolist(), versions) == ([p[0].tolist() for p, _ in apart], [version for _, version in apart])


def share_read(own: PersonalModels, one: Drawings, labels: np.ndarray, which: np.ndarray) -> float:
    answers, _ = own.answer(0, "p", one.embeddings[which], one.rasters[which], one.shared[which])
    return float((answers.argmax(axis=1) == labels[which]).mean())


def test_a_european_1_is_read_after_five_corrections_and_other_digits_lose_little():
    one = drawings("28")  # whose 1 is read as a 7
    ones, others = np.flatnonzero(one.labels == 1), np.flatnonzero(one.labels != 1)
    misread = [number for number in ones if one.shared[number].argmax() != 1][:5]
    own = PersonalModels(load_base())
    list(own.open(MemoryCells(), 0))
    left = np.setdiff1d(ones, misread)
    at_first, others_at_first = share_read(own, one, one.labels, left), share_read(own, one, one.labels, others)

    folded(own, [one.example("p", number) for number in [*misread, *others[:45]]])

    assert at_first < 0.3
    assert share_read(own, one, one.labels, left) > 0.9
    assert share_read(own, one, one.labels, others[45:]) > others_at_first - 0.01


def test_three_corrections_of_a_european_1_are_enough_and_take_no_other_digits_along():
    read, lost = [], []
    for writer in ("16", "19", "28"):
        one = drawings(writer)
        ones, others = np.flatnonzero(one.labels == 1), np.flatnonzero(one.labels != 1)
        misread = [number for number in ones if one.shared[number].argmax() != 1][:3]
        own = PersonalModels(load_base())
        list(own.open(MemoryCells(), 0))
        at_first = share_read(own, one, one.labels, others)

        folded(own, [one.example("p", number) for number in misread])

        read.append(share_read(own, one, one.labels, np.setdiff1d(ones, misread)))
        lost.append(at_first - share_read(own, one, one.labels, others))

    assert np.mean(read) >= 0.95
    assert np.mean(lost) <= 0.005


def test_one_label_by_mistake_does_little_among_those_that_are_right():
    one = drawings("26")  # of which every drawing is read right
    own = PersonalModels(load_base())
    [slip] = np.flatnonzero(one.labels == 7)[:1]
    right = [number for number in range(40) if number != slip]

    folded(own, [one.example("p", number) for number in right] + [one.example("p", slip, label=9)])

    assert share_read(own, one, one.labels, np.arange(40, len(one.labels))) >= 0.99


def test_symbols_of_ones_own_are_read_after_thirty_labels():
    one = drawings("36")
    labels = (one.labels + 3) % 10
    own = PersonalModels(load_base())

    folded(own, [one.example("p", number, label=int(labels[number])) for number in range(30)])

    assert share_read(own, one, labels, np.arange(30, len(labels))) > 0.84


def test_nobody_who_confirms_what_was_right_loses():
    for writer in ("26", "31", "43"):
        one = drawings(writer)
        own, cells = PersonalModels(load_base()), MemoryCells()
        list(own.open(cells, 0))
        right = 0.0
        for number in range(len(one.labels)):
            right += share_read(own, one, one.labels, np.array([number]))
            list(own.apply(cells, one.example("p", number), Origin(0, number, 0)))

        assert right / len(one.labels) >= (one.shared.argmax(axis=1) == one.labels).mean()
