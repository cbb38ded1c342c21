"""Decides who is an operator: whoever has the token, unless their address has tried too many wrong ones (OPERATE). Pure."""

import hmac
import math
from dataclasses import dataclass, field

from api.apps.keys import Tries, digest
from api.limits import address_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a request is refused."""

    status: int
    why: str
    headers: dict[str, str] = field(default_factory=dict)


class Operators:
    """Recognizes operators by their token, which is compared in constant time."""

    def __init__(self, token: str | None) -> None:
        """Keep the token; None: nobody is an operator."""
        self._token = None if token is None else digest(token)
        self._tries = Tries()

    def refusal(self, authorization: str | None, host: str, now: float) -> Refusal | None:
        """Return why a request is not an operator's; None: it is.

        Args:
            authorization: The value of the Authorization header.
            host: The address that it comes from.
            now: In seconds of a monotonic clock.
        """
        if self._token is None:
            return Refusal(503, "no operator token is set: `gamenight up` makes one, or set GAMENIGHT_OPERATOR_TOKEN")
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            say = {"WWW-Authenticate": "Bearer"}
            return Refusal(401, "send the operator token: Authorization: Bearer <operator token>", say)
        right = hmac.compare_digest(digest(given.strip()), self._token)
        if wait_s := self._tries.wait(address_of(host), "operator" if right else None, now):
            again = {"Retry-After": str(math.ceil(wait_s))}
            return Refusal(429, f"too many wrong tokens from your address: try again in {wait_s:.1f} s", again)
        return None if right else Refusal(403, "this token is not the operators'")
