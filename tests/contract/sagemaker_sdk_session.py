"""Does what a user of the genuine SageMaker SDK does, in a process of its own: the SDK takes 1 GB and warns a lot.

`python -m tests.contract.sagemaker_sdk_session DATA_URI MODEL_BODY_FILE`, with the environment of
`trainers.sdk_environment`. The results are in outcome.json and answer.npy beside that file, since the SDK prints
what it likes.
"""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
from sagemaker.core.experiments.run import Run, list_runs
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.processing import FrameworkProcessor, ScriptProcessor
from sagemaker.core.resources import (
    Endpoint,
    EndpointConfig,
    Model,
    ModelPackage,
    ModelPackageGroup,
    ProcessingJob,
    Tag,
    TrainingJob,
    TransformJob,
)
from sagemaker.core.shapes import (
    ContainerDefinition,
    DesiredWeightAndCapacity,
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
    ProductionVariant,
    StoppingCondition,
)
from sagemaker.core.shapes import Tag as KeyAndValue
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig, SourceCode
from sagemaker.core.transformer import Transformer
from sagemaker.train.model_trainer import ModelTrainer

from contracts.settings import Settings
from tests.contract.sagemaker_data import wheel

NPY = "application/x-npy"
SCRIPT = """
import argparse, json, os
import halves
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int)
depth = parser.parse_args().depth
print("script mode, depth", depth, os.listdir(os.environ["SM_CHANNEL_TRAIN"]))
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.json"), "w") as file:
    json.dump({"depth": depth, "half": halves.half(depth)}, file)
"""
"""A user's own training script: the image gives the Python, the SDK's own driver runs it."""
PROCESS = """
import sys
import numpy as np
with np.load("/opt/ml/processing/input/data/data.npz") as arrays:
    np.save("/opt/ml/processing/output/few.npy", arrays["images"][: int(sys.argv[1])])
"""
"""A user's own processing script: the first drawings of a channel, for a transform job."""
HALVE = """
import sys
import halves
from beside import place
with open(place, "w") as file:
    file.write(str(halves.half(int(sys.argv[1]))))
"""
"""A user's own processing script with a module beside it and a package that it requires."""


def main(data: str, rasters: Path) -> dict[str, Any]:
    """Train, register, serve, ask, change and delete a model; return the results."""
    logging.basicConfig(level=logging.INFO)  # the SDK shows the job's log as an application's log
    settings = Settings.load()
    session = boto3.Session(region_name=settings.aws_region)
    source = rasters.parent / "source"
    source.mkdir()
    (source / "mine.py").write_text(SCRIPT)
    package, data_of_it = wheel("halves", "def half(number):\n    return number / 2\n")
    (source / package).write_bytes(data_of_it)
    (source / "requirements.txt").write_text(f"./{package}\n")
    (source / "beside.py").write_text('place = "/opt/ml/processing/output/half.txt"')
    code = SourceCode(source_dir=str(source), entry_script="mine.py", requirements="requirements.txt")
    named: dict[str, Any] = {
        "sagemaker_session": Session(boto_session=session, default_bucket=settings.bucket),
        "role": settings.role_arn,
        "output_data_config": OutputDataConfig(s3_output_path=f"s3://{settings.bucket}/sdk"),
    }
    found = {} if settings.sagemaker_here else named  # as the SDK finds them; on AWS only who is a role may leave it out
    trainer, scripted, long = (
        ModelTrainer(
            base_job_name=name,
            training_image=settings.image_uri("xgboost"),
            hyperparameters=hyperparameters,
            source_code=own,
            compute=Compute(instance_type=settings.training_instance, instance_count=1, volume_size_in_gb=30),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=900),
            **given,
        )
        for name, hyperparameters, own, given in (
            ("sdk", {"rounds": 3, "eta": 0.3}, None, named),
            ("sdk-script", {"depth": 3}, code, found),
            ("sdk-long", {"rounds": 100_000}, None, named),
        )
    )
    scripted.train([InputData(channel_name="train", data_source=data)], wait=False, logs=False)
    trainer.train([InputData(channel_name="train", data_source=data)], wait=True, logs=True)
    name = trainer._latest_training_job.training_job_name
    job = TrainingJob.get(name, session=session)
    artifact = job.model_artifacts.s3_model_artifacts
    script = TrainingJob.get(scripted._latest_training_job.training_job_name, session=session)
    script.wait(poll=1)
    script.refresh()
    image = settings.image_uri("xgboost")
    long.train([InputData(channel_name="train", data_source=data)], wait=False, logs=False)
    stopped = TrainingJob.get(long._latest_training_job.training_job_name, session=session)
    stopped.stop()
    stopped.wait(poll=1)
    stopped.delete()
    stopped.wait_for_delete(poll=1, timeout=900)

    alike: Any = {
        "role": settings.role_arn,
        "image_uri": image,
        "command": ["python3"],
        "instance_count": 1,
        "instance_type": settings.serving_instance,
        "sagemaker_session": trainer.sagemaker_session,
    }
    processor = ScriptProcessor(base_job_name="sdk-processing", **alike)
    (source / "few.py").write_text(PROCESS)
    few = f"s3://{settings.bucket}/sdk/{name}/few"
    channel = ProcessingS3Input(s3_uri=data, local_path="/opt/ml/processing/input/data", s3_data_type="S3Prefix")
    made = ProcessingS3Output(s3_uri=few, local_path="/opt/ml/processing/output", s3_upload_mode="EndOfJob")
    processor.run(
        code=str(source / "few.py"),
        inputs=[ProcessingInput(input_name="data", s3_input=channel)],
        outputs=[ProcessingOutput(output_name="few", s3_output=made)],
        arguments=["7"],
        wait=False,
        logs=False,
    )
    framework = FrameworkProcessor(base_job_name="sdk-framework", **alike)
    (source / "half.py").write_text(HALVE)
    halved = f"s3://{settings.bucket}/sdk/{name}/halved"
    framework.run(
        code="half.py",
        source_dir=str(source),
        requirements="requirements.txt",
        outputs=[
            ProcessingOutput(
                output_name="halved",
                s3_output=ProcessingS3Output(s3_uri=halved, local_path="/opt/ml/processing/output", s3_upload_mode="EndOfJob"),
            )
        ],
        arguments=["9"],
        wait=False,
        logs=False,
    )
    ProcessingJob.get(processor.latest_job.processing_job_name, session=session).wait(poll=1)
    ProcessingJob.get(framework.latest_job.processing_job_name, session=session).wait(poll=1)
    half = session.client("s3").get_object(Bucket=settings.bucket, Key=f"sdk/{name}/halved/half.txt")["Body"].read().decode()

    with Run(experiment_name=name, run_name="first", sagemaker_session=trainer.sagemaker_session) as run:
        run.log_parameter("depth", 3)
        for step in range(3):
            run.log_metric("loss", 1.0 / (step + 1), step=step)
    [same] = list_runs(experiment_name=name, sagemaker_session=trainer.sagemaker_session)
    component = session.client("sagemaker").describe_trial_component(TrialComponentName=f"{name}-first")
    tracked = [same.run_name, component["Parameters"]["depth"]["NumberValue"], component["Metrics"][0]["Min"]]

    group = ModelPackageGroup.create(model_package_group_name=f"sdk-{uuid4()}", session=session)
    # ModelPackage.create and delete of sagemaker 3.27 read a ModelPackageName from the answer, which AWS does not give either.
    registered = session.client("sagemaker").create_model_package(
        ModelPackageGroupName=group.model_package_group_name,
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": artifact}],
            "SupportedContentTypes": [NPY],
            "SupportedResponseMIMETypes": [NPY],
        },
        ModelApprovalStatus="PendingManualApproval",
    )
    package = ModelPackage.get(registered["ModelPackageArn"], session=session)
    package.update(model_approval_status="Approved")
    several = package.batch_get([package.model_package_arn, f"{package.model_package_arn}9"], session=session)
    arn = group.model_package_group_arn
    Tag.add_tags(arn, [KeyAndValue(key="team", value="game"), KeyAndValue(key="stage", value="test")], session=session)
    Tag.delete_tags(arn, ["stage"], session=session)
    tags = {tag.key: tag.value for tag in Tag.get_all(arn, session=session)}

    Model.create(
        model_name=name,
        primary_container=ContainerDefinition(image=image, model_data_url=artifact),
        execution_role_arn=settings.role_arn,
        session=session,
    )
    transformer = Transformer(
        model_name=name,
        instance_count=1,
        instance_type=settings.serving_instance,
        accept=NPY,
        output_path=few,
        base_transform_job_name="sdk-transform",
        sagemaker_session=trainer.sagemaker_session,
    )
    transformer.transform(f"{few}/few.npy", content_type=NPY, wait=False, logs=False)
    TransformJob.get(transformer.latest_transform_job.transform_job_name, session=session).wait(poll=1)
    answered = session.client("s3").get_object(Bucket=settings.bucket, Key=f"sdk/{name}/few/few.npy.out")["Body"].read()
    for version in ("v1", "v2"):
        EndpointConfig.create(
            endpoint_config_name=f"{name}-{version}"[-63:],
            production_variants=[
                ProductionVariant(
                    variant_name=version, model_name=name, initial_instance_count=1, instance_type=settings.serving_instance
                )
            ],
            session=session,
        )
    endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=f"{name}-v1"[-63:], session=session)
    endpoint.wait_for_status("InService", poll=1, timeout=1800)
    first = endpoint.invoke(body=rasters.read_bytes(), content_type=NPY, accept=NPY)
    endpoint.endpoint_config_name = f"{name}-v2"[-63:]
    endpoint.update()
    endpoint.wait_for_status("InService", poll=1, timeout=1800)
    second = endpoint.invoke(body=rasters.read_bytes(), content_type=NPY, accept=NPY)
    (rasters.parent / "answer.npy").write_bytes(second.body.read())
    two = DesiredWeightAndCapacity(variant_name="v2", desired_weight=3.0, desired_instance_count=2)
    endpoint.update_weights_and_capacities([two], session=session)
    endpoint.wait_for_status("InService", poll=1, timeout=1800)
    [variant] = Endpoint.get(name, session=session).production_variants
    listed = {
        "TrainingJob": [one.training_job_name for one in TrainingJob.get_all(session=session, status_equals="Completed")],
        "Endpoint": [one.endpoint_name for one in Endpoint.get_all(session=session, name_contains=name)],
        "EndpointConfig": [one.endpoint_config_name for one in EndpointConfig.get_all(session=session, name_contains=name)],
        "Model": [one.model_name for one in Model.get_all(session=session, name_contains=name)],
        "ModelPackageGroup": [
            one.model_package_group_name
            for one in ModelPackageGroup.get_all(session=session, name_contains=group.model_package_group_name)
        ],
        "ModelPackage": [
            one.model_package_arn
            for one in ModelPackage.get_all(session=session, model_package_group_name=group.model_package_group_name)
        ],
    }
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=900)
    for version in ("v1", "v2"):
        EndpointConfig.get(f"{name}-{version}"[-63:], session=session).delete()
    Model.get(name, session=session).delete()
    approval = ModelPackage.get(package.model_package_arn, session=session).model_approval_status
    session.client("sagemaker").delete_model_package(ModelPackageName=package.model_package_arn)
    group.delete()
    return {
        "status": job.training_job_status,
        "artifact": artifact,
        "variants": [first.invoked_production_variant, second.invoked_production_variant],
        "approval": approval,
        "stopped": stopped.training_job_status,
        "described": [list(several.model_package_summaries), list(several.batch_describe_model_package_error_map)],
        "package": package.model_package_arn,
        "tags": tags,
        "scaled": [variant.current_weight, variant.current_instance_count],
        "script": [script.training_job_status, script.hyper_parameters["depth"], script.role_arn],
        "script_model": script.model_artifacts.s3_model_artifacts,
        "halved": half,
        "tracked": [*tracked, component["Status"]["PrimaryStatus"]],
        "batch": list(np.load(io.BytesIO(answered), allow_pickle=False).shape),
        "listed": {kind: len(found) for kind, found in listed.items()},
    }


if __name__ == "__main__":
    Path(sys.argv[2]).with_name("outcome.json").write_text(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
