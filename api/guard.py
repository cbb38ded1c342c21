"""Checks every request and socket before its content is read: its host, and how often its address asks (all ways)."""

import ipaddress
import math
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.limits import Guest, Limits, address_of, in_seconds
from api.ops.operators import Operators
from contracts.settings import Settings

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_GUEST: Final = "gamenight.guest"

log = structlog.get_logger(__name__)


class Guard:
    """Refuses hosts that are not the game's (400), addresses that ask too often (429), and wrong tokens on sockets.

    Starlette's TrustedHostMiddleware cannot say what to do, and does not know that a connection's own address is the game's.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], limits: Limits, operators: Operators, clock: Callable[[], float]
    ) -> None:
        """Wrap an app.

        Args:
            app: The app that gets the admitted requests, and finds the `Guest` of a socket with `guest_of`.
            hosts: Names under which the game is reached, besides the address of each connection; ``*.name`` stands for all
                names below a name.
            limits: How much each address may still do.
            operators: Recognizes operators, whose sockets have no limits.
            clock: Monotonic, in seconds.
        """
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._operators = operators
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request or socket, then refuse it or hand it to the app."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        now, headers = self._clock(), Headers(scope=scope)
        client = HTTPConnection(scope).client
        host = client.host if client else ""
        address, trusted = address_of(host), False
        if not self._known(scope, headers):
            why = "this is not the game's name: ask for it by its address, or add the name to GAMENIGHT_ALLOWED_HOSTS"
            await self._refuse(400, why, {}, scope, receive, send)
            return
        if scope["type"] == "websocket" and "authorization" in headers:
            refusal = self._operators.refusal(headers["authorization"], host, now)
            if refusal is not None:
                await self._refuse(refusal.status, refusal.why, refusal.headers, scope, receive, send)
                return
            trusted = True
        if not trusted and (wait_s := self._limits.requests.take(address, now)):
            why = f"too many requests from your address: try again in {in_seconds(wait_s)}"
            await self._refuse(429, why, {"Retry-After": str(math.ceil(wait_s))}, scope, receive, send)
            return
        if scope["type"] == "websocket":
            scope[_GUEST] = Guest(self._limits, address, trusted)
        await self._app(scope, receive, send)

    def _known(self, scope: Scope, headers: Headers) -> bool:
        given = headers.getlist("host")
        if len(given) != 1:
            return False
        try:
            parts = urlsplit(f"//{given[0]}")
            name, _ = parts.hostname or "", parts.port
            plain = parts.netloc == given[0] and "@" not in parts.netloc and not (set(given[0]) & set(' \t"<>\\^`{|},;'))
        except ValueError:
            return False
        if not name or not plain:
            return False
        own = scope.get("server")
        named = f"[{name}]" if ":" in name else name
        if named in self._hosts or any(named.endswith(one[1:]) for one in self._hosts if one.startswith("*.")):
            return True
        return own is not None and _same(name, own[0])

    async def _refuse(self, status: int, why: str, told: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        log.warning("refused at the door", status=status, why=why, path=scope["path"][:200])
        await PlainTextResponse(why, status, told)(scope, receive, send)


def guest_of(connection: HTTPConnection) -> Guest:
    """Return the guest who opens a socket."""
    guest: Guest = connection.scope[_GUEST]
    return guest


def hosts(settings: Settings) -> frozenset[str]:
    """Return the names under which the game is reached: this machine's own, the served address, and those of the settings."""
    named = {part.strip().lower() for part in settings.allowed_hosts.split(",") if part.strip()}
    pages = {urlsplit(part.strip()).hostname or "" for part in settings.allowed_origins.split(",")}
    return LOCAL | named | (pages | {settings.host.lower()}) - {"", "0.0.0.0", "::"}


def _same(name: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(address)
    except ValueError:
        return False
