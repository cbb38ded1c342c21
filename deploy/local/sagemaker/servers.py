"""Starts a serving process, watches it, starts it again when it dies, and drains it before it ends."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil
import structlog

from deploy.local.sagemaker import containers
from deploy.local.sagemaker.containers import ContainerProcess, Image, TakeLine
from deploy.local.sagemaker.upstream import Upstream, UpstreamLost

PATIENCE_S: Final = 120.0
"""How long a server may take to answer its first /ping, in seconds, unless its variant says otherwise."""
_DRAIN_S: Final = 60.0
_STOP_S: Final = 1.5
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 2.0
PULSE_S: Final = 2.0
"""The seconds between two /ping to a server, and how long the answer may take; both are SageMaker's own."""
_MISSES: Final = 3
"""How many /ping in a row an idle server may miss before it counts as hung."""
_BUSY: Final = 0.05
"""The share of a core above which a server that answers no /ping counts as busy: with a long invocation on its one thread."""
_MOST_MISSES: Final = 20
"""How many /ping in a row any server may miss: this takes longer than an invocation may."""
PORTS: Final = range(20_000, 32_000)
"""The ports of servers: below those of outgoing connections, which Linux might hand out before a server listens at its port."""
_TRIES: Final = 3
"""How many ports a server tries, if other processes listen there first."""
_NICE: Final = 10
"""The niceness of a server that starts beside others: loading a model must not slow the answers of others."""
_CALM_S: Final = 60.0  # a server that ran for this long is started again without delay

log = structlog.get_logger()


class ServerFailed(Exception):
    """A server did not become ready; the message says why."""


class _PortTaken(Exception):
    """Another process listens at the server's port."""


class Server:
    """A serving process of a variant, as one instance is on AWS."""

    def __init__(
        self,
        image: Image,
        folder: Path,
        environment: Mapping[str, str],
        say: TakeLine,
        *,
        home: Path,
        patience_s: float,
        nice: int = 0,
    ) -> None:
        """Keep how to start the server; nothing is started yet.

        Args:
            image: The image that serves.
            folder: The folder that the server sees as /opt/ml, with the model in it.
            environment: The model's environment variables.
            say: Called with each line that the server prints.
            home: The folder of the local SageMaker.
            patience_s: How long the server may take to answer its first /ping.
            nice: The niceness of the server, for as long as it runs.
        """
        self.ready = asyncio.Event()
        """Set while the server can be asked."""
        self.under_way = 0
        """How many requests the server has not answered yet."""
        self.missed = 0
        """How many /ping in a row the server has not answered."""
        self._image = image
        self._folder = folder
        self._environment = environment
        self._say = say
        self._home = home
        self._patience_s = patience_s
        self._nice = nice
        self._process: ContainerProcess | None = None
        self._watch: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.upstream = Upstream(0)
        """The connections over which the server is asked."""

    @property
    def pid(self) -> int | None:
        """The id of the process that answers now; None if no process does."""
        return self._process.pid if self._process else None

    async def start(self, *, aside: bool = False) -> None:
        """Start the server, and return when it answers.

        Args:
            aside: Whether other servers answer meanwhile: this one starts with low priority, if that can be raised again.

        Raises:
            ServerFailed: If it ends before it answers, or takes too long.
        """
        await self._launch(aside)
        self._watch = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Let the server answer the requests that it has, then end it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _DRAIN_S)
        await self.end()

    async def end(self) -> None:
        """End the server now."""
        self.ready.clear()
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self.upstream.close()
        if self._process and self._process.exit_code is None:
            await self._process.stop(_STOP_S)

    def enter(self) -> None:
        """Count a request that is sent to the server."""
        self.under_way += 1
        self._idle.clear()

    def leave(self) -> None:
        """Stop counting a request, which was answered or given up."""
        self.under_way -= 1
        if not self.under_way:
            self._idle.set()

    async def _launch(self, aside: bool) -> None:
        """Start a serving process, and return when it answers.

        Raises:
            ServerFailed: If it does not answer.
        """
        nice = _NICE if aside and not self._nice and await asyncio.to_thread(containers.can_come_forward) else self._nice
        for _ in range(_TRIES):
            port = _free_port()
            try:
                await self._launch_at(port, nice)
            except _PortTaken:
                log.warning("port was taken meanwhile", folder=str(self._folder), port=port)
            else:
                self.ready.set()
                return
        raise ServerFailed(f"each of {_TRIES} ports that it was given was taken meanwhile")

    async def _launch_at(self, port: int, nice: int) -> None:
        self.upstream.close()
        self.upstream = Upstream(port)
        environment = {**self._environment, "SAGEMAKER_BIND_TO_PORT": str(port)}
        command = self._image.script("serve")
        process = self._process = await containers.start(
            command, self._image, self._folder, environment, self._say, home=self._home, nice=nice
        )
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._answers())
        try:
            await asyncio.wait({ended, ready}, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise ServerFailed(f"it ended with code {process.exit_code}") if _is_free(port) else _PortTaken
            if not ready.done():
                raise ServerFailed(f"no answer in {self._patience_s:.0f} s")
            await ready  # raises any error of asking
            if not await asyncio.to_thread(_listens, process.pid, port):  # else another process's answer would count
                raise _PortTaken
            if nice > self._nice:
                await process.come_forward()
        except BaseException:
            ready.cancel()
            if process.exit_code is None:
                await process.stop(0)
            raise

    async def _answers(self) -> None:
        while True:
            with contextlib.suppress(UpstreamLost, TimeoutError):
                if (await self.upstream.ask("GET", "/ping", {}, b"", timeout_s=2)).status == 200:
                    return
            await asyncio.sleep(0.02)

    async def _ended(self, process: ContainerProcess) -> int:
        """Wait for a process to end, and return its exit code; end it if it hangs."""
        ended = asyncio.create_task(process.wait())
        self.missed = idle = 0
        worked_s = 0.0
        while not ended.done():
            await asyncio.wait({ended}, timeout=PULSE_S)
            try:
                await self.upstream.ask("GET", "/ping", {}, b"", timeout_s=PULSE_S)
                self.missed = idle = 0
            except (UpstreamLost, TimeoutError):
                before, worked_s = worked_s, _cpu_s(process.pid)
                self.missed += 1
                idle = idle + 1 if self.missed == 1 or worked_s - before < _BUSY * 2 * PULSE_S else 0
            if (idle == _MISSES or self.missed == _MOST_MISSES) and not ended.done():
                log.warning("server hangs, ending it", folder=str(self._folder), pid=process.pid)
                await process.stop(0)
        return ended.result()

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_S
        clock = asyncio.get_running_loop().time
        while True:
            assert self._process is not None
            began = clock()
            code = await self._ended(self._process)
            self.ready.clear()
            log.warning("server ended, starting it again", folder=str(self._folder), code=code)
            pause = _FIRST_PAUSE_S if clock() - began > _CALM_S else min(2 * pause, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)
            try:
                await self._launch(aside=True)
            except Exception as failed:  # noqa: BLE001 whatever it is, the next try may succeed, and nobody else would try
                log.error("server does not start", folder=str(self._folder), reason=str(failed) or type(failed).__name__)


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process and its children have used."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return sum(time.user + time.system for time in times)
    return 0.0


def _listens(pid: int, port: int) -> bool:
    """Say whether a process or one of its children listens at a port; also True if the system does not tell."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    connections = one.net_connections("tcp")
                except psutil.AccessDenied:
                    return True
                if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
                    return True
    return False


def _free_port() -> int:
    """Return a port at which nobody listens now."""
    for port in random.sample(PORTS, 100):
        if _is_free(port):
            return port
    raise OSError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection that lingers does not count
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
