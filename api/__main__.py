"""``python -m api`` runs the API as a process."""

from functools import partial

import structlog
import uvicorn
from starlette.types import ASGIApp

from api.app import MAX_SOCKETS, create_app
from api.connections import ConnectionCounts, HttpProtocol
from api.play.messages import MAX_FRAME
from api.sockets import Protocol
from contracts.settings import GAME_SECRETS, KAFKA_SECRETS, Settings
from producers import heap
from producers.bus import BusError, open_bus
from producers.group_lag import group_lag
from producers.logs import configure
from producers.topics import TopicsDiffer, check_topics

log = structlog.get_logger(__name__)

GRACE_S = 1
"""How long open requests may take to end when the process is stopped, in seconds."""


MAX_CONNECTIONS = 2 * MAX_SOCKETS
"""Connections of all kinds, from all addresses; a request on a further connection is refused with 503."""


def server(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    """Build the server of an app; when it is told to stop, it sends every socket a close frame (1012)."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=partial(HttpProtocol, ConnectionCounts(settings.connections_per_address, settings.trusted_proxies)),  # type: ignore[arg-type]
            ws=Protocol,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            timeout_graceful_shutdown=GRACE_S,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
        )
    )


def main() -> None:
    """Serve until told to stop; then flush the published events."""
    settings = Settings.load(secrets=(*KAFKA_SECRETS, *GAME_SECRETS))
    configure(settings, "api")
    try:
        bus = open_bus(settings)
    except BusError as absent:
        log.error("not started", why=str(absent))
        raise SystemExit(1) from None
    try:
        check_topics(settings)
        serving = server(create_app(settings, bus, lag=partial(group_lag, settings)), settings)
        heap.freeze()
        serving.run()
    except (BusError, TopicsDiffer) as wrong:
        log.error("not started", why=str(wrong))
        raise SystemExit(1) from None
    finally:
        bus.close()


if __name__ == "__main__":
    main()
