"""Asks SageMaker for jobs through its SDK: a training job, or a tuning job that tries several settings (way 3, REBUILD).

The SDK takes 220 MB of memory and 2.4 s of a processor to import, so this is ``python -m trainers.sdk_jobs``, a process of its
own: it reads one request (a line of JSON) and answers with one. Nobody else imports ``sagemaker``.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from contracts.settings import AWS_SECRETS, Settings
from trainers.jobs import JobRequest

METRIC: Final = "validation:accuracy"
"""What tuning jobs compare settings by; every image prints it where there is a channel ``validation``."""
_REGEX: Final = r"validation-accuracy=([0-9.]+)"
_SLOW: Final = ("rfc3987_syntax", "isoduration")
"""Packages that jsonschema, inside the SDK, imports where they are, as JupyterLab wants them, for formats that no schema of the
SDK has: the first of them builds its parser meanwhile, which takes longer than the rest of the SDK."""
_CONTENT: Final[dict[str, Any]] = {"model": {"content_type": "application/x-sagemaker-model"}}
"""What a channel needs besides: of an artifact that training goes on from, SageMaker's own name of its content."""


def submit_with_sdk(settings: Settings, read: Callable[[], str]) -> str | None:
    """Read a request after the import and start its job; return the error, or None.

    Twice is harmless: the second is refused by its name, and that is no error here.
    """
    import sagemaker.train.model_trainer as trainer
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.parameter import CategoricalParameter
    from sagemaker.core.shapes import StoppingCondition
    from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig
    from sagemaker.train.tuner import HyperparameterTuner

    line = read()
    if not line:
        return "no request came"
    request = JobRequest(**json.loads(line))
    region = settings.aws("sagemaker")["region_name"]
    session = Session(boto_session=boto3.Session(region_name=region), default_bucket=settings.bucket)
    made = trainer.ModelTrainer(
        sagemaker_session=session,
        role=settings.role_arn,
        base_job_name=request.name,
        training_image=request.image,
        hyperparameters=request.hyperparameters,
        environment=request.environment,
        compute=Compute(**_compute(settings, request.instances)),
        stopping_condition=StoppingCondition(**_limits(settings)),
        output_data_config=OutputDataConfig(s3_output_path=request.output),
    )
    inputs = [InputData(channel_name=name, data_source=uri, **_CONTENT.get(name, {})) for name, uri in request.channels.items()]
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # from here on the job may be there, and whoever stops it waits for the answer
    try:
        if request.grid:
            tuner = HyperparameterTuner(
                made,
                METRIC,
                {name: CategoricalParameter(values) for name, values in request.grid.items()},
                metric_definitions=[{"Name": METRIC, "Regex": _REGEX}],
                strategy="Grid",
                max_parallel_jobs=request.at_once,
            )
            tuner.tune(inputs, job_name=request.name, wait=False)
        else:
            made.train(inputs, wait=False, logs=False)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceInUse":
            return None
        return str(error)
    except BotoCoreError as error:
        return str(error)
    return None


def _compute(settings: Settings, instances: int) -> dict[str, Any]:
    """Return on what a job runs."""
    spot = {"enable_managed_spot_training": True} if settings.training_spot else {}
    return {"instance_type": settings.training_instance, "instance_count": instances, "volume_size_in_gb": 10, **spot}


def _limits(settings: Settings) -> dict[str, int]:
    """Return how long a job may take; SageMaker wants to know how long one waits for spare instances."""
    limit = settings.training_limit_s
    wait = {"max_wait_time_in_seconds": max(limit, settings.training_wait_s)} if settings.training_spot else {}
    return {"max_runtime_in_seconds": limit, **wait}


def leave_out_slow() -> None:
    """Let nobody in this process import what the SDK can do without and waits long for."""
    for name in _SLOW:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # as if it was not installed


def main() -> None:
    """Answer on standard output; whatever the SDK prints goes to standard error."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    leave_out_slow()
    error = submit_with_sdk(Settings.load(secrets=AWS_SECRETS), sys.stdin.readline)
    print(json.dumps({"error": error}), file=answer, flush=True)


if __name__ == "__main__":
    main()
