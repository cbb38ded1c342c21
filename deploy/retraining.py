"""Follows a rebuild on the dashboard's socket until it is done, refused or failed."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from deploy.failures import CommandFailed, Interrupted, outcome_of
from deploy.jobs import show_tried

ENDS = {"done": 0, "refused": 2, "failed": 1, "cancelled": 1}
"""The outcomes of a rebuild or any other command, and the exit status of each."""
JobStateOf = Callable[[str], dict[str, Any]]
"""Returns the state of a rebuild as `/api/jobs/ID` has it; empty: it is not known yet."""
PATIENCE_S = 900.0
"""The longest time to wait without news of any rebuild."""


def hyperparameters(given: Sequence[str]) -> dict[str, str]:
    """Read what ``--set`` was given.

    Raises:
        ValueError: If one is not of the form NAME=VALUE, or comes twice.

    >>> hyperparameters(["eta=0.1", "rounds=30"])
    {'eta': '0.1', 'rounds': '30'}
    """
    told: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals and value) or name in told:
            raise ValueError(f"--set {one!r}: write NAME=VALUE, each name once, as eta=0.1")
        told[name] = value
    return told


def grid(given: Sequence[str]) -> dict[str, list[str]]:
    """Read what ``--try`` was given.

    Raises:
        ValueError: If one is not of the form NAME=VALUE,VALUE, or a name comes twice.

    >>> grid(["eta=0.1,0.3", "max_depth=4,6"])
    {'eta': ['0.1', '0.3'], 'max_depth': ['4', '6']}
    """
    told: dict[str, list[str]] = {}
    for one in given:
        name, _, values = one.partition("=")
        found = values.split(",")
        if not name or not all(found) or name in told:
            raise ValueError(f"--try {one!r}: write NAME=VALUE,VALUE, each name once, as eta=0.1,0.3")
        told[name] = found
    return told


def follow(
    url: str,
    order: Callable[[], str],
    console: Console,
    as_json: bool,
    state: JobStateOf | None = None,
) -> int:
    """Command a rebuild and show its progress; Ctrl-C leaves it to itself.

    Args:
        url: The address of the game.
        order: Publishes the command, or not if there is one, and returns its id; it is called once we listen.
        console: Where progress and the job's log lines go.
        as_json: Print each step as a line of JSON instead.
        state: Returns the state of a rebuild, which may wait, or have ended before we listened; None: it is not asked for.

    Returns:
        The exit status of `ENDS`.

    Raises:
        CommandFailed: If the game goes away, or nothing is heard of any rebuild for `PATIENCE_S`.
        Interrupted: After Ctrl-C.
    """
    try:
        opened = connect(f"ws{url.removeprefix('http')}/ws/watch", max_size=None, proxy=None)
    except (OSError, WebSocketException, UnicodeError) as error:
        raise CommandFailed(f"no game answers at {url} ({error}): start it with make play") from error
    with opened as socket:
        command_id = order()
        known = state(command_id) if state else {}
        if known.get("state") in ENDS:
            status = ENDS[known["state"]]
            told = _line(known, status) if as_json else outcome_of(known["state"], known["message"])
            if known.get("tried") and not as_json:
                show_tried(known["tried"], console)
            console.print(told, markup=False, highlight=False, soft_wrap=True)
            return status
        try:
            return _followed(socket, command_id, known, console, as_json, state)
        except KeyboardInterrupt:
            told = f"it goes on: gamenight follow {command_id} shows it again, gamenight cancel {command_id} ends it"
            raise Interrupted(told) from None


def _followed(
    socket: ClientConnection, command_id: str, known: dict[str, Any], console: Console, as_json: bool, state: JobStateOf | None
) -> int:
    def waiting(tell: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Return what tells the place in the queue again, once another rebuild has ended."""

        def again() -> None:
            if state is not None and (now := state(command_id)).get("position"):
                tell(now)

        return again

    if as_json:

        def tell(now: dict[str, Any]) -> None:
            told = {name: now.get(name) for name in ("model", "version", "position")} | {"message": _place(now)}
            head = {"type": "training", "command_id": command_id, "step": "queued", "fraction": 0.0}
            print(orjson.dumps(head | told).decode(), flush=True)

        if known.get("position"):
            tell(known)
        return _listen(
            socket, command_id, lambda frame: print(_line(frame, ENDS.get(frame["step"], 0)), flush=True), waiting(tell)
        )
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("waiting", total=1.0, message=known.get("message") or _place(known))

        tried: list[dict[str, Any]] = []

        def show(frame: dict[str, Any]) -> None:
            tried[:] = list(frame.get("tried") or ())
            for line in frame.get("log") or ():
                progress.console.print(line, style="dim", markup=False, highlight=False)
            progress.update(task, description=frame["step"], completed=frame["fraction"], message=frame["message"])

        status = _listen(socket, command_id, show, waiting(lambda now: progress.update(task, message=_place(now))))
    if tried:
        show_tried(tried, console)
    last = progress.tasks[0]
    console.print(outcome_of(last.description, str(last.fields["message"])), markup=False, highlight=False, soft_wrap=True)
    return status


def _place(known: dict[str, Any]) -> str:
    return f"number {known['position']} in the queue" if known.get("position") else ""


def _line(told: dict[str, Any], status: int) -> str:
    """Return a step as a line of JSON; that of an end that is not good says so as every command does."""
    return orjson.dumps(told | ({"error": told["message"], "status": status} if status else {})).decode()


def _listen(
    socket: ClientConnection,
    command_id: str,
    show: Callable[[dict[str, Any]], None],
    another_ended: Callable[[], None] = lambda: None,
) -> int:
    until = time.monotonic() + PATIENCE_S
    try:
        while True:
            frame = orjson.loads(socket.recv(timeout=max(0.0, until - time.monotonic())))
            if frame.get("type") == "training":  # of another one: it waits, and the trainer works
                until = time.monotonic() + PATIENCE_S
            elif time.monotonic() >= until:  # the dashboard's other frames come also without a trainer
                raise TimeoutError
            if frame.get("type") == "training" and frame.get("command_id") == command_id:
                show(frame)
                if frame["step"] in ENDS:
                    return ENDS[frame["step"]]
            elif frame.get("type") == "training" and frame["step"] in ENDS:
                another_ended()
    except TimeoutError:
        told = f"no rebuild was heard of for {PATIENCE_S / 60:.0f} minutes: gamenight follow {command_id} waits on"
        raise CommandFailed(told) from None
    except ConnectionClosed as error:
        told = f"the connection to the game is lost ({error}): gamenight follow {command_id} shows the rebuild again"
        raise CommandFailed(told) from error
