"""What watchers see: a fold of metrics.v1 and models.v1, and the socket /ws/watch that shows it (way 2).

The `Board` is pure. Counts are absolute for their slot, so that twice is harmless. A watcher gets a snapshot, then changes.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson
import structlog

from api.frames import AnsweringModel, ModelChanged
from api.sockets import POLICY, Line
from contracts.events import (
    BATCH_MODELS,
    DIGITS,
    LATENCY_BUCKETS_MS,
    ONLINE_MODELS,
    WINDOW_S,
    WINDOWS,
    Event,
    ModelPromoted,
    ModelPublished,
    ModelRolledBack,
    ScoresCounted,
    SnapshotTaken,
    TrainingAdvanced,
)

EVERY_S: Final = 0.2
"""Changes are gathered for so long."""
_SAID: Final = 20  # frames that a watcher may send: it has nothing to say

Frame = dict[str, Any]

log = structlog.get_logger(__name__)


class Board:
    """Who answers, how often they were right, and how far a rebuild is."""

    def __init__(self) -> None:
        """Start empty: `apply` the topics from their start."""
        self._answering: dict[str, ModelPromoted | SnapshotTaken] = {}
        self._published: dict[str, dict[str, ModelPublished]] = {}
        self._training: dict[str, TrainingAdvanced] = {}
        self._counts: dict[str, dict[str, ScoresCounted]] = {}
        self._changed: set[str] = set()
        self._news: list[Frame] = []

    def apply(self, event: Event) -> ModelChanged | None:
        """Take in an event of metrics.v1 or models.v1; returns what players are told of it."""
        match event:
            case ScoresCounted():
                self._counts.setdefault(event.model, {})[event.score_key] = event
                self._changed.add(event.model)
            case TrainingAdvanced():
                self._training[event.model] = event
                self._news.append({"type": "training", "model": event.model, **_training(event), "log": event.log})
            case SnapshotTaken():
                before = self._answering.get(event.model)
                if isinstance(before, SnapshotTaken) and (before.offset > event.offset or before.version == event.version):
                    return None
                self._answering[event.model] = event
                self._news = [news for news in self._news if news.get("event") != "learned" or news["model"] != event.model]
                self._news.append({"type": "model", **_answering(event), "event": "learned", "note": ""})
            case ModelPublished():
                self._published.setdefault(event.model, {})[event.version] = event
                return self._told(
                    event, ModelChanged(model=event.model, version=event.version, event="published", note=event.gate)
                )
            case ModelPromoted():
                self._answering[event.model] = event
                kind: Any = "rolled-back" if isinstance(event, ModelRolledBack) else "promoted"
                return self._told(event, ModelChanged(model=event.model, version=event.version, event=kind, note=event.note))
        return None

    def _told(self, event: ModelPublished | ModelPromoted, change: ModelChanged) -> ModelChanged:
        self._news.append(change.model_dump() | {"title": event.title, "kind": _kind(event.model)})
        return change

    def answering(self) -> list[AnsweringModel]:
        """The models that answer drawings now, in the order of the contracts, then by name."""
        return [
            AnsweringModel(model=name, version=self._answering[name].version, title=self._answering[name].title)
            for name in sorted(self._answering, key=_place)
        ]

    def models(self) -> list[Frame]:
        """The models that answer, with all versions that exist, for GET /api/models."""
        return [
            _answering(self._answering[name])
            | {
                "versions": [
                    {
                        "version": v.version,
                        "at": v.at,
                        "digest": v.digest,
                        "metrics": v.metrics,
                        "gate": v.gate,
                        "lineage": v.lineage,
                    }
                    for v in sorted(self._published.get(name, {}).values(), key=lambda version: version.at)
                ]
            }
            for name in sorted(self._answering, key=_place)
        ]

    def scores(self) -> dict[str, Frame]:
        """The counts of every model."""
        return {model: self._score(model) for model in sorted(self._counts, key=_place)}

    def _score(self, model: str) -> Frame:
        counts = self._counts[model].values()
        confusion, latency = [0] * (DIGITS * DIGITS), [0] * (len(LATENCY_BUCKETS_MS) + 1)
        versions: dict[str, dict[str, int]] = {}
        windows: dict[int, list[int]] = {}
        for count in counts:
            if count.window is not None:
                window = windows.setdefault(int(count.window.timestamp()), [0, 0])
                window[0] += count.n
                window[1] += count.correct
                continue
            version = versions.setdefault(str(count.version), {"n": 0, "correct": 0})
            version["n"] += count.n
            version["correct"] += count.correct
            confusion = [a + b for a, b in zip(confusion, count.confusion, strict=True)]
            latency = [a + b for a, b in zip(latency, count.latency, strict=True)]
        oldest = max(windows, default=0) - WINDOW_S * WINDOWS
        return {
            "n": sum(version["n"] for version in versions.values()),
            "correct": sum(version["correct"] for version in versions.values()),
            "confusion": confusion,
            "latency": latency,
            "versions": versions,
            "recent": [[start, *windows[start]] for start in sorted(windows) if start > oldest],
        }

    def snapshot(self, online: int, drawings: int) -> Frame:
        """All of it: the first frame of a watcher.

        Args:
            online: Players with a socket.
            drawings: Finished drawings since this process started.
        """
        return {
            "type": "snapshot",
            "models": [_answering(self._answering[name]) for name in sorted(self._answering, key=_place)],
            "scores": self.scores(),
            "online": online,
            "drawings": drawings,
            "training": {model: _training(event) for model, event in self._training.items()},
        }

    def changes(self) -> list[Frame]:
        """What has changed since the last call; counts are absolute, of the changed models only."""
        frames, self._news = self._news, []
        if self._changed:
            frames.append(
                {"type": "scores", "scores": {model: self._score(model) for model in sorted(self._changed, key=_place)}}
            )
            self._changed.clear()
        return frames


def _kind(model: str) -> str:
    return "online" if model in ONLINE_MODELS else "batch"


def _place(model: str) -> tuple[int, str]:
    known = (*BATCH_MODELS, *ONLINE_MODELS)
    return (known.index(model) if model in known else len(known), model)


def _answering(event: ModelPromoted | SnapshotTaken) -> Frame:
    return {"model": event.model, "version": event.version, "title": event.title, "kind": _kind(event.model)}


def _training(event: TrainingAdvanced) -> Frame:
    return {
        "command_id": str(event.command_id),
        "version": event.version,
        "step": event.step,
        "fraction": event.fraction,
        "message": event.message,
    }


class Watchers:
    """The sockets of /ws/watch."""

    def __init__(self, board: Board, online: Callable[[], int], drawings: Callable[[], int]) -> None:
        """Show ``board``, and two numbers that are asked for when they are sent."""
        self._board = board
        self._online = online
        self._drawings = drawings
        self._lines: set[Line] = set()

    async def watch(self, line: Line) -> None:
        """Show one watcher all there is until they go."""
        said = 0

        def hear(_: str | bytes) -> None:
            nonlocal said
            said += 1
            line.send('{"type":"error","code":"read_only","message":"this socket only tells"}')
            if said >= _SAID:
                line.close(POLICY, "this socket only tells")

        line.send(_text(self._board.snapshot(self._online(), self._drawings())))
        self._lines.add(line)
        try:
            await line.listen(hear)
        finally:
            self._lines.discard(line)

    async def tick(self) -> None:
        """Tell what changed, at most five times a second, for ever. Who does not read is dropped by their `Line`."""
        last = (0, 0)
        while True:
            await asyncio.sleep(EVERY_S)
            frames = self._board.changes()
            numbers = (self._online(), self._drawings())
            if numbers != last:
                last = numbers
                frames.append({"type": "online", "online": numbers[0], "drawings": numbers[1]})
            if self._lines:
                for text in map(_text, frames):
                    for line in self._lines:
                        line.send(text)


def _text(frame: Frame) -> str:
    return orjson.dumps(frame).decode()
