"""Tells what the trainer counts of itself, for Prometheus (way 3, REBUILD)."""

from collections.abc import Callable, Iterable, Iterator
from socket import gethostname

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.ports import Bus
from contracts.settings import Settings
from producers.process_metrics import TELL_S, ProcessMetrics
from trainers.jobs import Pause
from trainers.model_log import ModelLog


class _Due(Collector):
    """What the trainer has still to do."""

    def __init__(self, model_log: ModelLog) -> None:
        self._queues: dict[str, Callable[[], int]] = {
            "rebuild": lambda: len(model_log.due()),
            "steering": lambda: len(model_log.unsettled()),
            "forgetting": lambda: len(model_log.forgettings()),
            "drift": lambda: len(model_log.detections()),
        }

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("gamenight_trainer_due", "What the trainer has still to do", labels=["queue"])
        for queue, length in self._queues.items():
            family.add_metric([queue], length())
        yield family


def tell_metrics(settings: Settings, bus: Bus, model_log: ModelLog, pause: Pause) -> None:
    """Tell what the trainer counts, again and again; what the broker does not take is told the next time."""
    metrics = ProcessMetrics("trainer", f"trainer-{gethostname()}", settings.home)
    metrics.registry.register(_Due(model_log))
    while True:
        bus.publish(metrics.told())
        pause(TELL_S)
