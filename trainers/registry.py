"""Reads and writes versions in SageMaker's model registry (way 3, REBUILD).

A version is a model package of the group ``gamenight-<model>``; its whole ModelPublished is kept beside its artifacts on S3
as its card. So if the log is lost, the same events can be published again. The gate's decision is the package's first
approval; a later change in the registry overrules it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import boto3
import structlog
from botocore.exceptions import ClientError

from contracts.events import ModelPublished
from contracts.ports import Blobs
from contracts.settings import Settings
from producers.blobs import DIGEST_VARIABLE
from trainers.jobs import PATIENT, is_absent

_BY_HAND: Final = " in the model registry"
_STATUS: Final = {"promoted": "Approved", "refused": "Rejected", "undecided": "PendingManualApproval"}
"""What SageMaker calls each verdict."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Registered:
    """A version in the registry."""

    published: ModelPublished
    command_id: str
    """The command that asked for the version; empty for a base."""


def group(model: str) -> str:
    """Return the model package group of a model."""
    return f"gamenight-{model}"


def told_gate(published: ModelPublished, status: str, why: str = "") -> str:
    """Return why a version may or may not be promoted, given its ``status`` in the registry.

    Args:
        published: The version as the gate left it.
        status: SageMaker's ModelApprovalStatus.
        why: The reason that was given with the status.
    """
    overruled = (status == "Approved") != published.approved or (status == "Rejected" and published.verdict == "undecided")
    if not overruled:
        return published.gate
    return f"{status}{_BY_HAND}{f': {why}' if why else ''}; the gate had said: {published.gate}"


def by_hand(published: ModelPublished) -> bool:
    """Return whether somebody has overruled the gate in the registry."""
    return _BY_HAND in published.gate


class Registry:
    """Reads and writes the model packages of one SageMaker."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        """Keep the settings; nothing connects before the first call."""
        self._settings = settings
        self._blobs = blobs
        self._sagemaker: Any = boto3.client("sagemaker", config=PATIENT, **settings.aws("sagemaker"))

    def versions(self, model: str) -> list[Registered]:
        """Return all versions of a model, the oldest first."""
        return [found for arn in self.approved(model) if (found := self.read(arn))]

    def approved(self, model: str) -> dict[str, bool]:
        """Return whether each version of a model is approved now, by the ARN of its package, oldest first. A cheap call."""
        return {one["ModelPackageArn"]: one.get("ModelApprovalStatus") == "Approved" for one in self._listed(model)}

    def read(self, arn: str) -> Registered | None:
        """Return a version as the registry has it now; None if it is not there, or `register` did not make it."""
        try:
            package = self._sagemaker.describe_model_package(ModelPackageName=arn)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        told = package.get("CustomerMetadataProperties", {})
        if "card" not in told:
            return None
        card = ModelPublished.model_validate_json(self._blobs.get(told["card"]))
        if told.get("digest", card.digest) != card.digest:  # write access to the bucket does not imply the right to register
            log.error("a card names another digest than the registry", arn=arn, registered=told["digest"], card=card.digest)
            card = card.model_copy(update={"digest": told["digest"]})
        status = package["ModelApprovalStatus"]
        now = {"approved": status == "Approved", "gate": told_gate(card, status, package.get("ApprovalDescription", ""))}
        return Registered(card.model_copy(update={"arn": arn, **now}), told.get("command_id", ""))

    def _listed(self, model: str) -> Iterator[dict[str, Any]]:
        pages = self._sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=group(model), SortBy="CreationTime", SortOrder="Ascending"
        )
        try:
            for page in pages:
                yield from page["ModelPackageSummaryList"]
        except ClientError as error:
            if not is_absent(error):  # no group yet
                raise

    def register(self, published: ModelPublished, command_id: UUID | None = None) -> ModelPublished:
        """Add a version: its card on S3, then the package that points there; return the version with the package's ARN."""
        model, version = published.model, published.version
        card = f"models/{model}/cards/{version}.json"
        self._blobs.put(card, published.record_value())
        self._ensure_group(model)
        about = {"version": version, "card": card, "command_id": str(command_id or ""), **published.lineage}
        about["digest"] = published.digest
        package = self._sagemaker.create_model_package(
            ModelPackageGroupName=group(model),
            ModelPackageDescription=f"{published.title} {version}, {published.gate}"[:1024],
            ModelApprovalStatus=_STATUS[published.verdict or ("promoted" if published.approved else "refused")],
            InferenceSpecification={
                "Containers": [
                    {
                        "Image": self._settings.image_uri(model),
                        "ModelDataUrl": published.artifact,
                        "Environment": {DIGEST_VARIABLE: published.digest},
                    }
                ],
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

    def approve(self, arn: str, why: str) -> None:
        """Approve a version, whatever the gate has said of it."""
        self._sagemaker.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription=why[:1024]
        )

    def _ensure_group(self, model: str) -> None:
        try:
            self._sagemaker.create_model_package_group(
                ModelPackageGroupName=group(model), ModelPackageGroupDescription=f"All versions of {model}"
            )
        except ClientError as error:
            told = json.dumps(error.response["Error"])
            if "already exist" not in told.lower() and "ResourceInUse" not in told:
                raise
