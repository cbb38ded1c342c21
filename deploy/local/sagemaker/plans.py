"""Plans what an endpoint will run: documents of a config's variants, what these take over, and how they are shown."""

import uuid
from typing import Final

from deploy.local.sagemaker.configs import Configs
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.models import SageMakerModels
from deploy.local.sagemaker.servers import PATIENCE_S

_MOVING: Final = ("Creating", "Updating", "Deleting")
"""The statuses of an endpoint that its variants have too."""


def plan_of(configs: Configs, models: SageMakerModels, endpoint: str, config: str) -> list[Document]:
    """Plan the variants that a config needs; each gets a folder of its own."""
    described = configs.get(config)
    shadows = described.get("ShadowProductionVariants", [])
    plan = []
    for variant in (*described["ProductionVariants"], *shadows):
        container = models.container(models.get(variant["ModelName"]))
        plan.append(
            {
                "VariantName": variant["VariantName"],
                "ModelName": variant["ModelName"],
                "Weight": variant.get("InitialVariantWeight", 1.0),
                "Count": variant.get("InitialInstanceCount", 1),
                "Shadow": variant in shadows,
                "Capture": None if variant in shadows else described.get("DataCaptureConfig"),
                "Patience": variant.get("ContainerStartupHealthCheckTimeoutInSeconds", PATIENCE_S),
                "Folder": f"endpoints/{endpoint}/{uuid.uuid4().hex[:12]}",
                **container,
            }
        )
    return plan


def retain(old: list[Document], plan: list[Document], excluded: set[str]) -> None:
    """Copy to a plan the weights and counts that variants of the same name have now."""
    before = {variant["VariantName"]: variant for variant in old}
    for planned in plan:
        if kept := before.get(planned["VariantName"]):
            if "DesiredWeight" not in excluded:
                planned["Weight"] = kept["Weight"]
            if "DesiredInstanceCount" not in excluded:
                planned["Count"] = kept["Count"]


def summary(variant: Document, document: Document) -> Document:
    """Return a variant as DescribeEndpoint shows it, with current and desired weight and count."""
    image = {"SpecifiedImage": variant["Image"], "ResolvedImage": variant["Image"], "ResolutionTime": document["CreationTime"]}
    weight, count = variant.get("Current", (variant["Weight"], variant["Count"]))
    status = document["EndpointStatus"]
    moving = [{"Status": status, "StartTime": document["LastModifiedTime"]}] if status in _MOVING else None
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [image],
        "VariantStatus": moving,
        "CurrentWeight": weight,
        "DesiredWeight": variant["Weight"],
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": variant["Count"],
    }
