"""Says what is wrong with a command of `gamenight`, in one plain line or as JSON, and the exit status that it means.

0: done. 1: it failed, or nobody could be asked. 2: it was refused, or makes no sense; nothing has changed. 130: Ctrl-C.
"""

import json
from typing import Any, Final, NamedTuple

import httpx
import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from api.apps.keyring import KeyringError

FAILED: Final = 1
REFUSED: Final = 2
INTERRUPTED: Final = 130
"""As shells have it."""


class CommandFailed(RuntimeError):
    """The game does not answer as it should; the message is one line that says what to do."""

    status = FAILED


class CommandDeclined(CommandFailed):
    """What was wanted makes no sense, or was refused; nothing has changed."""

    status = REFUSED


class Interrupted(CommandFailed):
    """Somebody has pressed Ctrl-C; the message says what goes on without them."""

    status = INTERRUPTED


class Failure(NamedTuple):
    """What is told of an error."""

    error: str
    """One line."""
    status: int
    """The exit status."""

    def to_json(self) -> str:
        """Return it for machines, the same shape for every command."""
        return json.dumps({"error": self.error, "status": self.status})


def failure_of(error: Exception) -> Failure | None:
    """Return what is told of an error; None: it is a fault of the program, which is shown whole."""
    match error:
        case CommandFailed():
            return Failure(_line(str(error)), error.status)
        case ValidationError():
            return Failure("; ".join(_setting(one) for one in error.errors()), FAILED)
        case KeyringError():
            return Failure(_line(str(error)), REFUSED)
        case typer.Abort():
            return Failure("not done: it was not confirmed", REFUSED)
        case _ if isinstance(error, _running()):
            return Failure(_line(str(error)), REFUSED)
        case TyperException(format_message=said):
            context = getattr(error, "ctx", None)
            see = f": see {context.command_path} --help" if context is not None else ""
            return Failure(_line(said()).replace("Input should be", "it must be").rstrip(".") + see, REFUSED)
        case _ if isinstance(error, _plain_errors()):
            return Failure(_line(str(error)), FAILED)
        case OSError(strerror=str(why)):  # a file or folder that is in the way, not ours, or full
            owner = ": run it as the owner of the home" if isinstance(error, PermissionError) else ""
            return Failure(_line(f"{why}: {error.filename}{owner}" if error.filename else why), FAILED)
        case _ if type(error).__module__.partition(".")[0] == "botocore":
            return Failure(f"{_line(str(error)).rstrip('.')}: see gamenight doctor", FAILED)
    return None


def _running() -> type[Exception]:
    """Return the error of what cannot be done while the game runs."""
    from deploy.local.run_state import AlreadyRunning

    return AlreadyRunning


def _plain_errors() -> tuple[type[Exception], ...]:
    """Return the errors of other parts whose message is one line that says what to do."""
    from contracts.roster import RosterError
    from deploy.local.java import NotInstalled
    from deploy.local.up import PortsTaken
    from producers.acls import AclsRefused
    from producers.connection import BusError
    from producers.signing import BadKey
    from producers.topics import TopicsDiffer

    home = NotInstalled, PortsTaken, RosterError, BadKey
    return *home, BusError, AclsRefused, TopicsDiffer


def _setting(error: Any) -> str:
    name = str(error["loc"][0])
    setting = name if name.isupper() else f"GAMENIGHT_{name.upper()}"
    return f"{setting}={error['input']!r}: {error['msg']}"


def _line(text: str) -> str:
    return " ".join(text.split())


def answered(response: httpx.Response, markdown: bool = False) -> httpx.Response:
    """Return the game's answer if it is none of refusal; it is JSON, or Markdown if that was asked for.

    Raises:
        CommandDeclined: If what was asked makes no sense, or is refused: 400, 404, 409, 413, 422.
        CommandFailed: If the game does not answer, or not to us, or another service does.
    """
    status, why = response.status_code, _why(response)
    if _is_foreign(response, why, markdown):
        where = response.url.copy_with(path="/", query=None)
        raise CommandFailed(f"what answers at {str(where).rstrip('/')} is no Game Night: see GAMENIGHT_HOST and GAMENIGHT_PORT")
    if not response.is_error:
        return response
    if status in (400, 409, 413, 422) or (status == 404 and why != "Not Found"):
        raise CommandDeclined(why)
    if status == 404:
        raise CommandFailed(f"the game knows no {response.url.path}: it is older than this gamenight, start it again")
    if status in (401, 403, 429) or (status == 503 and why):
        raise CommandFailed(why)
    raise CommandFailed(f"the game answered with {status}{why and f' ({why})'}: see gamenight doctor")


def _is_foreign(response: httpx.Response, why: str, markdown: bool) -> bool:
    """Say whether another service has answered: XML or HTML, a refusal without a word, or what is no JSON."""
    if response.is_server_error:  # a proxy before the game says so too
        return False
    if response.is_error:
        return not why or response.text.lstrip().startswith("<")
    try:
        return not (markdown or response.json() is not None)
    except ValueError:
        return True


def _why(response: httpx.Response) -> str:
    """Return the game's own words, in one line."""
    try:
        said = response.json()
        told = said.get("error") or said.get("reason") or said.get("detail") or ""
        return _line(told if isinstance(told, str) else "; ".join(str(one.get("msg", one)) for one in told))
    except (ValueError, AttributeError, TypeError):
        return _line(response.text[:200])


def outcome_of(outcome: str, message: str) -> str:
    """Return an outcome with its message, without saying it twice.

    >>> outcome_of("refused", "refused: worse than the champion"), outcome_of("done", "xgboost 3 answers")
    ('refused: worse than the champion', 'done: xgboost 3 answers')

    The gate's own word for what it does not promote, since nobody can tell yet, stands alone.

    >>> outcome_of("refused", "undecided: needs about 420 more drawings")
    'undecided: needs about 420 more drawings'
    """
    if message.startswith("undecided: "):
        return message
    return f"{outcome}: {message.removeprefix(f'{outcome}: ')}".rstrip(": ")
