"""Finds the game of this machine: its address, its app's key and its settings, for programs beside it."""

from contracts.settings import Settings
from gamenight.errors import GameNightError


def key_of_this_machine() -> str:
    """Return the key of the app that the first start of a game on this machine has made.

    Raises:
        GameNightError: If there is none.
    """
    settings = Settings.load(secrets=("api_keys",))
    for one in (settings.api_keys or "").split(","):
        if ":" in one:
            return one.partition(":")[2].strip()
    raise GameNightError(f"no key in {settings.home}/secrets/api_keys: `gamenight keys add NAME` gives one")


def url_of_this_machine() -> str:
    """Return the address of a game on this machine, as the settings say it."""
    return f"http://127.0.0.1:{Settings().port}"


def settings_of_this_machine() -> Settings:
    """Return the settings of a game on this machine, with its secrets.

    AWS services are those of this machine, as `gamenight up` takes them, unless the environment names others.
    """
    settings = Settings.load()
    return settings if settings.aws_services else Settings.load(aws_services="local")
