"""Says which lessons, or which data, made the difference of two versions, whose they are and what they do (beside all ways).

For an online model the answer is exact, since the model is a sum: without somebody's lessons it is made by subtraction. For a
batch model it is what its lineage says: which players' drawings came in between, and what else was another.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from contracts.events import (
    DIGITS,
    ONLINE_MODELS,
    PLAYER_PARTITIONS,
    ExampleLabelled,
    ModelPublished,
    SnapshotTaken,
)
from contracts.ports import Bus
from contracts.records import read
from contracts.roster import BUILT_IN
from deploy.lesson_reader import STAGE, changes_on, events_on, gaps_on, lessons_of
from streams.embedding import EmbeddingNetwork
from streams.learner import Learner
from streams.make_base import mnist
from streams.online_base import Base, load_base
from streams.online_model import LessonSet
from streams.refold.effects import DigitMarks, DigitRows, Effect, both_solved, effects
from streams.refold.lesson_history import Cut, NoSuchVersion, VersionPair, cut_at, pair_of
from streams.refold.partition_log import PartitionLog

TOPICS_READ: Final = ("lessons.v1", "models.v1", "examples.v1")
MOST: Final = 100
"""How many players' effects are computed, of those with most changes."""
MNIST: Final = "MNIST test"
DRAWN: Final = "players' drawings"


class CannotExplain(RuntimeError):
    """What the log says is not enough; the message says why."""


class DigitChange(BaseModel):
    """What a difference is to one digit."""

    digit: int
    came: int
    went: int
    right: dict[str, tuple[float, float]]
    """By the name of the questions: the share of right answers in percent, before and after."""
    p: dict[str, tuple[float, float]]
    """The mean probability of the right digit in percent, before and after."""


class PlayerEffect(BaseModel):
    """What one player's part of a difference does."""

    player_id: str
    came: list[int]
    """How many of their lessons the second version has and the first has not, by digit."""
    went: list[int]
    points: dict[str, list[float]]
    """By the name of the questions: how many points the mean probability of the right digit owes to them, by digit."""
    hits: dict[str, int]
    """How many right answers more there are with their part than without it."""


class Explanation(BaseModel):
    """The difference of two versions of an online model."""

    model_config = ConfigDict(frozen=True)

    model: str
    first: str
    second: str
    doubtful: dict[str, int]
    """By version: how many lessons may be on its other side; empty: both are exact."""
    verified: list[str]
    """The versions whose set of lessons has the digest that their snapshot names."""
    forgotten: dict[str, int] = {}
    """By version: how many of its changes are of players who were forgotten since, and are in nothing that is told here."""
    came: int
    went: int
    relabelled: int
    """How many drawings have another label in the second version."""
    reweighed: int
    """How many have the same label, and count more or less."""
    asked: dict[str, int]
    """How many questions were asked."""
    digits: list[DigitChange]
    players: list[PlayerEffect]
    """Whose lessons they are, the largest effect first."""
    others: int
    """How many players more there are, whose effect was not computed."""


class DataChange(BaseModel):
    """What came between two versions of a batch model."""

    model_config = ConfigDict(frozen=True)

    model: str
    first: str
    second: str
    offsets: tuple[str, str]
    """How far each has read examples.v1; empty: it has seen no players' drawings."""
    examples: int
    """How many records of examples.v1 came in between."""
    labelled: list[int]
    """The drawings whose label is new or another, by digit."""
    withdrawn: int
    players: dict[str, int]
    """How many drawings of each player came in between, most first."""
    lineage: dict[str, tuple[str, str]]
    """What else is another in their lineage."""
    metrics: dict[str, tuple[float | None, float | None]]


def explain(bus: Bus, model: str, first: str, second: str) -> Explanation | DataChange:
    """Explain the difference of two versions.

    Raises:
        NoSuchVersion: If there is no such version.
        CannotExplain: If the model has no versions that can be compared, or the log is not what a snapshot says.
    """
    if model in ONLINE_MODELS:
        return _of_lessons(bus, model, first, second)
    if model in BUILT_IN:
        raise CannotExplain(f"{model} has no versions of its own: explain {ONLINE_MODELS[0]}, or a batch model")
    return _of_data(bus, model, first, second)


# --- an online model


def _of_lessons(bus: Bus, model: str, first: str, second: str) -> Explanation:
    base = load_base()
    series = Learner(base).series
    models = list(events_on(bus, [SnapshotTaken.topic]))
    snapshots = [event for event in models if isinstance(event, SnapshotTaken)]
    gaps = gaps_on(bus, series, models)
    newest = changes_on(bus, series, gaps)
    cuts = cut_at(first, base, series, snapshots, newest), cut_at(second, base, series, snapshots, newest)
    pair = pair_of(lessons_of(bus), base, series, *cuts, gaps)
    forgotten = {cut.version: n for cut in cuts if (n := gaps.unsettled(cut.gone))}
    verified = _verified(base, pair, forgotten, *cuts)
    sums = both_solved(base, pair)
    asked = {MNIST: _mnist(base), DRAWN: DigitRows.of_players(base, pair.drawings.values())}
    marks = {name: (questions.marks(sums[0].solved()), questions.marks(sums[1].solved())) for name, questions in asked.items()}
    players = effects(base, sums[1], pair, asked, MOST)
    came, went = {one.drawing_id: one.label for one in pair.came}, {one.drawing_id: one.label for one in pair.went}
    both = came.keys() & went.keys()
    return Explanation(
        model=model,
        first=first,
        second=second,
        doubtful={cut.version: cut.doubtful for cut in cuts if cut.doubtful},
        verified=verified,
        forgotten=forgotten,
        came=len(pair.came),
        went=len(pair.went),
        relabelled=sum(came[name] != went[name] for name in both),
        reweighed=sum(came[name] == went[name] for name in both),
        asked={name: len(questions.labels) for name, questions in asked.items()},
        digits=[_of_digit(digit, pair, marks) for digit in range(DIGITS)],
        players=[_of_player(effect) for effect in players],
        others=len({one.player_id for one in (*pair.came, *pair.went)}) - len(players),
    )


def _verified(base: Base, pair: VersionPair, forgotten: Collection[str], first: Cut, second: Cut) -> list[str]:
    """Return the versions whose digest is that of their snapshot; it is not known without lessons that are ``forgotten``.

    Raises:
        CannotExplain: If one is not.
    """
    known = pair.first.known
    for cut in (first, second):
        if cut.taken != cut.changes:
            raise CannotExplain(
                f"the log has {cut.taken} of the {cut.changes} lessons of {cut.version}: gamenight replay says more"
            )
    out = []
    for cut, lessons in ((first, known), (second, _set_of(known, pair, second))):
        if cut.digest is not None and cut.version not in forgotten and first.version not in forgotten:
            if lessons.digest(base) != cut.digest:
                raise CannotExplain(f"the lessons of {cut.version} are not those of its snapshot: gamenight replay says more")
            out.append(cut.version)
    return out


def _set_of(known: LessonSet, pair: VersionPair, cut: Cut) -> LessonSet:
    """Return what identifies the set of the second version's lessons."""
    for sign, several in ((1, pair.came), (-1, pair.went)):
        for change in several:
            known = known.apply(change.line(sign))
    return known._replace(changes=cut.changes)


def _mnist(base: Base) -> DigitRows:
    rasters, labels = mnist("t10k")
    return DigitRows(base.basis.rows(EmbeddingNetwork().embed(rasters)), labels.astype(int))


def _of_digit(digit: int, pair: VersionPair, marks: Mapping[str, tuple[DigitMarks, DigitMarks]]) -> DigitChange:
    def shares(of: str) -> dict[str, tuple[float, float]]:
        both = {name: [100 * getattr(one, of)[digit] / max(one.n[digit], 1) for one in two] for name, two in marks.items()}
        return {name: (round(before, 3), round(after, 3)) for name, (before, after) in both.items()}

    came, went = (sum(change.label == digit for change in several) for several in (pair.came, pair.went))
    return DigitChange(digit=digit, came=came, went=went, right=shares("right"), p=shares("p"))


def _of_player(effect: Effect) -> PlayerEffect:
    points = {name: [round(float(one), 4) for one in by_digit] for name, by_digit in effect.points.items()}
    return PlayerEffect(
        player_id=effect.player_id,
        came=effect.came.tolist(),
        went=effect.went.tolist(),
        points=points,
        hits=dict(effect.hits),
    )


# --- a batch model


def _of_data(bus: Bus, model: str, first: str, second: str) -> DataChange:
    versions = {
        e.version: e for e in events_on(bus, [ModelPublished.topic]) if isinstance(e, ModelPublished) and e.model == model
    }
    if not versions:
        raise NoSuchVersion(f"models.v1 has no model {model!r}: gamenight models lists them")
    for version in (first, second):
        if version not in versions:
            raise NoSuchVersion(
                f"there is no version {version} of {model}: there are {', '.join(sorted(versions, key=_by_number))}"
            )
    one, other = versions[first], versions[second]
    ends = [_offsets(published) for published in (one, other)]
    found = _between(bus, *ends)
    labelled, players, withdrawn = [0] * DIGITS, Counter[str](), 0
    for example in found.values():
        players[example.player_id] += 1
        if example.label is None:
            withdrawn += 1
        else:
            labelled[example.label] += 1
    lineage = {key: (one.lineage.get(key, ""), other.lineage.get(key, "")) for key in {**one.lineage, **other.lineage}}
    metrics = {key: (one.metrics.get(key), other.metrics.get(key)) for key in {**one.metrics, **other.metrics}}
    read = [published.lineage.get("offsets", "") for published in (one, other)]
    return DataChange(
        model=model,
        first=first,
        second=second,
        offsets=(read[0], read[1]),
        examples=sum(abs(ends[1].get(n, 0) - ends[0].get(n, 0)) for n in range(PLAYER_PARTITIONS)),
        labelled=labelled,
        withdrawn=withdrawn,
        players=dict(players.most_common()),
        lineage={key: both for key, both in lineage.items() if both[0] != both[1]},
        metrics={key: both for key, both in metrics.items() if both[0] != both[1]},
    )


def _by_number(version: str) -> tuple[bool, int, str]:
    """Order versions by their numbers, behind the bases.

    >>> sorted(["10", "2", "base1"], key=_by_number)
    ['base1', '2', '10']
    """
    return version.isdigit(), int(version) if version.isdigit() else 0, version


def _offsets(published: ModelPublished) -> dict[int, int]:
    """Return by partition the first offset of examples.v1 that a version has not seen; it has seen none if it is a base."""
    if published.lineage.get("learned_from") == "MNIST alone":
        return {}
    pairs = (pair.split(":") for pair in published.lineage.get("offsets", "").split(",") if ":" in pair)
    return {int(partition): int(offset) for partition, offset in pairs}


def _between(bus: Bus, one: Mapping[int, int], other: Mapping[int, int]) -> Mapping[Any, ExampleLabelled]:
    """Return the newest example of each drawing between two places on examples.v1, without strokes and features."""
    found: dict[Any, ExampleLabelled] = {}
    for partition in range(PLAYER_PARTITIONS):
        begin, end = sorted((one.get(partition, 0), other.get(partition, 0)))
        log = PartitionLog(bus, [ExampleLabelled.topic], partition, {ExampleLabelled.topic: begin})
        until = min(end - 1, log.ends()[ExampleLabelled.topic])  # of a log that lost its tail, what is left
        for records in log.batches({ExampleLabelled.topic: until}, 500) if end > begin else ():
            for record in records:
                event = read(record, STAGE)
                if isinstance(event, ExampleLabelled) and (
                    event.drawing_id not in found or found[event.drawing_id].revision < event.revision
                ):
                    found[event.drawing_id] = event.model_copy(update={"strokes": [], "features": None, "guesses": []})
        log.close()
    return found
