"""Builds the whole topology of the stream layer.

    drawings.v1 ──────> router ──> guesses.v1, previews.v1, answers.v1     models.v1 ──> router's table
    examples.v1 ──────> personal ──> receipts.v1         (in the router's process, which answers from it)
    drawings.v1, answers.v1, corrections.v1 ──> joiner ──> examples.v1, receipts.v1
    examples.v1 ──> scorer ──> metrics.v1
    examples.v1 ──> learner ─> lessons.v1, receipts.v1
    examples.v1 ──> evidence ──> evidence.v1 (all partitions on one) ──> drift ──> drift.v1
    lessons.v1 ───> online model ──> models.v1 (snapshots)     (outside the group: each process adds up all partitions)
    lessons.v1 ───> experiments ───> models.v1                 (in the process that publishes the snapshots, in a thread)
    whatever cannot be handled ──> rejected.v1

There are two roles. Each may run in several processes, at most one a partition. The topics of one role have the same number of
partitions and one consumer group, so that partition n of all of them is always with the same process.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from contracts.events import ONLINE_MODELS, CorrectionGiven, DrawingAnswered, DrawingSubmitted
from contracts.settings import Settings
from producers.bus import open_bus
from producers.pace import Pace
from producers.proven import ProvenModels, proofs_of
from producers.signing import Signer, SigningBus
from streams.drift import Drift
from streams.embedding import EmbeddingNetwork
from streams.endpoints import Runtime, SageMakerEndpoint
from streams.evidence import Evidence
from streams.experimenter import Experimenter
from streams.joiner import Joiner
from streams.learner import Learner
from streams.lessons import Lessons
from streams.models import Models
from streams.online_base import load_base
from streams.online_model import of_base
from streams.personal_model import PersonalModels
from streams.router import Router
from streams.routing import Online, Table
from streams.scorer import Scorer
from streams.stage_metrics import EndpointCalls
from streams.worker import Worker

ANSWERING: Final = partial(Pace, rush=70, rush_s=0.020, most_s=0.060)
"""A drawing waits for nothing, but in a rush of so many a second: then one call to a model is for several of them."""
LEARNING: Final = partial(
    Pace,
    rush=350,
    rush_s=0.060,
    most_s=0.150,
    calm_s=0.005,
    prompt=[CorrectionGiven.topic],
    held=[DrawingSubmitted.topic, DrawingAnswered.topic],
    held_s=0.030,
    few=60,
)
"""What is to be learned may always gather, since each step has its price; but not what follows from a correction. While few
draw, a drawing is joined when it is answered: there is a processor for both, but not at the same moment."""

UNHURRIED_S: Final = 1.0
"""How often scores are counted and drift is looked for, at most: nobody's receipt or next guess waits for either."""


def router(settings: Settings) -> Worker:
    """Way 1: answers drawings."""
    worker = Worker(settings, "router", prompt=True)
    embedding = EmbeddingNetwork()
    base = load_base()
    bare = of_base(base)
    start = Online(bare.version, base.reader, -1, bare.solved.weights.astype("f4"))
    table = Table(online=dict.fromkeys(ONLINE_MODELS, start))
    models = Models(table, embedding.reader, base.basis.name, proofs_of(settings))
    personal = PersonalModels(base)
    batch, runtime = settings.roster().batch, Runtime(settings, EndpointCalls(worker.metrics.registry))
    drawing_router = Router(settings, embedding, models, partial(SageMakerEndpoint, runtime), personal, worker.publish, batch)
    worker.fold(personal, step=50)  # some 40 ms: drawings are answered on the same loop, and each step has its price
    worker.alongside(partial(models.follow, partial(open_bus, settings, ["models.v1", "commands.v1", "rejected.v1"])))
    worker.alongside(partial(runtime.close_after, drawing_router.run))
    worker.hand(["drawings.v1"], drawing_router, ANSWERING())
    return worker


def learning(settings: Settings) -> Worker:
    """Way 2: joins, scores, learns, and looks for drift."""
    pace = LEARNING()
    signer, proofs = Signer("learning", settings.learning_signing_key), proofs_of(settings)
    worker = Worker(settings, "learning", pace, signer=signer)
    worker.fold(Joiner(settings.log_bytes))
    worker.fold(Scorer(), every_s=UNHURRIED_S)
    base = load_base()
    learner = Learner(base, lambda: experimenter.in_force())
    lessons = Lessons(base, learner.series, worker.publish, lambda: 0 in learner.partitions, ProvenModels(proofs, signer))
    experimenter = Experimenter(
        base,
        learner.series,
        lessons.in_force,
        lambda: 0 in learner.partitions,
        hurried=lambda: pace.rushing(time.monotonic()),
        proven=partial(ProvenModels, proofs, signer),
    )
    worker.fold(learner, after=lessons.known)
    evidence = Evidence(base)
    worker.fold(evidence, every_s=UNHURRIED_S)
    worker.fold(Drift(evidence.series), every_s=UNHURRIED_S)
    topics = ["lessons.v1", "models.v1", "commands.v1", "rejected.v1"]
    worker.alongside(partial(lessons.follow, partial(open_bus, settings, topics)))
    worker.alongside(partial(experimenter.follow, lambda: SigningBus(open_bus(settings, topics[:-1]), signer)))
    return worker


ROLES: Mapping[str, Callable[[Settings], Worker]] = MappingProxyType({"router": router, "learning": learning})
