"""What becomes of the training jobs of a tuning job when the service is killed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deploy.local.sagemaker.job_runs import MOST_RESTARTS, JobParts
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.training import KIND, TrainingJobs
from deploy.local.sagemaker.tuning import TuningJobs

OBJECTIVE = {"Type": "Maximize", "MetricName": "accuracy"}


def killed(state: State, child: str, **members: Any) -> None:
    """Leave a tuning job, and a training job of it, as a service that was killed did."""
    tuning = {
        "HyperParameterTuningJobName": "tuned",
        "HyperParameterTuningJobArn": "arn:tuned",
        "HyperParameterTuningJobConfig": {"HyperParameterTuningJobObjective": OBJECTIVE},
        "CreationTime": 1.0,
        **members,
    }
    trained = {
        "TrainingJobName": "tried",
        "TrainingJobArn": "arn:tried",
        "TuningJobArn": "arn:tuned",
        "TrainingJobStatus": child,
        "SecondaryStatus": "Training",
        "SecondaryStatusTransitions": [],
        "CreationTime": 1.0,
        "_Tried": {"Values": {}, "Objective": OBJECTIVE},
    }
    state.put(TuningJobs.kind, "tuned", tuning)
    state.put(KIND, "tried", trained)


@pytest.mark.parametrize("child", ["InProgress", "Stopping"])
@pytest.mark.parametrize(
    ("left", "status"),
    [
        ({"HyperParameterTuningJobStatus": "Stopping"}, "Stopped"),
        (
            {
                "HyperParameterTuningJobStatus": "InProgress",
                "HyperParameterTuningStartTime": 1.0,
                "_Restarts": MOST_RESTARTS,
            },
            "Failed",
        ),
    ],
)
async def test_a_tuning_job_that_is_not_taken_up_again_takes_its_training_jobs_with_it(
    tmp_path: Path, left: dict[str, Any], status: str, child: str
) -> None:
    state, names = State(tmp_path / "state.sqlite"), Names("us-east-1", "1" * 12)
    unused: Any = None
    parts = JobParts(state, names, Tags(state), tmp_path, images=unused, objects=unused, logs=unused, experiments=unused)
    killed(state, child, **left)
    training = TrainingJobs(parts, unused)
    tuning = TuningJobs(parts, training)

    training.recover()
    tuning.recover()
    async with asyncio.timeout(5):
        while training.task("tried"):
            await asyncio.sleep(0)

    tried, tuned = state.get(KIND, "tried"), state.get(TuningJobs.kind, "tuned")
    assert tried
    assert tuned
    assert (tuned["HyperParameterTuningJobStatus"], tried["TrainingJobStatus"]) == (status, "Stopped")
    assert training.task("tried") is None
    assert tuned["TrainingJobStatusCounters"] == {
        "Completed": 0,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 1,
    }
    state.close()
