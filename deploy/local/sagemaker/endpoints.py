"""Makes, changes and deletes endpoints; a change loses no request: new servers start, then the old ones drain."""

import asyncio
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from deploy.local.sagemaker import wire
from deploy.local.sagemaker.captures import capture_summary
from deploy.local.sagemaker.configs import Configs
from deploy.local.sagemaker.containers import Images
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.errors import AwsError, invalid
from deploy.local.sagemaker.fleet import Fleet, start_all
from deploy.local.sagemaker.invoking import Invoking
from deploy.local.sagemaker.listing import Listing
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.models import SageMakerModels
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects, ObjectsFailed
from deploy.local.sagemaker.plans import plan_of, retain, summary
from deploy.local.sagemaker.requirements import Requirements
from deploy.local.sagemaker.servers import ServerFailed
from deploy.local.sagemaker.state import State
from deploy.local.sagemaker.tags import Tags

KIND: Final = "endpoint"
_LISTING: Final = Listing("EndpointName", "EndpointStatus", from_then_on=True)
_BACK: Final = "SystemUpdating"
"""AWS's status of an endpoint under maintenance; here, the servers of the endpoint start again with the service."""
_BUSY: Final = ("Creating", "Updating", _BACK, "RollingBack", "Deleting")
_PATIENCE_S: Final = 50.0
"""How long a change waits for an endpoint that is coming back, in seconds: less than boto3 waits for an answer."""

log = structlog.get_logger()


class Endpoints:
    """Keeps the document of every endpoint; `Invoking` knows the servers that answer."""

    def __init__(
        self,
        state: State,
        names: Names,
        images: Images,
        objects: Objects,
        kept: Logs,
        tags: Tags,
        models: SageMakerModels,
        configs: Configs,
        invoking: Invoking,
        requirements: Requirements,
        home: Path,
    ) -> None:
        """Keep the parts; servers work in folders under ``home/endpoints``."""
        self._state = state
        self._names = names
        self._fleet = Fleet(names, images, objects, kept, requirements, home)
        self._tags = tags
        self._models = models
        self._configs = configs
        self._invoking = invoking
        self._home = home
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def operations(self) -> dict[str, Any]:
        """Return the operations of SageMaker that this class answers, by name."""
        return {
            "CreateEndpoint": self.create,
            "DescribeEndpoint": self.describe,
            "ListEndpoints": self.page,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.update_weights,
            "DeleteEndpoint": self.delete,
        }

    async def create(self, request: Document) -> Document:
        """Create an endpoint: start the servers of its config."""
        name = request["EndpointName"]
        arn = self._names.arn(KIND, name)
        if self._state.get(KIND, name):
            raise invalid(f'Cannot create already existing endpoint "{arn}".')
        now = wire.now()
        plan = plan_of(self._configs, self._models, name, request["EndpointConfigName"])
        document = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": request["EndpointConfigName"],
            "CreationTime": now,
            "_Variants": plan,
        }
        self._tags.hang(arn, request.get("Tags"))
        self._keep(document, "Creating")
        self._begin(name, self._bring_up(document))
        return {"EndpointArn": arn}

    async def describe(self, request: Document) -> Document:
        """Return an endpoint, and the config that it is being updated to."""
        document = self._get(request["EndpointName"])
        document["DataCaptureConfig"] = capture_summary(document["_Variants"][0].get("Capture"))
        if pending := document.get("_Pending"):
            document["PendingDeploymentSummary"] = {"EndpointConfigName": pending, "StartTime": document["LastModifiedTime"]}
        return document

    async def page(self, request: Document) -> Document:
        """Return a page of endpoints, newest first."""
        endpoints, token = _LISTING.page(self._state.all(KIND), request)
        return {"Endpoints": endpoints, "NextToken": token}

    async def update(self, request: Document) -> Document:
        """Update an endpoint to another config."""
        document = await self._unoccupied(request["EndpointName"])
        config = request["EndpointConfigName"]
        deployment = request.get("DeploymentConfig", {})
        if "BlueGreenUpdatePolicy" in deployment and "RollingUpdatePolicy" in deployment:
            raise invalid("A DeploymentConfig has a BlueGreenUpdatePolicy or a RollingUpdatePolicy, not both")
        plan = plan_of(self._configs, self._models, document["EndpointName"], config)
        if request.get("RetainAllVariantProperties"):
            excluded = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", [])}
            retain(document["_Variants"], plan, excluded)
        if deployment:
            document["LastDeploymentConfig"] = deployment
        self._keep(document, "Updating", _Pending=config)
        self._begin(document["EndpointName"], self._go_over(document, config, plan))
        return {"EndpointArn": document["EndpointArn"]}

    async def update_weights(self, request: Document) -> Document:
        """Change the weights of variants at once, and their numbers of servers without losing a request."""
        document = await self._unoccupied(request["EndpointName"])
        name = document["EndpointName"]
        plan = [dict(variant) for variant in document["_Variants"]]
        by_name = {variant["VariantName"]: variant for variant in plan}
        for wish in request["DesiredWeightsAndCapacities"]:
            variant = by_name.get(wish["VariantName"])
            if variant is None:
                raise invalid(f"Variant {wish['VariantName']} not found for endpoint {name}")
            variant["Current"] = [variant["Weight"], variant["Count"]]
            variant["Weight"] = wish.get("DesiredWeight", variant["Weight"])
            variant["Count"] = wish.get("DesiredInstanceCount", variant["Count"])
        if sum(variant["Weight"] for variant in plan) <= 0 or any(variant["Count"] < 1 for variant in plan):
            raise invalid("At least one variant must have a weight above 0, and each one instance")
        document["_Variants"] = plan
        self._keep(document, "Updating")
        self._begin(name, self._resize(document))
        return {"EndpointArn": document["EndpointArn"]}

    async def delete(self, request: Document) -> Document:
        """Delete an endpoint and end its servers. Deleting it twice is harmless."""
        document = self._get(request["EndpointName"])
        name = document["EndpointName"]
        if document["EndpointStatus"] == "Deleting":
            return {}
        running = self._tasks.get(name)
        self._keep(document, "Deleting")
        self._begin(name, self._bring_down(document, running))
        return {}

    def capacity(self, name: str, variant: str) -> tuple[str, int] | None:
        """Return an endpoint's status, and how many servers a production variant of it should have; None: there is none."""
        document = self._state.get(KIND, name)
        shown = [one for one in document["_Variants"] if not one.get("Shadow")] if document else []
        counts = [one["Count"] for one in shown if one["VariantName"] == variant]
        return (document["EndpointStatus"], counts[0]) if document and counts else None

    async def scale(self, name: str, variant: str, count: int) -> int | None:
        """Change the number of a variant's servers; return how many it has then; None: it has gone.

        Raises:
            AwsError: If the endpoint is being changed, or has no such variant.
        """
        wish = {"VariantName": variant, "DesiredInstanceCount": count}
        await self.update_weights({"EndpointName": name, "DesiredWeightsAndCapacities": [wish]})
        if running := self._tasks.get(name):
            await asyncio.wait({running})
        has = self.capacity(name, variant)
        return has[1] if has else None

    def recover(self) -> None:
        """Start the servers of all endpoints again; requests and changes wait for them meanwhile.

        An endpoint that was never in service stays Failed; an endpoint that did not come back last time gets another chance.
        """
        known = set()
        for document in self._state.all(KIND):
            name = document["EndpointName"]
            if document["EndpointStatus"] == "Deleting":
                self._forget(document)
                continue
            known |= {variant["Folder"] for variant in document["_Variants"]}
            if document["EndpointStatus"] == "Creating":
                self._begin(name, self._bring_up(document))
            elif document["EndpointStatus"] != "Failed" or self._has_models(document):
                if document["EndpointStatus"] != "Updating":
                    self._keep(document, _BACK)
                self._begin(name, self._bring_back(document))
        for folder in self._home.glob("endpoints/*/*"):
            if str(folder.relative_to(self._home)) not in known:
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        """End all servers; the endpoints stay and come back at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fleet.close()
        variants = [variant for several in self._invoking.serving.values() for variant in several]
        self._invoking.serving.clear()
        await asyncio.gather(*(server.end() for variant in variants for server in variant.servers))

    def _get(self, name: str) -> Document:
        document = self._state.get(KIND, name)
        if document is None:
            raise invalid(f'Could not find endpoint "{self._names.arn(KIND, name)}".')
        return document

    def _forget(self, document: Document) -> None:
        self._state.drop(KIND, document["EndpointName"])
        self._tags.forget(document["EndpointArn"])

    def _has_models(self, document: Document) -> bool:
        return all((self._home / variant["Folder"] / "model").is_dir() for variant in document["_Variants"])

    async def _unoccupied(self, name: str) -> Document:
        """Return an endpoint that may be changed; wait while it comes back, so that callers need not know of a restart."""
        if self._get(name)["EndpointStatus"] == _BACK and name in self._tasks:
            await asyncio.wait({self._tasks[name]}, timeout=_PATIENCE_S)
        document = self._get(name)
        if document["EndpointStatus"] in _BUSY:
            raise invalid(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')
        if document["EndpointStatus"] != "InService":
            raise invalid(f'Cannot update endpoint "{document["EndpointArn"]}" in status {document["EndpointStatus"]}.')
        return document

    def _keep(self, document: Document, status: str, **members: Any) -> None:
        document |= {"EndpointStatus": status, "LastModifiedTime": wire.now(), **members}
        if status == "InService":
            for variant in document["_Variants"]:
                variant.pop("Current", None)
        for member, shadow in (("ProductionVariants", False), ("ShadowProductionVariants", True)):
            of_kind = [variant for variant in document["_Variants"] if variant.get("Shadow", False) == shadow]
            document[member] = [summary(variant, document) for variant in of_kind] or None
        self._state.put(KIND, document["EndpointName"], document)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(work, name=f"endpoint {name}")

        def done(task: asyncio.Task[None]) -> None:
            if newest := self._tasks.get(name) is task:
                del self._tasks[name]
            if not task.cancelled() and (error := task.exception()):
                log.error("endpoint task failed", endpoint=name, exc_info=error)
                if newest and (document := self._state.get(KIND, name)):  # else the endpoint would stay busy for ever
                    status = "InService" if name in self._invoking.serving else "Failed"
                    self._keep(document, status, FailureReason=f"InternalServerError: {error!r}", _Pending=None)

        task.add_done_callback(done)

    async def _bring_up(self, document: Document) -> None:
        name = document["EndpointName"]
        try:
            variants = await self._fleet.deploy(name, document["_Variants"])
        except (ServerFailed, ObjectsFailed, AwsError, OSError) as failed:
            log.error("endpoint failed", endpoint=name, reason=str(failed))
            self._keep(document, "Failed", FailureReason=str(failed))
            return
        self._invoking.serving[name] = variants
        self._keep(document, "InService")
        log.info("endpoint in service", endpoint=name, variants=[variant.name for variant in variants])

    async def _go_over(self, document: Document, config: str, plan: list[Document]) -> None:
        name = document["EndpointName"]
        try:
            kept = await self._fleet.unchanged(document["_Variants"], self._invoking.serving[name], plan)
            variants = await self._fleet.deploy(name, plan, kept, aside=True)
        except (ServerFailed, ObjectsFailed, AwsError, OSError) as failed:
            log.error("endpoint stays as it was", endpoint=name, reason=str(failed))
            self._keep(document, "InService", FailureReason=str(failed), _Pending=None)
            return
        old = self._invoking.serving[name]
        self._invoking.serving[name] = variants  # the switch: from here on no request goes to the old servers
        document.pop("FailureReason", None)
        self._keep(document, "InService", EndpointConfigName=config, _Variants=plan, _Pending=None)
        log.info("endpoint went over", endpoint=name, config=config, variants=[variant.name for variant in variants])
        for variant in old:
            if variant.folder not in kept:
                self._fleet.drain(variant.servers, variant.folder)

    async def _resize(self, document: Document) -> None:
        name = document["EndpointName"]
        for planned, variant in zip(document["_Variants"], self._invoking.serving[name], strict=True):
            variant.weight = planned["Weight"]
            more = planned["Count"] - len(variant.servers)
            if more > 0:
                indices = range(len(variant.servers), planned["Count"])
                try:
                    servers = [self._fleet.server(name, planned, index) for index in indices]
                    await start_all(servers, aside=True)
                except (ServerFailed, AwsError, OSError) as failed:
                    planned["Count"] = len(variant.servers)
                    self._keep(document, "InService", FailureReason=str(failed))
                    return
                variant.servers.extend(servers)
            elif more < 0:
                surplus = variant.servers[more:]
                del variant.servers[more:]
                self._fleet.drain(surplus, None)
        self._keep(document, "InService")

    async def _bring_back(self, document: Document) -> None:
        """Start again an endpoint that was in service; its model is still on disk."""
        name = document["EndpointName"]
        try:
            variants = tuple(self._fleet.variant(name, planned) for planned in document["_Variants"])
            self._invoking.serving[name] = variants
            await start_all([server for variant in variants for server in variant.servers])
        except (ServerFailed, AwsError, OSError) as failed:
            log.error("endpoint does not come back", endpoint=name, reason=str(failed))
            self._invoking.serving.pop(name, None)
            self._keep(document, "Failed", FailureReason=str(failed))
            return
        except BaseException:
            self._invoking.serving.pop(name, None)  # none of the endpoint's servers is left
            raise
        log.info("endpoint is back", endpoint=name)
        document.pop("FailureReason", None)
        if config := document.get("_Pending"):
            try:
                plan = plan_of(self._configs, self._models, name, config)
            except AwsError as gone:
                self._keep(document, "InService", FailureReason=str(gone), _Pending=None)
                return
            self._keep(document, "Updating")
            await self._go_over(document, config, plan)
        else:
            self._keep(document, "InService")

    async def _bring_down(self, document: Document, running: asyncio.Task[None] | None) -> None:
        name = document["EndpointName"]
        if running:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        variants = self._invoking.serving.pop(name, ())
        await asyncio.gather(*(server.stop() for variant in variants for server in variant.servers))
        shutil.rmtree(self._home / "endpoints" / name, ignore_errors=True)
        self._forget(document)
        log.info("endpoint deleted", endpoint=name)
