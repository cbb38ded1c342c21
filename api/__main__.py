"""``python -m api``: the API as a process."""

import structlog
import uvicorn
from starlette.types import ASGIApp

from api.app import create_app
from api.frames import MAX_FRAME
from api.sockets import Protocol
from contracts.settings import Settings
from producers.bus import BusError, open_bus
from producers.logs import configure

log = structlog.get_logger(__name__)

GRACE_S = 1
"""How long open requests may take to end when the process is stopped, in seconds."""


def server(app: ASGIApp, host: str, port: int) -> uvicorn.Server:
    """What serves an app: told to stop, it gives every socket a close frame (1012)."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http="httptools",
            ws=Protocol,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            timeout_graceful_shutdown=GRACE_S,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    )


def main() -> None:
    """Serve until told to stop; then flush what was published."""
    settings = Settings.load()
    configure(settings, "api")
    try:
        bus = open_bus(settings)
    except BusError as absent:
        log.error("not started", why=str(absent))
        raise SystemExit(1) from None
    try:
        server(create_app(settings, bus), settings.host, settings.port).run()
    finally:
        bus.close()


if __name__ == "__main__":
    main()
