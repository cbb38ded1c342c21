"""``python -m deploy.local.furnish``: makes the secrets, and topics, bucket and table in services that others started."""

import os
import sys

from contracts.settings import Settings
from deploy.local.components import outside, settle_outside
from deploy.local.keys import with_secrets
from producers.connection import BusError
from producers.topics import TopicsDiffer


def main() -> None:
    """Furnish what the settings name; ends with 1 where somebody is not there yet, so that it can be tried again."""
    os.umask(0o077)
    settings = with_secrets(Settings())
    try:
        settle_outside(settings)
    except (BusError, TopicsDiffer) as error:
        sys.exit(str(error))
    print(f"furnished: {', '.join(outside(settings)) or 'nothing, since nothing is outside'}")


if __name__ == "__main__":
    main()
