"""Runs a spying script in a training job and a model's server of the local SageMaker; prints as JSON what each could reach.

`tests.containers` gives it to the Python of the trainer's container, which may make jobs and endpoints. The job runs a script
from its input; the server is xgboost's own, with an artifact of which Python runs code before anything else.
"""

import contextlib
import io
import json
import tarfile
import time
from typing import Any, Final
from uuid import uuid4

import boto3
from botocore.exceptions import ClientError

from contracts.settings import AWS_SECRETS, Settings

PATIENCE_S: Final = 60.0
MARK: Final = "reached: "
SPY: Final = """
import glob, json, os

reached = []

def attempt(name, what):
    try:
        found = what()
    except OSError:
        return
    if found:
        reached.append(name)

def others(of):
    mine = {str(os.getpid()), "self", "thread-self"}
    return [path for path in glob.glob(f"/proc/*/{of}") if path.split("/")[2] not in mine]

def any_of(paths, what):
    for path in paths:
        try:
            if what(path):
                return True
        except OSError:
            pass

def written(path):
    with open(path, "w") as file:
        file.write("x")
    os.remove(path)
    return True

attempt("the secrets' folder", lambda: os.listdir("/data/secrets"))
attempt("a secret", lambda: any_of(["/data/secrets/aws_secret_access_key"], lambda path: open(path).read()))
attempt("a secret by way of another process", lambda: any_of(others("root"), lambda path: os.listdir(path + "/data/secrets")))
attempt("another process's environment", lambda: any_of(others("environ"), lambda path: open(path).read()))
attempt("another process's memory", lambda: any_of(others("mem"), lambda path: open(path, "rb")))
attempt("the service's state", lambda: open("/data/sagemaker/state.sqlite", "rb").read(16))
attempt("writing to the home", lambda: written("/data/planted"))
attempt("writing to the program", lambda: written("/opt/gamenight/.tools/planted"))
attempt("its own folder", lambda: written("model/written"))
print(MARK + json.dumps(reached), flush=True)
""".replace("MARK", repr(MARK))


class Stage:
    """The services on which jobs and servers are made to run a script."""

    def __init__(self) -> None:
        """Make clients of the services that the settings name."""
        self.settings = settings = Settings.load(secrets=AWS_SECRETS)
        self.sagemaker, self.s3, self.logs = (boto3.client(name, **settings.aws(name)) for name in ("sagemaker", "s3", "logs"))
        self.name = f"spy-{uuid4().hex[:8]}"
        self.place = f"s3://{settings.bucket}/{self.name}"
        self.image = settings.image_uri("xgboost")

    def job(self) -> list[str]:
        """Return what a training job reaches."""
        self.put("input/spy.py", SPY.encode())
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{self.place}/input/"}}
        self.sagemaker.create_training_job(
            TrainingJobName=self.name,
            AlgorithmSpecification={
                "TrainingImage": self.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python", "input/data/spy/spy.py"],
            },
            RoleArn=self.settings.role_arn,
            InputDataConfig=[{"ChannelName": "spy", "DataSource": source}],
            OutputDataConfig={"S3OutputPath": f"{self.place}/output"},
            ResourceConfig={"InstanceCount": 1, "InstanceType": self.settings.training_instance, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        return self.told("/aws/sagemaker/TrainingJobs", lambda: self.sagemaker.describe_training_job(TrainingJobName=self.name))

    def server(self) -> list[str]:
        """Return what a model's server reaches."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("sitecustomize.py")
            member.size = len(SPY.encode())
            archive.addfile(member, io.BytesIO(SPY.encode()))
        self.put("model.tar.gz", packed.getvalue())
        self.sagemaker.create_model(
            ModelName=self.name,
            PrimaryContainer={
                "Image": self.image,
                "ModelDataUrl": f"{self.place}/model.tar.gz",
                "Environment": {"PYTHONPATH": "model"},
            },
            ExecutionRoleArn=self.settings.role_arn,
        )
        variant = {"VariantName": "only", "ModelName": self.name, "InitialInstanceCount": 1}
        variant["InstanceType"] = self.settings.serving_instance
        self.sagemaker.create_endpoint_config(EndpointConfigName=self.name, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=self.name)
        try:
            return self.told(
                f"/aws/sagemaker/Endpoints/{self.name}", lambda: self.sagemaker.describe_endpoint(EndpointName=self.name)
            )
        finally:
            self.sagemaker.delete_endpoint(EndpointName=self.name)
            self.sagemaker.delete_endpoint_config(EndpointConfigName=self.name)
            self.sagemaker.delete_model(ModelName=self.name)

    def put(self, key: str, body: bytes) -> None:
        """Put an object into the bucket, where jobs and servers find it."""
        self.s3.put_object(Bucket=self.settings.bucket, Key=f"{self.name}/{key}", Body=body)

    def told(self, group: str, described: Any) -> list[str]:
        """Wait for the output of a script in a log, and return it.

        Raises:
            RuntimeError: If the output does not come in time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ClientError):  # the group does not exist before its first line
                for event in self.logs.filter_log_events(logGroupName=group)["events"]:
                    if event["message"].startswith(MARK) and self.name in (group + event["logStreamName"]):
                        reached: list[str] = json.loads(event["message"].removeprefix(MARK))
                        return reached
            time.sleep(0.2)
        raise RuntimeError(f"it has said nothing in {PATIENCE_S:.0f} s: {described()}")


if __name__ == "__main__":
    stage = Stage()
    print(json.dumps({"training job": stage.job(), "model's server": stage.server()}))
