"""Defines the errors that AWS would give; every refusal is an `AwsError`."""

from typing import Any


class AwsError(Exception):
    """A request that is refused.

    Attributes:
        code: AWS's name of the error, which boto3 shows as ``response["Error"]["Code"]``.
        status: HTTP status.
        details: Further members of the error, such as OriginalStatusCode.
    """

    def __init__(self, code: str, message: str, status: int = 400, **details: Any) -> None:
        """Keep code, message, status and details."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.details = details


def invalid(message: str) -> AwsError:
    """Make the error that SageMaker gives in most cases, also for a resource that does not exist."""
    return AwsError("ValidationException", message)


def in_use(message: str) -> AwsError:
    """Make the error for a name that is in use."""
    return AwsError("ResourceInUse", message)
