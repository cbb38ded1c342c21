"""Begins rebuilds by itself: after so many new labels, or so much time (way 3, REBUILD). `decide` is pure.

Drift is `trainers.drift_actions`. A rebuild that is begun here is a command like any other, and its id is made of what it
answers to: so two trainers give the same command, and it is carried out once. A model that waits or is at work is not asked
for again, and after a rebuild, however it ended, a model rests.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import uuid5

import structlog

from contracts.events import NAMESPACE, TRIGGERED, RetrainModel, Trigger, mark_of, now
from contracts.ports import Blobs
from contracts.settings import Settings
from trainers import dataset
from trainers.model_log import ModelLog

log = structlog.get_logger()


def decide(settings: Settings, model_log: ModelLog, model: str, new_labels: int, at: datetime) -> RetrainModel | None:
    """Return the rebuild that a model is due for; None: it is not.

    Args:
        settings: Say after how many labels, and how much time.
        model_log: The log, folded.
        model: A batch model.
        new_labels: The labels that its last dataset has not read.
        at: Now.
    """
    mine = [one for one in model_log.rebuilds() if one.model == model]
    if any(one.state in ("queued", "running") for one in mine):
        return None
    last = max((one.last.at for one in mine if one.last), default=None)
    if last is not None and at - last < timedelta(seconds=settings.retrain_cooldown_s):
        return None
    newest = max((one.at for one in model_log.published(model).values()), default=None)
    since = max((time for time in (last, newest) if time is not None), default=None)
    stand = since.isoformat() if since else "the beginning"
    most, hours = settings.retrain_after_labels, settings.retrain_every_hours
    if most is not None and new_labels >= most:
        return _command(model, "count", stand, f"{new_labels} new labels")
    if hours is not None and new_labels and since is not None and at - since >= timedelta(hours=hours):
        return _command(model, "time", stand, f"{_said(at - since)}, and {new_labels} new labels")
    return None


def _said(time: timedelta) -> str:
    """Say how much time that is.

    >>> _said(timedelta(hours=5)), _said(timedelta(minutes=2))
    ('5.0 hours', '2 minutes')
    """
    minutes = time.total_seconds() / 60
    return f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{minutes:.0f} minutes"


def _command(model: str, trigger: Trigger, stand: str, reason: str) -> RetrainModel:
    command_id = uuid5(NAMESPACE, f"retrain/{model}/{trigger}/{stand}")
    return RetrainModel(command_id=command_id, target=model, by=TRIGGERED, reason=reason, via="policy", trigger=trigger)


def read_up_to(model_log: ModelLog, model: str) -> dict[int, int]:
    """Return the first offset of each partition that no dataset of a model has read; also of one in which nothing was new."""
    out: dict[int, int] = {}
    for one in model_log.published(model).values():
        for part in filter(None, one.lineage.get("offsets", "").split(",")):
            partition, _, to = part.partition(":")
            out[int(partition)] = max(out.get(int(partition), 0), int(to))
    for rebuild in model_log.rebuilds():
        read = rebuild.last.offsets if rebuild.last and rebuild.model == model else []
        for number, offset in enumerate(read):
            out[number] = max(out.get(number, 0), offset)
    return out


def labels_since(blobs: Blobs, offsets: Mapping[int, int], gone: Callable[[str], bool] = lambda player: False) -> int:
    """Count the drawings, archived at these offsets and later, of which a dataset would learn, each once.

    Args:
        blobs: The bucket.
        offsets: The first of each partition that is new.
        gone: Says whether a player's drawings are left out.
    """
    examples = dataset.read_archive(blobs, offsets)[0]
    return len(dataset.usable(one for one in examples if not gone(one.player_id)))


class Triggers:
    """Looks whether a rebuild is due, and asks for it."""

    def __init__(
        self,
        settings: Settings,
        blobs: Blobs,
        model_log: ModelLog,
        ends: Callable[[], Mapping[int, int]],
        say: Callable[[RetrainModel], None],
    ) -> None:
        """Keep the parts.

        Args:
            settings: Say after how many labels, and how much time.
            blobs: The bucket.
            model_log: The log, folded.
            ends: Returns how far the archive is, by partition.
            say: Publishes a command.
        """
        self._settings = settings
        self._blobs = blobs
        self._model_log = model_log
        self._ends = ends
        self._say = say
        self._counted: dict[str, tuple[object, int]] = {}
        """Of what a model's new labels were counted last, and how many they were."""

    def look(self) -> None:
        """Ask for what is due."""
        settings = self._settings
        if settings.retrain_after_labels is None and settings.retrain_every_hours is None:
            return
        named = [name.strip() for name in settings.retrain_models.split(",") if name.strip()]
        for model in named or self._model_log.roster.batch:
            if model not in self._model_log.roster.batch:
                log.warning("GAMENIGHT_RETRAIN_MODELS names no batch model", model=model)
                continue
            command = decide(settings, self._model_log, model, self._new_labels(model), now())
            if command is not None and not self._model_log.knows(command.command_id):
                log.info("a rebuild is due", model=model, trigger=command.trigger, reason=command.reason)
                self._say(command)

    def _new_labels(self, model: str) -> int:
        """Count a model's new labels, unless the archive is where it was."""
        ends, read = dict(self._ends()), read_up_to(self._model_log, model)
        if all(to <= read.get(partition, 0) for partition, to in ends.items()):
            return 0
        banned = {player for player, restriction in self._model_log.restrictions().items() if restriction == "banned"}
        marks = frozenset(self._model_log.marks)
        counted_of, known = (ends, read, banned, marks), self._counted.get(model)
        if known is None or known[0] != counted_of:
            n = labels_since(self._blobs, read, lambda player: player in banned or mark_of(player) in marks)
            known = self._counted[model] = counted_of, n
        return known[1]
