"""Starts the servers of an endpoint's variants, each with the model in a folder of its own, and drains those that must end."""

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from deploy.local.sagemaker import logs
from deploy.local.sagemaker.captures import capture_plan
from deploy.local.sagemaker.containers import Images, TakeLine
from deploy.local.sagemaker.document import Document
from deploy.local.sagemaker.invoking import Variant
from deploy.local.sagemaker.logs import Logs
from deploy.local.sagemaker.names import Names
from deploy.local.sagemaker.objects import Objects
from deploy.local.sagemaker.requirements import PROGRAM, Requirements, RequirementsFailed
from deploy.local.sagemaker.servers import PATIENCE_S, Server, ServerFailed
from deploy.local.sagemaker.threads import in_thread
from producers.blobs import DIGEST_VARIABLE

_SAME: Final = ("VariantName", "Count", "Image", "ModelDataUrl", "Environment", "Shadow")
"""The members that two plans of a variant must have in common for its servers to keep running."""


class Fleet:
    """Makes and ends the servers of all endpoints; `Invoking` knows which of them answer."""

    def __init__(
        self, names: Names, images: Images, objects: Objects, kept: Logs, requirements: Requirements, home: Path
    ) -> None:
        """Keep the parts; servers work in folders under ``home/endpoints``."""
        self._names = names
        self._images = images
        self._objects = objects
        self._logs = kept
        self._home = home
        self._requirements = requirements
        self._draining: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop draining; the caller ends all servers next."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)

    async def unchanged(
        self, before: list[Document], serving: tuple[Variant, ...], plan: list[Document]
    ) -> dict[Path, list[Server]]:
        """Find the servers that an update leaves as they are, by folder, and write their folders into the plan.

        AWS would start all servers anew, but callers cannot tell the difference: an artifact that was written anew is fetched
        anew.
        """
        kept = {}
        for planned in plan:
            for old, variant in zip(before, serving, strict=True):
                same = all(old.get(member) == planned[member] for member in _SAME)
                if same and all(server.ready.is_set() and not server.missed for server in variant.servers):
                    artifact = await self._artifact(planned)
                    if old.get("Artifact") == artifact:
                        planned |= {"Folder": old["Folder"], "Artifact": artifact}
                        kept[variant.folder] = variant.servers
        return kept

    async def deploy(
        self,
        endpoint: str,
        plan: Iterable[Document],
        kept: Mapping[Path, list[Server]] | None = None,
        *,
        aside: bool = False,
    ) -> tuple[Variant, ...]:
        """Start the servers of a plan, except those that run already; if one fails, end all new servers."""
        kept = kept or {}
        variants = []
        fresh = [planned for planned in plan if self._home / planned["Folder"] not in kept]
        try:
            for planned in plan:
                folder = self._home / planned["Folder"]
                if folder in kept:
                    variants.append(_variant(planned, folder, kept[folder]))
                    continue
                model = folder / "model"
                planned["Artifact"] = await self._artifact(planned)
                if planned["ModelDataUrl"]:
                    digest = planned["Environment"].get(DIGEST_VARIABLE)
                    await in_thread(self._objects.download_model, planned["ModelDataUrl"], model, digest)
                else:
                    model.mkdir(parents=True, exist_ok=True)
                await self._require(endpoint, planned, model)
                variants.append(self.variant(endpoint, planned))
            new = [server for variant in variants if variant.folder not in kept for server in variant.servers]
            await start_all(new, aside=aside)
        except BaseException:
            for planned in fresh:
                await in_thread(shutil.rmtree, self._home / planned["Folder"], ignore_errors=True)
            raise
        return tuple(variants)

    def variant(self, endpoint: str, planned: Document) -> Variant:
        servers = [self.server(endpoint, planned, index) for index in range(planned["Count"])]
        return _variant(planned, self._home / planned["Folder"], servers)

    def server(self, endpoint: str, planned: Document, index: int) -> Server:
        """Make one of a variant's servers, with an /opt/ml of its own that holds the variant's model."""
        folder = self._home / planned["Folder"]
        place = folder / f"instance-{index}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "model", place / "model", copy_function=os.link)
        say = self._writer(endpoint, planned, folder, index)
        environment = {"AWS_REGION": self._names.region, **planned["Environment"]}
        image = self._images.find(planned["Image"])
        if PROGRAM in planned["Environment"]:
            image = self._requirements.found(image, folder / "model" / "code")
        return Server(image, place, environment, say, home=self._home, patience_s=planned.get("Patience", PATIENCE_S))

    def drain(self, servers: Iterable[Server], folder: Path | None) -> None:
        async def ending() -> None:
            await asyncio.gather(*(server.stop() for server in servers))
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

        task = asyncio.create_task(ending())
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _require(self, endpoint: str, planned: Document, model: Path) -> None:
        """Install what a model's own code requires, if its container names a program."""
        if PROGRAM in planned["Environment"]:
            say = self._writer(endpoint, planned, model.parent, 0)
            try:
                await self._requirements.made(self._images.find(planned["Image"]), model / "code", say)
            except RequirementsFailed as failed:
                raise ServerFailed(str(failed)) from failed

    def _writer(self, endpoint: str, planned: Document, folder: Path, index: int) -> TakeLine:
        return self._logs.writer(f"{logs.ENDPOINTS}/{endpoint}", f"{planned['VariantName']}/i-{folder.name}-{index}")

    async def _artifact(self, planned: Document) -> str:
        return await asyncio.to_thread(self._objects.etag, planned["ModelDataUrl"]) if planned["ModelDataUrl"] else ""


async def start_all(servers: Iterable[Server], *, aside: bool = False) -> None:
    """Start servers side by side; if one fails, or the call is cancelled, end them all.

    Args:
        servers: Servers that are not started yet.
        aside: Whether other servers answer meanwhile.

    Raises:
        ServerFailed: If a server did not become ready.
    """
    servers = list(servers)
    try:
        done = await asyncio.gather(*(server.start(aside=aside) for server in servers), return_exceptions=True)
        failed = [error for error in done if isinstance(error, BaseException)]
        if failed and isinstance(failed[0], ServerFailed):
            raise ServerFailed(
                "The primary container did not pass the ping health check."
                f" Please check CloudWatch logs for this endpoint: {failed[0]}"
            ) from failed[0]
        if failed:
            raise failed[0]
    except BaseException:
        await asyncio.gather(*(server.end() for server in servers))
        raise


def _variant(planned: Document, folder: Path, servers: list[Server]) -> Variant:
    capture = capture_plan(planned.get("Capture"))
    return Variant(planned["VariantName"], planned["Weight"], folder, servers, planned.get("Shadow", False), capture)
