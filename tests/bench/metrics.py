"""``python -m tests.bench.metrics`` measures what counting for Prometheus costs on the hot paths, without a broker.

It is the difference between doing nothing and what is done for a drawing: by the API for the hops of its guesses, by a stream
process for the records that it sends, and for each step; and what a telling and a scrape cost, which come every five seconds.
"""

import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from prometheus_client import generate_latest

from api.folds.command_status import CommandStatus
from api.folds.guess_rates import GuessRates
from api.folds.model_board import ModelBoard
from api.folds.process_board import ProcessBoard
from api.folds.traffic import Traffic
from api.metrics import Metrics
from api.ops.exported import Exported
from producers.process_metrics import ProcessMetrics
from streams.stage_metrics import EndpointCalls, StageMetrics
from tests.histories import guess
from tests.roster import MODELS

N: Final = 2000


def took(work: Callable[[], object], n: int = N) -> float:
    """The least processor time of five rounds, in microseconds."""
    return min(timeit.repeat(work, number=n, repeat=5, timer=time.process_time)) / n * 1e6


def main() -> None:
    """Measure, and print."""
    from tests.roster import ROSTER

    guesses = [guess("d", model=model) for model in MODELS]
    traffic, rates = Traffic(), GuessRates(datetime.now(UTC))
    process = ProcessMetrics("router", "router-0", Path())
    stages, calls = StageMetrics(process.registry), EndpointCalls(process.registry)
    stepped = stages.stage("router", lambda: 0)
    sent = stages.sent.of

    def of_the_api() -> None:
        for one in guesses:
            traffic.apply(one)
            rates.apply(one)

    def of_a_process() -> None:
        for _ in range(len(guesses) + 1):
            sent["guesses.v1"] += 1

    def call() -> None:
        with calls.call("gamenight-kmeans"):
            pass

    print(f"API, {len(guesses)} guesses of a drawing: {took(of_the_api):.1f} us")
    print(f"stream process, {len(guesses) + 1} records sent of a drawing: {took(of_a_process):.2f} us")
    print(f"stream process, a step: {took(lambda: stepped(3, 0.002)):.2f} us; a call to an endpoint: {took(call):.2f} us")
    print(f"a telling, every five seconds: {took(lambda: process.told().record_value(), 50) / 1000:.2f} ms")
    metrics, processes = Metrics(), ProcessBoard()
    for name in ("learning", "router", "trainer"):
        processes.apply(process.told().model_copy(update={"process": name}))
    api = ProcessMetrics("api", "api", Path())
    metrics.registry.register(
        Exported(ModelBoard(ROSTER), traffic, processes, CommandStatus(), api.told, lambda: datetime.now(UTC))
    )
    print(f"a scrape: {took(lambda: generate_latest(metrics.registry), 50) / 1000:.2f} ms")


if __name__ == "__main__":
    main()
