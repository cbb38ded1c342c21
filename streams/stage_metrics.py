"""Counts what the stages of a stream process do, and how the endpoints answer it, for Prometheus (ways 1 and 2)."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.events import MessageRejected
from contracts.ports import EndpointSilent
from producers.process_metrics import LabelledCounter

_STEP_S: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
OUTCOMES: Final = ("answered", "silent", "failed")
_CALL_S: Final = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.08, 0.15, 0.25, 0.5, 1.0)


class StageMetrics(Collector):
    """What the stages of a process take, how long a step of theirs is, and what they send."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Put the metrics into a registry."""
        self.taken = LabelledCounter("gamenight_records_taken", "Records that a stage has taken", "stage")
        self.sent = LabelledCounter("gamenight_records_sent", "Records that the process has sent", "topic")
        self.sent.of[MessageRejected.topic] = 0  # an alert reads its increase: it is there before the first
        self._steps = Histogram(
            "gamenight_step_seconds", "A step of a stage: folded, published, acknowledged", ["stage"], registry=registry,
            buckets=_STEP_S,
        )  # fmt: skip
        self._waiting: dict[str, Callable[[], int]] = {}
        for one in (self.taken, self.sent, self):
            registry.register(one)

    def stage(self, name: str, waiting: Callable[[], int]) -> Callable[[int, float], None]:
        """Begin to count for a stage.

        Args:
            name: The fold, or the role of a taker.
            waiting: Says how many records wait for it.

        Returns:
            Called with each step: its records, and its seconds.
        """
        self._waiting[name] = waiting
        steps = self._steps.labels(name)

        def stepped(records: int, seconds: float) -> None:
            self.taken.of[name] += records
            steps.observe(seconds)

        return stepped

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield how many records wait for each stage."""
        family = GaugeMetricFamily("gamenight_waiting_records", "Records that wait for a stage", labels=["stage"])
        for name, waiting in self._waiting.items():
            family.add_metric([name], waiting())
        yield family


class EndpointCalls:
    """How the endpoints answer: calls by outcome, and how long they take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Put the metrics into a registry."""
        what = "Calls to an endpoint: answered, silent until the time was over, or failed"
        self._calls = Counter("gamenight_endpoint_calls", what, ["endpoint", "outcome"], registry=registry)
        self._seconds = Histogram(
            "gamenight_endpoint_call_seconds", "A call to an endpoint", ["endpoint"], registry=registry, buckets=_CALL_S
        )
        self._count = lru_cache(maxsize=256)(self._of)
        self._observe = lru_cache(maxsize=256)(self._seconds.labels)

    def _of(self, endpoint: str) -> dict[str, Counter]:
        """Return the counters of an endpoint, of all outcomes: so its first failure after an answer is an increase."""
        return {outcome: self._calls.labels(endpoint, outcome) for outcome in OUTCOMES}

    @contextmanager
    def call(self, endpoint: str) -> Iterator[None]:
        """Count what is done inside as one call."""
        began, outcome = time.perf_counter(), "failed"
        try:
            yield
            outcome = "answered"
        except EndpointSilent:
            outcome = "silent"
            raise
        finally:
            self._count(endpoint)[outcome].inc()
            self._observe(endpoint).observe(time.perf_counter() - began)
