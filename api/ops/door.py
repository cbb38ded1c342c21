"""Admits operators, and puts what they command on the log; what is refused there is on the log too (way 3, OPERATE).

The command line comes through this door as well, so there is one audit. A command is on the log before its request is
answered; the trainer publishes its outcome.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final
from uuid import uuid4

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from api.folds.command_status import CommandStatus
from api.limits import RateLimiter
from api.metrics import Metrics
from api.ops.operators import Operator, Operators, Refusal
from contracts.events import Command, CommandDone, CommandRefused, ForgetPlayer
from contracts.plain_text import NOT_ONE_LINE, in_one_line, is_one_line
from contracts.ports import Bus

WITHIN_S: Final = 5.0
"""How long an operator waits for the log's acknowledgement, in seconds."""
REFUSED_KEPT: Final = (1.0, 60.0)
"""How many refused commands of an operator are kept, in a second for long and at once; more are counted alone."""
CLI: Final = "gamenight"
"""How the command line names itself in User-Agent."""
_GIVEN: Final = "gamenight.given"
_IDENTITY: Final = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
"""What players and drawings are called by: a UUID."""

log = structlog.get_logger(__name__)

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "No token"},
    403: {"description": "A wrong token"},
    429: {"description": "Too many wrong tokens"},
    503: {"description": "The log did not acknowledge the command, or no token is set"},
}


class Accepted(BaseModel):
    """A command was put on the log."""

    command_id: str


def wrong_field(why: str, where: tuple[str, ...]) -> dict[str, Any]:
    """Return what is wrong with a field, as pydantic says it."""
    return {"type": "value_error", "loc": ("body", *where), "msg": f"Value error, {why}"}


def _unlogged(command: Command) -> set[str]:
    """Return the fields of a command that are not in the log line of it: of who is forgotten no line may stay."""
    return {"type", "at", "target", "signer", "signature", *(("player_id",) if isinstance(command, ForgetPlayer) else ())}


def _problems(wrong: RequestValidationError) -> list[dict[str, Any]]:
    """Return what is wrong with a request, without quoting it: NaN and lone surrogates cannot be sent back."""
    return [{"type": one["type"], "loc": one["loc"], "msg": one["msg"]} for one in wrong.errors()]


def in_a_line(wrong: RequestValidationError) -> str:
    """Return what is wrong with a request in one line that says of each field what would be right."""
    said: dict[str, None] = {}
    for one in wrong.errors():
        where = ".".join(str(part) for part in one["loc"][1:] if isinstance(part, str) and part.isidentifier()) or "the body"
        said[_plain(where, one)] = None
    return "; ".join(said)


_PLAIN: Final[dict[str, str]] = {
    "missing": "{where} is missing",
    "extra_forbidden": "there is no field {where}",
    "literal_error": "{where} is one of {expected}",
    "enum": "{where} is one of {expected}",
    "string_pattern_mismatch": "{where} is a name of letters, digits and . _ + -, with a letter or digit first, up to 64 long",
    "string_too_long": "{where} has {max_length} characters at most",
    "string_too_short": "{where} is empty",
    "greater_than_equal": "{where} is {ge} or more",
    "less_than_equal": "{where} is {le} or less",
    "json_invalid": "the body is no JSON",
    "value_error": "{error}",
}
"""What is said for people, by pydantic's type of an error; all others say it in pydantic's words."""


def _plain(where: str, one: dict[str, Any]) -> str:
    told = _PLAIN.get(one["type"])
    context = {**one.get("ctx", {})}
    context.setdefault("error", str(one["msg"]).removeprefix("Value error, "))
    return f"{where}: {one['msg']}" if told is None else told.format(where=where, **context)


async def not_valid(_: Request, wrong: Exception) -> Response:
    """Answer a request that is not valid."""
    assert isinstance(wrong, RequestValidationError)
    return Response(json.dumps({"error": in_a_line(wrong), "detail": _problems(wrong)}), 422, media_type="application/json")


class Door:
    """The door of operators."""

    def __init__(
        self,
        operators: Operators,
        bus: Bus,
        command_status: CommandStatus,
        metrics: Metrics,
        *,
        signs: bool,
        why_required: bool = False,
    ) -> None:
        """Keep what admits, what publishes, and what counts.

        Args:
            operators: Recognizes operators.
            bus: Signs what is published, see `producers.signing`.
            signs: Whether it does; without a key no command is given, since nobody would carry it out.
            command_status: Knows commands at once that are on the log.
            metrics: Count requests by status.
            why_required: Whether a command without a reason is refused.
        """
        self._operators = operators
        self._bus = bus
        self._command_status = command_status
        self._metrics = metrics
        self._signs = signs
        self._why_required = why_required
        self._refused = RateLimiter(*REFUSED_KEPT)

    def router(self) -> APIRouter:
        """Return a router whose routes admit operators only, before anything of the body is read."""
        door = self

        class OperatorsRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def guarded(request: Request) -> Response:
                    operator = door._admit(request)
                    try:
                        return await handle(request)
                    except RequestValidationError as wrong:
                        await door._refuse(request, operator, 422, in_a_line(wrong))
                        raise
                    except HTTPException as wrong:
                        if 400 <= wrong.status_code < 500:
                            await door._refuse(request, operator, wrong.status_code, str(wrong.detail))
                        raise

                return guarded

        bearer = HTTPBearer(auto_error=False, description="settings.operator_token, or that of a named operator")

        def documented(_: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
            """Name the token in the API's document."""

        return APIRouter(route_class=OperatorsRoute, dependencies=[Depends(documented)])

    def given(self, request: Request) -> dict[str, str]:
        """Return who gives the command of a request, and from where: the fields of `Command` that say so."""
        found: dict[str, str] = request.scope[_GIVEN]
        return found

    def operator(self, request: Request) -> str:
        """Return the name of the operator who sends a request."""
        return self.given(request)["by"]

    def knows(self, request: Request) -> bool:
        """Say whether an operator sends a request that anybody may send; others are not shown what operators write."""
        given, who = request.headers.get("authorization"), request.client.host if request.client else "unknown"
        return given is not None and isinstance(self._operators.admitted(given, who, time.monotonic()), Operator)

    def _admit(self, request: Request) -> Operator:
        who = request.client.host if request.client else "unknown"
        admitted = self._operators.admitted(request.headers.get("authorization"), who, time.monotonic())
        if isinstance(admitted, Refusal):
            self._metrics.audited.labels(str(admitted.status)).inc()
            log.warning("audit: refused", status=admitted.status, why=admitted.why, by=who)
            raise HTTPException(admitted.status, admitted.why, admitted.headers)
        named = request.headers.get("user-agent", "").partition("/")[0]
        via = "cli" if named == CLI else "http"
        request.scope[_GIVEN] = {"by": admitted.name, "via": via, "address": who[:200], "token": admitted.token}
        return admitted

    async def _refuse(self, request: Request, operator: Operator, status: int, why: str) -> None:
        """Put on the log what an operator wanted and did not get."""
        self._metrics.audited.labels(str(status)).inc()
        now = time.monotonic()
        if request.method != "POST" or self._refused.bucket(operator.name, now).take(now):
            return
        said = await _said(request)
        event = CommandRefused(
            command_id=uuid4(),
            command=_route(request),
            target=_storable(said.get("target", "")) or "-",
            reason=_storable(said.get("reason", "")),
            message=_storable(why, 2000),
            **self.given(request),
        )
        log.info("audit: refused", command=event.command, status=status, why=event.message, by=operator.name)
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._bus.publish(event)), WITHIN_S)
        except (TimeoutError, RuntimeError) as failure:  # it is refused all the same
            log.warning("not audited", command=event.command, why=str(failure) or "not in time")

    def _check(self, reason: str) -> None:
        """Refuse a reason that has to be there and is not, that is not one line, or that names a player or a drawing of theirs.

        A reason goes into notes that stay on the log when a player is forgotten.
        """
        if self._why_required and not reason.strip():
            raise RequestValidationError([wrong_field("say why: --why TEXT, or `reason`", ("reason",))])
        if not is_one_line(reason):
            raise RequestValidationError([wrong_field(NOT_ONE_LINE, ("reason",))])
        if (found := _IDENTITY.search(reason)) is not None:
            why = f"a reason names nobody, since it is kept for good: say it without {found[0]}"
            raise RequestValidationError([wrong_field(why, ("reason",))])

    async def note(self, request: Request, target: str, reason: str, message: str) -> None:
        """Put into the audit what an operator is about to do without a command.

        Without a key it is in the log of the API alone: nobody would believe the entry.

        Raises:
            HTTPException: If the log does not acknowledge it; then it must not be done.
            RequestValidationError: If it needs a reason and has none.
        """
        self._check(reason)
        if not self._signs:
            return
        told = {"command": _route(request), "target": target, "reason": _storable(reason, 500), "message": message}
        try:
            sent = self._bus.publish(CommandDone.model_validate({"command_id": uuid4(), **told, **self.given(request)}))
            await asyncio.wait_for(asyncio.wrap_future(sent), WITHIN_S)
        except (TimeoutError, RuntimeError) as failure:
            why = f"the log did not acknowledge the entry of the audit ({failure or 'in time'}): nothing was done"
            raise HTTPException(503, why) from failure

    async def put(self, command: Command) -> Accepted:
        """Publish a command; return once the broker has acknowledged it."""
        self._check(command.reason)
        if not self._signs:
            raise HTTPException(503, "nothing signs commands here: set GAMENIGHT_API_SIGNING_KEY, which `gamenight up` makes")
        status = 202
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._bus.publish(command)), WITHIN_S)
        except (TimeoutError, RuntimeError) as failure:
            status = 503
            why = f"the log did not acknowledge command {command.command_id} ({failure or 'in time'}): it may still come"
            raise HTTPException(503, why) from failure
        finally:
            self._metrics.audited.labels(str(status)).inc()
            log.info(
                f"audit: {command.type}",
                **command.model_dump(mode="json", exclude=_unlogged(command), exclude_defaults=True),
                model=command.target,
                status=status,
            )
        self._command_status.apply(command)
        return Accepted(command_id=str(command.command_id))


def _route(request: Request) -> str:
    """Return what is wanted, as its route is called."""
    path: str = request.scope["route"].path
    return path.removeprefix("/api/ops/").replace("/{rejection_id}", "")[:200]


async def _said(request: Request) -> dict[str, str]:
    """Return of what and why a command was wanted, as far as the body says."""
    try:
        body = json.loads(await request.body())  # it was read already, and is kept
    except (ValueError, RecursionError):
        return {}
    asked = body if isinstance(body, dict) else {}
    return {name: asked[name] for name in ("target", "reason") if isinstance(asked.get(name), str)}


def _storable(text: str, most: int = 200) -> str:
    """Return the beginning of a text in a form that an event can hold, and a terminal can show."""
    return in_one_line(text[:most]).encode("utf-8", "backslashreplace").decode()[:most]
