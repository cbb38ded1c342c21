"""``python -m api``: the API as a process."""

import uvicorn

from api.app import create_app
from api.frames import MAX_FRAME
from api.sockets import Protocol
from contracts.settings import Settings
from producers.bus import open_bus
from producers.logs import configure

GRACE_S = 1
"""How long open requests may take to end when the process is stopped, in seconds."""


def main() -> None:
    """Serve until told to stop; then every socket gets a close frame (1012), and what was published is flushed."""
    settings = Settings.load()
    configure(settings, "api")
    bus = open_bus(f"kafka://{settings.bootstrap_servers}")
    try:
        uvicorn.run(
            create_app(settings, bus),
            host=settings.host,
            port=settings.port,
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
    finally:
        bus.close()


if __name__ == "__main__":
    main()
