"""Measures whether one manifest always makes the same bytes, for `tests.bench.training`: datasets, and models of one dataset.

A dataset is made of 3,600 labels of players, by the learner's trust, and stored; other processes make it again from the archive
on S3, with another seed of hashes, time zone, locale, umask and number of threads, and with other Pythons where there are any.
Then each image trains on it in jobs of the local SageMaker, with one thread and with several, and artifacts are compared.
``python -m tests.bench.training_manifest DIGEST`` is such another process.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import numpy as np

from contracts.events import PLAYER_PARTITIONS, ExampleLabelled, RetrainModel
from contracts.settings import AWS_SECRETS, Settings
from deploy.local.supervisor import running
from producers.blobs import S3Blobs
from producers.bus import open_bus
from producers.placement import partition_of
from tests.bench.training_labels import LABELS, judged_lessons, labelled
from tests.bench.training_people import ROOT, fresh
from tests.sinks import keep
from trainers.archive import Archive
from trainers.dataset import LabelledImages, from_npz, to_npz
from trainers.dataset_making import DatasetMaker
from trainers.dataset_store import Stored, verify
from trainers.example_sink import Placed
from trainers.model_log import ModelLog
from trainers.rebuild_progress import Teller

PLACES: Final[Mapping[str, Mapping[str, str]]] = {
    "hashes by chance, Kiritimati, POSIX, umask 077, one thread": {
        "PYTHONHASHSEED": "random",
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "UMASK": "077",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    },
    "hashes by 1, St John's, UTF-8, umask 002, eight threads": {
        "PYTHONHASHSEED": "1",
        "TZ": "America/St_Johns",
        "LC_ALL": "C.UTF-8",
        "UMASK": "002",
        "OPENBLAS_NUM_THREADS": "8",
        "OMP_NUM_THREADS": "8",
    },
}
ONE: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
SHORT: Final[Mapping[str, Mapping[str, str]]] = {
    "xgboost": {"rounds": "15"},
    "tensorflow": {"epochs": "1"},
    "mxnet": {"epochs": "1"},
    "kmeans": {"clusters": "200", "rounds": "4"},
}
"""Hyperparameters of short trainings."""
IMAGES: Final = 6_000
"""How many images of MNIST are learned beside the players'."""


def manifest(models: Sequence[str], pythons: Sequence[str]) -> Iterator[str]:
    """Make a dataset and models, again and again; yield what is the same.

    Args:
        models: Which models.
        pythons: Other interpreters that make the dataset, with the packages of requirements/main.txt.
    """
    with tempfile.TemporaryDirectory(prefix="gamenight-", ignore_cleanup_errors=True) as folder:
        yield from _manifest(fresh(folder), models, pythons)


def _manifest(settings: Settings, models: Sequence[str], pythons: Sequence[str]) -> Iterator[str]:
    with running(settings, ["s3", "sagemaker"]):
        there = dataset(settings, labelled(0, (), LABELS))
        yield f"dataset {there.digest[:12]}: {there.feedback} labels of players"
        for name, environment in PLACES.items():
            for python in (sys.executable, *pythons):
                yield f"  {_version(python)}, {name}: {again(settings, there.digest, python, environment)}"
        for model in models:
            yield from models_of(settings, there, model)


def dataset(settings: Settings, examples: Sequence[ExampleLabelled]) -> Stored:
    """Archive examples, and make and store a dataset of them and of the learner's lessons."""
    blobs, bus = S3Blobs(settings), open_bus(f"memory://{uuid4()}")
    boto3.client("s3", **settings.aws("s3")).create_bucket(Bucket=settings.bucket)
    places: dict[int, list[Placed]] = {}
    for example in examples:
        of = places.setdefault(partition_of(example.player_id.encode(), PLAYER_PARTITIONS), [])
        of.append(Placed(len(of), example))
    for partition, batch in places.items():
        keep(Archive(blobs), partition, batch)
    for lesson in judged_lessons(0, examples):
        bus.publish(lesson).result()
    model_log = ModelLog(settings.roster())
    maker = DatasetMaker(settings, bus, blobs, lambda look: 0, model_log, lambda seconds: None)
    command = RetrainModel(command_id=uuid4(), target="xgboost", by="bench")
    return maker.stored(*maker.assembled(command, Teller(bus, model_log, command, "1")), command, settings.seed)


def again(settings: Settings, digest: str, python: str, environment: Mapping[str, str]) -> str:
    """Make a dataset again in another process, and say what came of it."""
    given = {**os.environ, **settings.environment(), **environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, "-m", "tests.bench.training_manifest", digest], cwd="/", env=given, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or f"FAILED: {done.stderr[-500:]}"


def models_of(settings: Settings, there: Stored, model: str) -> Iterator[str]:
    """Train on one dataset again and again; yield which artifacts are the same."""
    blobs = S3Blobs(settings)
    whole = from_npz(blobs.get(f"{there.base}images.npz"))
    rows = np.arange(IMAGES)
    blobs.put("bases/some/images.npz", to_npz(LabelledImages(whole.images[rows], whole.labels[rows], whole.weights[rows])))
    digests = {}
    places = [dict(list(place.items())[:3]) for place in PLACES.values()]
    for name, threads, place in (
        ("one thread", ONE, places[0]),
        ("one thread, elsewhere", ONE, places[1]),
        ("all threads", {}, places[0]),
        ("all threads, elsewhere", {}, places[1]),
    ):
        one = {"nthread": "1"} if model == "xgboost" and threads else {}
        hyperparameters = {**SHORT.get(model, {}), **one}
        digests[name] = trained(settings, there, model, hyperparameters, {**threads, **place})
        yield f"  {model:10} {name:22} {digests[name][:12]}"
    first, second, third, fourth = digests.values()
    yield (
        f"{model}: with one thread {'the same' if first == second else 'DIFFERENT'} bytes; with all threads"
        f" {'the same' if third == fourth else 'different'}, {'and' if third == first else 'not'} those of one thread"
    )


def trained(settings: Settings, there: Stored, model: str, given: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Run a training job, and return the digest of its artifact."""
    sagemaker: Any = boto3.client("sagemaker", **settings.aws("sagemaker"))
    name = f"manifest-{model}-{uuid4()}"[:63]

    def channel(called: str, prefix: str) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{settings.bucket}/{prefix}"}
        return {"ChannelName": called, "DataSource": {"S3DataSource": source}}

    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": settings.image_uri(model), "TrainingInputMode": "File"},
        RoleArn=settings.role_arn,
        InputDataConfig=[channel("base", "bases/some/"), channel("train", there.train)],
        OutputDataConfig={"S3OutputPath": f"s3://{settings.bucket}/manifest"},
        ResourceConfig={"InstanceType": settings.training_instance, "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
        HyperParameters={**given, "seed": str(settings.seed)},
        Environment=dict(environment),
    )
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] == "InProgress":
        time.sleep(0.5)
    if job["TrainingJobStatus"] != "Completed":
        raise RuntimeError(f"{name}: {job.get('FailureReason')}")
    artifact = S3Blobs(settings).get(urlsplit(job["ModelArtifacts"]["S3ModelArtifacts"]).path.lstrip("/"))
    return hashlib.sha256(artifact).hexdigest()


def _version(python: str) -> str:
    done = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Make a dataset again from its manifest, and print what was found."""
    if mask := os.environ.get("UMASK"):
        os.umask(int(mask, 8))
    here = Settings.load(secrets=(*AWS_SECRETS, "holdout_key"))
    found = verify(S3Blobs(here), sys.argv[1], here.holdout_key or "")
    print(
        "; ".join(f"{one.what} {one.told}" for one in found[-1:]) if all(one.holds for one in found) else f"DIFFERENT {found}"
    )


if __name__ == "__main__":
    main()
