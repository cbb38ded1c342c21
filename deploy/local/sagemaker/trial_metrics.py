"""Keeps the metrics of trial components that users put: every value, and a summary of each metric."""

import math
import statistics
from collections.abc import Callable
from typing import Any, Final

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.state import State

_KIND: Final = "trial-metric"
_MOST_VALUES: Final = 5000
"""The most values that one metric of one component may have."""


class TrialMetrics:
    """The values that were put, by component and metric."""

    def __init__(self, state: State, find: Callable[[str], Document]) -> None:
        """Keep the state.

        Args:
            state: Where values are kept.
            find: Finds a component by its name; raises an `AwsError` where there is none.
        """
        self._state = state
        self._find = find

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker Metrics that this class answers, by name."""
        return {"BatchPutMetrics": self.put}

    async def put(self, request: Document) -> Document:
        """Keep values; those that cannot be kept are told by their index, and the others are kept.

        A value that comes again with the same step and time is kept once, so a request may be sent again.
        """
        component = self._find(request["TrialComponentName"])["TrialComponentName"].lower()
        errors: list[Document] = []
        changed: dict[str, Document] = {}
        for index, given in enumerate(request["MetricData"]):
            name = given["MetricName"]
            kept = changed.get(name) or self._state.get(_KIND, f"{component} {name}") or _none(component, name)
            value = [given["Timestamp"], given.get("Step"), given["Value"]]
            same = [one for one in kept["Values"] if given.get("Step") is not None and one[:2] == value[:2]]
            if not math.isfinite(given["Value"]):
                errors.append({"Code": "VALIDATION_ERROR", "MetricIndex": index})
            elif same and same[0] != value:
                errors.append({"Code": "CONFLICT_ERROR", "MetricIndex": index})
            elif not same and len(kept["Values"]) >= _MOST_VALUES:
                errors.append({"Code": "METRIC_LIMIT_EXCEEDED", "MetricIndex": index})
            elif not same:
                kept["Values"].append(value)
                changed[name] = kept
        for name, kept in changed.items():
            self._state.put(_KIND, f"{component} {name}", kept)
        return {"Errors": errors} if errors else {}

    def summaries(self, component: str, arn: str) -> list[Document]:
        """Return a summary of each metric of a component, by its name in lower case and its ARN."""
        told = []
        for kept in self._state.all(_KIND):
            if kept["Component"] == component:
                values = [value for _, _, value in kept["Values"]]
                told.append(
                    {
                        "MetricName": kept["MetricName"],
                        "SourceArn": arn,
                        "TimeStamp": kept["Values"][-1][0],
                        "Max": max(values),
                        "Min": min(values),
                        "Last": values[-1],
                        "Count": len(values),
                        "Avg": statistics.fmean(values),
                        "StdDev": statistics.pstdev(values),
                    }
                )
        return told

    def forget(self, component: str) -> None:
        """Drop all metrics of a component that is deleted."""
        for kept in self._state.all(_KIND):
            if kept["Component"] == component:
                self._state.drop(_KIND, f"{component} {kept['MetricName']}")


def _none(component: str, name: str) -> Document:
    return {"Component": component, "MetricName": name, "Values": []}
