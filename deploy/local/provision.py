"""``python -m deploy.local.provision``: makes topics, bucket and table in services that others started; for containers.

``--deal FOLDER`` makes the secrets instead, and puts those that each kind of service needs into a folder for it there.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from contracts.settings import (
    AWS_SECRETS,
    GAME_SECRETS,
    KAFKA_SECRETS,
    LEARNING_SECRETS,
    ROUTER_SECRETS,
    TRAINER_SECRETS,
    Settings,
)
from deploy.local.components import outside, settle_outside
from deploy.local.keys import with_secrets
from producers.connection import BusError
from producers.topics import TopicsDiffer

SECRETS_OF: Final = {
    "aws": AWS_SECRETS,
    "game": GAME_SECRETS,
    "router-secrets": ROUTER_SECRETS,
    "learning-secrets": LEARNING_SECRETS,
    "trainer-secrets": TRAINER_SECRETS,
}
"""The folder of each kind of service, and the secrets in it."""


def write_secrets(settings: Settings, folder: Path) -> None:
    """Write the secrets into the folders of the services that need them. Writing them twice is harmless."""
    for kind, names in SECRETS_OF.items():
        for name in names:
            secret = getattr(settings, name)
            if secret is None:  # not every secret exists: there may be no session token
                (folder / kind / name).unlink(missing_ok=True)
                continue
            scratch = folder / kind / f".{name}"
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secret)
            scratch.replace(folder / kind / name)


def main() -> None:
    """Create what the settings name; exit with 1 if a service is not up yet, so that it can be tried again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--deal", type=Path, metavar="FOLDER", help="make the secrets and deal them out, and nothing else")
    arguments = parser.parse_args()
    os.umask(0o077)
    if arguments.deal:
        write_secrets(with_secrets(Settings()), arguments.deal)
        print(f"dealt: {', '.join(SECRETS_OF)}")
        return
    settings = Settings.load(secrets=(*AWS_SECRETS, *KAFKA_SECRETS))
    try:
        settle_outside(settings)
    except (BusError, TopicsDiffer) as error:
        sys.exit(str(error))
    print(f"provisioned: {', '.join(outside(settings)) or 'nothing, since nothing is outside'}")


if __name__ == "__main__":
    main()
