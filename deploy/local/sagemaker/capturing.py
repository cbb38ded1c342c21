"""Captures requests to endpoints and their answers: samples them, gathers lines for some seconds, and puts them into S3."""

import asyncio
import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from deploy.local.sagemaker.captures import CapturedBody, CapturePlan, capture_address, capture_line
from deploy.local.sagemaker.objects import Objects, ObjectsFailed
from deploy.local.sagemaker.threads import in_thread

_MOST_BYTES: Final = 64 << 20
"""The most bytes of lines that wait for S3; beyond it nothing is captured: a request is never slowed by it."""
_Kept = tuple[CapturePlan, str, str, str]
"""Plan, endpoint, variant and hour: their lines go into one file."""

log = structlog.get_logger()


class Capturing:
    """The lines that wait for S3, and the task that puts them there."""

    def __init__(self, objects: Objects) -> None:
        """Keep the parts; nothing is written before `begin`."""
        self.every_s = 5.0
        """How long lines wait at most, in seconds."""
        self._objects = objects
        self._random = random.Random()
        self._waiting: dict[_Kept, tuple[datetime, list[bytes]]] = {}
        self._bytes = 0
        self._left_out = 0
        self._turn = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None

    def take(
        self,
        plan: CapturePlan,
        endpoint: str,
        variant: str,
        headers: Mapping[str, str],
        body: bytes,
        answered: CapturedBody,
    ) -> None:
        """Keep a line of a request that was answered, if chance picks it."""
        if self._random.random() * 100 >= plan.percent:
            return
        if self._bytes + len(body) + len(answered.body) > _MOST_BYTES:
            self._left_out += 1
            return
        at = datetime.now(UTC)
        line = capture_line(
            plan,
            CapturedBody(headers.get("content-type", "application/octet-stream"), body),
            answered,
            event_id=str(uuid.uuid4()),
            at=at,
            inference_id=headers.get("x-amzn-sagemaker-inference-id"),
            attributes=headers.get("x-amzn-sagemaker-custom-attributes"),
        )
        self._bytes += len(line)
        self._waiting.setdefault((plan, endpoint, variant, f"{at:%Y%m%d%H}"), (at, []))[1].append(line)

    def begin(self) -> None:
        """Put lines into S3 every few seconds from now on."""
        self._writing = asyncio.create_task(self._write_on(), name="capturing")

    async def close(self) -> None:
        """Put into S3 what still waits, and end."""
        if self._writing:
            async with self._turn:  # lines that are on their way to S3 arrive there
                self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self.write()

    async def write(self) -> None:
        """Put into S3 what waits; what S3 does not take waits on."""
        taken, self._waiting = self._waiting, {}
        for kept, (at, lines) in taken.items():
            plan, endpoint, variant, _ = kept
            try:
                data = b"".join(lines)
                await in_thread(self._objects.put_bytes, data, capture_address(plan, endpoint, variant, at, str(uuid.uuid4())))
            except ObjectsFailed as failed:
                log.warning("captured data waits", endpoint=endpoint, lines=len(lines), reason=str(failed))
                since, more = self._waiting.get(kept, (at, []))
                self._waiting[kept] = (min(at, since), lines + more)
            else:
                self._bytes -= len(data)
        if self._left_out:
            log.warning("requests were not captured: S3 takes nothing, or too slowly", requests=self._left_out)
            self._left_out = 0

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            async with self._turn:
                try:
                    await self.write()
                except Exception:
                    log.exception("capturing failed")
