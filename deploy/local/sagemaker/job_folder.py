"""Makes a training job's /opt/ml, and reads from it the model or the reason of a failure."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.objects import Objects

FAILURE_LENGTH: Final = 1024
"""The most characters of a FailureReason."""
_LONGEST_TEXT: Final = 65536


def lay_out(objects: Objects, document: Document, folder: Path) -> None:
    """Make /opt/ml anew: configuration and channels."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (folder / part).mkdir(parents=True)
    channels = document.get("InputDataConfig", [])
    for channel in channels:
        source = channel["DataSource"]["S3DataSource"]
        objects.download_prefix(source["S3Uri"], folder / "input" / "data" / channel["ChannelName"])
    _write_configuration(document, folder / "input" / "config")


def upload(objects: Objects, document: Document, folder: Path) -> str:
    """Put the job's results into S3; return the address of its model."""
    output = document["OutputDataConfig"]
    base = f"{output['S3OutputPath'].rstrip('/')}/{document['TrainingJobName']}/output"
    data, model = folder / "output" / "data", folder / "model"
    if kept := own_files(folder, data):
        objects.upload_archive(kept, data, f"{base}/output.tar.gz")
    if output.get("CompressionType") == "NONE":
        objects.upload_files(own_files(folder, model), model, f"{base}/model/")
        return f"{base}/model/"
    objects.upload_archive(own_files(folder, model), model, f"{base}/model.tar.gz")
    return f"{base}/model.tar.gz"


def variables(document: Document, region: str) -> dict[str, str]:
    """Return what SageMaker tells the container of a training job, and the job's own variables."""
    told = {"TRAINING_JOB_NAME": document["TrainingJobName"], "TRAINING_JOB_ARN": document["TrainingJobArn"]}
    return {**told, "AWS_REGION": region, **document.get("Environment", {})}


def required(folder: Path) -> str | None:
    """Return the requirements file in the channel ``code`` that the SDK's script mode was asked to install; None: none."""
    file = folder / "input" / "data" / "sm_drivers" / "sourcecode.json"
    try:
        told = json.loads(file.read_text()) if file.is_file() else {}
    except ValueError:
        return None
    name = told.get("requirements") if isinstance(told, dict) else None
    if name == "auto":
        name = "requirements.txt"
    if not isinstance(name, str) or not own_text(folder, folder / "input" / "data" / "code" / name):
        return None
    return Path(name).as_posix()


def own_files(folder: Path, part: Path) -> list[Path]:
    """Return the files in a part of a job's folder, in the order of their names.

    What a link leads to is left out, unless it is the job's own: this service can read more than the job could.
    """
    whole = folder.resolve()
    return sorted(path for path in part.rglob("*") if path.is_file() and path.resolve().is_relative_to(whole))


def own_text(folder: Path, file: Path) -> str:
    """Return the text of a file in a job's folder; empty, if there is none, or a link leads elsewhere."""
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        return ""
    with file.open(errors="replace") as text:
        return text.read(_LONGEST_TEXT).strip()


def _write_configuration(document: Document, folder: Path) -> None:
    resources = document.get("ResourceConfig", {})
    files: Mapping[str, Document] = {
        "hyperparameters.json": document.get("HyperParameters", {}),
        "inputdataconfig.json": {
            channel["ChannelName"]: {
                "TrainingInputMode": channel.get("InputMode", "File"),
                "S3DistributionType": channel["DataSource"]["S3DataSource"].get("S3DataDistributionType", "FullyReplicated"),
                "RecordWrapperType": channel.get("RecordWrapperType", "None"),
                "ContentType": channel.get("ContentType", ""),
            }
            for channel in document.get("InputDataConfig", [])
        },
        "resourceconfig.json": {
            "current_host": "algo-1",
            "current_instance_type": resources.get("InstanceType", "ml.m5.large"),
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [
                {
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": resources.get("InstanceType", "ml.m5.large"),
                    "hosts": ["algo-1"],
                }
            ],
            "network_interface_name": "lo",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def failure_reason(folder: Path, code: int) -> str:
    """Return the FailureReason of a `train` that failed: the message that it wrote, cut to leave room for the exit code."""
    file = folder / "output" / "failure"
    told = own_text(folder, file) or "Please use the logs for what it printed"
    ending = f", exit code: {code if code >= 0 else 128 - code}"
    return f"AlgorithmError: {told}"[: FAILURE_LENGTH - len(ending)] + ending
