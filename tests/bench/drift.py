"""Measures how soon drift is seen, and how often where there is none: ``python -m tests.bench.drift`` (part of `make bench`).

Errors are drawn at random, or come from people of data/pen. What is measured of a drawing is folded by the drift fold itself,
each record on its own. River's detectors get the same errors: those that are not below here can only be kept by pickling them.
Newcomers, of whom some lie, go the whole way: from examples over the evidence to what the policy does.
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from river import drift
from river.drift import binary
from scipy.ndimage import grey_dilation, rotate

from contracts.drawing import rasterize
from contracts.events import DrawingEvidence, DriftDetected, DriftPolicySet, EvidenceGathered, Features
from contracts.ports import Origin
from producers.handwriting import handwriting
from streams.change_detector import ChangeDetector
from streams.drift import Drift
from streams.embedding import EmbeddingNetwork
from streams.evidence import Evidence, Hands
from streams.make_base import idx
from streams.online_base import load_base
from streams.online_model import features_of
from tests.histories import BEGAN, MemoryCells, named, shown
from tests.roster import ROSTER
from tests.writers import drawings
from trainers.drift_actions import decide
from trainers.model_log import ModelLog

CLEAN = 10_000
"""How many labelled drawings a run without drift has."""
BEFORE = 1000
"""How many come before a change."""
MOST = 3000
"""How many are waited for."""
STEP = 50
"""How many drawings a step of the drift fold has; what is detected does not depend on it."""
Detector = Callable[[int], bool]
Rasters = NDArray[np.uint8]


def ours() -> Detector:
    """Return the detector of the product, for one indicator."""
    kept = ChangeDetector(1)
    return lambda wrong: kept.update(np.array([bool(wrong)])) is not None


def of_river(make: Callable[[], Any]) -> Callable[[], Detector]:
    """Return what makes a detector of river's."""

    def made() -> Detector:
        kept = make()

        def update(wrong: int) -> bool:
            kept.update(wrong)
            return bool(kept.drift_detected)

        return update

    return made


DETECTORS: dict[str, Callable[[], Detector]] = {
    "ours": ours,
    "ADWIN(.002), looking at each": of_river(lambda: drift.ADWIN(delta=0.002, clock=1)),
    "ADWIN(.002)": of_river(lambda: drift.ADWIN(delta=0.002)),
    "PageHinkley(100, .02, 8, up)": of_river(lambda: drift.PageHinkley(min_instances=100, delta=0.02, threshold=8, mode="up")),
    "PageHinkley(100, .1, 8, up)": of_river(lambda: drift.PageHinkley(min_instances=100, delta=0.1, threshold=8, mode="up")),
    "DDM": of_river(binary.DDM),
    "EDDM": of_river(binary.EDDM),
    "HDDM_A": of_river(binary.HDDMA),
    "HDDM_W": of_river(binary.HDDMW),
    "FHDDM": of_river(binary.FHDDM),
}


def errors(name: str, clean: float, drifted: float, runs: int, delays: int) -> dict[str, Any]:
    """Return false alarms in runs without drift, and delays, of a detector that gets random errors."""
    make, alarms, waited, early = DETECTORS[name], 0, [], 0
    for seed in range(runs):
        detector = make()
        alarms += sum(detector(int(one)) for one in np.random.default_rng(seed).random(CLEAN) < clean)
    for seed in range(delays):
        detector, chance = make(), np.random.default_rng(1000 + seed)
        early += sum(detector(int(one)) for one in chance.random(BEFORE) < clean)
        after = (n for n, one in enumerate(chance.random(MOST) < drifted, 1) if detector(int(one)))
        waited.append(next(after, MOST))
    return {"false alarms": alarms, "early": early, **spread(waited)}


def spread(waited: Iterable[int]) -> dict[str, float]:
    """Return median and 95 % of delays; `MOST`: it was not seen."""
    several = np.array(list(waited))
    return {
        "median": float(np.median(several)),
        "p95": float(np.quantile(several, 0.95)),
        "unseen": int((several >= MOST).sum()),
    }


class People:
    """Drawings, measured as the evidence fold measures them."""

    def __init__(self) -> None:
        """Read data/pen and the test drawings of MNIST, and some of them changed."""
        self._base = load_base()
        self._hands, self._network = Hands(self._base), EmbeddingNetwork()
        self.writers: list[list[tuple[int, int, list[int]]]] = []
        """By writer: label, ink and directions of each drawing."""
        some, labels = [], []
        for written in handwriting().values():
            rasters = np.stack(
                [rasterize([[list(p) for p in stroke] for stroke in one.strokes]).reshape(-1) for one in written]
            )
            digits = np.array([one.label for one in written])
            self.writers.append(self._measured(rasters, digits))
            some.append(rasters[:60])
            labels.append(digits[:60])
        rasters, digits = np.concatenate(some), np.concatenate(labels)
        mnist = idx(Path("data/mnist/t10k-images-idx3-ubyte.gz"))[:2000].reshape(-1, 784)
        self.others = {
            "thicker ink (one pixel around)": self._measured(each(rasters, lambda one: grey_dilation(one, (2, 2))), digits),
            "turned by 40 degrees": self._measured(each(rasters, lambda one: rotate(one, 40, reshape=False, order=1)), digits),
            "people of MNIST": self._measured(mnist, idx(Path("data/mnist/t10k-labels-idx1-ubyte.gz"))[:2000]),
        }

    def _measured(self, rasters: Rasters, labels: NDArray[Any]) -> list[tuple[int, int, list[int]]]:
        out = []
        for raster, embedding, label in zip(rasters, self._network.embed(rasters), labels.tolist(), strict=True):
            features = Features(raster=raster.tobytes(), embedding=embedding.tobytes(), reader=self._network.reader)
            read = features_of(self._base, features.embedding, features.reader)
            out.append((label, sum(features.raster) // 255, self._hands.measure(read, label)))
        return out


def each(rasters: Rasters, change: Callable[[Any], Any]) -> Rasters:
    """Change each raster."""
    shaped = (np.clip(change(one.reshape(28, 28).astype(float)), 0, 255).astype(np.uint8).reshape(-1) for one in rasters)
    return np.stack(list(shaped))


class Watching:
    """The drift fold, fed with one drawing after another."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._fold, self._cells, self._number = Drift("bench"), MemoryCells(), 0
        self._fold.open(self._cells, 0)
        self.cpu_s = 0.0

    def take(
        self, mark: int, label: int, ink: int, directions: list[int], wrong: dict[str, bool] | None = None
    ) -> list[DriftDetected]:
        """Fold a drawing; return the drift that it shows."""
        self._number += 1
        one = DrawingEvidence(mark=mark, drawn_at=BEGAN, label=label, ink=ink, directions=directions, wrong=wrong or {})
        told = EvidenceGathered(series="bench", source_partition=0, number=self._number, drawings=[one])
        began = time.process_time()
        said = list(self._fold.apply(self._cells, told, Origin(0, self._number, 0)))
        if self._number % STEP == 0:
            self._fold.settle(self._cells, 0)
        self.cpu_s += time.process_time() - began
        return [event for event in said if isinstance(event, DriftDetected)]


Drawing = tuple[int, int, list[int]]
"""The label, the ink and the directions."""
Drawn = Iterator[tuple[int, int, int, list[int]]]
"""The same after the mark of who drew it."""


def drawn(writers: list[list[Drawing]], chance: np.random.Generator, run: int = 1) -> Drawn:
    """Yield drawings of people in random order, each of whom makes ``run`` of them in a row."""
    while True:
        mark = int(chance.integers(len(writers)))
        for _ in range(run):
            yield 1 + mark, *writers[mark][chance.integers(len(writers[mark]))]


MODELS = {"river": 0.03, "yours": 0.02, "everyone": 0.025, "xgboost": 0.05, "tensorflow": 0.02, "mxnet": 0.03, "kmeans": 0.25}
"""How often each model errs, in runs without drift."""


def clean(people: People, seed: int, run: int) -> tuple[list[str], float]:
    """Return what is told of a run without drift, of all that is watched, and the CPU of a drawing in ms."""
    chance, watching, told = np.random.default_rng(seed), Watching(), []
    writers = [people.writers[n] for n in chance.permutation(len(people.writers))[:20]]
    drawn_by = drawn(writers, chance, run)
    for _ in range(CLEAN):
        wrong = {model: bool(chance.random() < share) for model, share in MODELS.items()}
        told += [event.subject for event in watching.take(*next(drawn_by), wrong)]
    return told, 1000 * watching.cpu_s / CLEAN


def shifted(people: People, kind: str, seed: int) -> tuple[int, str]:
    """Return after how many drawings a change of what is drawn is seen, and by what."""
    chance, watching = np.random.default_rng(seed), Watching()
    order = chance.permutation(len(people.writers))
    before, unseen = [people.writers[n] for n in order[:20]], [people.writers[n] for n in order[20:]]
    usual = drawn(before, chance)
    for _ in range(BEFORE):
        watching.take(*next(usual))
    match kind:
        case "a third are sevens":
            sevens = [[one for one in writer if one[0] == 7] for writer in before]
            seven, other = drawn(sevens, chance), drawn(before, chance)
            changed = (next(seven) if chance.random() < 0.26 else next(other) for _ in range(MOST))
        case "all as one unseen person of data/pen":
            changed = drawn(unseen[:1] * 20, chance)
        case "ten unseen people of data/pen":
            changed = drawn(unseen, chance)
        case _:
            changed = drawn([people.others[kind]] * 20, chance)
    for number in range(1, MOST):
        if said := watching.take(*next(changed)):
            return number, said[0].subject
    return MOST, "nothing"


PLAYERS = 10
"""How many players are known, in what newcomers do."""
ACTS = DriftPolicySet(actions={"online-errors": "freeze", "class-mix": "retrain", "ink": "retrain", "embedding": "retrain"})
Guests = Iterator[tuple[str, int]]
"""Who draws next among the newcomers, and by how much their label is wrong."""


def liars(count: int) -> Guests:
    """Yield newcomers who take turns and label all that they draw wrongly."""
    while True:
        yield from ((f"liar {one}", 1) for one in range(count))


def passers_by() -> Guests:
    """Yield newcomers who draw three digits each and go."""
    for one in itertools.count():
        yield from [(f"guest {one}", 0)] * 3


def beside(guests: Guests, share: float, drifted: float, seed: int) -> tuple[int, list[DriftDetected]]:
    """Let ten known players draw, and guests come; return after how many drawings drift of errors is first seen, and all drift.

    Args:
        guests: The newcomers.
        share: Of the drawings from `BEFORE` on, how many are theirs.
        drifted: How often the model errs from then on; 5 % before.
        seed: Of all that is random.
    """
    chance, base, cells, watched = np.random.default_rng(seed), load_base(), MemoryCells(), MemoryCells()
    evidence = Evidence(base)
    detector, writers = Drift(evidence.series), list(handwriting())
    of_players = [writers[n] for n in chance.permutation(len(writers))[:PLAYERS]]
    list(evidence.open(cells, 0)), list(detector.open(watched, 0))
    told, first, at = list[DriftDetected](), MOST, 0
    for number in range(BEFORE + 600):
        later = number >= BEFORE
        guest = later and chance.random() < share
        player, away = next(guests) if guest else (str(of := int(chance.integers(PLAYERS))), 0)
        written = drawings(of_players[int(chance.integers(PLAYERS)) if guest else of])
        place = int(chance.integers(len(written.labels)))
        digit = int(written.labels[place])
        said = (digit + int(chance.random() < (drifted if later else 0.05))) % 10
        drawn = written.example(player, place, (digit + away) % 10, guesses=[shown(said)])
        drawn = drawn.model_copy(update={"drawing_id": named(f"{seed} {number}")})
        list(evidence.apply(cells, drawn, Origin(0, number, 0)))
        for record in evidence.settle(cells, 0):
            found = [one for one in detector.apply(watched, record, Origin(0, at, 0)) if isinstance(one, DriftDetected)]
            detector.settle(watched, 0)
            at += 1
            if later and first == MOST and any(one.kind == "online-errors" for one in found):
                first = number - BEFORE + 1
            told += found if later else []
    return first, told


def guests(make: Callable[[], Guests], share: float, drifted: float, runs: int) -> dict[str, Any]:
    """Return when drift of errors was seen, how often drift was told, of how many hands, and for how many more was done."""
    several = [beside(make(), share, drifted, seed) for seed in range(runs)]
    found = [one for _, all_of_them in several for one in all_of_them]
    log = ModelLog(ROSTER, [ACTS])
    done = [one.subject for one in found if decide(log, one, one.drawn_at).commands]
    return {
        **spread(first for first, _ in several),
        "told": dict(Counter(one.subject for one in found)),
        "hands": dict(sorted(Counter(one.hands for one in found).items())),
        "acted on": dict(Counter(done)),
        "runs in which it was acted on": sum(
            any(decide(log, one, one.drawn_at).commands for one in all_) for _, all_ in several
        ),
    }


def main(
    runs: Annotated[int, typer.Option(help="runs without drift")] = 20,
    delays: Annotated[int, typer.Option(help="runs with a change of the errors")] = 200,
    changes: Annotated[int, typer.Option(help="runs with each change of what is drawn")] = 40,
    others: Annotated[bool, typer.Option(help="whether river's detectors get the same errors")] = True,
) -> None:
    """Measure newcomers first, then errors, then what is drawn."""
    told: dict[str, Any] = {}

    def tell(what: str, measured: Any) -> None:
        told[what] = measured
        typer.echo(f"{what}: {json.dumps(measured)}", err=True)

    for count in (3, 10, 30):
        tell(f"{count} newcomers, all wrong, half of the drawings", guests(partial(liars, count), 0.5, 0.05, runs))
    tell("30 newcomers, all wrong, nobody else", guests(partial(liars, 30), 1.0, 0.05, runs))
    for share in (0.0, 0.2):
        tell(f"errors 5% to 40%, {share:.0%} of the drawings by newcomers", guests(passers_by, share, 0.4, runs))
    rates = ((0.05, 0.40), (0.20, 0.50), (0.40, 0.70))
    names = list(DETECTORS) if others else ["ours"]
    for clean_rate, drifted in rates:
        measured = {name: errors(name, clean_rate, drifted, runs, delays) for name in names}
        tell(f"errors {clean_rate:.0%} to {drifted:.0%}", measured)
    tell("errors 5% to 15%", {name: errors(name, 0.05, 0.15, 0, delays) for name in names})
    people = People()
    for run in (1, 10):
        several = [clean(people, seed, run) for seed in range(runs)]
        alarms = [subject for subjects, _ in several for subject in subjects]
        cpu_ms = float(np.median([ms for _, ms in several]))
        tell(f"no drift, {run} drawings in a row by each", {"alarms": alarms, "cpu_ms_a_drawing": cpu_ms})
    kinds = ("a third are sevens", *people.others, "all as one unseen person of data/pen", "ten unseen people of data/pen")
    for kind in kinds:
        seen = [shifted(people, kind, seed) for seed in range(changes)]
        subjects = sorted({subject for _, subject in seen})
        tell(kind, spread(number for number, _ in seen) | {"by": {one: [s for _, s in seen].count(one) for one in subjects}})
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)
