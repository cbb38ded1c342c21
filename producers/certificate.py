"""Signs what was done to forget a player, and reads it back (way 3, OPERATE).

A certificate is JSON with an Ed25519 signature over all of it: whoever has the operator's public key can check it anywhere. It
names the player by a mark alone.
"""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KIND: Final = "gamenight forget 1"
_SIGNATURE: Final = "signature"
_KEY: Final = "public_key"


class BadCertificate(ValueError):
    """A file is no certificate, or not as it was signed."""


def signing_key(home: Path) -> Ed25519PrivateKey:
    """Return the key of a home; it is made the first time, and kept in ``<home>/secrets/certificate_key``."""
    path = home / "secrets" / "certificate_key"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_suffix(f".{secrets.token_hex(4)}.new")
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw().hex())
        with suppress(FileExistsError):  # another process of this home was faster: its key counts
            os.link(scratch, path)
        scratch.unlink()
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))


def signed(told: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Return the facts with the public key and the signature over both."""
    whole = {**told, "certificate": KIND, _KEY: key.public_key().public_bytes_raw().hex()}
    return {**whole, _SIGNATURE: key.sign(_canonical(whole)).hex()}


def checked(raw: str) -> dict[str, Any]:
    """Return the facts of a certificate whose signature is right.

    Raises:
        BadCertificate: If it is no certificate, or was changed since it was signed.
    """
    try:
        told = json.loads(raw)
        if not isinstance(told, dict) or told.get("certificate") != KIND:
            raise BadCertificate("this is no certificate of a forgotten player")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(told[_KEY]))
        key.verify(bytes.fromhex(told[_SIGNATURE]), _canonical({k: v for k, v in told.items() if k != _SIGNATURE}))
    except InvalidSignature as wrong:
        raise BadCertificate("the signature is not of this content: it was changed since it was signed") from wrong
    except (KeyError, TypeError, ValueError) as wrong:
        if isinstance(wrong, BadCertificate):
            raise
        raise BadCertificate(f"this is no certificate of a forgotten player ({wrong})") from wrong
    return told


def _canonical(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
