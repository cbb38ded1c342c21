"""Stands in for router and learners in tests of the API: the models that are asked answer every drawing on a bus, always with
one digit, and the stages that learn answer every probe of a correction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from contracts.events import (
    ONLINE_MODELS,
    CorrectionProbed,
    DrawingSubmitted,
    GuessMade,
    GuessMissed,
    ModelPromoted,
    ReceiptProbed,
    SnapshotTaken,
    decode,
    now,
)
from contracts.ports import Bus
from tests.histories import answered, features, guess
from tests.roster import MODELS


def at_work(model: str) -> SnapshotTaken | ModelPromoted:
    """Return the event of models.v1 by which a model answers."""
    if model not in ONLINE_MODELS:
        return ModelPromoted(model=model, version="1", title=model, endpoint=f"gamenight-{model}", variant="v1")
    snapshot = {"offset": 0, "lessons": 1, "digest": "d", "reader": "r", "weights": b"\0" * 80}
    return SnapshotTaken.model_validate({"model": model, "version": "1", "title": model, **snapshot})


@contextmanager
def answering(
    bus: Bus,
    *models: str,
    label: int = 7,
    resting: tuple[str, ...] = (),
    heard: list[DrawingSubmitted] | None = None,
    learning: tuple[str, ...] = ("learner", "personal"),
    **fields: str,
) -> Iterator[None]:
    """Answer every drawing that asks these models, as the router would, until the block ends.

    Args:
        bus: The bus that drawings come from and guesses go to.
        models: The models that answer; all of them if none is given.
        label: The digit that they answer.
        resting: The models that are missed instead, since they rest.
        heard: The list that the drawings are added to.
        learning: The stages that answer probes of corrections.
        fields: Further fields of every guess.
    """
    tail, stop = bus.follow(["drawings.v1", "corrections.v1"], "end"), threading.Event()

    def answer() -> None:
        while not stop.is_set():
            for record in tail.poll(0.1):
                drawing = decode(record.topic, record.value)
                if isinstance(drawing, CorrectionProbed):
                    for stage in learning if drawing.only is None else ("joiner",) * bool(learning):
                        bus.publish(ReceiptProbed(probe_id=drawing.probe_id, player_id=drawing.player_id, stage=stage))
                if not isinstance(drawing, DrawingSubmitted):
                    continue
                if heard is not None:
                    heard.append(drawing)
                ids = {"drawing_id": drawing.drawing_id, "at": now()}
                for model in resting:
                    miss = {"player_id": drawing.player_id, "model": model, "final": drawing.final, "resting": True}
                    bus.publish(GuessMissed(why="connection refused", **ids, **miss))
                made: list[GuessMade] = []
                for model in models or MODELS:
                    if model not in resting and (drawing.models is None or model in drawing.models):
                        said = guess(label=label, model=model, player=drawing.player_id, final=drawing.final, **fields)
                        made.append(said.model_copy(update=ids))
                        bus.publish(made[-1])
                if drawing.final:
                    who = {"drawing_id": drawing.drawing_id, "player_id": drawing.player_id, "at": now()}
                    why = dict.fromkeys(resting, "connection refused")
                    bus.publish(answered(made, **who, missed=why, features=features()))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        tail.close()
