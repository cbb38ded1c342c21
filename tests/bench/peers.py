"""Measures the stream layer beside its peers: ``python -m tests.bench.peers [peer ...]`` (part of `make bench`).

Two jobs (`tests.bench.peer_jobs.job`), each in one process: answer drawings (raster, embedding, one softmax), and count
corrections exactly once. Each peer does them as its own documentation shows, in an environment of its own, on a fresh broker of
the game's. Measured are a backlog (the process stopped while it is made), the time of an answer at a constant rate, and a
kill -9 in the middle of it, after which the process is started again: what was lost, said twice, or counted wrong.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import orjson
import psutil
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from contracts.events import CorrectionGiven, DrawingSubmitted, Event
from contracts.settings import Settings
from deploy.local.archive import free_ports
from deploy.local.supervisor import running
from producers.handwriting import handwriting, ink
from producers.tally import Spread
from producers.topics import create_topics, open_admin
from tests.bench.loop import known, machine
from tests.bench.peer_jobs import job as jobs
from tests.product import ROOT

console = Console(stderr=True)
TOOLS = ROOT / ".tools" / "peers"
JOBS = ("answer", "fold")
PLAYERS = 40
READY_S, PATIENCE_S = 60.0, 120.0


# --- the peers


@dataclass(frozen=True)
class Peer:
    """A way to do the jobs."""

    environment: str | None
    """The name of its environment in tests/bench/peer_jobs/; None: the product's own."""
    command: Callable[[str, Path], list[str]]
    outputs: tuple[str, str] = (jobs.ANSWERS, jobs.COUNTS)
    prepare: Callable[[Path], list[str]] | None = None


def _module(name: str) -> Callable[[str, Path], list[str]]:
    return lambda job, _: ["-m", f"tests.bench.peer_jobs.{name}", job]


def _recovery(state: Path) -> list[str]:
    return ["-m", "bytewax.recovery", str(state), "1"]


def _bytewax(job: str, state: Path) -> list[str]:
    return ["-m", "bytewax.run", "tests.bench.peer_jobs.bytewax_flow", "-r", str(state), "-s", "1", "-b", "0"]


OURS = ("guesses.v1", "receipts.v1")
PEERS = {
    "ours": Peer(None, lambda job, _: ["-m", "tests.bench.peer_jobs.ours", job], OURS),
    "ours, over a plain group": Peer(None, lambda job, _: ["-m", "tests.bench.peer_jobs.ours", job, "group"], OURS),
    "aiokafka": Peer("aiokafka", _module("plain_aiokafka")),
    "faust": Peer("faust", lambda *_: ["-m", "tests.bench.peer_jobs.plain_faust", "worker", "-l", "error", "--without-web"]),
    "quix": Peer("quix", _module("quix")),
    "bytewax": Peer("bytewax", _bytewax, prepare=_recovery),
}


def install(peer: Peer) -> Path:
    """Return the peer's Python; its environment is made if it is absent or was made from another lock."""
    if peer.environment is None:
        return Path(sys.executable)
    lock = ROOT / "tests" / "bench" / "peer_jobs" / f"{peer.environment}.txt"
    folder, stamp = TOOLS / peer.environment, TOOLS / f"{peer.environment}.lock"
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        uv = str(Path(sys.executable).with_name("uv"))
        TOOLS.mkdir(parents=True, exist_ok=True)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(lock)]
        subprocess.run(install, check=True)
        stamp.write_bytes(lock.read_bytes())
    return python


# --- a peer at work


@dataclass
class Heard:
    """The records of one phase, and the answers to them."""

    sent: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By id of a record, the player and when the record was sent."""
    said: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By player, the highest count in an answer."""
    at: list[float] = field(default_factory=list)
    """The times of first answers."""
    took: Spread = field(default_factory=Spread)

    @property
    def missing(self) -> int:
        """The number of records without an answer."""
        return len(self.sent) - sum(one in self.said for one in self.sent)


class Stage:
    """A process of a peer on a broker, with its input and its output."""

    def __init__(self, peer: Peer, job: str, servers: str, state: Path, environment: dict[str, str], seed: int) -> None:
        self._peer, self._job, self._servers, self._state = peer, job, servers, state
        self._environment = environment
        self._python = install(peer)
        self._chance = random.Random(seed)
        pen = [written for someone in handwriting().values() for written in someone]
        self._inks = [ink(self._chance.choice(pen), self._chance) for _ in range(200)]
        self._players = [f"player-{n}" for n in range(PLAYERS)]
        self.sent_in_all: Counter[str] = Counter()
        self.heard = Heard()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, also again after its death."""
        command = [str(self._python), *self._peer.command(self._job, self._state)]
        with (self._state / "process.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def prepare(self) -> None:
        """Make what the process needs before its first start."""
        if self._peer.prepare:
            subprocess.run([str(self._python), *self._peer.prepare(self._state)], check=True, cwd=ROOT)

    def tell(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process has used so far."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect, and listen meanwhile."""
        self._producer = AIOKafkaProducer(bootstrap_servers=self._servers, acks="all", linger_ms=2)
        topic = self._peer.outputs[JOBS.index(self._job)]
        self._consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self._servers, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await self._producer.start()
        await self._consumer.start()
        listening = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self._consumer.stop()
            await self._producer.stop()

    async def _listen(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                now = time.perf_counter()
                for record in records:
                    said = orjson.loads(record.value)
                    heard = self.heard
                    if said["id"] not in heard.said and said["id"] in heard.sent:
                        heard.at.append(now)
                        heard.took.add(1000 * (now - heard.sent[said["id"]][1]))
                    heard.said[said["id"]] += 1
                    if "n" in said:
                        heard.counts[said["player_id"]] = max(heard.counts[said["player_id"]], said["n"])

    def _event(self) -> tuple[str, Event]:
        player = self._chance.choice(self._players)
        new = uuid4()
        if self._job == "fold":
            return str(new), CorrectionGiven(correction_id=new, drawing_id=new, player_id=player, label=1)
        inked = self._chance.choice(self._inks)
        size = {"width": inked.width, "height": inked.height}
        return str(new), DrawingSubmitted(drawing_id=new, player_id=player, strokes=inked.strokes, final=True, **size)

    async def put(self, n: int, rate: float | None = None) -> None:
        """Send records, at a rate or at once, and wait until all are acknowledged."""
        events = [self._event() for _ in range(n)]
        values = [(one, event.topic, event.record_key(), event.record_value()) for one, event in events]
        pending = []
        began = time.perf_counter()
        for number, (one, topic, key, value) in enumerate(values):
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            self.heard.sent[one] = (key.decode(), time.perf_counter())
            self.sent_in_all[key.decode()] += 1
            pending.append(await self._producer.send(topic, value, key))
        await asyncio.gather(*pending)

    async def through(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until every record has an answer, or ``patience_s`` seconds have passed."""
        deadline = time.perf_counter() + patience_s
        while self.heard.missing and time.perf_counter() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended: {(self._state / 'process.log').read_text()[-2000:]}")
            await asyncio.sleep(0.05)

    def begin(self) -> Heard:
        """Begin another phase."""
        self.heard = Heard()
        return self.heard


async def measure(stage: Stage, backlog: int, rate: float, seconds: float) -> dict[str, Any]:
    """Measure one job of a peer."""
    stage.prepare()
    stage.start()
    async with stage.open():
        await stage.put(PLAYERS)
        await stage.through(READY_S)
        if stage.heard.missing:
            raise RuntimeError("it did not begin")
        await stage.put(int(rate), rate)  # warms up
        await stage.through()

        heard = stage.begin()
        stage.tell(signal.SIGSTOP)
        await stage.put(backlog)
        used, began = stage.cpu_s(), time.perf_counter()
        stage.tell(signal.SIGCONT)
        await stage.through()
        last = max(heard.at, default=began)
        found: dict[str, Any] = {
            "backlog, records a second": round((len(heard.sent) - heard.missing) / max(last - began, 1e-9)),
            "CPU ms a record": round(1000 * (stage.cpu_s() - used) / backlog, 3),
        }

        heard = stage.begin()
        used = stage.cpu_s()
        await stage.put(int(rate * seconds), rate)
        await stage.through()
        found |= {f"p{100 * q:g}, ms": round(heard.took.quantile(q), 1) for q in (0.5, 0.99)}
        found["CPU ms a record, at the rate"] = round(1000 * (stage.cpu_s() - used) / len(heard.sent), 3)

        heard = stage.begin()
        putting = asyncio.create_task(stage.put(int(rate * seconds), rate))
        await asyncio.sleep(seconds / 3)
        stage.tell(signal.SIGKILL)
        killed = time.perf_counter()
        stage.start()
        await putting
        await stage.through()
        await asyncio.sleep(2)  # a second answer may come late
        after = [at for at in heard.at if at > killed + 0.2]
        found |= {
            "back after a kill, s": round(min(after) - killed, 1) if after else None,
            "lost": heard.missing,
            "said twice": sum(n - 1 for one, n in heard.said.items() if one in heard.sent),
        }
        if heard.counts:
            found["counted wrong"] = sum(
                abs(heard.counts[p] - stage.sent_in_all[p]) for p in {p for p, _ in heard.sent.values()}
            )
    return found


def run(name: str, job: str, seed: int, backlog: int, rate: float, seconds: float) -> dict[str, Any]:
    """Run a peer's job on a broker of its own, and measure it."""
    peer = PEERS[name]
    with tempfile.TemporaryDirectory(prefix="gamenight-peers-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        ports = dict(zip(("kafka_port", "kafka_controller_port"), free_ports(2), strict=True))
        settings = Settings(home=home, tools=ROOT / ".tools", log_level="WARNING", **ports)
        state = home / "peer"
        state.mkdir()
        with running(settings, ["kafka"]):
            create_topics(settings)
            admin = open_admin(settings)
            admin.create_topics(
                {topic: {"num_partitions": 4, "replication_factor": 1} for topic in (jobs.ANSWERS, jobs.COUNTS)}
            )
            admin.wait_for_topics([jobs.ANSWERS, jobs.COUNTS])
            admin.close()
            environment = os.environ | settings.environment()
            environment |= {"KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers, "PEER_STATE": str(state), "PEER_JOB": job}
            environment |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
            stage = Stage(peer, job, settings.bootstrap_servers, state, environment, seed)
            try:
                return asyncio.run(measure(stage, backlog, rate, seconds))
            except Exception as wrong:  # noqa: BLE001 one peer's failure is reported, and the next is measured
                log = state / "process.log"
                return {"failed": str(wrong), "log": log.read_text()[-1500:] if log.exists() else ""}
            finally:
                if stage.process is not None and stage.process.poll() is None:
                    stage.process.kill()
                    stage.process.wait()


def main(
    peers: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(PEERS)}; none: all")] = None,
    seed: Annotated[int, typer.Option(help="of all chances")] = 20181103,
    backlog: Annotated[int, typer.Option(help="records that wait when it goes on")] = 5000,
    rate: Annotated[float, typer.Option(help="records a second")] = 200,
    seconds: Annotated[float, typer.Option(help="of that rate, twice: undisturbed, and with a kill")] = 12,
    rounds: Annotated[int, typer.Option(help="each peer's jobs, in turn")] = 1,
    only: Annotated[str, typer.Option(help=f"of {', '.join(JOBS)}; none: both")] = "",
) -> None:
    """Measure, and print a table (standard error) and JSON (standard output)."""
    chosen = known(peers, PEERS)
    result: dict[str, Any] = {"machine": machine(), "seed": seed, "backlog": backlog, "rate": rate, "seconds": seconds}
    for job in known([only] if only else None, JOBS):
        table = Table(job)
        rows = []
        for name in chosen * rounds:
            rows.append((name, run(name, job, seed, backlog, rate, seconds)))
            console.print(job, *rows[-1], markup=False)
        columns = list(dict.fromkeys(what for _, found in rows for what in found if what not in ("failed", "log")))
        for what in columns:
            table.add_column(what)
        for name, found in rows:
            table.add_row(name, *(str(found.get(what, "")) for what in columns))
        result[job] = rows
        console.print(table)
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    typer.run(main)
