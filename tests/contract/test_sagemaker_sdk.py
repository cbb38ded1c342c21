"""Conformance: the genuine SageMaker SDK against SageMaker: what `sagemaker_sdk_session` did, judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from deploy.local.sagemaker.sdk_defaults import environment
from tests.contract.sagemaker_cases import Cloud, digits, npy, npz
from trainers.sdk_environment import sdk_environment


def test_the_sdk_trains_registers_serves_asks_changes_and_deletes(cloud: Cloud, tmp_path: Path) -> None:
    settings = cloud.settings
    images, labels = digits(20, seed=1)
    rasters = tmp_path / "rasters.npy"
    rasters.write_bytes(npy(images))

    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.sagemaker_sdk_session", cloud.put(npz()), str(rasters)],
        env={
            **os.environ,
            **settings.environment(),
            **(environment(settings) if settings.sagemaker_here else sdk_environment(settings)),
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    came = json.loads((tmp_path / "outcome.json").read_text())
    assert (came["status"], came["approval"]) == ("Completed", "Approved")
    assert came["script"] == ["Completed", "3", settings.role_arn]
    assert came["script_model"].startswith(f"s3://{settings.bucket}/sdk"), "the default bucket, which nobody named"
    assert came["listed"].pop("TrainingJob") >= 2
    assert came["listed"] == {"Endpoint": 1, "EndpointConfig": 2, "Model": 1, "ModelPackageGroup": 1, "ModelPackage": 1}
    assert (came["stopped"], came["tags"], came["scaled"]) == ("Stopped", {"team": "game"}, [3.0, 2])
    assert came["described"] == [[came["package"]], [came["package"] + "9"]]
    assert came["batch"] == [7, 10], "a transform job of what a processing job made"
    assert came["halved"] == "4.5", "a processing job with a source_dir and a requirements.txt"
    assert came["tracked"] == ["first", 3.0, 1 / 3, "Completed"], "a run of an experiment"
    assert came["variants"] == ["v1", "v2"]
    assert came["artifact"].startswith(f"s3://{settings.bucket}/sdk/")
    answered = np.load(tmp_path / "answer.npy", allow_pickle=False)
    assert (answered.argmax(axis=1) == labels).all()
    assert "round=3/3" in done.stdout + done.stderr, "the SDK shows the job's log"
