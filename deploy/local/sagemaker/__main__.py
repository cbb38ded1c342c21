"""``python -m deploy.local.sagemaker``: serves until it is told to end."""

import asyncio
import gc
import signal
import sys

import uvloop

from contracts.settings import AWS_SECRETS, Settings
from deploy.local.sagemaker.app import http_server, sagemaker
from producers import logs


async def serve(settings: Settings) -> None:
    """Serve on this machine only, until SIGTERM or Ctrl-C."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with sagemaker(settings) as service:
        server = http_server(service, settings)
        try:
            await server.open("127.0.0.1", settings.sagemaker_port)
            gc.freeze()  # all objects that exist now will stay, so the collector need not walk them while requests run
            await ended.wait()
        finally:
            await server.close(patience_s=1.0)


def main() -> None:
    """Read the settings and serve."""
    settings = Settings.load(secrets=AWS_SECRETS)
    logs.configure(settings, "sagemaker")
    try:
        uvloop.run(serve(settings))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
