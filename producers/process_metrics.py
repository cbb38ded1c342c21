"""Counts what a process does, for `contracts.events.ProcessMeasured`: all that Prometheus is told of it (all ways).

The process puts its own metrics into `registry`, by prometheus_client; what every process says of itself is here. What is
counted for each record is a plain number (`LabelledCounter`), since prometheus_client takes a lock each time.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.events import MetricFamily, MetricPoint, ProcessMeasured, now

TELL_S: Final = 5.0
"""How often a process tells what it counts, in seconds."""
_KINDS: Final = ("counter", "gauge", "histogram")
_SUFFIXES: Final = ("", "_total", "_bucket", "_sum", "_count")


class LabelledCounter(Collector):
    """A counter with one label."""

    def __init__(self, name: str, what: str, label: str) -> None:
        """Begin at nothing; ``name`` without ``_total``."""
        self.of: Counter[str] = Counter()
        """The counts, to be added to: by one thread alone."""
        self._name, self._what, self._label = name, what, label

    def collect(self) -> Iterator[Metric]:
        """Yield the counter."""
        family = CounterMetricFamily(self._name, self._what, labels=[self._label])
        for value, count in list(self.of.items()):
            family.add_metric([value], count)
        yield family


class ProcessMetrics:
    """The metrics of this process."""

    def __init__(self, process: str, instance: str, home: Path) -> None:
        """Begin to count.

        Args:
            process: The kind of process; one that is not of `contracts.events.PROCESSES` cannot be told.
            instance: Tells it apart from others of its kind.
            home: The folder whose disk is measured.
        """
        self.registry = CollectorRegistry()
        self.instance = instance
        self._process = process
        self._began = now()
        self.registry.register(_Itself(home))

    def told(self) -> ProcessMeasured:
        """Return what has been counted so far."""
        families = [family for metric in self.registry.collect() if (family := _family(metric)) is not None]
        told = {"process": self._process, "instance": self.instance, "began": self._began, "families": families}
        return ProcessMeasured.model_validate(told)


class _Itself(Collector):
    """What the system says of the process, and of the disk that it writes to."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process = psutil.Process()

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        times, me = os.times(), self._process
        cpu = CounterMetricFamily("gamenight_process_cpu_seconds", "Processor time of the process")
        cpu.add_metric([], times.user + times.system)
        yield cpu
        memory, files = me.memory_info().rss, me.num_fds()
        yield GaugeMetricFamily("gamenight_process_resident_memory_bytes", "Resident memory of the process", value=memory)
        yield GaugeMetricFamily("gamenight_process_open_fds", "Open files and sockets of the process", value=files)
        there = next((folder for folder in (self._home, *self._home.absolute().parents) if folder.exists()), Path("/"))
        disk = shutil.disk_usage(there)
        yield GaugeMetricFamily("gamenight_disk_free_bytes", "Free bytes of the disk with the process's home", value=disk.free)
        yield GaugeMetricFamily("gamenight_disk_size_bytes", "Size of the disk with the process's home", value=disk.total)


def _family(metric: Metric) -> MetricFamily | None:
    """Return a metric as an event has it; None: it is of a kind that no event has."""
    if metric.type not in _KINDS:
        return None
    points = [
        MetricPoint.model_validate({"suffix": suffix, "tags": one.labels, "amount": one.value})
        for one in metric.samples
        if (suffix := one.name.removeprefix(metric.name)) in _SUFFIXES
    ]
    told = {"metric": metric.name, "what": metric.documentation, "counts": metric.type, "points": points}
    return MetricFamily.model_validate(told)
