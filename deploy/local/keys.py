"""Secrets that nobody gave: made once, kept as files under ``<home>/secrets`` that only their owner can read."""

import os
import secrets
import string
from collections.abc import Callable

from contracts.settings import SECRETS, Settings

_MADE: dict[str, Callable[[], str]] = {
    "aws_access_key_id": lambda: "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16)),
    "aws_secret_access_key": lambda: secrets.token_urlsafe(30),
    "operator_token": lambda: secrets.token_urlsafe(24),
    "seat_secret": lambda: secrets.token_urlsafe(32),
    "api_keys": lambda: f"app:{secrets.token_urlsafe(24)}",
}


def with_secrets(settings: Settings) -> Settings:
    """The settings, completed by secrets that are made where they are neither given nor kept."""
    folder = settings.home / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = {}
    for name in SECRETS:
        if getattr(settings, name) is None:
            path = folder / name
            if not path.is_file() or not path.read_text().strip():
                scratch = path.with_suffix(".new")
                with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    file.write(_MADE[name]())
                scratch.replace(path)
            found[name] = path.read_text().strip()
    return settings.model_copy(update=found)
