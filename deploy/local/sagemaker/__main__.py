"""``python -m deploy.local.sagemaker``: serves until it is told to end."""

import asyncio
import gc
import signal
import sys

import uvloop
from aiohttp import web

from contracts.settings import Settings
from deploy.local.sagemaker.app import create_app
from producers import logs


async def serve(settings: Settings) -> None:
    """Serve on this machine only, until SIGTERM or Ctrl-C."""
    runner = web.AppRunner(
        create_app(settings),
        access_log=None,
        shutdown_timeout=1.0,
        handler_cancellation=True,  # who has given up waiting must not keep a hung server's queue full
    )
    await runner.setup()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await web.TCPSite(runner, "127.0.0.1", settings.sagemaker_port, reuse_address=True).start()
        gc.freeze()  # what is there now stays: collections while requests run need not walk it
        await ended.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Read the settings and serve."""
    settings = Settings.load()
    logs.configure(settings, "sagemaker")
    try:
        uvloop.run(serve(settings))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
