"""Decides who is an operator: whoever has a token, unless their address has tried too many wrong ones (OPERATE). Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from api.apps.keys import Tries, app_of, digest
from api.limits import address_of, in_seconds

HOUSE: Final = "house"
"""Who gives a command with the token of the home itself."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever gives a command."""

    name: str
    token: str
    """The name of the token: the operator's own and the beginning of its digest, which tells it from an earlier one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a request is refused."""

    status: int
    why: str
    headers: dict[str, str] = field(default_factory=dict)


class Operators:
    """Recognizes operators by their tokens, which are compared in constant time."""

    def __init__(self, token: str | None, given: Callable[[], Mapping[str, bytes]] = dict) -> None:
        """Keep what admits operators; with no token at all, nobody is one.

        Args:
            token: The home's own.
            given: Returns the digests of the tokens that operators have now, by the operators' names.
        """
        self._house = {} if token is None else {HOUSE: digest(token)}
        self._given = given
        self._tries = Tries()

    def admitted(self, authorization: str | None, host: str, now: float) -> Operator | Refusal:
        """Return who makes a request, or why they are no operator.

        Args:
            authorization: The value of the Authorization header.
            host: The address that it comes from.
            now: In seconds of a monotonic clock.
        """
        known = {**self._given(), **self._house}
        if not known:
            return Refusal(503, "no operator token is set: `gamenight up` makes one, or set GAMENIGHT_OPERATOR_TOKEN")
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            say = {"WWW-Authenticate": "Bearer"}
            return Refusal(401, "send the operator token: Authorization: Bearer <operator token>", say)
        name = app_of(given.strip(), known)
        if wait_s := self._tries.wait(address_of(host), None if name is None else f"operator {name}", now):
            again = {"Retry-After": str(math.ceil(wait_s))}
            return Refusal(429, f"too many wrong tokens from your address: try again in {in_seconds(wait_s)}", again)
        if name is None:
            return Refusal(
                403, "this token is not the operators': set GAMENIGHT_OPERATOR_TOKEN to that of `gamenight operators add`"
            )
        return Operator(name, f"{name}/{known[name].hex()[:6]}")

    def refusal(self, authorization: str | None, host: str, now: float) -> Refusal | None:
        """Return why a request is not an operator's; None: it is. The arguments are those of `admitted`."""
        found = self.admitted(authorization, host, now)
        return found if isinstance(found, Refusal) else None
