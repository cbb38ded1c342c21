"""Makes the dataset of a rebuild of what is archived by now, stores it and tells of it (way 3, REBUILD)."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from contracts.events import LessonTaught, RetrainModel, mark_of
from contracts.ports import Blobs, Bus, NoSuchBlob
from contracts.settings import Settings
from producers.whole_log import all_records
from trainers import dataset, dataset_store
from trainers.jobs import Pause
from trainers.label_trust import LEAST, label_trust, mean_trust
from trainers.model_log import ModelLog
from trainers.promote import say
from trainers.rebuild_progress import Teller


class DatasetMaker:
    """Makes datasets."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        blobs: Blobs,
        archive_now: Callable[[Callable[[], None]], int],
        model_log: ModelLog,
        pause: Pause,
    ) -> None:
        """Keep the parts that it needs; they are those of `trainers.rebuild.Rebuilder`."""
        self._settings = settings
        self._bus = bus
        self._blobs = blobs
        self._archive_now = archive_now
        self._model_log = model_log
        self._pause = pause

    def assembled(self, command: RetrainModel, tell: Teller) -> tuple[dataset.Dataset, dataset_store.Making]:
        """Return the dataset for a rebuild, and what its manifest says besides; nothing is stored yet."""
        settings = self._settings
        examples, making = ([], dataset_store.Making()) if command.base else self.feedback(tell)
        mnist, newest_s = dataset.read_mnist("train"), settings.held_back_newest_hours * 3600
        secret = settings.holdout_key or ""
        made = dataset.assemble(mnist, examples, settings.held_back, settings.feedback_weight, newest_s, secret)
        if new := int(made.newcomers.sum()):
            told = f"{new} labels are of players who are not known yet: together they weigh {made.newcomers_weight:.3g}"
            tell.step("dataset", f"{told} beside MNIST's, and judge nothing")
        return made, making

    def feedback(self, tell: Teller) -> tuple[list[dataset.Feedback], dataset_store.Making]:
        """Return all corrections so far but those of players who are left out, and what the manifest says of it."""
        tell.step("archive", "examples up to now go to the archive")
        taken = self._archive_now(lambda: self._pause(0))
        self._pause(0)  # archiving ends early when the trainer is told to stop
        tell.step("dataset", f"{taken} examples archived; the dataset is made of MNIST and all feedback")
        examples, keys = dataset.read_archive(self._blobs)
        marks = frozenset(self._model_log.marks)
        forgotten = {player for player in {one.player_id for one in examples} if mark_of(player) in marks} if marks else set()
        examples = [one for one in examples if one.player_id not in forgotten]  # a write that came late has brought them back
        believed = label_trust(all_records(self._bus, [LessonTaught.topic]))
        trust = believed.players
        why = self._why(trust)
        left_out = Counter(why[example.player_id] for example in examples if example.player_id in why)
        others = [example for example in examples if example.player_id not in why]
        if left_out:
            several = {example.player_id for example in examples if example.player_id in why}
            told = ", ".join(f"{n} {reason}" for reason, n in sorted(left_out.items()))
            tell.step("dataset", f"examples of {len(several)} players are left out: {told}")
        weights = believed.weights(others)
        kept = [
            replace(one, trust=weight, newcomer=one.player_id not in trust)
            for one in others
            if (weight := weights.get(one.drawing_id, 1.0)) > 0
        ]
        if doubted := len(others) - len(kept):
            left_out["label not trusted"] = doubted
            tell.step("dataset", f"{doubted} labels of other players are left out, which the learner does not trust")
        drawings = Counter(example.player_id for example in kept)
        return kept, dataset_store.Making(
            keys=keys,
            weight=self._settings.feedback_weight,
            excluded=left_out,
            trust=mean_trust(trust, drawings),
            forgotten=len(self._model_log.marks),
        )

    def left_out(self) -> dict[str, str]:
        """Return why each player is left out of datasets, of those who are."""
        return self._why(label_trust(all_records(self._bus, [LessonTaught.topic])).players)

    def _why(self, trust: Mapping[str, float]) -> dict[str, str]:
        why = {player: "not trusted" for player, share in trust.items() if share < LEAST}
        banned = (player for player, restriction in self._model_log.restrictions().items() if restriction == "banned")
        return why | dict.fromkeys(banned, "banned")

    def stored(
        self, made: dataset.Dataset, making: dataset_store.Making, command: RetrainModel, seed: int
    ) -> dataset_store.Stored:
        """Store a dataset, tell of it, and return where it is; ``seed`` is what it is trained with."""
        of_players = (one for one in self._model_log.datasets().values() if one.people)
        last = max(of_players, key=lambda one: one.at, default=None)
        known: frozenset[str] = frozenset()
        if last is not None:
            with suppress(NoSuchBlob):
                known = frozenset(dataset_store.read_manifest(self._blobs, last.digest).get("players", {}))
        images = {name: dataset_store.image_version(folder) for name, folder in self._settings.image_folders().items()}
        making = replace(making, seed=seed, known=known, images=images, by=command.by)
        told = dataset_store.store(self._blobs, made, making)
        say(self._bus, self._model_log, dataset_store.announced(told))
        return dataset_store.stored(told)
