"""Keeps the model registry: groups, and in each group numbered packages with their approval."""

import re
from typing import Any, Final

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags

GROUP: Final = "model-package-group"
PACKAGE: Final = "model-package"
_GROUPS: Final = Listing("ModelPackageGroupName")
_PACKAGES: Final = Listing(
    "ModelPackageName",
    equals={"ModelApprovalStatus": "ModelApprovalStatus"},
    group="ModelPackageGroupName",
    number="ModelPackageVersion",
)
_PENDING: Final = "PendingManualApproval"


class Packages:
    """Keeps every model package and group."""

    def __init__(self, state: State, names: Names, tags: Tags) -> None:
        """Keep packages in ``state``, with the other documents."""
        self._state = state
        self._names = names
        self._tags = tags

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            "CreateModelPackageGroup": self.create_group,
            "DescribeModelPackageGroup": self.describe_group,
            "ListModelPackageGroups": self.page_groups,
            "DeleteModelPackageGroup": self.delete_group,
            "CreateModelPackage": self.create,
            "DescribeModelPackage": self.describe,
            "BatchDescribeModelPackage": self.describe_several,
            "ListModelPackages": self.page,
            "UpdateModelPackage": self.update,
            "DeleteModelPackage": self.delete,
        }

    async def create_group(self, request: Document) -> Document:
        """Create a group."""
        name = request["ModelPackageGroupName"]
        arn = self._names.arn(GROUP, name)
        if self._state.get(GROUP, name):
            raise invalid(f"Model Package Group already exists: {arn}")
        document = {
            **request,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": wire.now(),
            "CreatedBy": {},
        }
        self._tags.hang(arn, request.get("Tags"))
        self._state.put(GROUP, name, document)
        return {"ModelPackageGroupArn": arn}

    async def describe_group(self, request: Document) -> Document:
        """Return a group."""
        return self._group(request["ModelPackageGroupName"])

    async def page_groups(self, request: Document) -> Document:
        """Return a page of groups, newest first."""
        groups, token = _GROUPS.page(self._state.all(GROUP), request)
        return {"ModelPackageGroupSummaryList": groups, "NextToken": token}

    async def delete_group(self, request: Document) -> Document:
        """Delete an empty group."""
        group = self._group(request["ModelPackageGroupName"])
        if self._versions(group["ModelPackageGroupName"]):
            raise AwsError("ConflictException", "Model Package Group cannot be deleted because it contains model packages")
        self._state.drop(GROUP, group["ModelPackageGroupName"])
        self._tags.forget(group["ModelPackageGroupArn"])
        return {}

    async def create(self, request: Document) -> Document:
        """Register a package: under the next number of a group, or under a name of its own."""
        if not request.get("InferenceSpecification", {}).get("Containers"):
            raise invalid("A model package needs an InferenceSpecification with a container")
        if before := self._made_by(request.get("ClientToken")):
            return {"ModelPackageArn": before["ModelPackageArn"]}
        document = {**request, "ModelPackageStatus": "Completed", "CreationTime": wire.now(), "CreatedBy": {}}
        if group := request.get("ModelPackageGroupName"):
            if request.get("Tags"):
                raise invalid("Tags of a versioned model package are those of its group: give none")
            kept = self._group(group)
            name = document["ModelPackageGroupName"] = kept["ModelPackageGroupName"]
            version = kept["_LastVersion"] = kept.get("_LastVersion", 0) + 1
            self._state.put(GROUP, name, kept)
            document |= {"ModelPackageVersion": version, "ModelApprovalStatus": request.get("ModelApprovalStatus", _PENDING)}
            arn = self._names.arn(PACKAGE, f"{name}/{version}")
        elif name := request.get("ModelPackageName"):
            arn = self._names.arn(PACKAGE, name)
            if self._state.get(PACKAGE, arn):
                raise invalid(f"Model Package already exists: {arn}")
        else:
            raise invalid("A model package needs a ModelPackageName or a ModelPackageGroupName")
        passed = {"Name": arn.rpartition("/")[2], "Status": "Completed"}
        document |= {
            "ModelPackageArn": arn,
            "ModelPackageStatusDetails": {"ValidationStatuses": [passed], "ImageScanStatuses": [passed]},
        }
        self._tags.hang(arn, request.get("Tags"))
        self._state.put(PACKAGE, arn, document)
        return {"ModelPackageArn": arn}

    async def describe(self, request: Document) -> Document:
        """Return a package, by ARN or name."""
        return self.get(request["ModelPackageName"])

    async def describe_several(self, request: Document) -> Document:
        """Return packages by ARN, and an error for each that does not exist."""
        found: Document = {}
        missing: Document = {}
        for arn in request["ModelPackageArnList"]:
            try:
                found[arn] = self.get(arn)
            except AwsError as error:
                missing[arn] = {"ErrorCode": error.code, "ErrorResponse": str(error)}
        return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": missing}

    async def page(self, request: Document) -> Document:
        """Return a page of the packages of a group, newest first; if no group is given, of the packages without a group."""
        kind = request.get("ModelPackageType", "Versioned" if "ModelPackageGroupName" in request else "Unversioned")
        packages = [
            one for one in self._state.all(PACKAGE) if kind == "Both" or (kind == "Versioned") == ("ModelPackageVersion" in one)
        ]
        if group := request.get("ModelPackageGroupName"):
            name = self._group(group)["ModelPackageGroupName"]
            packages = [one for one in packages if one.get("ModelPackageGroupName") == name]
        page, token = _PACKAGES.page(packages, request)
        return {"ModelPackageSummaryList": page, "NextToken": token}

    async def update(self, request: Document) -> Document:
        """Change the approval, or the notes that customers keep."""
        document = self.get(request["ModelPackageArn"])
        for member in ("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri"):
            if member in request:
                document[member] = request[member]
        noted = document.get("CustomerMetadataProperties", {}) | request.get("CustomerMetadataProperties", {})
        for name in request.get("CustomerMetadataPropertiesToRemove", []):
            noted.pop(name, None)
        document |= {"CustomerMetadataProperties": noted, "LastModifiedTime": wire.now(), "LastModifiedBy": {}}
        self._state.put(PACKAGE, document["ModelPackageArn"], document)
        return {"ModelPackageArn": document["ModelPackageArn"]}

    async def delete(self, request: Document) -> Document:
        """Delete a package; its number is not used again."""
        document = self.get(request["ModelPackageName"])
        self._state.drop(PACKAGE, document["ModelPackageArn"])
        self._tags.forget(document["ModelPackageArn"])
        return {}

    def get(self, name: str) -> Document:
        """Find a package by ARN or name.

        Raises:
            AwsError: ValidationException, if there is no such package.
        """
        arn = name if name.startswith("arn:") else self._names.arn(PACKAGE, name)
        document = self._state.get(PACKAGE, arn)
        if document is None:
            raise invalid(f"ModelPackage {arn} does not exist.")
        return document

    def _made_by(self, token: str | None) -> Document | None:
        """Return what a request made that was answered to nobody, as when the service was killed, and is sent again."""
        if token is None:
            return None
        return next((one for one in self._state.all(PACKAGE) if one.get("ClientToken") == token), None)

    def _group(self, name: str) -> Document:
        name = re.sub(r"^arn:.*:model-package-group/", "", name)
        document = self._state.get(GROUP, name)
        if document is None:
            raise invalid(f"ModelPackageGroup {self._names.arn(GROUP, name)} does not exist.")
        return document

    def _versions(self, group: str) -> list[Document]:
        return [one for one in self._state.all(PACKAGE) if one.get("ModelPackageGroupName") == group]
