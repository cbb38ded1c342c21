"""Makes the class archives: each Java service is started, asked something and stopped; the JVM keeps what it loaded."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local import dynamodb, java, kafka
from deploy.local.component import answers, listens


def make_archive(name: str, jars: Path) -> None:
    """Make the archive of ``kafka`` or ``dynamodb``; without one everything works, but starts more slowly."""
    with tempfile.TemporaryDirectory() as scratch:
        _RUNS[name](jars, Path(scratch))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def _kafka(jars: Path, scratch: Path) -> None:
    from producers.topics import create_topics

    file, (port, controller) = scratch / "server.properties", free_ports(2)
    kafka.write_properties(file, scratch / "data", port, controller)
    kafka.format_storage(jars, file)
    _train(jars, kafka.command(jars, file), lambda: listens(port), lambda: create_topics(f"127.0.0.1:{port}"))


def _dynamodb(jars: Path, scratch: Path) -> None:
    from contracts.settings import Settings

    [port] = free_ports(1)
    settings = Settings(dynamodb_port=port, aws_access_key_id="archive", aws_secret_access_key="archive")  # noqa: S106
    ready = f"http://127.0.0.1:{port}/"
    _train(jars, dynamodb.command(jars, port, scratch), lambda: answers(ready), lambda: dynamodb.create_table(settings))


_RUNS = {"kafka": _kafka, "dynamodb": _dynamodb}


def _train(jars: Path, command: tuple[str, ...], ready: Callable[[], bool], use: Callable[[], None]) -> None:
    output = java.archive(jars)
    output.unlink(missing_ok=True)
    program, *rest = command
    process = subprocess.Popen(
        [program, f"-XX:AOTCacheOutput={output}", *rest], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(0.05)
        use()
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        output.with_name(f"{output.name}.config").unlink(missing_ok=True)
