"""Keeps experiments: each has trials, a trial has components, and a component has parameters, artifacts and metrics.

What the SDK calls a run is a component with a trial of its own experiment.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags
from deploy.local.sagemaker.trial_metrics import TrialMetrics

EXPERIMENT: Final = "experiment"
TRIAL: Final = "experiment-trial"
COMPONENT: Final = "experiment-trial-component"
_LINK: Final = "trial-link"
_PREFIXES: Final = {EXPERIMENT: "Experiment", TRIAL: "Trial", COMPONENT: "TrialComponent"}
_JOBS: Final = {"training-job": "Training", "processing-job": "Processing", "transform-job": "Transform"}
_MAPS: Final = ("Parameters", "InputArtifacts", "OutputArtifacts")
_LONGEST: Final = 120
_SOUGHT: Final = ("TrialComponentName", "DisplayName", "Parents.TrialName", "Parents.ExperimentName", "Source.SourceArn")


class Experiments:
    """Keeps experiments, trials and components; names differ by more than the case of their letters."""

    def __init__(self, state: State, names: Names, tags: Tags) -> None:
        """Keep the parts."""
        self._state = state
        self._names = names
        self._tags = tags
        self.metrics = TrialMetrics(state, self.component)

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            "CreateExperiment": self.create_experiment,
            "DescribeExperiment": self.describe_experiment,
            "UpdateExperiment": self.update_experiment,
            "DeleteExperiment": self.delete_experiment,
            "ListExperiments": self.experiments,
            "CreateTrial": self.create_trial,
            "DescribeTrial": self.describe_trial,
            "UpdateTrial": self.update_trial,
            "DeleteTrial": self.delete_trial,
            "ListTrials": self.trials,
            "CreateTrialComponent": self.create_component,
            "DescribeTrialComponent": self.describe_component,
            "UpdateTrialComponent": self.update_component,
            "DeleteTrialComponent": self.delete_component,
            "ListTrialComponents": self.components,
            "AssociateTrialComponent": self.associate,
            "DisassociateTrialComponent": self.disassociate,
            "Search": self.search,
        }

    async def create_experiment(self, request: Document) -> Document:
        """Create an experiment."""
        return self._create(EXPERIMENT, request)

    async def create_trial(self, request: Document) -> Document:
        """Create a trial of an experiment."""
        experiment = self._get(EXPERIMENT, request["ExperimentName"])
        return self._create(TRIAL, {**request, "ExperimentName": experiment["ExperimentName"]})

    async def create_component(self, request: Document) -> Document:
        """Create a component, which belongs to no trial yet."""
        return self._create(COMPONENT, request)

    async def describe_experiment(self, request: Document) -> Document:
        """Return an experiment."""
        return self._get(EXPERIMENT, request["ExperimentName"])

    async def describe_trial(self, request: Document) -> Document:
        """Return a trial."""
        return self._get(TRIAL, request["TrialName"])

    async def describe_component(self, request: Document) -> Document:
        """Return a component, with a summary of each of its metrics."""
        return self._told(self.component(request["TrialComponentName"]))

    async def update_experiment(self, request: Document) -> Document:
        """Change the display name or description of an experiment."""
        return self._update(EXPERIMENT, request)

    async def update_trial(self, request: Document) -> Document:
        """Change the display name of a trial."""
        return self._update(TRIAL, request)

    async def update_component(self, request: Document) -> Document:
        """Change a component: a map that is given replaces the one that is there."""
        kept = self.component(request["TrialComponentName"])
        changed = dict(request)
        for name in _MAPS:
            gone = changed.pop(f"{name}ToRemove", [])
            whole: Document = changed.get(name) or kept.get(name, {})
            changed[name] = {key: value for key, value in whole.items() if key not in gone}
        return self._update(COMPONENT, changed)

    async def delete_experiment(self, request: Document) -> Document:
        """Delete an experiment without trials."""
        name = request["ExperimentName"]
        if any(trial["ExperimentName"].lower() == name.lower() for trial in self._state.all(TRIAL)):
            raise invalid(f"Experiment {name} has trials: delete them first")
        return self._delete(EXPERIMENT, name)

    async def delete_trial(self, request: Document) -> Document:
        """Delete a trial without components."""
        name = request["TrialName"]
        if any(trial == name.lower() for trial, _ in self._links()):
            raise invalid(f"Trial {name} has trial components: disassociate them first")
        return self._delete(TRIAL, name)

    async def delete_component(self, request: Document) -> Document:
        """Delete a component that belongs to no trial, with its metrics."""
        name = request["TrialComponentName"]
        if any(component == name.lower() for _, component in self._links()):
            raise invalid(f"Trial component {name} is associated with a trial: disassociate it first")
        deleted = self._delete(COMPONENT, name)
        self.metrics.forget(name.lower())
        return deleted

    async def experiments(self, request: Document) -> Document:
        """Return a page of experiments, newest first."""
        page, token = _page(EXPERIMENT, self._state.all(EXPERIMENT), request)
        return {"ExperimentSummaries": page, "NextToken": token}

    async def trials(self, request: Document) -> Document:
        """Return a page of trials, newest first: all, those of an experiment, or those with a component."""
        experiment, component = (request.get(name, "").lower() for name in ("ExperimentName", "TrialComponentName"))
        linked = {trial for trial, linked in self._links() if linked == component}
        found = (
            trial
            for trial in self._state.all(TRIAL)
            if experiment in ("", trial["ExperimentName"].lower()) and (not component or trial["TrialName"].lower() in linked)
        )
        page, token = _page(TRIAL, found, request)
        return {"TrialSummaries": page, "NextToken": token}

    async def components(self, request: Document) -> Document:
        """Return a page of components, newest first: all, those of an experiment or a trial, or those of a job."""
        asked = {
            name: request[given]
            for name, given in (("Parents.ExperimentName", "ExperimentName"), ("Parents.TrialName", "TrialName"))
            if given in request
        }
        source = {"Source.SourceArn": request["SourceArn"]} if "SourceArn" in request else {}
        page, token = _page(COMPONENT, self._matching(asked | source), request)
        told = [{**one, "TrialComponentSource": one.get("Source")} for one in map(self._told, page)]
        return {"TrialComponentSummaries": told, "NextToken": token}

    async def associate(self, request: Document) -> Document:
        """Put a component into a trial; twice is harmless."""
        component, trial = self.component(request["TrialComponentName"]), self._get(TRIAL, request["TrialName"])
        self._link(trial["TrialName"], component["TrialComponentName"])
        return {"TrialComponentArn": component["TrialComponentArn"], "TrialArn": trial["TrialArn"]}

    async def disassociate(self, request: Document) -> Document:
        """Take a component out of a trial."""
        component, trial = self.component(request["TrialComponentName"]), self._get(TRIAL, request["TrialName"])
        self._state.drop(_LINK, f"{trial['TrialName']} {component['TrialComponentName']}".lower())
        return {"TrialComponentArn": component["TrialComponentArn"], "TrialArn": trial["TrialArn"]}

    async def search(self, request: Document) -> Document:
        """Return the components that have some names, with their parents and tags."""
        if request["Resource"] != "ExperimentTrialComponent":
            raise invalid(f"Search of {request['Resource']} is not on this machine: only ExperimentTrialComponent is")
        expression = request.get("SearchExpression", {})
        if expression.get("NestedFilters") or expression.get("SubExpressions") or expression.get("Operator", "And") != "And":
            raise invalid("Search takes Filters alone on this machine, joined by And")
        asked = {}
        for one in expression.get("Filters", []):
            if one["Name"] not in _SOUGHT or one.get("Operator", "Equals") != "Equals":
                raise invalid(f"Search filters by {', '.join(_SOUGHT)} Equals on this machine, not by {one['Name']}")
            asked[one["Name"]] = one.get("Value", "")
        if request.get("SortBy", "CreationTime") not in ("CreationTime", "Name"):
            raise invalid(f"Search sorts by CreationTime or Name on this machine, not by {request['SortBy']}")
        page, token = _page(COMPONENT, self._matching(asked), request)
        results = [
            {
                "TrialComponent": {
                    **self._told(one),
                    "Parents": self._parents(one),
                    "Tags": self._tags.of(one["TrialComponentArn"]),
                }
            }
            for one in page
        ]
        return {"Results": results, "NextToken": token}

    def component(self, name: str) -> Document:
        """Find a component by name.

        Raises:
            AwsError: ResourceNotFound, if there is none.
        """
        return self._get(COMPONENT, name)

    def attach(self, config: Document | None, kind: str, job: str, arn: str) -> None:
        """Note that a job that is being created belongs to a run, or to a trial; it is that trial's component then.

        Raises:
            AwsError: ResourceNotFound, if what the config names is not there; nothing is changed then.
        """
        if not config:
            return
        source = {"SourceArn": arn, "SourceType": f"SageMaker{_JOBS[kind]}Job"}
        if "ExperimentName" in config:
            self._get(EXPERIMENT, config["ExperimentName"])
        trial = self._get(TRIAL, config["TrialName"]) if "TrialName" in config else None
        if "RunName" in config:
            component = self.component(config["RunName"])
            component["Sources"] = [*component.get("Sources", []), source]
            self._state.put(COMPONENT, config["RunName"].lower(), component)
        elif trial is not None:
            name = f"{job[: _LONGEST - len(kind) - 5]}-aws-{kind}"
            shown = {"DisplayName": config["TrialComponentDisplayName"]} if "TrialComponentDisplayName" in config else {}
            self._create(COMPONENT, {"TrialComponentName": name, "Source": source, "_Job": [kind, job], **shown})
            self._link(trial["TrialName"], name)

    def _create(self, kind: str, request: Document) -> Document:
        prefix = _PREFIXES[kind]
        name = request[f"{prefix}Name"]
        if self._state.get(kind, name.lower()):
            told = prefix.replace("C", " c")
            raise invalid(
                f"{told} names must be unique within an AWS account and region. {told} with name {name} already exists."
            )
        arn, now = self._names.arn(kind, name), wire.now()
        document = {"DisplayName": name, **request, f"{prefix}Arn": arn, "CreationTime": now, "LastModifiedTime": now}
        self._tags.hang(arn, document.pop("Tags", None))
        self._state.put(kind, name.lower(), document)
        return {f"{prefix}Arn": arn}

    def _get(self, kind: str, name: str) -> Document:
        document = self._state.get(kind, name.lower())
        if document is None:
            told = _PREFIXES[kind].replace("C", " c")
            raise AwsError("ResourceNotFound", f"{told} '{name}' does not exist.")
        return document

    def _update(self, kind: str, request: Document) -> Document:
        prefix = _PREFIXES[kind]
        document = self._get(kind, request[f"{prefix}Name"])
        kept = {**document, **request, f"{prefix}Name": document[f"{prefix}Name"], "LastModifiedTime": wire.now()}
        self._state.put(kind, document[f"{prefix}Name"].lower(), kept)
        return {f"{prefix}Arn": document[f"{prefix}Arn"]}

    def _delete(self, kind: str, name: str) -> Document:
        arn = self._get(kind, name)[f"{_PREFIXES[kind]}Arn"]
        self._state.drop(kind, name.lower())
        self._tags.forget(arn)
        return {f"{_PREFIXES[kind]}Arn": arn}

    def _link(self, trial: str, component: str) -> None:
        self._state.put(_LINK, f"{trial} {component}".lower(), {"TrialName": trial, "TrialComponentName": component})

    def _links(self) -> Iterator[tuple[str, str]]:
        """Return the names of each trial and component that belong together, in lower case."""
        for link in self._state.all(_LINK):
            yield link["TrialName"].lower(), link["TrialComponentName"].lower()

    def _parents(self, component: Document) -> list[Document]:
        name = component["TrialComponentName"].lower()
        trials = (self._state.get(TRIAL, trial) for trial, linked in self._links() if linked == name)
        return [{"TrialName": one["TrialName"], "ExperimentName": one["ExperimentName"]} for one in trials if one]

    def _matching(self, asked: Document) -> list[Document]:
        """Return the components that have these values, whatever the case of their letters."""
        wanted = {name: value.lower() for name, value in asked.items()}
        found = []
        for one in self._state.all(COMPONENT):
            parents = self._parents(one) if any(name.startswith("Parents.") for name in wanted) else []
            sources = [one["Source"]] if "Source" in one else one.get("Sources", [])
            has = {
                "TrialComponentName": [one["TrialComponentName"]],
                "DisplayName": [one["DisplayName"]],
                "Parents.TrialName": [parent["TrialName"] for parent in parents],
                "Parents.ExperimentName": [parent["ExperimentName"] for parent in parents],
                "Source.SourceArn": [source["SourceArn"] for source in sources],
            }
            if all(value in map(str.lower, has[name]) for name, value in wanted.items()):
                found.append(one)
        return found

    def _told(self, component: Document) -> Document:
        """Return a component as it is shown: with its metrics, and with what its job has come to."""
        name, arn = component["TrialComponentName"], component["TrialComponentArn"]
        told = {**component, "Metrics": self.metrics.summaries(name.lower(), arn)}
        kind, job = component.get("_Job", ("", ""))
        document = self._state.get(kind, job) if kind else None
        if document is None:
            return told
        prefix = _JOBS[kind]
        told["Status"] = {"PrimaryStatus": document[f"{prefix}JobStatus"], "Message": document.get("FailureReason", "")}
        told |= {name: document[f"{prefix}{name}"] for name in ("StartTime", "EndTime") if f"{prefix}{name}" in document}
        told["Parameters"] = {key: {"StringValue": value} for key, value in document.get("HyperParameters", {}).items()}
        told["Metrics"] += [
            {
                "MetricName": metric["MetricName"],
                "SourceArn": component["Source"]["SourceArn"],
                "TimeStamp": metric["Timestamp"],
                "Last": metric["Value"],
            }
            for metric in document.get("FinalMetricDataList", [])
        ]
        return told


def _page(kind: str, documents: Iterable[Document], request: Document) -> tuple[list[Document], str | None]:
    """Return a page of documents of a kind, and the token of the next."""
    times = {
        f"CreationTime{after}": request[f"Created{after}"] for after in ("After", "Before") if f"Created{after}" in request
    }
    return Listing(f"{_PREFIXES[kind]}Name").page(documents, {**request, **times})
