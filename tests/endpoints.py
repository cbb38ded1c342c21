"""Fakes SageMaker's endpoints and model registry in memory, for tests of trainers.promote, bases and watching."""

from collections.abc import Callable, Iterable
from datetime import datetime

from contracts.events import EndpointSeen, ModelPublished, VariantSeen, variant_of, version_of
from tests.histories import seconds
from trainers.registry import Registered, told_gate
from trainers.serving import ServingFailed


class MemoryServing:
    """The `trainers.serving.Serving` of one model: its variants with their weights. Versions can be made to fail."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        """The variants that do not start."""
        self.mute: set[str] = set()
        """The variants that start, but do not answer."""
        self.refuses: Exception | None = None
        """The error of CreateModel; None: it succeeds."""
        self.variants: dict[str, float] = {}
        self.discarded: list[str] = []
        """The endpoints that were deleted by name."""
        self.started: list[list[str]] = []
        """The variants of each update that changed more than weights."""
        self.status = "InService"
        self.reason = ""
        self.changed = 0
        self.looked = 0
        self.down: Exception | None = None
        """The error of every look at the endpoints; None: they can be seen."""

    def serve(self, endpoint: str, first: ModelPublished, others: Iterable[ModelPublished] = (), *, only: bool = False) -> None:
        wanted = {variant_of(one.version): float(one is first) for one in (first, *others)}
        self.changed += 1
        if wanted.keys() <= self.variants.keys() and not (only and wanted.keys() != self.variants.keys()):
            self.variants = {variant: wanted.get(variant, 0.0) for variant in self.variants}
            return
        if self.refuses:
            raise self.refuses
        self.started.append(sorted(wanted))
        if not self.broken & wanted.keys():
            self.variants = wanted

    def discard(self, endpoint: str) -> None:
        self.discarded.append(endpoint)

    def ready(
        self,
        endpoint: str,
        first: ModelPublished,
        others: Iterable[ModelPublished] = (),
        look: Callable[[], None] = lambda: None,
    ) -> None:
        look()
        if self.status != "InService":
            raise ServingFailed(f"{endpoint} is {self.status}")
        for one in (first, *others):
            if self.variants.get(variant_of(one.version)) != float(one is first):
                raise ServingFailed(f"{endpoint} does not serve {one.version}")
            self.ask_blank(endpoint, one)

    def ask_blank(self, endpoint: str, version: ModelPublished) -> None:
        if variant_of(version.version) in self.broken | self.mute:
            raise ServingFailed(f"{version.version} does not answer")

    def weights(self, endpoint: str) -> dict[str, float]:
        return dict(self.variants) if self.status == "InService" else {}

    def stamps(self) -> dict[str, tuple[str, datetime]]:
        if self.down:
            raise self.down
        return {"gamenight-xgboost": (self.status, seconds(self.changed))} if self.variants else {}

    def seen(self, model: str) -> EndpointSeen | None:
        self.looked += 1
        if model != "xgboost" or not self.variants:
            return None
        return EndpointSeen(
            model=model,
            version=next(version_of(variant) for variant, weight in self.variants.items() if weight),
            endpoint="gamenight-xgboost",
            status=self.status,
            reason=self.reason,
            modified=seconds(self.changed),
            variants=[
                VariantSeen(
                    variant=variant, version=version_of(variant), weight=weight, instances=1, instance_type="ml.m5.large"
                )
                for variant, weight in self.variants.items()
            ],
        )


class MemoryRegistry:
    """The `trainers.registry.Registry` of one model: its versions as the gate left them, and people's approvals since."""

    def __init__(self, *versions: ModelPublished) -> None:
        self.kept = list(versions)
        self.said: dict[str, tuple[str, str]] = {}
        """The ModelApprovalStatus and ApprovalDescription by ARN."""
        self.read_arns: list[str] = []

    def overrule(self, version: str, status: str, why: str = "") -> None:
        """Change the approval of a version, as UpdateModelPackage does."""
        [arn] = [one.arn for one in self.kept if one.version == version]
        self.said[arn] = status, why

    def approve(self, arn: str, why: str) -> None:
        self.said[arn] = "Approved", why

    def read(self, arn: str) -> Registered | None:
        self.read_arns.append(arn)
        for one in self.kept:
            if one.arn == arn:
                waits = "PendingManualApproval" if one.verdict == "undecided" else "Rejected"
                status, why = self.said.get(arn, ("Approved" if one.approved else waits, ""))
                now = {"approved": status == "Approved", "gate": told_gate(one, status, why)}
                return Registered(one.model_copy(update=now), "")
        return None

    def approved(self, model: str) -> dict[str, bool]:
        return {one.arn: found.published.approved for one in self.kept if (found := self.read(one.arn))}

    def versions(self, model: str) -> list[Registered]:
        return [found for one in self.kept if (found := self.read(one.arn))]

    def register(self, version: ModelPublished) -> ModelPublished:
        self.kept.append(version.model_copy(update={"arn": f"arn:{len(self.kept) + 1}"}))
        return self.kept[-1]
