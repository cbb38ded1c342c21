"""Audits the log that simulated players have played on."""

from collections.abc import Collection
from typing import Any

from contracts.settings import Settings
from deploy.audit import audit
from deploy.auditor import AuditReport
from producers.bus import open_bus
from producers.simulation_report import SimulationReport
from tests.roster import MODELS

WITHOUT_ENDPOINTS = ("river", "yours", "everyone")
"""The models that answer where no SageMaker runs."""


async def audited(
    settings: Settings, report: SimulationReport, *, models: Collection[str] = MODELS, **given: Any
) -> AuditReport:
    """Audit what the players of a report were told, on the bus of these settings; ``given`` goes to `deploy.audit.audit`."""
    bus = open_bus(settings)
    try:
        return await audit(bus, report.saved, report.receipted, models=models, **given)
    finally:
        bus.close()
