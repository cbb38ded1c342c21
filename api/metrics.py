"""Defines the metrics that /metrics shows to Prometheus, in seconds and plain counts."""

from collections.abc import Mapping
from uuid import UUID

from cachetools import FIFOCache
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.folds.estimate import Estimate
from api.folds.traffic import Traffic
from api.verdict import Status, Verdict
from contracts.events import CorrectionReceipt

_LATENCY_S = (0.005, 0.01, 0.02, 0.035, 0.05, 0.08, 0.12, 0.15, 0.25, 0.5, 1.0, 2.5)
_CORRECTIONS = 10_000
"""How many corrections are remembered to time their receipts."""


class Metrics:
    """The metrics of one app, in a registry of their own, so that two apps in one process do not meet."""

    def __init__(self, traffic: Traffic | None = None) -> None:
        """Start with all metrics at zero; ``traffic`` counts what comes off the bus."""
        registry = CollectorRegistry()
        self.registry = registry
        self.frames = Counter("gamenight_frames", "Frames that players sent", registry=registry)
        self.errors = Counter("gamenight_errors", "Error frames, by code", ["code"], registry=registry)
        self.sockets = Gauge("gamenight_sockets", "Open sockets", ["path"], registry=registry)
        self.closes = Counter("gamenight_closes", "Closed sockets, by close code", ["code"], registry=registry)
        self.saved = Histogram(
            "gamenight_saved_seconds", "From a final drawing to its acknowledgement", registry=registry, buckets=_LATENCY_S
        )
        self.guess = Histogram(
            "gamenight_guess_seconds",
            "From a final drawing to a model's guess on it",
            ["model"],
            registry=registry,
            buckets=_LATENCY_S,
        )
        self.lag = Gauge(
            "gamenight_bus_lag_seconds", "Age of the newest record of a topic when it was read", ["topic"], registry=registry
        )
        self.rejected = Counter("gamenight_records_rejected", "Records that could not be read", ["topic"], registry=registry)
        self.audited = Counter("gamenight_operator_requests", "Operators' requests, by status", ["status"], registry=registry)
        self.predictions = Counter("gamenight_predictions", "Predictions for apps, by status", ["status"], registry=registry)
        self.health = Gauge("gamenight_health", "1 for the status that /healthz says", ["status"], registry=registry)
        self.missing = Gauge("gamenight_missing", "1 for each part that /healthz says is missing", ["part"], registry=registry)
        self.accuracy = Gauge(
            "gamenight_accuracy",
            "Share of right guesses, estimated from picked drawings: value, end of its interval, or bound whoever is silent",
            ["model", "of"],
            registry=registry,
        )
        self.picked = Gauge(
            "gamenight_picked", "Drawings that chance picked, by what is known", ["model", "of"], registry=registry
        )
        self.drift = Gauge(
            "gamenight_drift_detections", "Drift detected in the last weeks", ["kind", "subject"], registry=registry
        )
        self.receipt = Histogram(
            "gamenight_receipt_seconds",
            "From a correction to what a stage says that it did",
            ["stage"],
            registry=registry,
            buckets=_LATENCY_S,
        )
        self.traffic = traffic or Traffic()
        """What came off the bus; `api.ops.exported` shows it."""
        self._given: FIFOCache[UUID, float] = FIFOCache(_CORRECTIONS)
        """When the newest corrections were sent."""
        self._guess_of: dict[str, Histogram] = {}

    def judged(self, verdict: Verdict) -> None:
        """Set the metrics to a verdict on the game's health."""
        for status in Status:
            self.health.labels(status).set(status is verdict.status)
        self.missing.clear()
        for part in verdict.missing:
            self.missing.labels(part).set(1)

    def estimated(self, models: Mapping[str, Estimate]) -> None:
        """Set the metrics to the estimates of all models."""
        for model, one in models.items():
            self.picked.labels(model, "all").set(one.picked)
            self.picked.labels(model, "known").set(one.known)
            for of in ("share", "low", "high", "least", "most"):
                if (value := getattr(one, of)) is not None:
                    self.accuracy.labels(model, of).set(value)

    def drifted(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set how often each kind of drift was detected of each subject."""
        for labels, count in counts.items():
            self.drift.labels(*labels).set(count)

    def guessed(self, model: str, hops: Mapping[str, float]) -> None:
        """Count a guess that was sent to its player; each model's histogram is cached: looking it up costs as much as counting.

        Args:
            model: The model.
            hops: In milliseconds; ``total`` is among them.
        """
        histogram = self._guess_of.get(model)
        if histogram is None:
            histogram = self._guess_of[model] = self.guess.labels(model)
        histogram.observe(hops["total"] / 1000)
        self.traffic.took(model, {"bus_out": hops["bus_out"]})

    def corrected(self, correction_id: UUID, at: float) -> None:
        """Remember when a correction was sent, on a clock in seconds."""
        self._given[correction_id] = at

    def learned(self, receipt: CorrectionReceipt, at: float) -> None:
        """Count how long a receipt took, if its correction was sent by this process."""
        began = self._given.get(receipt.correction_id)
        if began is not None:
            self.receipt.labels(receipt.stage).observe(at - began)
