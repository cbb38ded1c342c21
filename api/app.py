"""The API put together: players and watchers on sockets, operators and pages over HTTP (all ways). The wiring on one screen."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIWebSocketRoute
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.websockets import WebSocket

from api.apps.predict import SLACK_S, Predictor, predict_router
from api.asyncapi import document
from api.folds.command_status import Orders
from api.folds.endpoint_latency import Live
from api.folds.model_board import Board
from api.folds.recent_drawings import Recent
from api.guard import Guard, guest_of, hosts
from api.health import Health
from api.limits import Guest, Limits
from api.metrics import Meters
from api.ops.operators import Operators
from api.ops.routes import not_valid, router
from api.pages import WEB, Policy, add_pages
from api.play.game import Game
from api.play.seats import Seats
from api.relay import Relay
from api.sockets import INTERNAL_ERROR, Line, deny, from_here, origins
from api.watch.watchers import Watchers
from contracts.ports import Bus
from contracts.settings import Settings

MAX_SOCKETS = 2000
"""Of all kinds; one more is refused with 503."""
MAX_BODY = 65_536
"""Bytes of the largest body that a route takes, unless it says otherwise."""
READY_S = 30.0
"""How long reading what players need of the bus may take at a start, in seconds: a second, unless the broker is slow."""

log = structlog.get_logger(__name__)


class NotReady(RuntimeError):
    """The bus could not be read at the start."""


def create_app(settings: Settings, bus: Bus, *, web: Path = WEB, clock: Callable[[], float] = time.monotonic) -> FastAPI:
    """The API on a bus. Nothing runs before the app is started; whoever opened the bus closes it.

    Args:
        settings: Must have a `seat_secret`.
        bus: Open.
        web: Folder of the pages.
        clock: Monotonic, in seconds.

    Raises:
        ValueError: If there is no secret to sign seats with.
    """
    if not settings.seat_secret:
        raise ValueError("no seat secret: `gamenight up` makes one, or set GAMENIGHT_SEAT_SECRET")
    roster = settings.roster()
    meters, recent, board, live, orders = Meters(), Recent(), Board(roster), Live(roster.batch), Orders()
    limits, operators = Limits(settings), Operators(settings.operator_token)
    game = Game(bus, recent, Seats(settings.seat_secret), board.states, meters, clock)
    health = Health(bus, lambda: board.expected, lambda: board.folding, lambda: relay.trouble, clock)
    predictor = Predictor(bus, settings.guess_budget_ms / 1000 + SLACK_S)
    relay = Relay(bus, recent, board, live, orders, game, predictor, health, meters)
    watchers = Watchers(board, lambda: game.online, lambda: recent.total)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        relay.start()
        deadline = clock() + READY_S
        while not relay.ready:  # before that, players would be told of models that are not those that answer
            if clock() > deadline:
                relay.stop()
                raise NotReady(f"the bus was not read within {READY_S:.0f} s: {relay.trouble or 'too much is on it'}")
            await asyncio.sleep(0.02)
        recent.total = 0  # watchers are told of the drawings since the start
        ticking = [asyncio.create_task(tick) for tick in (game.tick(), watchers.tick(), relay.tick())]
        log.info("started", models=[*board.catalog.champions, *board.catalog.snapshots])
        yield
        for task in ticking:
            task.cancel()
        await asyncio.to_thread(relay.stop)
        predictor.close()
        log.info("stopped")

    app = FastAPI(title="Game Night", version=version("gamenight"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.include_router(router(operators, bus, board, live, orders, health, meters))
    app.include_router(predict_router(settings, board, predictor, meters, origins(settings.allowed_origins)))
    known = origins(settings.allowed_origins) | {f"http://{settings.host}:{settings.port}"}
    open_lines: set[Line] = set()

    def socket(path: str, talk: Callable[[Line, Guest], Awaitable[None]]) -> APIWebSocketRoute:
        async def serve(socket: WebSocket) -> None:
            guest = guest_of(socket)
            if not from_here(socket.headers, known):
                await deny(socket, 403, "this page is not the game's: add its origin to GAMENIGHT_ALLOWED_ORIGINS")
                return
            if len(open_lines) >= MAX_SOCKETS:
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
            line = Line(socket)
            open_lines.add(line)
            meters.sockets.labels(path).inc()
            try:
                await talk(line, guest)
            except Exception:
                log.exception("socket failed", path=path)
                line.close(INTERNAL_ERROR, "a fault of the server")
            finally:
                await line.finish()
                open_lines.discard(line)
                guest.close()
                meters.sockets.labels(path).dec()
                meters.closes.labels(str(line.code)).inc()

        return APIWebSocketRoute(path, serve)

    app.router.routes += [socket("/ws/play", game.play), socket("/ws/watch", watchers.watch)]
    add_pages(app, web, app.openapi(), document(app.version))
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)
    app.add_middleware(Guard, hosts(settings), limits, operators, clock)
    app.add_middleware(Policy)
    return app
