"""Builds ``GET /metrics``, where Prometheus finds everything (all ways)."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.folds.drift_board import DriftBoard
from api.folds.honest import HonestAccuracy
from api.health import Health
from api.metrics import Metrics
from api.ops.exported import Exported

LAG_S: Final = 10.0
"""How old the lag of the groups may be: who scrapes more often gets it again."""
Lag = Callable[[], Mapping[str, Mapping[str, int]]]
"""Asks Kafka how far each group is behind, by topic, in a thread; raises if it does not say."""

log = structlog.get_logger(__name__)


def metrics_router(
    metrics: Metrics, exported: Exported, health: Health, honest: HonestAccuracy, drift: DriftBoard, lag: Lag | None
) -> APIRouter:
    """Build the route. Without ``lag`` no group's is shown: the bus in memory has none."""
    routes = APIRouter()
    metrics.registry.register(exported)
    asked_at = -LAG_S
    asking = asyncio.Lock()

    async def look_at_lag(ask: Lag) -> None:
        nonlocal asked_at
        async with asking:
            if time.monotonic() - asked_at < LAG_S:
                return
            try:
                exported.lag = await asyncio.to_thread(ask)
            except Exception as wrong:  # noqa: BLE001 a scrape says what is known
                exported.lag = {}
                log.warning("lag not known", error=str(wrong) or type(wrong).__name__)
            asked_at = time.monotonic()

    @routes.get("/metrics", tags=["queries"], response_class=Response)
    async def prometheus() -> Response:
        """For Prometheus: of every process, at this one address."""
        if lag is not None:
            await look_at_lag(lag)
        metrics.judged(await health.check())
        metrics.estimated({model: one.whole for model, one in honest.models().items()})
        metrics.drifted(drift.counts)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes
