"""Tells boto3 and the SageMaker SDK where the local SageMaker is: variables of the environment, and the SDK's defaults."""

import json
import shlex
from pathlib import Path

from contracts.settings import Settings
from trainers.sdk_environment import sdk_environment


def defaults_file(settings: Settings) -> Path:
    """Return where the SDK's defaults are."""
    return settings.home.absolute() / "sagemaker" / "sdk.yaml"


def write_defaults(settings: Settings) -> None:
    """Write the SDK's defaults: the bucket, and that it reports to nobody.

    Without a bucket the SDK asks STS for the account, at an address of Amazon's that is fixed in its code.
    """
    modules = {"TelemetryOptOut": True, "Session": {"DefaultS3Bucket": settings.bucket}}
    told = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": modules}}}
    file = defaults_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=2) + "\n")  # JSON is YAML too


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which boto3, `aws` and the SDK reach the local services, with the key that signs."""
    return sdk_environment(settings) | {"SAGEMAKER_USER_CONFIG_OVERRIDE": str(defaults_file(settings))}


def exports(settings: Settings) -> str:
    """Return these variables as lines for a shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment(settings).items()))
