"""Keeps the tags of resources, by ARN."""

from typing import Any, Final

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import invalid
from deploy.local.sagemaker.state import State

_MOST: Final = 50
_ARNS: Final = {
    "endpoint": "EndpointArn",
    "endpoint-config": "EndpointConfigArn",
    "experiment": "ExperimentArn",
    "experiment-trial": "TrialArn",
    "experiment-trial-component": "TrialComponentArn",
    "hyper-parameter-tuning-job": "HyperParameterTuningJobArn",
    "model": "ModelArn",
    "model-package": "ModelPackageArn",
    "model-package-group": "ModelPackageGroupArn",
    "processing-job": "ProcessingJobArn",
    "training-job": "TrainingJobArn",
    "transform-job": "TransformJobArn",
}
"""Kind of a resource -> the member of its document that has the ARN."""


class Tags:
    """Keeps the keys and values with which users tag resources."""

    def __init__(self, state: State) -> None:
        """Keep tags in ``state``, with the other documents."""
        self._state = state

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {"AddTags": self.add, "ListTags": self.page, "DeleteTags": self.delete}

    def hang(self, arn: str, tags: list[Document] | None) -> None:
        """Tag a resource that is being created.

        Raises:
            AwsError: ValidationException, if there are more tags than a resource may have.
        """
        if tags:
            self._keep(arn, {tag["Key"]: tag["Value"] for tag in tags})

    def forget(self, arn: str) -> None:
        """Drop all tags of a resource that is deleted."""
        self._state.drop("tags", arn)

    def of(self, arn: str) -> list[Document]:
        """Return the tags of a resource."""
        return _listed(self._of(arn))

    async def add(self, request: Document) -> Document:
        """Add tags, or change their values."""
        arn = self._there(request["ResourceArn"])
        kept = self._of(arn) | {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        self._keep(arn, kept)
        return {"Tags": _listed(kept)}

    async def page(self, request: Document) -> Document:
        """Return the tags of a resource."""
        listed = _listed(self._of(self._there(request["ResourceArn"])))
        token, size = request.get("NextToken", "0"), request.get("MaxResults", _MOST)
        if not token.isdigit():
            raise invalid("Invalid NextToken")
        start = int(token)
        more = len(listed) > start + size
        return {"Tags": listed[start : start + size], "NextToken": str(start + size) if more else None}

    async def delete(self, request: Document) -> Document:
        """Remove tags from a resource."""
        arn = self._there(request["ResourceArn"])
        self._keep(arn, {key: value for key, value in self._of(arn).items() if key not in request["TagKeys"]})
        return {}

    def _there(self, arn: str) -> str:
        """Return the ARN if its resource exists.

        Raises:
            AwsError: ValidationException, if the resource does not exist.
        """
        kind = arn.split(":", 5)[5].partition("/")[0]
        if kind not in _ARNS or all(document[_ARNS[kind]] != arn for document in self._state.all(kind)):
            raise invalid(f'Could not find resource "{arn}".')
        return arn

    def _of(self, arn: str) -> dict[str, str]:
        return dict(self._state.get("tags", arn) or {})

    def _keep(self, arn: str, tags: dict[str, str]) -> None:
        if len(tags) > _MOST:
            raise invalid(f"A resource has at most {_MOST} tags")
        self._state.put("tags", arn, tags)


def _listed(tags: dict[str, str]) -> list[Document]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
