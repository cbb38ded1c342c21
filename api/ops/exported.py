"""Shows Prometheus what the API's folds know: models, what came off the bus, and what every process counts (all ways).

Everything is at one address, since every process tells what it counts on metrics.v1 (docs/decisions/0044-metrics.md). How many
series there are is bounded: by models, the `VERSIONS` of each that were scored most, topics, hops, and processes. Counters
that rules look at are there from the start, at 0: of a series that begins at 1 Prometheus sees no increase.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import product
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.folds.command_status import CommandStatus
from api.folds.model_board import ModelBoard
from api.folds.process_board import ProcessBoard
from api.folds.traffic import BOUNDS_MS, Traffic
from contracts.events import TRAINING_ENDS, GateVerdict, ProcessMeasured, RolloutMove

VERSIONS: Final = 20
"""How many versions of a model have series of their own."""


class Exported(Collector):
    """What the folds know, as metrics."""

    def __init__(
        self,
        board: ModelBoard,
        traffic: Traffic,
        processes: ProcessBoard,
        commands: CommandStatus,
        own: Callable[[], ProcessMeasured],
        clock: Callable[[], datetime],
    ) -> None:
        """Show these folds; ``own`` returns what this process itself counts."""
        self._board = board
        self._traffic = traffic
        self._processes = processes
        self._commands = commands
        self._own = own
        self._clock = clock
        self.lag: Mapping[str, Mapping[str, int]] = {}
        """How many messages each consumer group has not committed, by topic; set by who asks Kafka."""

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: what processes tell is known only then."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all of it."""
        yield from self._of_models()
        yield from self._of_traffic()
        yield from self._of_groups()
        yield from self._of_processes()

    def _of_models(self) -> Iterator[Metric]:
        board = self._board
        scored = CounterMetricFamily("gamenight_scored", "Labelled guesses of a version", labels=["model", "version"])
        right = CounterMetricFamily("gamenight_right", "Those of them that were right", labels=["model", "version"])
        for model, score in board.scores().items():
            versions = sorted(score["versions"].items(), key=lambda item: item[1]["n"], reverse=True)
            for version, counted in versions[:VERSIONS]:
                scored.add_metric([model, version], counted["n"])
                right.add_metric([model, version], counted["correct"])
        yield scored
        yield right
        serves = GaugeMetricFamily("gamenight_endpoint_in_service", "1: SageMaker says InService", labels=["model"])
        cost = GaugeMetricFamily("gamenight_endpoint_dollars_per_hour", "Price of an endpoint on AWS", labels=["model"])
        for model in board.roster.batch:
            seen = board.catalog.endpoints.get(model)
            serves.add_metric([model], float(seen is not None and seen.status == "InService"))
            if seen is not None and seen.cost_per_hour_usd is not None:
                cost.add_metric([model], seen.cost_per_hour_usd)
        yield serves
        yield cost
        rests = GaugeMetricFamily("gamenight_resting", "1: a model rests after failures", labels=["model"])
        for model in board.roster.names:
            rests.add_metric([model], float(model in board.resting))
        yield rests
        lessons = GaugeMetricFamily("gamenight_lessons", "Lessons in an online model", labels=["model"])
        for model, snapshot in board.catalog.snapshots.items():
            lessons.add_metric([model], snapshot.lessons)
        yield lessons
        waiting = GaugeMetricFamily("gamenight_commands_waiting", "Commands without an outcome", labels=["type"])
        for kind, count in self._commands.waiting().items():
            waiting.add_metric([kind], count)
        yield waiting
        training = GaugeMetricFamily("gamenight_training_progress_ratio", "Done of a model's last rebuild", labels=["model"])
        for model, step in board.catalog.training.items():
            training.add_metric([model], step.fraction)
        yield training
        share = GaugeMetricFamily(
            "gamenight_candidate_share_ratio", "Share of the players a candidate answers", labels=["model", "version", "role"]
        )
        for model in board.roster.names:
            for candidate in board.catalog.beside(model):
                share.add_metric([model, candidate.version, candidate.role], candidate.share)
        yield share

    def _of_traffic(self) -> Iterator[Metric]:
        traffic, batch = self._traffic, self._board.roster.batch
        trainings = dict.fromkeys(product(batch, TRAINING_ENDS), 0) | traffic.trainings
        verdicts = dict.fromkeys(product(batch, get_args(GateVerdict)), 0) | traffic.verdicts
        rollouts = dict.fromkeys(product(batch, get_args(RolloutMove)), 0) | traffic.rollouts
        pairs = (
            ("gamenight_guesses", "Guesses: on finished drawings, on previews, as shadow", ("model", "kind"), traffic.guesses),
            ("gamenight_misses", "Guesses that did not come, and why", ("model", "cause"), traffic.misses),
            ("gamenight_receipts", "What corrections did", ("stage", "outcome"), traffic.receipts),
            ("gamenight_trainings", "Rebuilds that ended", ("model", "outcome"), trainings),
            ("gamenight_gate_verdicts", "What the gate decided", ("model", "verdict"), verdicts),
            ("gamenight_rollout_steps", "Steps of canaries that are moved by policy", ("model", "step"), rollouts),
        )
        for name, what, labels, counted in pairs:
            family = CounterMetricFamily(name, what, labels=labels)
            for pair, count in counted.items():
                family.add_metric(pair, count)
            yield family
        settled = CounterMetricFamily("gamenight_commands_settled", "Commands that were settled", labels=["outcome"])
        for outcome, count in traffic.commands.items():
            settled.add_metric([outcome], count)
        yield settled
        spent = CounterMetricFamily("gamenight_training_dollars", "What trainings would have cost on AWS", labels=["model"])
        for model, dollars in (dict.fromkeys(batch, Decimal(0)) | traffic.spent).items():
            spent.add_metric([model], float(dollars))
        yield spent
        hops = HistogramMetricFamily("gamenight_hop_seconds", "A hop of a guess on a finished drawing", labels=["hop", "model"])
        for (hop, model), buckets in traffic.hops.items():
            total, counts = 0, []
            for bound, count in zip((*(str(ms / 1000) for ms in BOUNDS_MS), "+Inf"), buckets.counts, strict=True):
                total += count
                counts.append((bound, total))
            hops.add_metric([hop, model], counts, buckets.sum_ms / 1000)
        yield hops

    def _of_groups(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("gamenight_group_lag_records", "Messages that are not committed", labels=["group", "topic"])
        for group, topics in self.lag.items():
            for topic, behind in topics.items():
                lag.add_metric([group, topic], behind)
        yield lag

    def _of_processes(self) -> Iterator[Metric]:
        now, board = self._clock(), self._processes
        board.apply(self._own())
        up = GaugeMetricFamily("gamenight_process_up", "1: the process tells what it counts", labels=["process", "member"])
        for process, instance, is_up in board.standings(now):
            up.add_metric([process, instance], float(is_up))
        yield up
        began = GaugeMetricFamily(
            "gamenight_process_start_time_seconds", "When the process started, since 1970", labels=["process", "member"]
        )
        families: dict[str, Metric] = {}
        for told in board.alive(now):
            whose = {"process": told.process, "member": told.instance}
            began.add_metric(list(whose.values()), told.began.timestamp())
            for one in told.families:
                family = families.setdefault(one.metric, Metric(one.metric, one.what, one.counts))
                if family.type != one.counts or not one.metric.startswith("gamenight_"):
                    continue  # of another version of the product, or of nobody's
                for point in one.points:
                    family.add_sample(one.metric + point.suffix, {**point.tags, **whose}, point.amount)
        yield began
        yield from families.values()
