"""The errors that AWS would give, and the one door through which they leave."""

from typing import Any


class AwsError(Exception):
    """A request that is refused.

    Attributes:
        code: AWS's name of the error, which boto3 shows as ``response["Error"]["Code"]``.
        status: HTTP status.
        details: Further members of the error, such as OriginalStatusCode.
    """

    def __init__(self, code: str, message: str, status: int = 400, **details: Any) -> None:
        """Say what it is."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.details = details


def invalid(message: str) -> AwsError:
    """What SageMaker says of nearly everything: also of a resource that is not there."""
    return AwsError("ValidationException", message)


def in_use(message: str) -> AwsError:
    """For a name that is taken."""
    return AwsError("ResourceInUse", message)
