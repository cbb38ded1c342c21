"""Rebuilds models in a home of its own, for `tests.bench.training`: what they say of people whom they have never seen.

Kafka, S3, DynamoDB, the local SageMaker and the trainer are real processes. Players of data/pen have labelled their drawings,
and the real learner has weighed these labels; then each model is rebuilt by command: dataset, the SDK's training job,
evaluation, gate. The people who are asked are held back by the product's own split.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4, uuid5

from contracts.events import (
    NAMESPACE,
    TRAINING_ENDS,
    ExampleLabelled,
    LessonTaught,
    ModelPublished,
    RetrainModel,
    TrainingAdvanced,
    decode,
)
from contracts.ports import Bus
from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.keys import with_secrets
from deploy.local.supervisor import running
from producers.bus import open_bus
from producers.signing import Signer, SigningBus
from producers.whole_log import all_records
from tests.bench.training_labels import EACH, GUESTS, HOLDOUT_KEY, LABELS, guests, judged_lessons, labelled, liars, player_of
from tests.bench.trust import LIES, PLAYERS, Lie, people
from tests.writers import drawings
from trainers.dataset import Feedback
from trainers.label_trust import LEAST, label_trust
from trainers.newcomers import trust_of_each

ROOT: Final = Path(__file__).parents[2]
PORTS: Final = ("kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")
PATIENCE_S: Final = 1800.0
HONEST: Final = "nobody lies"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A version that was rebuilt, in per cent."""

    people: float
    """Right on drawings of the people whom it has never seen."""
    base_people: float
    mnist: float
    base_mnist: float
    drawings: int
    """How many drawings of them there are."""
    verdict: str

    def __str__(self) -> str:
        return (
            f"people {self.people:.2f} (base {self.base_people:.2f}; {self.drawings} drawings), MNIST {self.mnist:.2f}"
            f" (base {self.base_mnist:.2f}) {self.verdict}"
        )


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """All models of a home, rebuilt."""

    versions: Mapping[str, Rebuilt]
    feedback: int
    """How many drawings of players they learned."""
    left_out: str
    """What the trainer says of whom it leaves out; empty: nobody."""
    seconds: float
    cpu_seconds: float


def unseen(splits: Sequence[int], models: Sequence[str]) -> Iterator[str]:
    """Each model, rebuilt with 3,600 labels of sixteen people, on eight others whom it has never seen."""
    yield from _compared(splits, models, {"nobody lies": ()})


def poisoned(splits: Sequence[int], models: Sequence[str], share: float) -> Iterator[str]:
    """The same where some of the sixteen lie, by turns any digit and the one after that drawn, and where nobody does."""
    yield from labels_alone(splits, share)
    yield from _compared(splits, models, {"nobody lies": (), f"{share:.0%} lie": liars(share)})


def labels_alone(splits: Sequence[int], share: float) -> Iterator[str]:
    """Of each attack of `tests.bench.trust`: how many wrong labels a dataset takes, and what of the honest ones it loses."""
    for name, lie in LIES.items():
        wrong, by_player, by_label, odd, odd_kept = 0, 0, 0.0, 0, 0.0
        for split in splits:
            examples = labelled(split, () if name == HONEST else (lie,) * round(share * PLAYERS), LABELS)[:LABELS]
            players, weights = _counted(split, examples)
            for one, drawn, shared in zip(examples, *_drawn(split, LABELS), strict=True):
                if one.label != drawn:
                    wrong, by_player = wrong + 1, by_player + (one.player_id in players)
                    by_label += weights.get(one.drawing_id, 0.0)
                elif shared != drawn and one.player_id in players:
                    odd, odd_kept = odd + 1, odd_kept + weights.get(one.drawing_id, 0.0)
        yield (
            f"  {name:32} {wrong:5} wrong labels, {by_player:5} of players who are not left out, {by_label:6.1f} count;"
            f" {100 * odd_kept / max(1, odd):.1f} % of {odd} true ones that the base got wrong count"
        )
    for split in splits:
        lying = {player_of(writer, held_back=False) for writer in people(split)[1][: round(share * PLAYERS)]}
        examples = labelled(split, liars(share), LABELS)[:LABELS]
        alone = [one for one in examples if one.player_id not in lying]
        same = _counted(split, examples)[1] == _counted(split, alone)[1]
        yield f"  split {split}: with the lies the dataset is {'that' if same else 'NOT that'} of the honest alone"
    for split in splits:
        examples = labelled(split, (), LABELS)[:LABELS]
        before, after = _counted(split, examples)[1], _counted(split, [*examples, *guests(split)])[1]
        honest = sum(after.get(one.drawing_id, 0.0) for one in examples)
        yield (
            f"  split {split}: {len(before)} of {LABELS} honest labels count, as {sum(before.values()):.1f};"
            f" with {GUESTS} guests, {EACH} wrong labels each, as {honest:.1f},"
            f" and the guests' as {sum(after.values()) - honest:.2f}"
        )


def _counted(split: int, examples: Sequence[ExampleLabelled]) -> tuple[set[str], dict[UUID, float]]:
    """Return the players who are not left out, and how much each of their labels counts that counts at all."""
    bus = open_bus(f"memory://{uuid4()}")
    for lesson in judged_lessons(split, examples):
        bus.publish(lesson).result()
    told = label_trust(all_records(bus, [LessonTaught.topic]))
    feedback = [
        Feedback(n, str(one.drawing_id), one.player_id, 1, one.label, None, place=(0, n)) for n, one in enumerate(examples)
    ]
    weights = told.weights(feedback)
    players = {one.player_id for one in examples if told.players.get(one.player_id, 1.0) >= LEAST}
    counted = {one.drawing_id: weights.get(str(one.drawing_id), 1.0) for one in examples if one.player_id in players}
    new = {one.drawing_id for one in examples if one.player_id not in told.players}
    each = trust_of_each((weight for drawing, weight in counted.items() if drawing not in new), max(1, len(new)))
    return players, {drawing: each if drawing in new else weight for drawing, weight in counted.items() if weight}


def _drawn(split: int, labels: int) -> tuple[list[int], list[int]]:
    """Return what was drawn, in the order of `labelled`, and what the base of the online model sees in it."""
    _, players, _ = people(split)
    all_of_them = [(writer, number) for writer in players for number in range(len(drawings(writer).labels))]
    chosen = random.Random(split).sample(all_of_them, labels)
    shared = [int(drawings(writer).shared[number].argmax()) for writer, number in chosen]
    return [int(drawings(writer).labels[number]) for writer, number in chosen], shared


def _compared(splits: Sequence[int], models: Sequence[str], worlds: Mapping[str, tuple[Lie, ...]]) -> Iterator[str]:
    """Rebuild in each world, a split after another; then the mean over the splits of each model."""
    found: dict[str, list[Rebuilding]] = {name: [] for name in worlds}
    for split in splits:
        for name, lies in worlds.items():
            one = rebuilt(split, lies, tuple(models))
            found[name].append(one)
            yield (
                f"split {split}, {name}: {one.feedback} labels learned, {one.seconds:.0f} s, {one.cpu_seconds:.0f} s of CPU,"
                f" load {os.getloadavg()[0]:.0f}" + (f"; {one.left_out}" if one.left_out else "")
            )
            for model, version in one.versions.items():
                yield f"  {model:10} {version}"
    for name, several in found.items():
        yield f"mean of splits {', '.join(map(str, splits))}, {name}"
        for model in models:
            yield f"  {model:10} {mean([one.versions[model] for one in several])}"


# --- a home ----------------------------------------------------------------------------------------------------------


def fresh(folder: str, **given: object) -> Settings:
    """Return the settings of a home of its own; some may be given."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    told = {"tools": ROOT / ".tools", "holdout_key": HOLDOUT_KEY, **ports, **given}
    settings = Settings(home=Path(folder), aws_services="local", **told)  # type: ignore[arg-type]
    return with_secrets(settings)


@contextmanager
def home(**given: object) -> Iterator[tuple[Settings, Bus]]:
    """Yield the settings of a fresh home whose services run, but for the trainer, and its bus; some settings may be given."""
    with tempfile.TemporaryDirectory(prefix="gamenight-", ignore_cleanup_errors=True) as folder:
        settings = fresh(folder, **given)
        with running(settings, ["kafka", "s3", "dynamodb", "sagemaker"]):
            bus = SigningBus(open_bus(f"kafka://{settings.bootstrap_servers}"), Signer("api", settings.api_signing_key))
            try:
                yield settings, bus
            finally:
                bus.close()


@contextmanager
def trainer(settings: Settings) -> Iterator[Callable[[], None]]:
    """Run the trainer; yield what raises if it has ended."""
    path = settings.home / "trainer.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainers"], cwd=ROOT, env={**os.environ, **settings.environment()}, stdout=log, stderr=log
        )

    def check() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"the trainer has ended: {path.read_text()[-3000:]}")

    try:
        yield check
    finally:
        process.terminate()
        process.wait()


def followed(
    bus: Bus, commands: Sequence[RetrainModel], check: Callable[[], None]
) -> Iterator[tuple[float, TrainingAdvanced | ModelPublished]]:
    """Yield, with the time, what is said of some rebuilds, until all have ended.

    Raises:
        TimeoutError: If that takes longer than `PATIENCE_S`.
    """
    due = {command.command_id for command in commands}
    mine = {str(command) for command in due}
    tail = bus.follow(["models.v1"], "start")
    deadline = time.monotonic() + PATIENCE_S
    try:
        while due:
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(due)} rebuilds have not ended in {PATIENCE_S:.0f} s")
            for record in tail.poll(0.5):
                if record.value is None:
                    continue
                event = decode(record.topic, record.value)
                if isinstance(event, ModelPublished) and event.lineage.get("command") in mine:
                    yield time.monotonic(), event
                elif isinstance(event, TrainingAdvanced) and event.command_id in due:
                    yield time.monotonic(), event
                    if event.step in TRAINING_ENDS:
                        due.discard(event.command_id)
    finally:
        tail.close()


@cache
def rebuilt(split: int, lies: tuple[Lie, ...], models: tuple[str, ...], trusted: bool = True) -> Rebuilding:
    """Rebuild models from what sixteen people have labelled, and judge them by eight others.

    Args:
        split: Which people play, who is asked, and by whose hands the judge of trust was made.
        lies: How the first of the players lie, a lie each; the others are honest.
        models: Which models.
        trusted: Whether the learner has weighed the labels; else nothing is known of anybody, and all labels count.

    Raises:
        RuntimeError: If a rebuild failed.
    """
    examples = labelled(split, lies, LABELS)
    began, before = time.monotonic(), _cpu()
    versions, said, feedback = dict[str, Rebuilt](), set[str](), 0
    with home() as (settings, bus):
        for event in [*examples, *(judged_lessons(split, examples) if trusted else ())]:
            bus.publish(event)
        bus.flush(120)
        commands = [RetrainModel(command_id=uuid5(NAMESPACE, f"bench/{model}"), target=model, by="bench") for model in models]
        with trainer(settings) as check:
            for command in commands:
                bus.publish(command).result(30)
            for _, event in followed(bus, commands, check):
                if isinstance(event, ModelPublished):
                    versions[event.model] = _told(event)
                    feedback = int(event.lineage["feedback"])
                elif event.step == "failed":
                    raise RuntimeError(f"{event.model}: {event.message}")
                elif "left out" in event.message:
                    said.add(event.message)
    return Rebuilding(versions, feedback, "; ".join(sorted(said)), time.monotonic() - began, _cpu() - before)


def mean(several: Sequence[Rebuilt]) -> Rebuilt:
    """Return the mean of several splits, each drawing as much as every other; the drawings are those of all."""
    n = sum(one.drawings for one in several)

    def of(share: Callable[[Rebuilt], float]) -> float:
        return sum(share(one) * one.drawings for one in several) / n

    promoted = sum(one.verdict == "promoted" for one in several)
    return Rebuilt(
        of(lambda one: one.people),
        of(lambda one: one.base_people),
        sum(one.mnist for one in several) / len(several),
        sum(one.base_mnist for one in several) / len(several),
        n,
        f"{promoted} of {len(several)} promoted",
    )


def _told(event: ModelPublished) -> Rebuilt:
    of = event.metrics
    shares = [100 * of[f"{whose}{which}_accuracy"] for which in ("held_back", "mnist") for whose in ("", "champion_")]
    return Rebuilt(shares[0], shares[1], shares[2], shares[3], int(of["held_back_n"]), event.verdict or "")


def _cpu() -> float:
    """Return the processor seconds of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
