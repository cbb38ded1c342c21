"""Answers Application Auto Scaling: looks at the traffic of endpoints' variants once a minute, and adds or removes servers."""

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import structlog

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.endpoints import Endpoints
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.invoking import Invoking
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.scaling import (
    IN_MINUTES,
    CapacityLimits,
    ScalingDecision,
    ScalingStep,
    TrackingPolicy,
    TrafficMinute,
    desired_capacity,
)
from deploy.local.sagemaker.scaling_requests import DIMENSION, names_in, page_of, refuse_others, refuse_unknown, resource_of
from deploy.local.sagemaker.state import State

TARGET: Final = "scalable-target"
POLICY: Final = "scaling-policy"
ACTIVITY: Final = "scaling-activity"
_COOLDOWN_S: Final = 300
_KEPT_S: Final = 42 * 86400
"""How long activities are kept; it is AWS's own time."""
_MOST_ACTIVITIES: Final = 1000

log = structlog.get_logger()


class AutoScaling:
    """Keeps scalable targets, their policies and what was done; its task acts on them."""

    def __init__(self, state: State, names: Names, endpoints: Endpoints, invoking: Invoking) -> None:
        """Keep the parts; nothing is looked at before `begin`."""
        self.minute_s = 60.0
        """The seconds between two looks: a minute, but in tests."""
        self._state = state
        self._names = names
        self._endpoints = endpoints
        self._invoking = invoking
        self._minutes: dict[str, deque[TrafficMinute]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._changing: set[asyncio.Task[None]] = set()

    def operations(self) -> dict[str, Any]:
        """Return the operations of Application Auto Scaling that this class answers, by name."""
        return {
            "RegisterScalableTarget": self.register,
            "DescribeScalableTargets": self.targets,
            "DeregisterScalableTarget": self.deregister,
            "PutScalingPolicy": self.put_policy,
            "DescribeScalingPolicies": self.policies,
            "DeleteScalingPolicy": self.delete_policy,
            "DescribeScalingActivities": self.activities,
        }

    async def register(self, request: Document) -> Document:
        """Register a variant, or change what is registered of it."""
        resource = resource_of(request)
        endpoint, variant = names_in(resource)
        if self._endpoints.capacity(endpoint, variant) is None:
            raise invalid(f"Endpoint {endpoint} has no production variant {variant}")
        known = self._state.get(TARGET, resource)
        if known is None:
            account = self._names.account
            role = "sagemaker.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
            known = {
                "ServiceNamespace": "sagemaker",
                "ResourceId": resource,
                "ScalableDimension": DIMENSION,
                "RoleARN": f"arn:aws:iam::{account}:role/aws-service-role/{role}",
                "CreationTime": wire.now(),
                "ScalableTargetARN": f"{self._arn('application-autoscaling')}:scalable-target/{uuid.uuid4().hex}",
            }
        changed: Document = {name: request[name] for name in ("MinCapacity", "MaxCapacity", "RoleARN") if name in request}
        suspended = dict.fromkeys(
            ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended"), False
        )
        document: Document = known | changed
        document["SuspendedState"] = suspended | known.get("SuspendedState", {}) | request.get("SuspendedState", {})
        least, most = document.get("MinCapacity"), document.get("MaxCapacity")
        if least is None or most is None:
            raise invalid("A MinCapacity and a MaxCapacity must be specified when registering a new scalable target")
        if not 1 <= least <= most:
            raise invalid(f"MinCapacity must be at least 1, and MaxCapacity at least that: {least}, {most}")
        self._state.put(TARGET, resource, document)
        return {"ScalableTargetARN": document["ScalableTargetARN"]}

    async def targets(self, request: Document) -> Document:
        """Return a page of scalable targets."""
        wanted = request.get("ResourceIds")
        found = ((one["ResourceId"], one) for one in self._chosen(TARGET, request))
        page, token = page_of((pair for pair in found if not wanted or pair[0] in wanted), request)
        return {"ScalableTargets": page, "NextToken": token}

    async def deregister(self, request: Document) -> Document:
        """Deregister a variant; its policies go with it."""
        self._forget(self._target(request)["ResourceId"])
        return {}

    async def put_policy(self, request: Document) -> Document:
        """Make a policy of a registered variant, or change one."""
        resource = self._target(request)["ResourceId"]
        name = request["PolicyName"]
        kind = request.get("PolicyType", "StepScaling")
        if kind != "TargetTrackingScaling":
            raise invalid(f"{kind} is not on this machine, which has no CloudWatch alarms: use TargetTrackingScaling")
        key = f"{resource} {name}"
        known = self._state.get(POLICY, key)
        tracking = request.get("TargetTrackingScalingPolicyConfiguration") or (
            known and known["TargetTrackingScalingPolicyConfiguration"]
        )
        if not tracking:
            raise invalid("A policy of type TargetTrackingScaling needs a TargetTrackingScalingPolicyConfiguration")
        refuse_unknown(tracking)
        arn = (
            known["PolicyARN"]
            if known
            else f"{self._arn('autoscaling')}:scalingPolicy:{uuid.uuid4()}:resource/sagemaker/{resource}:policyName/{name}"
        )
        document = {
            "PolicyARN": arn,
            "PolicyName": name,
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "PolicyType": kind,
            "TargetTrackingScalingPolicyConfiguration": tracking,
            "Alarms": [],
            "CreationTime": known["CreationTime"] if known else wire.now(),
        }
        self._state.put(POLICY, key, document)
        return {"PolicyARN": arn, "Alarms": []}

    async def policies(self, request: Document) -> Document:
        """Return a page of policies."""
        wanted = request.get("PolicyNames")
        chosen = (one for one in self._chosen(POLICY, request) if not wanted or one["PolicyName"] in wanted)
        page, token = page_of(((f"{one['ResourceId']} {one['PolicyName']}", one) for one in chosen), request)
        return {"ScalingPolicies": page, "NextToken": token}

    async def delete_policy(self, request: Document) -> Document:
        """Delete a policy; the variant keeps the servers that it has."""
        key = f"{resource_of(request)} {request['PolicyName']}"
        if self._state.get(POLICY, key) is None:
            raise _absent(f"No scaling policy found for {key!r}")
        self._state.drop(POLICY, key)
        return {}

    async def activities(self, request: Document) -> Document:
        """Return a page of what was done, newest first."""
        found = ((one["_Key"], one) for one in self._chosen(ACTIVITY, request))
        page, token = page_of(found, request, newest_first=True)
        return {"ScalingActivities": page, "NextToken": token}

    def begin(self) -> None:
        """Look at all targets once a minute from now on; end what a killed service has left in progress."""
        for activity in self._state.all(ACTIVITY):
            if activity["StatusCode"] == "InProgress":
                has = self._endpoints.capacity(*names_in(activity["ResourceId"]))
                self._end(activity, has[1] if has else None)
        self._looking = asyncio.create_task(self._look_on(), name="autoscaling")

    async def close(self) -> None:
        """Look no more."""
        tasks = [*self._changing, *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self.minute_s)
            try:
                self.look()
            except Exception:
                log.exception("scaling failed")

    def look(self) -> None:
        """Take what was counted in the last minute, and begin what follows from it for each target."""
        counted, self._invoking.counted = self._invoking.counted, type(self._invoking.counted)()
        for target in self._state.all(TARGET):
            resource = target["ResourceId"]
            endpoint, variant = names_in(resource)
            has = self._endpoints.capacity(endpoint, variant)
            if has is None:
                log.info("variant is gone, and its scaling with it", resource=resource)
                self._forget(resource)
                continue
            status, count = has
            minutes = self._minutes.setdefault(resource, deque(maxlen=IN_MINUTES))
            minutes.append(TrafficMinute(counted[endpoint, variant], max(1, count)))
            if status != "InService":
                continue
            done = [one for one in self._state.all(ACTIVITY) if one["ResourceId"] == resource and "EndTime" in one]
            steps = [ScalingStep(one["EndTime"], one["_Added"]) for one in done if one["StatusCode"] == "Successful"]
            policies = [_tracking(one) for one in self._state.all(POLICY) if one["ResourceId"] == resource]
            if decision := desired_capacity(_limits(target), policies, list(minutes), count, steps, wire.now()):
                task = asyncio.create_task(self._change(resource, count, decision), name=f"scaling {resource}")
                self._changing.add(task)
                task.add_done_callback(self._changing.discard)

    async def _change(self, resource: str, before: int, decision: ScalingDecision) -> None:
        activity = self._activity(resource, before, decision)
        endpoint, variant = names_in(resource)
        log.info("scaling", resource=resource, before=before, after=decision.count, cause=decision.cause)
        try:
            self._end(activity, await self._endpoints.scale(endpoint, variant, decision.count))
        except AwsError as refused:
            self._end(activity, None, str(refused))

    def _activity(self, resource: str, before: int, decision: ScalingDecision) -> Document:
        """Begin an activity; forget those that are too old."""
        now = wire.now()
        kept = self._state.all(ACTIVITY)
        for old in kept[: max(0, len(kept) - _MOST_ACTIVITIES)] + [one for one in kept if one["StartTime"] < now - _KEPT_S]:
            self._state.drop(ACTIVITY, old["_Key"])
        identity = str(uuid.uuid4())
        document: Document = {
            "ActivityId": identity,
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "Description": f"Setting desired instance count to {decision.count}.",
            "Cause": decision.cause,
            "StartTime": now,
            "StatusCode": "InProgress",
            "StatusMessage": "Waiting for change to be fulfilled.",
            "_Key": f"{now:017.3f} {identity}",
            "_Added": decision.count - before,
            "_Wanted": decision.count,
        }
        self._state.put(ACTIVITY, document["_Key"], document)
        return document

    def _end(self, activity: Document, count: int | None, reason: str = "the servers did not start") -> None:
        wanted = activity["_Wanted"]
        if count == wanted:
            told = f"Successfully set desired instance count to {wanted}. Change successfully fulfilled by sagemaker."
        else:
            told = f"Failed to set desired instance count to {wanted}: {reason}"
        activity |= {
            "StatusCode": "Successful" if count == wanted else "Failed",
            "StatusMessage": told,
            "EndTime": wire.now(),
        }
        self._state.put(ACTIVITY, activity["_Key"], activity)

    def _forget(self, resource: str) -> None:
        self._minutes.pop(resource, None)
        self._state.drop(TARGET, resource)
        for policy in self._state.all(POLICY):
            if policy["ResourceId"] == resource:
                self._state.drop(POLICY, f"{resource} {policy['PolicyName']}")

    def _target(self, request: Document) -> Document:
        resource = resource_of(request)
        target = self._state.get(TARGET, resource)
        if target is None:
            raise _absent(f"No scalable target registered for service namespace: sagemaker, resource ID: {resource}")
        return target

    def _chosen(self, kind: str, request: Document) -> Iterable[Document]:
        refuse_others(request)
        resource = request.get("ResourceId")
        return (one for one in self._state.all(kind) if resource in (None, one["ResourceId"]))

    def _arn(self, service: str) -> str:
        return f"arn:aws:{service}:{self._names.region}:{self._names.account}"


def _limits(target: Document) -> CapacityLimits:
    suspended = target["SuspendedState"]
    return CapacityLimits(
        target["MinCapacity"],
        target["MaxCapacity"],
        may_add=not suspended["DynamicScalingOutSuspended"],
        may_remove=not suspended["DynamicScalingInSuspended"],
    )


def _tracking(policy: Document) -> TrackingPolicy:
    told = policy["TargetTrackingScalingPolicyConfiguration"]
    return TrackingPolicy(
        policy["PolicyName"],
        told["TargetValue"],
        told.get("ScaleOutCooldown", _COOLDOWN_S),
        told.get("ScaleInCooldown", _COOLDOWN_S),
        may_remove=not told.get("DisableScaleIn", False),
    )


def _absent(message: str) -> AwsError:
    return AwsError("ObjectNotFoundException", message)
