"""What people say of versions in SageMaker's model registry, put on the log (way 3, REBUILD).

The gate approves or refuses a version when it is registered. Whoever may write to the registry, from a console or by
UpdateModelPackage, can overrule it, either way; from then on its ModelPublished says so, and everybody who reads the log
goes by that. Twice is harmless: nothing is said where the log knows it.
"""

from trainers.model_log import Standing
from trainers.promote import Promoter
from trainers.registry import Registry


class Approvals:
    """Keeps the log to what the registry says."""

    def __init__(self, standing: Standing, promoter: Promoter, registry: Registry) -> None:
        """Bring together the log, who writes to it, and the registry."""
        self._standing = standing
        self._promoter = promoter
        self._registry = registry

    def ask(self, model: str, version: str) -> None:
        """Ask the registry for a version now; what it does not know stays as it was said."""
        published = self._standing.published(model).get(version)
        found = self._registry.read(published.arn) if published and published.arn else None
        if published and found and found.published.digest == published.digest:  # not another's, in a registry made anew
            self._promoter.amend(model, version, approved=found.published.approved, gate=found.published.gate)

    def look(self, model: str) -> None:
        """Ask for those versions of a model that the registry has another word for than the log."""
        approved = self._registry.approved(model)
        for version, published in self._standing.published(model).items():
            if approved.get(published.arn, published.approved) != published.approved:
                self.ask(model, version)
