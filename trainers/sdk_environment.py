"""Tells the SageMaker SDK where the services are, and how patient to be, by environment variables (way 3, REBUILD)."""

from pathlib import Path
from typing import Final

from contracts.settings import Settings

SDK_CONFIG: Final = Path(__file__).with_name("sdk.yaml")
TRIES: Final = 10
"""How often a service is asked that does not answer: with the pauses between them, for most of a minute."""


def sdk_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that tell the SDK where the services are; one that is started again is waited for."""
    places = settings.endpoint_urls
    named = {"logs": "CLOUDWATCH_LOGS", "sagemaker-runtime": "SAGEMAKER_RUNTIME"}  # the names that botocore reads
    urls = {f"AWS_ENDPOINT_URL_{named.get(name, name.upper())}": url for name, url in places.items()}
    region = settings.aws("sagemaker")["region_name"]
    given = {
        **urls,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key,
        "AWS_SESSION_TOKEN": settings.aws("sagemaker")["aws_session_token"],
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": str(TRIES),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(SDK_CONFIG),
    }
    out = {name: value for name, value in given.items() if value}
    if here := settings.sagemaker_here:
        out |= {f"AWS_ENDPOINT_URL_{name}": here for name in ("STS", "IAM", "APPLICATION_AUTO_SCALING", "SAGEMAKER_METRICS")}
    return out
