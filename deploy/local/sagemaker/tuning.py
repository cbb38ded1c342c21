"""Runs hyperparameter tuning jobs: training jobs with different hyperparameters, some side by side, and the best of them."""

import asyncio
import hashlib
import itertools
from pathlib import Path
from typing import Any, Final

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.candidates import candidates, combinations, wrong
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.job_runs import JobParts, JobRun, JobRuns, RunFailed
from deploy.local.sagemaker.training import KIND, TrainingJobs

_STRATEGIES: Final = ("Random", "Bayesian", "Grid")
_HOPELESS: Final = 5
"""After so many training jobs that all failed, the others are not tried; it is SageMaker's own number."""
_OBJECTIVE: Final = "_tuning_objective_metric"
"""The hyperparameter by which SageMaker tells a training job what it is judged by."""
_RUNNING: Final = ("InProgress", "Stopping")
_TAKEN: Final = (
    *("AlgorithmSpecification", "RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "StoppingCondition"),
    *("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining", "Environment"),
)
"""The members of a TrainingJobDefinition that are those of a training job too."""


class TuningJobs(JobRuns):
    """Keeps and runs tuning jobs; `TrainingJobs` runs what they try."""

    kind = "hyper-parameter-tuning-job"
    prefix = "HyperParameterTuning"

    def __init__(self, parts: JobParts, training: TrainingJobs) -> None:
        """Keep the parts. A tuning job does nothing itself, so it needs no turn."""
        super().__init__(parts, asyncio.Semaphore(1000))
        self._training = training

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return super().operations() | {
            "DeleteHyperParameterTuningJob": self.delete,
            "ListTrainingJobsForHyperParameterTuningJob": self.page_training_jobs,
        }

    def refuse(self, request: Document) -> None:
        """Refuse what this machine does not do, and ranges from which nothing can be chosen."""
        config, definition = request["HyperParameterTuningJobConfig"], request.get("TrainingJobDefinition")
        if definition is None or request.get("TrainingJobDefinitions"):
            raise invalid("A tuning job needs a TrainingJobDefinition; several are not on this machine")
        for absent in ("WarmStartConfig", "Autotune"):
            if request.get(absent):
                raise invalid(f"{absent} is not on this machine")
        strategy, objective = config["Strategy"], config.get("HyperParameterTuningJobObjective")
        if strategy not in _STRATEGIES:
            raise invalid(f"Strategy {strategy} is not on this machine: take {', '.join(_STRATEGIES)}")
        if objective is None:
            raise invalid("A tuning job needs a HyperParameterTuningJobObjective")
        known = [one["Name"] for one in definition["AlgorithmSpecification"].get("MetricDefinitions", [])]
        if objective["MetricName"] not in known:
            raise invalid(f"The objective metric {objective['MetricName']} has no MetricDefinition: there are {known}")
        ranges = config.get("ParameterRanges", {})
        if told := wrong(strategy, ranges):
            raise invalid(f"ParameterRanges: {told}")
        most = config["ResourceLimits"].get("MaxNumberOfTrainingJobs")
        if strategy == "Grid" and most not in (None, combinations(ranges)):
            raise invalid(f"MaxNumberOfTrainingJobs of a grid is the number of its combinations, {combinations(ranges)}")
        if strategy != "Grid" and most is None:
            raise invalid("ResourceLimits needs MaxNumberOfTrainingJobs")
        self._training.refuse(_request(request, {}))

    async def create(self, request: Document) -> Document:
        """Start a tuning job."""
        told = await super().create(request)
        self._count(self.runs[request["HyperParameterTuningJobName"]].document)
        return told

    async def page(self, request: Document) -> Document:
        """Return a page of tuning jobs, newest first."""
        answer = await super().page(request)
        for one in answer["HyperParameterTuningJobSummaries"]:
            config = one["HyperParameterTuningJobConfig"]
            one |= {"Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]}
        return answer

    async def page_training_jobs(self, request: Document) -> Document:
        """Return a page of the training jobs of a tuning job."""
        document = self.get(request["HyperParameterTuningJobName"])
        found = [_summary(one) for one in self._tried(document)]
        if "StatusEquals" in request:
            found = [one for one in found if one["TrainingJobStatus"] == request["StatusEquals"]]
        sort = request.get("SortBy", "Name")
        if sort == "FinalObjectiveMetricValue":
            found = [one for one in found if _value(one) is not None]

        def key(one: Document) -> Any:
            members = {"Name": "TrainingJobName", "CreationTime": "CreationTime", "Status": "TrainingJobStatus"}
            return _value(one) if sort not in members else one[members[sort]]

        found.sort(key=key, reverse=request.get("SortOrder", "Ascending") == "Descending")
        token, size = request.get("NextToken", "0"), request.get("MaxResults", 10)
        if not token.isdigit():
            raise invalid("Invalid NextToken")
        start = int(token)
        more = str(start + size) if len(found) > start + size else None
        return {"TrainingJobSummaries": found[start : start + size], "NextToken": more}

    def left(self, document: Document) -> None:
        """End the training jobs of a tuning job that is not taken up again."""
        for one in self._tried(document):
            self._training.give_up(one)
        self._count(document)

    async def work(self, run: JobRun, folder: Path) -> str:
        """Begin training jobs, as many at a time as are wanted, until enough have ended."""
        document = run.document
        config = document["HyperParameterTuningJobConfig"]
        limits, ranges = config["ResourceLimits"], config.get("ParameterRanges", {})
        name = document["HyperParameterTuningJobName"]
        most = limits.get("MaxNumberOfTrainingJobs") or combinations(ranges)
        seed = config.get("RandomSeed", int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
        tries = enumerate(itertools.islice(candidates(config["Strategy"], ranges, seed), most), 1)
        deadline = document["CreationTime"] + limits.get("MaxRuntimeInSeconds", float("inf"))
        known = {one["TrainingJobName"] for one in self._tried(document)}
        under_way: dict[str, asyncio.Task[None]] = {}
        asked = asyncio.create_task(run.stopping.wait())
        try:
            while True:
                ending = run.stopping.is_set() or wire.now() >= deadline or self._hopeless(document)
                while not ending and len(under_way) < limits["MaxParallelTrainingJobs"]:
                    number, values = next(tries, (0, {}))
                    if not number:
                        break
                    job = f"{name}-{number:03d}-{hashlib.sha256(repr((name, number, seed)).encode()).hexdigest()[:8]}"
                    if job not in known:
                        await self._training.create(_request(document, values) | {"TrainingJobName": job})
                    if task := self._training.task(job):
                        under_way[job] = task
                self._count(document)
                if not under_way:
                    break
                if ending:
                    for job in under_way:
                        await self._end_training(job)
                pending = {*under_way.values()} if ending else {*under_way.values(), asked}
                patience = None if ending or deadline == float("inf") else max(0.0, deadline - wire.now())
                await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                under_way = {job: task for job, task in under_way.items() if not task.done()}
        finally:
            asked.cancel()
        if run.stopping.is_set():
            return "Stopped"
        if not document["TrainingJobStatusCounters"]["Completed"]:
            raise RunFailed(
                f"No training job succeeded after {len(self._tried(document))} attempts."
                " Please take a look at the training job failures to get more details."
            )
        return "Completed"

    async def _end_training(self, job: str) -> None:
        try:
            await self._training.stop({"TrainingJobName": job})
        except AwsError:  # it has ended meanwhile
            return

    def _tried(self, document: Document) -> list[Document]:
        arn = document["HyperParameterTuningJobArn"]
        return [one for one in self.state.all(KIND) if one.get("TuningJobArn") == arn]

    def _hopeless(self, document: Document) -> bool:
        statuses = [one["TrainingJobStatus"] for one in self._tried(document)]
        return len(statuses) >= _HOPELESS and all(status == "Failed" for status in statuses)

    def _count(self, document: Document) -> None:
        """Write into a tuning job how its training jobs are doing, and which is the best."""
        found = [_summary(one) for one in self._tried(document)]
        statuses = [one["TrainingJobStatus"] for one in found]
        objectives = [one["ObjectiveStatus"] for one in found]
        document |= {
            "TrainingJobStatusCounters": {
                "Completed": statuses.count("Completed"),
                "InProgress": sum(map(statuses.count, _RUNNING)),
                "RetryableError": 0,
                "NonRetryableError": statuses.count("Failed"),
                "Stopped": statuses.count("Stopped"),
            },
            "ObjectiveStatusCounters": {word: objectives.count(word) for word in ("Succeeded", "Pending", "Failed")},
        }
        judged = [one for one in found if one["ObjectiveStatus"] == "Succeeded"]
        best = (
            max if document["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] == "Maximize" else min
        )
        if judged:
            document["BestTrainingJob"] = best(judged, key=lambda one: float(_value(one) or 0.0))
        self.keep(document, document["HyperParameterTuningJobStatus"])


def _request(tuning: Document, values: dict[str, str]) -> Document:
    """Return the request for a training job that tries some values."""
    definition = tuning["TrainingJobDefinition"]
    objective = tuning["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    specification = definition["AlgorithmSpecification"]
    resources = definition.get("ResourceConfig") or {
        name: value
        for name, value in definition.get("HyperParameterTuningResourceConfig", {}).items()
        if name != "InstanceConfigs"
    }
    return {
        **{name: definition[name] for name in _TAKEN if name in definition},
        "AlgorithmSpecification": specification,
        "ResourceConfig": {"InstanceCount": 1, **resources},
        "HyperParameters": {**definition.get("StaticHyperParameters", {}), **values, _OBJECTIVE: objective["MetricName"]},
        "TuningJobArn": tuning.get("HyperParameterTuningJobArn"),
        "_Tried": {"Values": values, "Objective": objective},
    }


def _summary(job: Document) -> Document:
    """Return a training job as ListTrainingJobsForHyperParameterTuningJob shows it."""
    objective = job["_Tried"]["Objective"]
    found = [one["Value"] for one in job.get("FinalMetricDataList", []) if one["MetricName"] == objective["MetricName"]]
    running = job["TrainingJobStatus"] in _RUNNING
    made = bool(found) and job["TrainingJobStatus"] == "Completed"
    return {
        "TrainingJobName": job["TrainingJobName"],
        "TrainingJobArn": job["TrainingJobArn"],
        "CreationTime": job["CreationTime"],
        "TrainingStartTime": job.get("TrainingStartTime"),
        "TrainingEndTime": job.get("TrainingEndTime"),
        "TrainingJobStatus": job["TrainingJobStatus"],
        "TunedHyperParameters": job["_Tried"]["Values"],
        "FailureReason": job.get("FailureReason"),
        "FinalHyperParameterTuningJobObjectiveMetric": {**objective, "Value": found[0]} if made else None,
        "ObjectiveStatus": "Pending" if running else "Succeeded" if made else "Failed",
    }


def _value(summary: Document) -> float | None:
    told = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    return None if told is None else float(told["Value"])
