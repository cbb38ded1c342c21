"""``python -m deploy.local.sagemaker``: serves until it is told to end; with ``environment``: prints how the SDKs reach it."""

import asyncio
import signal
import sys

import uvloop

from contracts.settings import AWS_SECRETS, Settings
from deploy.local.sagemaker.app import http_server, sagemaker
from deploy.local.sagemaker.sdk_defaults import exports, write_defaults
from producers import heap, logs


async def serve(settings: Settings) -> None:
    """Serve on this machine only, until SIGTERM or Ctrl-C."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    write_defaults(settings)
    async with sagemaker(settings) as service:
        server = http_server(service, settings)
        try:
            await server.open("127.0.0.1", settings.sagemaker_port)
            heap.freeze()
            await ended.wait()
        finally:
            await server.close(patience_s=1.0)


def main() -> None:
    """Read the settings and serve."""
    if sys.argv[1:] == ["environment"]:
        known = Settings.load(aws_services="local", secrets=AWS_SECRETS)
        if not known.aws_secret_access_key:
            sys.exit(f"no keys in {known.home}/secrets: start the game first, `gamenight up`, or set GAMENIGHT_HOME")
        print(exports(known), end="")
        return
    settings = Settings.load(secrets=AWS_SECRETS)
    logs.configure(settings, "sagemaker")
    try:
        uvloop.run(serve(settings))
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
