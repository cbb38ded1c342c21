"""Several settings of hyperparameters in one rebuild: what they are compared by, which is kept, and what they leave behind."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.events import Tried, now
from contracts.prices import dollars
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from trainers import archive, dataset, dataset_store, split, tuning
from trainers.dataset import Feedback, LabelledImages, assemble
from trainers.jobs import JobFailed, JobProgress
from trainers.starting import cost_of

GRID = {"eta": ["0.1", "0.3"]}
MNIST = LabelledImages(np.zeros((120, 784), np.uint8), np.arange(120, dtype=np.uint8) % 10, np.ones(120, np.float32))


def drawn(n: int, player: str) -> Feedback:
    return Feedback(n, f"drawing {n:03}", player, 1, n % 10, bytes([n % 256, n // 256, *bytes(782)]))


def made(people: int = 60) -> dataset.Dataset:
    return assemble(MNIST, [drawn(5 * person + k, f"player {person}") for person in range(people) for k in range(5)], 0.3, 3.0)


def test_settings_are_compared_by_people_who_are_neither_trained_on_nor_judge_the_version() -> None:
    whole = made()
    base, train, validation = dataset.for_tuning(whole)

    def rows(images: Any) -> set[bytes]:
        return {row.tobytes() for row in images if row.any()}

    held = rows(whole.holdout.images)
    assert rows(train.images) | rows(validation.images) == rows(whole.train.images)
    assert not rows(train.images) & rows(validation.images)
    assert not held & rows(validation.images), "the gate's own evidence is not looked at"
    assert held
    assert len(base) == 110
    people = {f"player {n}" for n in range(60) if not split.is_held_back(f"player {n}", 0.3)}
    of_people = sum(5 for player in people if split.compares(player))
    assert 0 < of_people < 5 * len(people)
    assert len(validation) == 10 + of_people
    say = validation.weights[10:].sum(), validation.weights[:10].sum()
    assert say == pytest.approx((10, 10)), "either half has the same say"


def test_without_players_settings_are_compared_by_mnist_alone() -> None:
    base, train, validation = dataset.for_tuning(made(0))

    assert (len(base), len(train), len(validation)) == (110, 0, 10)


def tried(eta: str, accuracy: float | None, status: Any = "done", seconds: float = 10.0) -> Tried:
    return Tried(hyperparameters={"eta": eta}, status=status, accuracy=accuracy, seconds=seconds, cost=dollars(0.001))


def test_the_best_is_kept_and_of_equals_the_first_and_never_one_that_failed() -> None:
    some = [
        tried("0.1", 0.9),
        tried("0.2", 0.95),
        tried("0.3", 0.95),
        tried("0.4", 0.99, "cancelled"),
        tried("0.5", None, "failed"),
    ]

    best = tuning.best_of(some)

    assert best is not None
    assert best.hyperparameters == {"eta": "0.2"}
    kept = tuning.with_kept(some, best)
    assert [one.kept for one in kept] == [True, False, False, False, False]
    assert kept[0].hyperparameters == {"eta": "0.2"}
    assert tuning.lineage(kept) == {"tuned": "eta=0.2: best of 5, right on 95.00% of what compares them"}
    assert tuning.metrics(kept) == {"tuning_seconds": 50.0, "tuning_cost_usd": 0.005}
    assert tuning.best_of([tried("0.5", None, "failed")]) is None


def test_how_far_the_tries_are_is_told_with_the_time_that_is_left_and_the_cost() -> None:
    some = [
        tried("0.1", 0.9, seconds=20),
        tried("0.2", None, "running", 5),
        tried("0.3", None, "running", 5),
        tried("0.4", None, "waiting", 0),
    ]

    told = tuning.told(some, 2)

    assert told == "1 of 4 settings tried, best so far eta=0.1 with 90.00%, about 25 s left, $0.0040 so far"


def test_what_many_tries_cost_is_exact_to_the_millionth_of_a_dollar() -> None:
    """Twenty floats were added up: /api/costs told 0.04011527777777778."""
    priced = cost_of(Settings())

    some = [tried(f"0.{n}", 0.9).model_copy(update={"cost": priced(61.1 + n / 10)}) for n in range(1, 21)]
    total = tuning.metrics(some)["tuning_cost_usd"]

    assert total == float(sum(dollars(one.cost or 0) for one in some))
    assert len(str(total).partition(".")[2]) <= 6, total


def test_the_cost_of_a_try_is_a_number_on_the_bus_as_it_was_and_old_records_are_read() -> None:
    now = tried("0.1", 0.9)

    assert json.loads(now.model_dump_json())["cost"] == 0.001
    assert now.model_dump(mode="json")["cost"] == 0.001
    old = Tried.model_validate_json('{"hyperparameters": {}, "status": "done", "cost": 0.0019654166666666667}')
    assert old.cost == Decimal("0.001965")
    for hostile in ("-1", "1e400", '"NaN"', "1e300", "[]"):
        with pytest.raises(ValidationError):
            Tried.model_validate_json(f'{{"hyperparameters": {{}}, "status": "done", "cost": {hostile}}}')


class Cloud:
    """SageMaker, as far as a tuning job is asked for."""

    def __init__(self, status: str, *jobs: tuple[str, str, float | None]) -> None:
        self.status, self.stopped = status, 0
        self._jobs = jobs

    def describe_hyper_parameter_tuning_job(self, **_: str) -> dict[str, Any]:
        source = {"S3DataSource": {"S3Uri": "s3://b/datasets/d1/tuning/train/"}}
        channels = [{"ChannelName": "train", "DataSource": source}]
        return {"HyperParameterTuningJobStatus": self.status, "TrainingJobDefinition": {"InputDataConfig": channels}}

    def stop_hyper_parameter_tuning_job(self, **_: str) -> None:
        self.stopped += 1
        self.status = "Stopped"

    def get_paginator(self, _: str) -> Any:
        began = now() - timedelta(seconds=60)
        page = [
            {
                "TrainingJobName": f"job {eta}",
                "TunedHyperParameters": {"eta": eta},
                "TrainingJobStatus": status,
                "TrainingStartTime": began,
                "TrainingEndTime": began + timedelta(seconds=30),
                "FailureReason": "" if status == "Completed" else "it broke",
                **({"FinalHyperParameterTuningJobObjectiveMetric": {"Value": value}} if value else {}),
            }
            for eta, status, value in self._jobs
        ]
        return SimpleNamespace(paginate=lambda **_: [{"TrainingJobSummaries": page}])


def tunings(cloud: Cloud, blobs: MemoryBlobs) -> tuning.Tunings:
    found = tuning.Tunings(Settings(aws_services="local"), blobs)
    found._sagemaker = cloud
    spot = JobProgress("Completed", seconds=9.0)  # that took 30
    found._followed = SimpleNamespace(lines=lambda name: iter(list, None), find=lambda name: spot)  # type: ignore[assignment]
    return found


def followed(cloud: Cloud) -> tuple[list[Tried], list[str]]:
    words: list[str] = []
    told = tunings(cloud, MemoryBlobs()).follow(
        "try-1",
        GRID,
        lambda seconds: dollars(seconds / 1000),
        lambda tried, share, message, lines: words.append(message),
        lambda s: None,
    )
    return told, words


def test_a_tuning_job_is_followed_to_its_best_settings_and_one_that_failed_is_listed_at_what_is_billed() -> None:
    """On spot instances less is billed than it took, which was priced."""
    found, told = followed(Cloud("Completed", ("0.1", "Failed", None), ("0.3", "Completed", 0.97)))

    assert [(one.hyperparameters["eta"], one.status, one.accuracy, one.seconds, one.cost, one.kept) for one in found] == [
        ("0.3", "done", 0.97, 9.0, Decimal("0.009000"), True),
        ("0.1", "failed", None, 9.0, Decimal("0.009000"), False),
    ]
    assert told[-1].startswith("2 of 2 settings tried, best so far eta=0.3 with 97.00%")


def test_what_is_billed_of_tries_is_that_of_all_that_were_trained_however_they_ended() -> None:
    cloud = Cloud("Stopped", ("0.1", "Failed", None), ("0.3", "Completed", 0.97), ("0.5", "Stopped", None))

    assert tunings(cloud, MemoryBlobs()).billed("try-1") == 27.0


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_tuning_job_without_a_result_says_what_its_jobs_said(status: str) -> None:
    with pytest.raises(JobFailed, match="it broke"):
        followed(Cloud(status, ("0.1", "Failed", None)))


def test_a_name_is_of_the_command_and_as_long_as_one_may_be() -> None:
    command = UUID("6f1b2c8e-6a0d-5c57-9d0e-2f6c1a5e7b11")
    assert len(tuning.tuning_name(command)) <= 32
    assert tuning.tuning_name(command) == tuning.tuning_name(command) != tuning.tuning_name(uuid4())


def test_what_tries_leave_is_deleted_when_they_are_over_or_somebody_is_forgotten() -> None:
    blobs, whole, cloud = MemoryBlobs(), made(), Cloud("InProgress")
    dataset_store.store_for_tuning(blobs, whole)
    blobs.put("tuning/try-1/try-1-001/output/model.tar.gz", b"a model")
    there = {key for key in blobs.keys("") if not key.startswith("bases/")}
    assert len(there) == 3

    found = tunings(cloud, blobs)
    found.end("try-1", lambda seconds: None)
    found.clean("try-1", whole.digest)

    assert cloud.stopped == 1
    assert not {key for key in blobs.keys("") if not key.startswith("bases/")}
    blobs.put("tuning/try-1/try-1-001/output/model.tar.gz", b"a model of a trainer that was killed")
    archive.drop_copies(blobs, datetime.min.replace(tzinfo=UTC))
    assert not list(blobs.keys("tuning/"))
