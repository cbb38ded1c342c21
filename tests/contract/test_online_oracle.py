"""Each player's own model against plain arithmetic: same lessons, same numbers; and what it is worth to people."""

import numpy as np

from contracts.events import ExampleLabelled
from contracts.ports import Origin
from streams.online_base import load_base
from streams.personal_model import PersonalModels
from tests.histories import MemoryCells, folded
from tests.writers import Drawings, drawings


def by_the_formula(taught: dict[int, tuple[int, bool]], asked: np.ndarray, shared: np.ndarray, one: Drawings) -> list[float]:
    """The kernel memory in plain Python, as `kernel_memory` states it; ``taught``: label and hit, by the drawing's number."""
    hits = n = 0.0
    for number in sorted(taught):
        hits, n = 0.97 * hits + taught[number][1], 0.97 * n + 1
    p = [((hits + 6) / (n + 6)) ** 2 * float(share) for share in shared]
    for number, (label, _) in taught.items():
        e = one.embeddings[number].astype(float)
        e = np.rint(127 * e / abs(e).max())  # what is kept of it
        cosine = sum(e * asked) / (sum(e * e) ** 0.5 * sum(asked * asked) ** 0.5)
        p[label] += 10 * np.exp(20 * (cosine - 1))
    p = [share + 1e-6 for share in p]
    return [share / sum(p) for share in p]


def test_yours_has_the_numbers_of_the_formula_on_a_stream_of_real_drawings():
    one, own, cells = drawings("28"), PersonalModels(load_base()), MemoryCells()
    list(own.open(cells, 0))
    taught: dict[int, tuple[int, bool]] = {}
    rng = np.random.default_rng(20181103)

    def tell(example: ExampleLabelled) -> None:
        list(own.apply(cells, example, Origin(0, 0, 0)))

    for number in range(120):
        p, version = own.answer(0, "p", one.embeddings[[number]], one.shared[[number]])
        if taught:
            asked, shared = one.embeddings[number].astype(float), one.shared[number]
            np.testing.assert_allclose(p[0], by_the_formula(taught, asked, shared, one), rtol=2e-4, atol=1e-8)
        else:
            assert p.tolist() == one.shared[[number]].tolist()
        assert version == f"own2+{len(taught)}"
        chance = rng.random()
        guessed = int(one.shared[number].argmax())
        if chance < 0.8:
            tell(one.example("p", number))
            taught[number] = (int(one.labels[number]), guessed == one.labels[number])
        if chance < 0.1:
            tell(one.example("p", number, label=guessed, revision=4, correction=f"again {number}"))
            taught[number] = (guessed, True)
        if chance < 0.05:
            tell(one.example("p", number, revision=5).model_copy(update={"label": None}))
            del taught[number]


def share_read(own: PersonalModels, one: Drawings, labels: np.ndarray, which: np.ndarray) -> float:
    answers, _ = own.answer(0, "p", one.embeddings[which], one.shared[which])
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
