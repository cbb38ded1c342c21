"""Makes the secrets that the settings lack, once, and keeps them under ``<home>/secrets`` readable by their owner alone."""

import contextlib
import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from contracts.settings import SECRETS, Settings
from producers.signing import public_keys

FOLDERS = ("kafka", "s3", "dynamodb", "sagemaker", "state", "replay", "logs", "secrets", "run")
"""The folders that the game keeps in its home; `gamenight reset` deletes these and nothing else."""

_MADE: dict[str, Callable[[], str]] = {
    "aws_access_key_id": lambda: "AKIA" + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16)),
    "aws_secret_access_key": lambda: secrets.token_urlsafe(30),
    "operator_token": lambda: secrets.token_urlsafe(24),
    "seat_secret": lambda: secrets.token_urlsafe(32),
    "api_signing_key": lambda: secrets.token_hex(32),
    "router_signing_key": lambda: secrets.token_hex(32),
    "learning_signing_key": lambda: secrets.token_hex(32),
    "trainer_signing_key": lambda: secrets.token_hex(32),
    "holdout_key": lambda: secrets.token_hex(32),
    "api_keys": lambda: f"app:{secrets.token_urlsafe(24)}",
}


def with_secrets(settings: Settings) -> Settings:
    """Complete settings with secrets: those that are kept in the home, and new ones where none is given or kept.

    AWS is local unless the settings say otherwise; credentials are made only if all of AWS is local: see docs/outside.md.
    """
    if settings.aws_services is None:
        settings = settings.model_copy(update={"aws_services": "local"})
    keep_private(settings.home)
    folder = settings.home / "secrets"
    found = {}
    for name in SECRETS:
        if getattr(settings, name) is None and (settings.aws_is_here or not name.startswith("aws_")):
            path = folder / name
            if path.is_file() and not path.read_text().strip():
                path.unlink()
            if not path.is_file():
                scratch = path.with_suffix(f".{secrets.token_hex(4)}.new")
                with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(_MADE[name]())
                with contextlib.suppress(FileExistsError):  # another process of this home was faster: its secret counts
                    os.link(scratch, path)
                scratch.unlink()
            found[name] = path.read_text().strip()
    made = settings.model_copy(update=found)
    return made.model_copy(update={"command_keys": public_keys(made)})


def keep_private(home: Path) -> None:
    """Let only the owner read what the game keeps in a home: folders are 0700, secrets 0600."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "secrets").mkdir(exist_ok=True, mode=0o700)
    for path, mode in [
        *((home / name, 0o700) for name in FOLDERS if (home / name).is_dir()),
        *((file, 0o600) for file in (home / "secrets").iterdir() if file.is_file()),
    ]:
        if path.stat().st_mode & 0o777 != mode and path.stat().st_uid == os.geteuid():  # a volume may belong to somebody else
            path.chmod(mode)
