"""Publishes approvals that people give or withdraw in SageMaker's model registry (way 3, REBUILD).

The gate approves or refuses a version when it is registered. Anybody who may write to the registry, from a console or by
UpdateModelPackage, can overrule it; from then on the version's ModelPublished says so, and every reader of the log follows.
Twice is harmless: nothing is published that the log has already.
"""

from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.registry import Registry, told_gate


class Approvals:
    """Publishes which versions the registry approves."""

    def __init__(self, model_log: ModelLog, promoter: Promoter, registry: Registry) -> None:
        """Keep the folded log, the promoter and the registry."""
        self._model_log = model_log
        self._promoter = promoter
        self._registry = registry

    def ask(self, model: str, version: str) -> None:
        """Ask the registry for a version now; a version that it does not know stays as the log has it."""
        published = self._model_log.published(model).get(version)
        found = self._registry.read(published.arn) if published and published.arn else None
        if published and found and found.published.digest == published.digest:  # a registry made anew may reuse an ARN
            self._promoter.amend(model, version, approved=found.published.approved, gate=found.published.gate)

    def force(self, model: str, version: str, why: str) -> None:
        """Approve a version in the registry, whatever the gate has said, and publish that."""
        published = self._model_log.published(model)[version]
        if published.arn:
            self._registry.approve(published.arn, why)
            self.ask(model, version)
        else:
            self._promoter.amend(model, version, approved=True, gate=told_gate(published, "Approved", why))

    def look(self, model: str) -> None:
        """Look for versions of a model that the registry and the log approve differently, and ask for those."""
        approved = self._registry.approved(model)
        for version, published in self._model_log.published(model).items():
            if approved.get(published.arn, published.approved) != published.approved:
                self.ask(model, version)
