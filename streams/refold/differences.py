"""Finds what differs between the log and a fresh fold of it, or between a ledger and a fresh one, in words. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from uuid import UUID

from contracts.events import CorrectionReceipt, ExampleLabelled, ModelChange, ScoresCounted
from streams.learner import LearnerState
from streams.refold.published import Published, content
from streams.story_store import cut_of, stories_of

Differences = Iterator[tuple[str, str]]
"""The subject of each difference, and the fault in words."""
Compare = Callable[[Published, Published], Differences]
"""Compares the events on the log with those of fresh folds."""


def joined(real: Published, fresh: Published, drawings: Set[UUID]) -> Differences:
    """Compare the joiner's events on these drawings."""
    for drawing_id in drawings:
        here, there = real.examples.get(drawing_id), fresh.examples.get(drawing_id)
        if here is None and there is None:
            continue
        if here is None or (there is not None and here.revision < there.revision):
            newest = "none" if here is None else f"revision {here.revision}"
            yield (
                f"the example of drawing {drawing_id}",
                f"joiner: the example of drawing {drawing_id} has revision {there and there.revision} by a fresh fold"
                f" of the log, and {newest} is on it",
            )
        elif there is None or _example(here) != _example(there):
            yield (
                f"revision {here.revision} of the example of drawing {drawing_id}",
                f"joiner: the example of drawing {drawing_id} stands on {here.revision} events, {_models(here)}; by a fresh"
                f" fold of the log, each once, on {there.revision if there else 0}, {_models(there)}",
            )
    yield from _receipts("joiner", real, fresh, drawings)


def scored(real: Published, fresh: Published) -> Differences:
    """Compare the scorer's events."""
    for lesson_id in real.lessons.keys() - fresh.lessons.keys():
        subject = f"lesson {lesson_id} on correction {real.lessons[lesson_id].correction_id}"
        yield subject, f"scorer: {subject} is on the log, and a fresh fold of the examples teaches it not"
    for lesson_id in fresh.lessons.keys() - real.lessons.keys():
        subject = f"lesson {lesson_id} on correction {fresh.lessons[lesson_id].correction_id}"
        yield subject, f"scorer: {subject} is taught by a fresh fold of the examples, and is not on the log"
    for key in real.scores.keys() | fresh.scores.keys():
        here, there = real.scores.get(key), fresh.scores.get(key)
        if here is None or there is None or _score(here) != _score(there):
            told = ["nothing" if one is None else f"n {one.n}, correct {one.correct}" for one in (here, there)]
            yield f"the count {key}", f"scorer: the count {key} is {told[0]}; by a fresh fold of the examples {told[1]}"


def learned(real: Published, fresh: Published, generation: str) -> Differences:
    """Compare the learner's events; those of another generation's base are skipped."""
    for (model, offset), several in sorted(real.snapshots.items()):
        for here in several:
            if here.version.split("+")[0] != generation:
                continue
            there = next((one for at in range(offset, -2, -1) for one in fresh.snapshots.get((model, at), ())), None)
            subject = f"the snapshot of {model} at offset {offset}"
            if there is not None and here.lessons != there.lessons:
                yield (
                    subject,
                    f"learner: {subject} has learned {here.lessons} lessons, and {there.lessons} different ones are on the"
                    " log up to there",
                )
            elif here != there:
                yield subject, f"learner: the weights of {subject} are not those of a fresh fold of the lessons up to there"
    yield from _receipts("learner", real, fresh, None)


def remembered(real: Published, fresh: Published) -> Differences:
    """Compare the events of the players' own models."""
    yield from _receipts("personal", real, fresh, None)


def states(stage: str, one: Mapping[str, bytes], other: Mapping[str, bytes]) -> tuple[dict[str, object], dict[str, object]]:
    """Take of two ledgers' cells what the set of their messages decides, whatever the order in which they came."""
    if stage != "joiner":
        return _state(stage, one), _state(stage, other)
    # In which order drawings came among the topics decides the joiner's queue, and what it has forgotten.
    stories, others = stories_of(one), stories_of(other)
    cuts = [cut for cells in (one, other) if (cut := cut_of(cells)) is not None]
    gone = {key for key, story in (*stories.items(), *others.items()) if cuts and story.began <= max(cuts)}
    mine, theirs = ({key: story for key, story in known.items() if key not in gone} for known in (stories, others))
    return dict(mine), dict(theirs)


def _state(stage: str, cells: Mapping[str, bytes]) -> dict[str, object]:
    if stage == "learner":  # the offset moves with a lesson that is there again
        return {key: LearnerState.of(cell).digest() if key == "state" else cell for key, cell in cells.items()}
    return dict(cells)


def _receipts(stage: str, real: Published, fresh: Published, drawings: Set[UUID] | None) -> Differences:
    """Compare a stage's receipts, of these ``drawings``; None: of all."""
    keys = {key for key in real.receipts.keys() | fresh.receipts.keys() if key[0] == stage}
    for key in keys:
        here, there = real.receipts.get(key, []), fresh.receipts.get(key, [])
        if drawings is not None and not any(one.drawing_id in drawings for one in (*here, *there)):
            continue
        if [content(one) for one in here] == [content(one) for one in there]:
            continue
        subject = f"the receipt of correction {key[1]}"
        what = f"{_changes(here)}; by a fresh fold {_changes(there)}"
        yield subject, f"{stage}: {subject} is {what}"


def _example(example: ExampleLabelled) -> dict[str, object]:
    """Return what is compared of an example; one from before examples had all labels is compared without them."""
    return example.model_dump(exclude={"at", "labels"})


def _score(score: ScoresCounted) -> dict[str, object]:
    return score.model_dump(exclude={"at"})


def _models(example: ExampleLabelled | None) -> str:
    return "of " + (", ".join(guess.model for guess in example.guesses) if example else "nobody")


def _changes(receipts: Sequence[CorrectionReceipt]) -> str:
    """Receipts in words."""
    if not receipts:
        return "not there"
    return " and ".join(
        f"{one.outcome} ({', '.join(_change(model, one.models[model]) for model in one.models)})" for one in receipts
    )


def _change(model: str, change: ModelChange) -> str:
    return f"{model} {change.version_before} > {change.version_after}, {change.p_before:.4f} > {change.p_after:.4f}"
