"""Judges a candidate for a rebuild: what it is compared on, beside whom, for the how-many-th time (way 3, REBUILD)."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from contracts.events import DIGITS, ModelPromoted, ModelPublished, ModelRolledBack, RightBySlice
from contracts.ports import Blobs
from contracts.settings import Settings
from contracts.training_settings import TrainingSettings
from trainers import dataset, dataset_store, evaluate, gate
from trainers.gate_bounds import LossBounds
from trainers.marks import Marks, Pictures
from trainers.serving import Serving
from trainers.split import PUBLIC


class Judge:
    """Compares candidates with their champions, and lets the gate decide."""

    def __init__(self, settings: TrainingSettings, blobs: Blobs, serving: Serving) -> None:
        """Keep what a judgement needs."""
        self._policy = policy(settings)
        self._blobs = blobs
        self._serving = serving

    def judge(
        self,
        candidate: ModelPublished,
        champion: ModelPublished | None,
        tries: int,
        least_mnist: float | None,
        tell: Callable[[float], None],
        before: Sequence[ModelPublished] = (),
    ) -> ModelPublished:
        """Return the candidate with the verdict, and with all that it was judged by.

        Args:
            candidate: As it was trained; its lineage names its dataset.
            champion: The version that answers now; None: there is none.
            tries: How many versions, with this one, were judged beside this champion.
            least_mnist: The least accuracy on MNIST of this model; None: that of all.
            tell: Called with the share that is done, 0..1.
            before: The versions that either went on from, whose drawings it has seen as well.
        """
        if champion and (refused := gate.same(candidate.digest, champion.digest)):
            return _with(candidate, refused, {})
        held_back = dataset.holdout_from_npz(self._blobs.get(f"{_key(candidate.lineage['dataset'])}holdout/holdout.npz"))
        for one in (*((champion,) if champion else ()), *before):
            by = candidate.lineage.get("held_back_by", PUBLIC)
            held_back = held_back.unseen(one.lineage, round(one.at.timestamp() * 1e6), by)
        mnist = dataset.read_mnist("t10k")
        marks, champions, numbers = evaluate.compare(self._serving, candidate, champion, mnist, held_back, tell)
        numbers["artifact_kb"] = self._size(candidate)
        if champion:
            numbers["champion_artifact_kb"] = self._size(champion)
        pictures = Pictures(held_back.labels, held_back.people, held_back.newest, held_back.devices)
        beside = champion.version if champion else ""
        decided = gate.judge(
            least_mnist, marks, champions, pictures, beside=beside, tries=tries, policy=self._policy, numbers=numbers
        )
        metrics = {**marks.metrics(), **(_champions(champions) if champions else {}), **numbers}
        slices = _slices(marks, pictures, mnist.labels)
        return _with(candidate, decided, metrics).model_copy(update={"slices": slices})

    def _size(self, version: ModelPublished) -> float:
        return round(len(self._blobs.get(urlsplit(version.artifact).path.lstrip("/"))) / 1024, 1)


def policy(settings: TrainingSettings) -> gate.GatePolicy:
    """Return what the operator wants of a version; settings are in points."""
    return gate.GatePolicy(
        settings.gate_tells_points / 100,
        settings.gate_least_gain_points / 100,
        settings.gate_false_promotions,
        settings.gate_mnist_points / 100,
        settings.gate_mnist_per_gain,
        settings.gate_mnist_most_points / 100,
        LossBounds(
            settings.gate_slice_points / 100,
            settings.gate_calibration_points / 100,
            settings.gate_slower_times,
            settings.gate_slower_ms,
            settings.gate_larger_times,
        ),
    )


def tries(published: Iterable[ModelPublished], champion: str) -> int:
    """Return the how-many-th look beside a champion the next one is: at held-back drawings, or at a shadow's live ones."""
    looks = [look for one in published for look in (one.beside, one.live) if look is not None and look.champion == champion]
    return 1 + max([len(looks), *(look.tries for look in looks)])


def made_of(settings: Settings, model: str, dataset_digest: str, hyperparameters: Mapping[str, str]) -> dict[str, str]:
    """Return what decides what a version will be, as its lineage says it."""
    return {
        "dataset_digest": dataset_digest,
        "image": settings.image_uri(model),
        "image_version": dataset_store.image_version(settings.image_folders()[model]),
        "hyperparameters": json.dumps(hyperparameters, sort_keys=True),
        "seed": hyperparameters.get("seed", str(settings.seed)),
        "code": dataset_store.code_version(),
    }


def nothing_new(made: Mapping[str, str], published: Mapping[str, ModelPublished]) -> str | None:
    """Return why it is of no use to train, if there is a version of the same data, image, hyperparameters, seed and code."""
    for version, one in published.items():
        if made == {name: one.lineage.get(name) for name in made}:
            return (
                f"nothing is new since {one.model} {version}, which was made of the same data, image, hyperparameters, seed and"
                f" code: {one.gate}"
            )
    return None


def overtaken(version: ModelPublished, champion: ModelPromoted | None) -> str | None:
    """Return why a version that was let through does not answer by itself: it was judged beside another than answers now."""
    if version.beside is None or champion is None or champion.version in (version.beside.champion, version.version):
        return None
    return (
        f"it was judged beside {version.beside.champion}, and {champion.version} answers since:"
        f" `gamenight shadow {version.model} {version.version}` compares them, `gamenight promote {version.model}"
        f" {version.version}` lets it answer all the same"
    )


def decided_since(version: ModelPublished, champion: ModelPromoted | None) -> str | None:
    """Return why a version does not answer by itself although it was let through: who answers was decided after that."""
    if champion is None or champion.version == version.version or champion.at <= version.at:
        return None
    rolled_back = isinstance(champion, ModelRolledBack)
    decided = f"was rolled back to {champion.version}" if rolled_back else f"{champion.version} was promoted"
    return (
        f"{version.model} {decided} after {version.version} was made, so that one does not answer by itself:"
        f" `gamenight promote {version.model} {version.version}` lets it answer all the same"
    )


def _champions(marks: Marks) -> dict[str, float]:
    told = marks.metrics()
    kept = ("mnist_accuracy", "held_back_accuracy", "calibration_error", "brier_score", "log_loss")
    return {f"champion_{name}": told[name] for name in kept if name in told}


def _slices(marks: Marks, pictures: Pictures, mnist: NDArray[np.uint8]) -> RightBySlice:
    """Return what a version got right by digit and device: of drawings of people of whom none was trained on, and of MNIST."""
    judged = ~pictures.newest
    return RightBySlice(
        digit_judged=gate.by_digit(pictures, judged),
        digit_right=gate.by_digit(pictures, judged & marks.held_back),
        device_judged=gate.by_device(pictures, judged),
        device_right=gate.by_device(pictures, judged & marks.held_back),
        mnist_judged=np.bincount(mnist, minlength=DIGITS).tolist(),
        mnist_right=np.bincount(mnist[marks.mnist], minlength=DIGITS).tolist(),
    )


def _with(candidate: ModelPublished, decided: gate.GateDecision, metrics: dict[str, float]) -> ModelPublished:
    told = {"verdict": decided.verdict, "beside": decided.beside, "gate": decided.reason, "approved": decided.passed}
    return candidate.model_copy(update={"metrics": {**candidate.metrics, **metrics}, **told})


def _key(uri: str) -> str:
    """Return the key prefix of a dataset, given the URI or the key of what is trained on."""
    return urlsplit(uri).path.lstrip("/").removesuffix("train/")
