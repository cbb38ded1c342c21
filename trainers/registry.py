"""The versions that exist, as SageMaker's model registry has them (way 3, REBUILD).

A version is a model package of the group ``gamenight-<model>``; its ModelPublished, whole, lies beside its artifacts on S3
as its card. So the registry can be told again on a log that was lost, word for word.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import boto3
from botocore.exceptions import ClientError

from contracts.events import ModelPublished
from contracts.ports import Blobs
from contracts.settings import Settings
from trainers.jobs import PATIENT


@dataclass(frozen=True, slots=True)
class Registered:
    """A version in the registry."""

    published: ModelPublished
    command_id: str
    """The command that it was made for; empty for a base."""


def group(model: str) -> str:
    """The model package group of a model."""
    return f"gamenight-{model}"


class Registry:
    """The model packages of one SageMaker."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        """Name it; nothing connects before the first call."""
        self._settings = settings
        self._blobs = blobs
        self._sagemaker: Any = boto3.client("sagemaker", config=PATIENT, **settings.aws("sagemaker"))

    def versions(self, model: str) -> list[Registered]:
        """All versions of a model, the oldest first."""
        return list(self._versions(model))

    def _versions(self, model: str) -> Iterator[Registered]:
        try:
            pages = self._sagemaker.get_paginator("list_model_packages").paginate(
                ModelPackageGroupName=group(model), SortBy="CreationTime", SortOrder="Ascending"
            )
            arns = [found["ModelPackageArn"] for page in pages for found in page["ModelPackageSummaryList"]]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
                return  # no group yet
            raise
        for arn in arns:
            package = self._sagemaker.describe_model_package(ModelPackageName=arn)
            told = package["CustomerMetadataProperties"]
            card = ModelPublished.model_validate_json(self._blobs.get(told["card"]))
            approved = package["ModelApprovalStatus"] == "Approved"
            yield Registered(card.model_copy(update={"arn": arn, "approved": approved}), told.get("command_id", ""))

    def register(self, published: ModelPublished, command_id: UUID | None = None) -> ModelPublished:
        """Add a version: its card on S3 first, then the package that points there, whose ARN is in what comes back."""
        model, version = published.model, published.version
        card = f"models/{model}/cards/{version}.json"
        self._blobs.put(card, published.record_value())
        self._ensure_group(model)
        about = {"version": version, "card": card, "command_id": str(command_id or ""), **published.lineage}
        package = self._sagemaker.create_model_package(
            ModelPackageGroupName=group(model),
            ModelPackageDescription=f"{published.title} {version}, {published.gate}"[:1024],
            ModelApprovalStatus="Approved" if published.approved else "Rejected",
            InferenceSpecification={
                "Containers": [{"Image": self._settings.image_uri(model), "ModelDataUrl": published.artifact}],
                "SupportedContentTypes": ["application/x-npy", "application/json"],
                "SupportedResponseMIMETypes": ["application/x-npy", "application/json"],
            },
            ModelMetrics={
                "ModelQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{self._settings.bucket}/{card}"}
                }
            },
            CustomerMetadataProperties={name: value[:256] for name, value in about.items() if value},
        )
        return published.model_copy(update={"arn": package["ModelPackageArn"]})

    def _ensure_group(self, model: str) -> None:
        try:
            self._sagemaker.create_model_package_group(
                ModelPackageGroupName=group(model), ModelPackageGroupDescription=f"All versions of {model}"
            )
        except ClientError as error:
            told = json.dumps(error.response["Error"])
            if "already exist" not in told.lower() and "ResourceInUse" not in told:
                raise
