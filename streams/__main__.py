"""Runs a process of the stream layer: ``python -m streams router`` or ``python -m streams learning``."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that wait for each other take 60 ms for what one does in 2

import argparse
from functools import partial

import structlog

from contracts.settings import KAFKA_SECRETS, LEARNING_SECRETS, ROUTER_SECRETS, Settings
from producers import heap, logs
from producers.alive import beat
from producers.connection import BusError
from producers.topics import TopicsDiffer, check_topics
from streams.app import ROLES


def main() -> None:
    """Work in a role until SIGTERM."""
    arguments = argparse.ArgumentParser(prog="python -m streams", description="Answers drawings, or learns from corrections.")
    arguments.add_argument("role", choices=sorted(ROLES))
    role = arguments.parse_args().role
    settings = Settings.load(secrets=(*KAFKA_SECRETS, *(ROUTER_SECRETS if role == "router" else LEARNING_SECRETS)))
    logs.configure(settings, role)
    try:
        check_topics(settings)
        worker = ROLES[role](settings)
        if settings.alive_file:
            worker.alongside(partial(beat, settings.alive_file))
        heap.freeze()
        worker.run()
    except (BusError, TopicsDiffer) as wrong:
        structlog.get_logger().error("not started", why=str(wrong))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
