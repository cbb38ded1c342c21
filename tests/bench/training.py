"""Measures what the batch trainer promises: ``python -m tests.bench.training [PART ...]``; without a name, all parts.

Each part is a function in `PARTS`. All chance has a seed, so a part gives the same figures again.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS
from contracts.paired import People, needed
from tests.bench.training_canary import canary
from tests.bench.training_kills import kills
from tests.bench.training_manifest import manifest
from tests.bench.training_people import poisoned, unseen
from tests.bench.training_rollback import rollback
from tests.bench.training_stages import end_to_end
from tests.bench.training_triggers import triggers
from tests.roster import BATCH_MODELS
from trainers.gate import LIKELY, GateDecision, GatePolicy, judge, spent
from trainers.gate_bounds import LossBounds, losses_of
from trainers.marks import Marks, Pictures

SEED: Final = 20181103
MNIST: Final = np.arange(10_000) < 9900


@dataclass(frozen=True)
class World:
    """How two versions differ on people's drawings; all numbers are of real ones, see `docs/benchmarks.md`."""

    name: str
    disagree: float
    """On how many drawings only one of the two is right."""
    spread: float
    """How much the difference varies from person to person."""


WORLDS: Final = (
    World("another seed, few lessons", 0.033, 0.011),
    World("the same lessons, another seed", 0.009, 0.003),
    World("many more lessons", 0.046, 0.030),
)


def crowd(rng: np.random.Generator, world: World, gain: float, people: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how many drawings each of some people makes, some 30 and often few, and how much better a version is for them."""
    drawings = 1 + np.minimum(rng.geometric(1 / 30, people), 250)
    return drawings, gain + rng.choice([-1, 1], people) * np.abs(rng.normal(0, world.spread, people))


def drawn(
    rng: np.random.Generator,
    world: World,
    drawings: NDArray[np.int64],
    own: NDArray[np.float64],
    more: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whose each drawing is, and which the champion and the candidate got right; it may be better by more on digits."""
    who = np.repeat(np.arange(len(drawings), dtype=np.int32), drawings)
    gain = own[who] if more is None else own[who] + more[digits(who)]
    only = np.maximum(world.disagree, np.abs(gain))  # on so many of a person's drawings the versions disagree
    chance, both = rng.random(len(who)), rng.random(len(who)) < 0.97
    won, lost = chance < (only + gain) / 2, (chance >= (only + gain) / 2) & (chance < only)
    return who, np.where(won | lost, lost, both), np.where(won | lost, won, both)


def decided(rng: np.random.Generator, world: World, gain: float, people: int, tries: int = 1) -> GateDecision:
    """Return what the gate says of a candidate that is better by ``gain``, by the drawings of so many people."""
    who, champion, candidate = drawn(rng, world, *crowd(rng, world, gain, people))
    return by(who, champion, candidate, tries)


def by(who: NDArray[np.int32], champion: NDArray[np.bool_], candidate: NDArray[np.bool_], tries: int) -> GateDecision:
    """Return what the gate says."""
    return judge(None, Marks(MNIST, candidate), Marks(MNIST, champion), pictures(who), beside="1", tries=tries)


def digits(who: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return what is drawn: the ten digits in turn."""
    return (np.arange(len(who)) % DIGITS).astype(np.uint8)


def pictures(who: NDArray[np.int32]) -> Pictures:
    """Return what the gate knows of the drawings: one person draws by mouse, the next by pen, the next by touch."""
    return Pictures(digits(who), who, np.zeros(len(who), np.bool_), (1 + who % 3).astype(np.uint8))


def is_promoted(who: NDArray[np.int32], champion: NDArray[np.bool_], candidate: NDArray[np.bool_], tries: int) -> bool:
    """Whether the gate promotes a candidate; it is not asked where luck gives as much in one case of five, to spare time."""
    likely = People.of(who, champion, candidate).chance() > 0.2
    return not likely and by(who, champion, candidate, tries).passed


def peeked(rng: np.random.Generator, world: World, rebuilds: int) -> bool:
    """Whether one of many rebuilds beside one champion, each no better, is promoted, while the held-back drawings grow.

    Each rebuild looks at all drawings of before and a few people's more. It is mostly like the one before: of the drawings
    that it decides otherwise than the champion, it decides two thirds as that one did.
    """
    drawings, own = crowd(rng, world, 0.0, 30 + 3 * rebuilds)
    who, champion, candidate = drawn(rng, world, drawings, own)
    for tries in range(1, rebuilds + 1):
        if tries > 1:
            _, _, another = drawn(rng, world, drawings, crowd(rng, world, 0.0, len(drawings))[1])
            changed = rng.random(len(who)) < 1 / 3
            candidate = np.where(changed & (another != champion), another, candidate)
        seen = who < 30 + 3 * tries
        if is_promoted(who[seen], champion[seen], candidate[seen], tries):
            return True
    return False


def watched(rng: np.random.Generator, world: World, people: int, each: int) -> bool:
    """Whether a shadow that is no better ever seems so on live labels, looked at after every round of a crowd that comes back.

    In each round every person who is there draws once more; one more person comes every other round.
    """
    own = crowd(rng, world, 0.0, people)[1]
    drawings, more = np.zeros(people, np.int64), np.zeros(people, np.int64)
    only = np.maximum(world.disagree, np.abs(own))
    for rounds in range(people * each // 4):
        here = np.arange(people) < 2 + rounds // 2
        chance = rng.random(people)
        more += here * (1 * (chance < (only + own) / 2) - 1 * ((chance >= (only + own) / 2) & (chance < only)))
        drawings += here
        if rounds % 5 == 4 and People(drawings[here], more[here]).log_capital([0.0])[0] >= np.log(1 / 0.05):
            return True
    return False


def gate(runs: int) -> Iterator[str]:
    """Versions that are no better, over and over; worse by 2 points at every size, and better at the size asked for."""
    for world in WORLDS:
        rng = np.random.default_rng(SEED)
        yield f"{world.name}: versions disagree on {world.disagree:.1%}, and people differ by {world.spread:.1%}"
        promoted = sum(peeked(rng, world, 20) for _ in range(runs))
        yield f"  no better, 20 rebuilds beside one champion, 33 people and more: ever promoted {promoted / runs:.1%} of {runs}"
        ever = sum(watched(rng, world, 40, 12) for _ in range(runs))
        yield f"  no better, a shadow, looked at all the time: ever seemed better {ever / runs:.1%}"
        worse = {
            people: sum(is_promoted(*drawn(rng, world, *crowd(rng, world, -0.02, people)), 1) for _ in range(runs))
            for people in SIZES
        }
        yield "  2 points worse, promoted: " + ", ".join(f"{people} people {n / runs:.1%}" for people, n in worse.items())
        found = np.array([asked(rng, world) for _ in range(runs)])
        yield (
            f"  2 points better: asks for {np.median(found[:, 0]):.0f} people"
            f" ({np.quantile(found[:, 0], 0.05):.0f} to {np.quantile(found[:, 0], 0.95):.0f} in nine of ten runs), some"
            f" {np.median(found[:, 1]):.0f} drawings; promoted there {found[:, 2].mean():.1%},"
            f" by the second rebuild at the size that is asked for then {found[:, 3].mean():.1%}"
        )
        for what, more in UNEVEN.items():
            told = (
                "{} people {:.1%} (if nothing is borne {:.1%})".format(people, *uneven(rng, world, more, people, runs))
                for people in SLICED
            )
            yield f"  {what}; refused for a slice: {', '.join(told)}"
        told = (
            "{} people refused for it {:.1%}, promoted {:.1%}, better over all beyond chance {:.1%}".format(
                people, *hidden(rng, world, people, runs)
            )
            for people in SLICED
        )
        yield f"  20 points worse on 7s, and 2 better over all: {', '.join(told)}"
        for off in (0.0, 0.03, 0.08):
            times = {people: sum(unsure(rng, world, off, people) for _ in range(runs)) for people in SLICED}
            yield (
                f"  no better, and {off * 100:g} points less sure than it is right; refused for its calibration: "
                + ", ".join(f"{people} people {n / runs:.1%}" for people, n in times.items())
            )


SIZES: Final = (3, 8, 33, 120, 300)


def _but(sevens: float, others: float) -> NDArray[np.float64]:
    return np.where(np.arange(DIGITS) == 7, sevens, others)


SLICED: Final = (33, 60)
UNEVEN: Final = {
    "no better on any digit": np.zeros(DIGITS),
    "2 points better on each": np.full(DIGITS, 0.02),
    "3 points worse on 7s, as is borne, and 2 better over all": _but(-0.03, 0.023 / 0.9),
}
"""How much better a version is on each digit."""


def uneven(rng: np.random.Generator, world: World, more: NDArray[np.float64], people: int, runs: int) -> tuple[float, float]:
    """Return how often a version is refused for a digit or a device, if as much is borne as by default, and if nothing is."""
    refused, strictly = 0, 0
    for _ in range(runs):
        seen = drawn(rng, world, *crowd(rng, world, 0.0, people), more)
        refused += _loses(*seen, LossBounds().slice_loss)
        strictly += _loses(*seen, 0.0)
    return refused / runs, strictly / runs


def hidden(rng: np.random.Generator, world: World, people: int, runs: int) -> tuple[float, float, float]:
    """Return how often the gate refuses for its 7s a version that is 20 points worse on them, and 2 better over all.

    Then how often it promotes it, and how often the version is better over all beyond chance, which is enough without the rule.
    """
    better, refused, promoted = 0, 0, 0
    for _ in range(runs):
        who, champion, candidate = drawn(rng, world, *crowd(rng, world, 0.0, people), _but(-0.2, 0.04 / 0.9))
        said = by(who, champion, candidate, 1)
        better += People.of(who, champion, candidate).chance() <= spent(GatePolicy().false_promotions, 1)
        refused, promoted = refused + (said.verdict == "refused" and "7s -" in said.reason), promoted + said.passed
    return refused / runs, promoted / runs, better / runs


def _loses(who: NDArray[np.int32], champion: NDArray[np.bool_], candidate: NDArray[np.bool_], borne: float) -> bool:
    marks, before = Marks(MNIST, candidate), Marks(MNIST, champion)
    return bool(losses_of(LossBounds(slice_loss=borne), marks, before, pictures(who), {}, spent(LIKELY, 1)).beyond)


def unsure(rng: np.random.Generator, world: World, off: float, people: int) -> bool:
    """Whether a version that is no better is refused for its calibration; it says that it is less sure by ``off`` than it is.

    The champion is as often right as it says: it is sure of most drawings, by 99 %, and of the others by 60 %.
    """
    who, champion, candidate = drawn(rng, world, *crowd(rng, world, 0.0, people))
    hard = (0.99 - (world.disagree / 2 + (1 - world.disagree) * 0.97)) / 0.39  # that share it is not sure of
    likely = np.array([hard * 0.4, hard * 0.6]) / np.array([hard * 0.4 + (1 - hard) * 0.01, hard * 0.6 + (1 - hard) * 0.99])
    chance = rng.random((2, len(who)))
    said = [
        np.where(luck < likely[right.astype(int)], 0.6, 0.99) for luck, right in zip(chance, (champion, candidate), strict=True)
    ]
    before, now = (
        Marks(MNIST, right, np.stack([one, one], axis=1))
        for right, one in zip((champion, candidate), (said[0], said[1] - off), strict=True)
    )
    return bool(losses_of(LossBounds(slice_loss=np.inf), now, before, pictures(who), {}, spent(LIKELY, 1)).beyond)


def asked(rng: np.random.Generator, world: World) -> tuple[float, float, bool, bool]:
    """A version is better by 2 points: how many people and drawings the gate asks for by the drawings of eight people.

    Then the next rebuild, as good, has as many held back: is it promoted? And if not, that after it, with as many as are asked
    for then?
    """
    drawings, own = crowd(rng, world, 0.02, 8)
    who, champion, candidate = drawn(rng, world, drawings, own)
    alpha = spent(GatePolicy().false_promotions, 2)  # the next rebuild is the second
    size = needed(People.of(who, champion, candidate), GatePolicy().tells, alpha)
    first = at_size(rng, world, size.people, 2)
    if first.passed:
        return size.people, size.drawings, True, True
    more = first.beside.needs_people if first.beside else 0
    return size.people, size.drawings, False, at_size(rng, world, size.people + more, 3).passed


def at_size(rng: np.random.Generator, world: World, people: int, tries: int) -> GateDecision:
    """What the gate says of a version that is 2 points better, by so many people."""
    return decided(rng, world, 0.02, people, tries)


PARTS: Final[dict[str, Callable[[argparse.Namespace], Iterator[str]]]] = {
    "end-to-end": lambda given: end_to_end(given.models),
    "unseen": lambda given: unseen(given.splits, given.models),
    "poisoned": lambda given: poisoned(given.splits, given.models, given.liars),
    "manifest": lambda given: manifest(given.models, given.pythons),
    "gate": lambda given: gate(given.runs),
    "canary": lambda given: canary(given.runs, lambda rng, gain: drawn(rng, WORLDS[0], *crowd(rng, WORLDS[0], gain, 200))),
    "kills": lambda given: kills(given.keep, given.at_most),
    "rollback": lambda given: rollback(given.commands),
    "triggers": lambda _: triggers(),
}


def main() -> None:
    """Print the figures of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts; not given: all")
    parser.add_argument("--runs", type=int, default=1000, help="of `gate`")
    parser.add_argument("--commands", type=int, default=120, help="of `rollback`: rollbacks and promotions in turn")
    parser.add_argument(
        "--models", nargs="*", default=BATCH_MODELS, choices=BATCH_MODELS, help="that are rebuilt; not given: all"
    )
    parser.add_argument("--splits", nargs="*", type=int, default=[0, 1, 2, 3], help="of the people; four ask everybody once")
    parser.add_argument("--pythons", nargs="*", default=[], help="other interpreters with the packages, for `manifest`")
    parser.add_argument("--liars", type=float, default=0.2, help="share of the players who lie, in `poisoned`")
    parser.add_argument("--keep", type=Path, help="the folder where `kills` keeps what it found, and goes on another time")
    parser.add_argument("--at-most", type=int, help="how many of `kills` are tried now; not given: all")
    given = parser.parse_args()
    for name in given.parts or PARTS:
        began = time.monotonic()
        for line in PARTS[name](given):
            print(line, flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
