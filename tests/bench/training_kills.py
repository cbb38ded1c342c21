"""Kills trainer, local SageMaker, S3 and DynamoDB with -9 at each stage of a rebuild: ``python -m tests.bench.training kills``.

Afterwards one version is published or none, and never half of one: models.v1, registry, endpoint, artifact and library agree.
And the rebuild goes on, or has ended with a reason, within `WITHIN_S`: it is never silent for longer, unless it is so without
any kill too. A busy machine takes that long to import the SDK.

All of it takes most of an hour. With ``--keep FOLDER`` each result is kept there as it comes, with the games' homes and logs,
and what is kept is not tried again; ``--at-most N`` ends after so many.
"""

import dataclasses
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from contracts.events import DatasetMade, ModelPublished
from tests.bench.rebuilding_game import MODEL, PATIENCE_S, RebuildingGame, by, rebuilding_game, until
from trainers.rebuild_progress import STILL
from trainers.registry import Registry
from trainers.serving import endpoint_of

KILLED: Final = ("trainer", "sagemaker", "s3", "dynamodb")
WITHIN_S: Final = 30.0
LOOK_S: Final = 0.004
RESULTS: Final = "kills.jsonl"

Reached = Callable[[RebuildingGame, UUID], bool]


def step(name: str) -> Reached:
    """A step is told."""
    return lambda game, command: any(one.step == name for one in game.heard.steps(command))


def dataset_stored(game: RebuildingGame, command: UUID) -> bool:
    """A dataset was told of since the rebuild began."""
    steps = game.heard.steps(command)
    return bool(steps) and any(isinstance(one, DatasetMade) and one.at >= steps[0].at for one in list(game.heard.events))


def job(*stages: str) -> Reached:
    """The training job is at one of these stages, or past it."""

    def reached(game: RebuildingGame, command: UUID) -> bool:
        jobs = game.sagemaker.list_training_jobs(NameContains=str(command))["TrainingJobSummaries"]
        if not jobs:
            return False
        name = jobs[0]["TrainingJobName"]
        return not stages or game.sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] in stages

    return lambda game, command: "training" in {one.step for one in game.heard.steps(command)} and reached(game, command)


def rounds_told(game: RebuildingGame, command: UUID) -> bool:
    """The job's log tells of a round."""
    return any("round=" in line for one in game.heard.steps(command) for line in one.log)


def registered(game: RebuildingGame, command: UUID) -> bool:
    """The registry has the version."""
    if not step("gate")(game, command):
        return False
    return any(one.command_id == str(command) for one in Registry(game.settings, game.blobs).versions(MODEL))


def published(game: RebuildingGame, command: UUID) -> bool:
    """models.v1 has the version."""
    return any(isinstance(one, ModelPublished) and by(one) == str(command) for one in list(game.heard.events))


def updating(game: RebuildingGame, command: UUID) -> bool:
    """The endpoint is changing."""
    if not step("endpoint")(game, command):
        return False
    return bool(game.sagemaker.describe_endpoint(EndpointName=endpoint_of(MODEL))["EndpointStatus"] == "Updating")


STAGES: Final[Mapping[str, Reached]] = {
    "queued": step("queued"),
    "archive": step("archive"),
    "dataset": step("dataset"),
    "dataset stored": dataset_stored,
    "asking for the job": step("training"),
    "job created": job(),
    "job trains": job("Training", "Uploading", "Completed"),
    "rounds told": rounds_told,
    "job uploads": job("Uploading", "Completed"),
    "evaluation": step("evaluation"),
    "gate": step("gate"),
    "registered": registered,
    "published": published,
    "endpoint": step("endpoint"),
    "endpoint updating": updating,
}
PAIRED: Final = ("dataset stored", "job trains", "evaluation", "gate", "endpoint updating")
"""The stages at which two are killed at once."""


@dataclass
class Case:
    """One rebuild during which somebody was killed."""

    stage: str
    killed: tuple[str, ...]
    ended: str = ""
    message: str = ""
    silent_s: float = 0.0
    """The longest that nothing was heard of the rebuild, from the kill on."""
    silent_in: str = ""
    """The step in which that was."""
    idle_s: float = 0.0
    """The longest without news: a step, a line of the job's log, another status. That it is still at work is none."""
    word_s: float = 0.0
    """From the kill until anything was heard of it."""
    took_s: float = 0.0
    """From the kill to the end."""
    told: list[tuple[float, str, str]] = field(default_factory=list)
    """Each word of it after the kill: when, in seconds from the kill on, in which step, and what."""
    load: float = 0.0
    """The machine's load, over the last minute, at its end."""
    at: str = ""
    """When somebody was killed, for who reads the log."""
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the case in a line."""
        wrong = f"  WRONG: {'; '.join(self.faults)}" if self.faults else ""
        why = "" if self.ended == "done" else f": {self.message[:300]}"
        silent = f"a word after {self.word_s:4.1f} s, silent {self.silent_s:4.1f} s in {self.silent_in}"
        silent += f", no news for {self.idle_s:4.1f} s"
        return (
            f"{self.stage:18} {' + '.join(self.killed) or 'nobody':20} {self.ended}{why}, {silent}, {self.took_s:5.1f} s{wrong}"
        )


def cases() -> list[tuple[str, tuple[str, ...]]]:
    """Return who is killed when: each alone at each stage, and each two at some."""
    alone = [(stage, (one,)) for stage in STAGES for one in KILLED]
    return alone + [(stage, two) for stage in PAIRED for two in itertools.combinations(KILLED, 2)]


def tried(game: RebuildingGame, stage: str, killed: tuple[str, ...], number: int) -> Case:
    """Rebuild, kill at the stage, and look at what came of it."""
    case = Case(stage, killed)
    game.play(1, 2)
    command = game.retrain(hyperparameters={"seed": str(number)})
    reached = STAGES[stage]
    until(stage, lambda: reached(game, command) or game.heard.ended(command), every_s=LOOK_S)
    before = {name: game.game.pid(name) for name in killed}
    if None in before.values():
        case.faults.append(f"not tried: {before} run")
        return case
    at, began = datetime.now(UTC), time.monotonic()
    for pid in before.values():
        os.kill(pid or 0, signal.SIGKILL)
    if (early := game.heard.ended(command)) is not None and early.at < at:
        case.faults.append("not tried: it had ended")
    try:
        ended = game.end(command)
    except TimeoutError:
        last = game.heard.steps(command)[-1:]
        case.faults.append(f"not ended after {PATIENCE_S:.0f} s: {last}")
        return case
    case.took_s = time.monotonic() - began
    case.ended, case.message = ended.step, ended.message
    told = game.heard.steps(command)
    step = next((one.step for one in reversed(told) if one.at <= at), "queue")
    case.told = [(round((one.at - at).total_seconds(), 2), one.step, one.message) for one in told if one.at > at]
    case.word_s = case.told[0][0] if case.told else 0.0
    case.silent_s, case.silent_in = longest([(0.0, step), *((when, name) for when, name, _ in case.told)])
    case.idle_s, _ = longest([(0.0, step), *((when, name) for when, name, message in case.told if STILL not in message)])
    case.load, case.at = round(os.getloadavg()[0], 1), at.isoformat()
    until("all run again", lambda: all(game.game.pid(name) not in (None, pid) for name, pid in before.items()))
    until("a whole game", game.game.healthy)
    found: list[str] = []

    def agree() -> bool:
        found[:] = game.faults(command)
        return not found

    try:
        until("agreement", agree, patience_s=15, every_s=0.5)
    except TimeoutError as late:
        case.faults += found or [str(late)]
    return case


def longest(told: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Return the longest time between two words, in seconds, and the step that it began in."""
    return max(((after - before, step) for (before, step), (after, _) in itertools.pairwise(told)), default=(0.0, ""))


def kills(keep: Path | None = None, at_most: int | None = None, calm: int = 3) -> Iterator[str]:
    """One version published or none, whoever is killed and when; then how long it was silent.

    Args:
        keep: The folder that keeps what was found, and the homes of the games; None: nothing is kept.
        at_most: How many rebuilds are disturbed now, of those that are not kept; None: all.
        calm: How many rebuilds nobody disturbs, before the first; before each later game it is one.
    """
    done = kept(keep)
    tried_before = {(one.stage, one.killed) for one in done}
    left = [(number, *one) for number, one in enumerate(cases(), 1) if one not in tried_before][:at_most]
    homes = len(list(keep.glob("game-*"))) if keep else 0
    quiet = [(number, "queued", ()) for number in range(1000, 1000 + (calm if not done else 1))]
    with rebuilding_game(keep / f"game-{homes + 1}" if keep else None) as game:
        for number, stage, several in [*quiet, *left]:
            game.back_to("1")
            try:
                case = tried(game, stage, several, number)
            except TimeoutError as late:
                case = Case(stage, several, faults=[str(late)])
            done.append(case)
            if keep:
                with (keep / RESULTS).open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(case)) + "\n")
            yield case.line()
    yield from summary(done)


def kept(folder: Path | None) -> list[Case]:
    """Return the cases that a folder keeps, the undisturbed ones too."""
    if folder is None or not (folder / RESULTS).exists():
        return []
    told = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
    return [Case(**{**one, "killed": tuple(one["killed"])}) for one in told]


def summary(found: Sequence[Case]) -> Iterator[str]:
    """How they ended, and how long they were silent, in all and by stage."""
    done = [one for one in found if one.killed]
    usual = max([WITHIN_S, *(one.silent_s for one in found if not one.killed)])
    ends = {end: sum(one.ended == end for one in done) for end in sorted({one.ended for one in done})}
    wrong = [one for one in done if one.faults]
    late = [one for one in done if one.silent_s > usual]
    yield (
        f"{len(done)} of {len(cases())} rebuilds, {sum(len(one.killed) for one in done)} kills: {ends}, {len(wrong)} wrong,"
        f" {len(late)} silent for more than {usual:.0f} s"
    )
    for what, several in (
        ("first word after the kill", [one.word_s for one in done]),
        ("longest silence", [one.silent_s for one in done]),
        ("longest without news", [one.idle_s for one in done]),
        ("longest silence where nobody was killed", [one.silent_s for one in found if not one.killed]),
        ("load", [one.load for one in done]),
    ):
        yield f"{what}: {shares(several)}"
    for stage in STAGES:
        here = [one for one in done if one.stage == stage]
        yield (
            f"{stage:18} {sum(not one.faults for one in here)} of {len(here)} agree;"
            f" first word {shares([one.word_s for one in here])}; silence {shares([one.silent_s for one in here])};"
            f" no news {shares([one.idle_s for one in here])}"
        )


def shares(several: Sequence[float]) -> str:
    """Return median, ninth tenth and greatest of some numbers.

    >>> shares([4.0, 1.0, 2.5])
    '50% 2.5, 90% 2.5, 100% 4.0'
    """
    order = sorted(several) or [0.0]
    return ", ".join(f"{share:.0%} {order[int(share * (len(order) - 1))]:.1f}" for share in (0.5, 0.9, 1.0))
