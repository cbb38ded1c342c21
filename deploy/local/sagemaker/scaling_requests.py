"""Reads requests to Application Auto Scaling: what they are about, what this machine refuses, and which page is asked for."""

import base64
import contextlib
import math
import re
from collections.abc import Iterable
from typing import Final

from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid

DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
METRIC: Final = "SageMakerVariantInvocationsPerInstance"
_RESOURCE: Final = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_PAGE: Final = 50


def refuse_unknown(tracking: Document) -> None:
    """Refuse what this machine cannot follow, by name."""
    if "CustomizedMetricSpecification" in tracking:
        raise invalid(f"CustomizedMetricSpecification is not on this machine, which has no CloudWatch: use {METRIC}")
    metric = tracking.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
    if metric != METRIC:
        raise invalid(f"PredefinedMetricType {metric} is not on this machine: use {METRIC}")
    if not (math.isfinite(tracking["TargetValue"]) and tracking["TargetValue"] > 0):
        raise invalid("TargetValue must be a number above 0")
    for name in ("ScaleOutCooldown", "ScaleInCooldown"):
        if tracking.get(name, 0) < 0:
            raise invalid(f"{name} must be 0 or more seconds")


def refuse_others(request: Document) -> None:
    """Refuse what is no variant of an endpoint."""
    if request["ServiceNamespace"] != "sagemaker":
        raise invalid(f"ServiceNamespace {request['ServiceNamespace']} is not on this machine: only sagemaker is")
    if request.get("ScalableDimension", DIMENSION) != DIMENSION:
        raise invalid(f"ScalableDimension {request['ScalableDimension']} is not on this machine: only {DIMENSION} is")


def resource_of(request: Document) -> str:
    refuse_others(request)
    if not _RESOURCE.fullmatch(request["ResourceId"]):
        raise invalid(f"ResourceId {request['ResourceId']} is not of the form endpoint/NAME/variant/NAME")
    return str(request["ResourceId"])


def names_in(resource: str) -> tuple[str, str]:
    """Return the names of endpoint and variant in a resource id."""
    _, endpoint, _, variant = resource.split("/")
    return endpoint, variant


def page_of(
    found: Iterable[tuple[str, Document]], request: Document, *, newest_first: bool = False
) -> tuple[list[Document], str | None]:
    """Return the documents that follow the one whose key the token has, in the order of the keys, and the next token."""
    ordered = sorted(found, key=lambda pair: pair[0], reverse=newest_first)
    if token := request.get("NextToken"):
        last = ""
        with contextlib.suppress(ValueError):
            last = base64.urlsafe_b64decode(token).decode()
        if not last:
            raise AwsError("InvalidNextTokenException", "The next token supplied was invalid")
        ordered = [pair for pair in ordered if (pair[0] < last if newest_first else pair[0] > last)]
    size = min(_PAGE, max(1, request.get("MaxResults", _PAGE)))
    page = ordered[:size]
    more = base64.urlsafe_b64encode(page[-1][0].encode()).decode() if len(ordered) > size else None
    return [document for _, document in page], more
