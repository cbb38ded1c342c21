"""Wires the API: players and watchers on sockets, operators and pages over HTTP (all ways)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from secrets import SystemRandom
from socket import gethostname

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIWebSocketRoute
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.websockets import WebSocket

from api.apps.access import Access
from api.apps.keyring import OPERATORS, Keyring
from api.apps.predictor import SLACK_S, Predictor
from api.apps.routes import predict_router
from api.asyncapi import document
from api.folds.audit_log import AuditLog
from api.folds.command_status import CommandStatus
from api.folds.drift_board import DriftBoard, undetected
from api.folds.endpoint_latency import EndpointLatency
from api.folds.guess_rates import GuessRates
from api.folds.honest import HonestAccuracy
from api.folds.model_board import ModelBoard
from api.folds.process_board import ProcessBoard
from api.folds.recent_drawings import RecentDrawings
from api.folds.teachers import Teachers
from api.folds.traffic import Traffic
from api.guard import Guard, guest_of, hosts
from api.health import Health
from api.limits import Guest, Limits
from api.metrics import Metrics
from api.ops.card_routes import card_router
from api.ops.cost_routes import cost_router
from api.ops.datasets import datasets_router
from api.ops.door import Door, not_valid
from api.ops.exported import Exported
from api.ops.jobs import job_routes
from api.ops.known_players import KnownPlayers
from api.ops.metrics_route import Lag, metrics_router
from api.ops.operators import Operators
from api.ops.routes import router
from api.ops.token_audit import LOOK_S, TokenAudit
from api.pages import WEB, Policy, add_pages
from api.play.feed import TICK_S as FEED_S
from api.play.feed import PlayerFeed
from api.play.forgetting import Forgetting
from api.play.frames import frame_of
from api.play.game import TICK_S as GAME_S
from api.play.game import Game
from api.play.seats import Seats
from api.probes import Probes
from api.relay import Relay
from api.sockets import INTERNAL_ERROR, Connection, deny, from_here, origins
from api.ticker import tick_every
from api.watch.watchers import TICK_S as WATCH_S
from api.watch.watchers import Watchers
from contracts.events import now
from contracts.ports import LoopBus
from contracts.rebuilds import RebuildQueue
from contracts.settings import Settings
from producers.process_metrics import ProcessMetrics
from producers.proven import proofs_of
from producers.signing import Signer, SigningBus

MAX_SOCKETS = 2000
"""How many sockets may be open, of all kinds; a further socket is refused with 503."""
MAX_BODY = 65_536
"""The size of the largest body that a route accepts, in bytes, unless the route says otherwise."""
READY_S = 30.0
"""How many seconds a start may take to read what players need from the bus; it takes one second unless the broker is slow."""
CHANCE = SystemRandom().random
"""Numbers from 0 to 1 that nobody can foresee."""

log = structlog.get_logger(__name__)


class NotReady(RuntimeError):
    """The bus could not be read at the start."""


def create_app(
    settings: Settings,
    bus: LoopBus,
    *,
    web: Path = WEB,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = CHANCE,
    lag: Lag | None = None,
) -> FastAPI:
    """Build the API on a bus. Nothing runs before the app is started; the caller, who opened the bus, closes it.

    Args:
        settings: Must have a `seat_secret`.
        bus: An open bus.
        web: The folder of the pages.
        clock: Monotonic, in seconds.
        chance: Returns numbers from 0 to 1 that nobody can foresee; they choose what players are asked, and what is picked.
        lag: Says for `/metrics` how far consumer groups are behind; None: it is not shown.

    Raises:
        ValueError: If the settings have no secret to sign seats with.
    """
    if not settings.seat_secret:
        raise ValueError("no seat secret: `gamenight up` makes one, or set GAMENIGHT_SEAT_SECRET")
    signer = Signer("api", settings.api_signing_key)
    signing = SigningBus(bus, signer)  # for those who give commands, and nobody else
    roster = settings.roster()
    recent, board = RecentDrawings(frame_of), ModelBoard(roster)
    metrics = Metrics(Traffic(lambda model, named: board.catalog.published.get(model, {}).get(named)))
    latency, commands, teachers, drift = EndpointLatency(roster.batch), CommandStatus(), Teachers(), DriftBoard()
    metrics.drifted(undetected(roster))
    honest, rates, audit = HonestAccuracy(), GuessRates(now()), AuditLog()
    rebuilds = RebuildQueue()
    limits, operators = Limits(settings), Operators(settings.operator_token, Keyring(settings.home, OPERATORS).known)
    door = Door(operators, signing, commands, metrics, signs=bool(signer), why_required=settings.why_required)
    proofs = proofs_of(settings)
    relay, probes = Relay(bus, metrics, proofs), Probes(bus)
    health = Health(probes, board, relay, clock)
    predictor = Predictor(probes, board, settings.guess_budget_ms / 1000 + SLACK_S)
    game = Game(signing, recent, Seats(settings.seat_secret), board, metrics, clock, settings.picked_share, chance)
    feed = PlayerFeed(board, recent, game, metrics, clock)
    watchers = Watchers(board, honest, game, recent)
    processes = ProcessBoard()
    itself = ProcessMetrics("api", f"api-{settings.port}-{gethostname()}", settings.home)
    exported = Exported(board, metrics.traffic, processes, commands, itself.told, now)
    relay.subscribe(health, rates, metrics.traffic, live_only=True)  # traffic before the board: what that knows is no news
    forgetting = Forgetting(game, recent, teachers, commands, audit, rebuilds)
    known = KnownPlayers(board, teachers, game.is_forgotten, bus)
    relay.subscribe(probes, processes, latency, commands, audit, teachers, drift, honest, rebuilds, feed, forgetting)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with bus.attached():
            relay.start()
            deadline = clock() + READY_S
            while not relay.ready:  # before that, players would see other models than those that answer
                if clock() > deadline:
                    await relay.stop()
                    raise NotReady(f"the bus was not read within {READY_S:.0f} s: {relay.trouble or 'too much is on it'}")
                await asyncio.sleep(0.02)
            recent.total = 0  # watchers see the number of drawings since the start
            board.changes()  # they are in every snapshot
            ticks = [(GAME_S, game.tick), (WATCH_S, watchers.tick), (FEED_S, feed.tick)]
            if signer:
                ticks.append((LOOK_S, TokenAudit(settings.home, audit, signing).look))
            ticking = [asyncio.create_task(tick_every(seconds, tick)) for seconds, tick in ticks]
            ticking.append(asyncio.create_task(watchers.estimate()))
            log.info("started", models=[*board.catalog.champions, *board.catalog.snapshots])
            yield
            for task in ticking:
                task.cancel()
            await relay.stop()
            predictor.close()
        log.info("stopped")

    app = FastAPI(title="Game Night", version=version("gamenight"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.include_router(router(door, bus, board, latency, commands, audit, known, drift, honest, health, metrics, proofs))
    app.include_router(card_router(door, board, audit))
    app.include_router(cost_router(settings, board, latency, rates, rebuilds))
    app.include_router(datasets_router(door, board))
    app.include_router(job_routes(door, rebuilds))
    app.include_router(metrics_router(metrics, exported, health, honest, drift, lag))
    app.include_router(
        predict_router(Access(settings, clock), predictor, metrics, origins(settings.allowed_origins), roster.names)
    )
    allowed = origins(settings.allowed_origins) | {f"http://{settings.host}:{settings.port}"}
    open_connections: set[Connection] = set()

    def socket(path: str, talk: Callable[[Connection, Guest], Awaitable[None]]) -> APIWebSocketRoute:
        async def serve(socket: WebSocket) -> None:
            guest = guest_of(socket)
            if not from_here(socket.headers, allowed):
                await deny(socket, 403, "this page is not the game's: add its origin to GAMENIGHT_ALLOWED_ORIGINS")
                return
            if len(open_connections) >= MAX_SOCKETS:
                await deny(socket, 503, f"{MAX_SOCKETS} sockets are open: come again later")
                return
            if why := guest.open():
                await deny(socket, 429, why)
                return
            try:
                await socket.accept()
            except BaseException:
                guest.close()
                raise
            connection = Connection(socket)
            open_connections.add(connection)
            metrics.sockets.labels(path).inc()
            try:
                await talk(connection, guest)
            except Exception:
                log.exception("socket failed", path=path)
                connection.close(INTERNAL_ERROR, "a fault of the server")
            finally:
                await connection.finish()
                open_connections.discard(connection)
                guest.close()
                metrics.sockets.labels(path).dec()
                metrics.closes.labels(str(connection.code)).inc()

        return APIWebSocketRoute(path, serve)

    app.router.routes += [socket("/ws/play", game.play), socket("/ws/watch", watchers.watch)]
    add_pages(app, web, document(app.version, settings))
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)
    app.add_middleware(Guard, hosts(settings), limits, operators, clock)
    app.add_middleware(Policy)
    return app
