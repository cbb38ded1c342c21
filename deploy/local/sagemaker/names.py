"""Builds the names that AWS gives to resources: ARNs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Names in one region of one account."""

    region: str
    account: str

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource, such as ``training-job`` ``name``."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name.lower()}"

    def log_group(self, group: str) -> str:
        """Return the ARN of a log group."""
        return f"arn:aws:logs:{self.region}:{self.account}:log-group:{group}"
