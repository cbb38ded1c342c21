"""Follows a rebuild on the dashboard's socket until it is done, refused or failed."""

from collections.abc import Callable

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from deploy.failures import outcome_of

ENDS = {"done": 0, "refused": 2, "failed": 1}
"""The outcomes of a rebuild or any other command, and the exit status of each."""
PATIENCE_S = 900.0
"""The longest time to wait without news of the rebuild."""


def follow(url: str, order: Callable[[], str], console: Console, as_json: bool) -> int:
    """Command a rebuild and show its progress.

    Args:
        url: The address of the game.
        order: Publishes the command and returns its id; it is called once we listen.
        console: Where progress and the job's log lines go.
        as_json: Print each step as a line of JSON instead.

    Returns:
        The exit status of `ENDS`; 1 if the game goes away.
    """
    with connect(f"ws{url.removeprefix('http')}/ws/watch", max_size=None, proxy=None) as socket:
        command_id = order()
        if as_json:
            return _listen(socket, command_id, lambda frame: print(orjson.dumps(frame).decode(), flush=True), console)
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}"),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("waiting", total=1.0, message="")

            def show(frame: dict[str, object]) -> None:
                for line in frame.get("log") or ():  # type: ignore[attr-defined]
                    progress.console.print(line, style="dim", markup=False, highlight=False)
                progress.update(
                    task, description=str(frame["step"]), completed=float(str(frame["fraction"])), message=str(frame["message"])
                )

            status = _listen(socket, command_id, show, console)
        last = progress.tasks[0]
        console.print(outcome_of(last.description, str(last.fields["message"])), markup=False, highlight=False, soft_wrap=True)
        return status


def _listen(socket: ClientConnection, command_id: str, show: Callable[[dict[str, object]], None], console: Console) -> int:
    try:
        while True:
            frame = orjson.loads(socket.recv(timeout=PATIENCE_S))
            if frame.get("type") == "training" and frame.get("command_id") == command_id:
                show(frame)
                if frame["step"] in ENDS:
                    return ENDS[frame["step"]]
    except (ConnectionClosed, TimeoutError) as error:
        console.print(f"[red]the connection to the game is lost ({error}); the rebuild continues: see /watch[/]")
        return 1
