"""What players of whom nothing is known yet do in the next dataset, by the learner's own lessons on real handwriting."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import ExampleLabelled, LessonTaught, RetrainModel
from contracts.ports import Origin
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.handwriting import handwriting
from streams.learner import Learner
from streams.online_base import load_base
from streams.trust import judged
from tests.histories import MemoryCells, named
from tests.roster import ROSTER
from tests.sinks import keep
from tests.writers import drawings
from trainers.archive import Archive
from trainers.dataset import Dataset, Feedback, LabelledImages, assemble, holdout_from_npz
from trainers.dataset_making import DatasetMaker
from trainers.dataset_store import Stored, read_manifest, verify
from trainers.example_sink import Placed
from trainers.model_log import ModelLog
from trainers.newcomers import LEAST, PART, trust_of_each
from trainers.rebuild_progress import Teller
from trainers.split import fingerprint, is_held_back

BASE = LabelledImages(np.zeros((3, 784), np.uint8), np.array([1, 2, 3], np.uint8), np.ones(3, np.float32))
WEIGHT = 3.0
"""Of a trusted drawing beside one of the base, as the settings have it."""
HOME = Settings(aws_services="local", held_back=0.2, holdout_key="of this home")


@dataclass(frozen=True)
class Made:
    """A dataset of a home, and what is stored of it."""

    dataset: Dataset
    there: Stored
    blobs: MemoryBlobs
    told: str
    """What the rebuild says of it."""

    def of(self, examples: Iterable[ExampleLabelled]) -> float:
        """The weight that some drawings have together in training."""
        mine = {example.features.raster for example in examples if example.features}
        own = slice(len(BASE), None)
        images, weights = self.dataset.train.images[own], self.dataset.train.weights[own]
        return sum(float(weight) for image, weight in zip(images, weights, strict=True) if image.tobytes() in mine)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """Archives what players have labelled, lets the learner weigh it, and makes a dataset as a rebuild does."""
    monkeypatch.setattr("trainers.dataset.read_mnist", lambda part: BASE)

    def made(examples: Sequence[ExampleLabelled], settings: Settings = HOME) -> Made:
        bus, blobs = open_bus(f"memory://{uuid4()}"), MemoryBlobs()
        learner, cells = Learner(load_base()), MemoryCells()
        list(learner.open(cells, 0))
        for offset, example in enumerate(examples):
            for event in learner.apply(cells, example, Origin(0, offset, 0)):
                if isinstance(event, LessonTaught):
                    bus.publish(event).result()
        keep(Archive(blobs), 0, [Placed(offset, example) for offset, example in enumerate(examples)])
        model_log, command = ModelLog(ROSTER), RetrainModel(command_id=uuid4(), target="xgboost", by="ada")
        maker = DatasetMaker(settings, bus, blobs, lambda look: 0, model_log, lambda seconds: None)
        dataset, making = maker.assembled(command, Teller(bus, model_log, command, "1"))
        there = maker.stored(dataset, making, command, settings.seed)
        assert all(one.holds for one in verify(blobs, there.digest, settings.holdout_key or ""))
        training = model_log.training("xgboost")
        return Made(dataset, there, blobs, training.message if training else "")

    return made


def honest(labels: int = 30) -> list[ExampleLabelled]:
    """What eight people say truly of their drawings."""
    writers = sorted(handwriting())[:8]
    return [drawings(writer).example(f"known {writer}", number) for writer in writers for number in range(labels)]


def wrong(player: str, writer: str, numbers: Iterable[int], by: int = 1) -> list[ExampleLabelled]:
    """What somebody says wrongly of drawings by a writer: a digit that is greater by so much."""
    hand = drawings(writer)
    told = [(number, (int(hand.labels[number]) + by) % 10) for number in numbers]
    made = [hand.example(player, number, label) for number, label in told]
    return [one.model_copy(update={"drawing_id": named(f"{player} {by} {n}")}) for n, one in enumerate(made)]


def guests(several: int = 300, each: int = 5) -> list[ExampleLabelled]:
    """What guests say wrongly of five drawings each, of three people's hands; no two say the same of one."""
    hands, out = sorted(handwriting())[8:11], list[ExampleLabelled]()
    for place in range(several):
        turn, first = place // 3, place // 3 % 40 * each
        out += wrong(f"guest {place}", hands[place % 3], range(first, first + each), 1 + turn // 40)
    return out


def test_three_hundred_guests_with_five_wrong_labels_each_count_together_as_a_hundredth_and_judge_nothing(home):
    true, false = honest(), guests()
    alone, flooded = home(true), home(true + false)

    known = alone.of(true)
    assert 0 < flooded.of(false) <= 1.001 * WEIGHT * max(LEAST, PART * known / WEIGHT), "of 1,500 wrong labels"
    assert flooded.of(true) == known, "what known players teach is what it was"
    assert flooded.dataset.holdout_bytes == alone.dataset.holdout_bytes, "and what judges is"
    assert not flooded.dataset.compares[flooded.dataset.newcomers].any(), "nor do they choose settings"
    assert flooded.dataset.newcomers.sum() > 1000
    told = read_manifest(flooded.blobs, flooded.there.digest)
    assert told["newcomers"] == flooded.dataset.newcomers.sum()
    assert told["newcomers_weight"] == pytest.approx(flooded.of(false))
    assert told["newcomers"] + told["excluded"]["held back, and not known yet"] == len(false), "nobody is left out in silence"
    assert f"{told['newcomers']} labels are of players who are not known yet: together they weigh 6.21" in flooded.told


def test_a_guest_who_labels_only_what_the_judge_is_not_sure_of_counts_no_more_however_often(home):
    base, hand, true = load_base(), drawings("28"), honest()
    rows = base.basis.rows(hand.embeddings)
    unsure = [number for number in range(len(rows)) if not judged(base.judge, rows[number])[1]]
    guest = next(f"guest {n}" for n in range(99) if not is_held_back(f"guest {n}", HOME.held_back, HOME.holdout_key or ""))
    lies = [one for by in range(1, 10) for one in wrong(guest, "28", unsure, by)]
    assert len(lies) > 200

    made = home(true + lies)

    assert made.dataset.newcomers.sum() == len(lies)
    assert made.there.split["held_back_by"] == fingerprint(HOME.holdout_key or "")
    assert made.of(lies) <= 1.001 * PART * made.of(true)
    held = {image.tobytes() for image in made.dataset.holdout.images}
    assert not [one for one in lies if one.features and one.features.raster in held]


def test_a_home_in_which_nobody_is_known_yet_can_rebuild_and_what_all_say_counts_as_one_label(home):
    made = home(first := [*guests(6, 3), *honest(3)])

    assert made.dataset.feedback > 20
    assert made.of(first) == pytest.approx(WEIGHT * LEAST)
    assert len(holdout_from_npz(made.blobs.get(made.there.holdout))) == 0
    assert made.told.startswith(f"{made.dataset.feedback} labels are of players who are not known yet: together they weigh 3 ")
    newest = home(first, HOME.model_copy(update={"held_back_newest_hours": 1e-6}))
    assert (newest.dataset.feedback, len(newest.dataset.holdout)) == (made.dataset.feedback, 0)


def test_a_dataset_with_newcomers_is_the_same_bytes_for_every_order(home):
    said = [
        Feedback(
            n, f"d{n}", f"player {n % 23}", 1, n % 10, n.to_bytes(4) * 196, trust=(0.5, 1.0, 0.47)[n % 3], newcomer=n % 23 > 9
        )
        for n in range(300)
    ]
    made = assemble(BASE, said, 0.3, WEIGHT, 2e-5, "key")
    assert made.newcomers.any()
    for seed in range(5):
        shuffled = random.Random(seed).sample(said, len(said))
        again = assemble(BASE, shuffled, 0.3, WEIGHT, 2e-5, "key")
        assert (again.digest, again.rows_bytes) == (made.digest, made.rows_bytes)
    assert assemble(BASE, said, 0.3, WEIGHT, 2e-5, "another").digest != made.digest
    free = [assemble(BASE, said, 0.0, WEIGHT, 0.0, key).compares.tolist() for key in ("key", "another", "")]
    assert len({tuple(one) for one in free}) == 3, "nor can anybody choose to be who compares settings"


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 0.47, 0.83])), st.integers(1, 10**6), st.randoms())
def test_whatever_is_known_newcomers_have_their_part_and_no_more_and_no_label_more_than_a_whole_one(known, new, chance):
    each = trust_of_each(known, new)

    assert each * new <= max(LEAST, PART * sum(known)) * (1 + 1e-9)
    assert 0 < each <= 1
    assert trust_of_each(chance.sample(known, len(known)), new) == each


def test_what_a_newcomer_s_label_counts_is_the_same_in_every_order_to_the_last_bit():
    known = [0.47, 0.83, 1.0, 0.41, 0.5, 0.99] * 500
    orders = [random.Random(seed).sample(known, len(known)) for seed in range(20)]
    assert len({np.cumsum(order)[-1] for order in orders}) > 1, "which a plain sum is not"
    assert len({trust_of_each(order, 7000) for order in orders}) == 1
