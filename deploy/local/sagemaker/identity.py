"""Answers what the SageMaker SDK asks STS and IAM: who is calling, and whether the role of the settings may do its work.

There is one role here, that of the settings. Whoever has the key acts as this role, and nothing is forbidden to it, so it may
do whatever is asked about.
"""

import hashlib
import json
from typing import Any, Final
from urllib.parse import quote

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError
from deploy.local.sagemaker.state import State

_SESSION: Final = "gamenight"
_TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


class CallerIdentity:
    """The caller and the role."""

    def __init__(self, role_arn: str, state: State) -> None:
        """Keep the ARN of the role, ``arn:aws:iam::123456789012:role/path/name``; ``state`` knows when it was first named."""
        self._arn = role_arn
        known = state.get("role", role_arn)
        if known is None:
            known = {"CreateDate": wire.now()}
            state.put("role", role_arn, known)
        self._created = known["CreateDate"]
        self._account = role_arn.split(":")[4]
        *path, self._name = role_arn.partition(":role/")[2].split("/")
        self._path = "/".join(("", *path, ""))
        self._id = "AROA" + hashlib.sha256(role_arn.encode()).hexdigest()[:17].upper()

    def operations(self) -> dict[str, dict[str, Any]]:
        """Return the operations that this class answers, by service and name."""
        return {
            "sts": {"GetCallerIdentity": self.caller},
            "iam": {"GetRole": self.role, "ListRoles": self.roles, "SimulatePrincipalPolicy": self.simulate},
        }

    async def caller(self, request: Document) -> Document:
        """Say who is calling: the role, in a session."""
        return {
            "UserId": f"{self._id}:{_SESSION}",
            "Account": self._account,
            "Arn": f"arn:aws:sts::{self._account}:assumed-role/{self._name}/{_SESSION}",
        }

    async def role(self, request: Document) -> Document:
        """Return a role."""
        if request["RoleName"] != self._name:
            raise _absent(f"The role with name {request['RoleName']} cannot be found.")
        return {"Role": self._told()}

    async def roles(self, request: Document) -> Document:
        """Return all roles under a path."""
        found = [self._told()] if self._path.startswith(request.get("PathPrefix", "/")) else []
        return {"Roles": found, "IsTruncated": False}

    async def simulate(self, request: Document) -> Document:
        """Say of each action on each resource that it is allowed."""
        if request["PolicySourceArn"] != self._arn:
            raise _absent(f"Entity {request['PolicySourceArn']} does not exist: the role of this machine is {self._arn}")
        results = [
            {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed", "MatchedStatements": []}
            for action in request["ActionNames"]
            for resource in request.get("ResourceArns", ["*"])
        ]
        return {"EvaluationResults": results, "IsTruncated": False}

    def _told(self) -> Document:
        return {
            "Path": self._path,
            "RoleName": self._name,
            "RoleId": self._id,
            "Arn": self._arn,
            "CreateDate": self._created,
            "AssumeRolePolicyDocument": quote(json.dumps(_TRUST)),
            "MaxSessionDuration": 3600,
        }


def _absent(message: str) -> AwsError:
    return AwsError("NoSuchEntity", message, 404)
