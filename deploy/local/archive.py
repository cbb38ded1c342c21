"""Makes Kafka's class archive: it starts a broker, creates topics and stops it, and the JVM keeps the classes that it loaded.

DynamoDB Local has no archive: the JVM refuses to archive classes of a jar whose manifest names a folder, as its manifest does.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from contracts.settings import Settings
from deploy.local import java, kafka
from deploy.local.component import listens
from deploy.local.sagemaker import servers
from producers.topics import create_topics

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


@cache
def _ports() -> Iterator[int]:
    """Return the ports that Linux gives to no client's connection, again and again; each process begins elsewhere."""
    lowest, highest = map(int, _EPHEMERAL.read_text().split()) if _EPHEMERAL.exists() else (32768, 60999)
    end = min(lowest, servers.PORTS.start)
    ports = range(end // 2, end) if end >= 4096 else range(highest + 1, 65536)
    ports = ports or range(servers.PORTS.start // 2, servers.PORTS.start)
    return islice(cycle(ports), os.getpid() * 521 % len(ports), None)


def free_ports(count: int) -> list[int]:
    """Find free ports of the loopback address.

    The system may give a port of its own choice to a client before a server binds it. It does not give away these, and two
    processes that ask at once begin at different ones.
    """
    found: list[int] = []
    while len(found) < count:
        port = next(_ports())
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def make_archive(jars: Path) -> bool:
    """Make the class archive for a folder of jars; return whether it exists. Without it the broker starts more slowly."""
    output = java.archive(jars)
    output.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        file, (port, controller) = Path(scratch) / "server.properties", free_ports(2)
        kafka.write_properties(file, Path(scratch) / "data", port, controller)
        kafka.format_storage(jars, file)
        program, *rest = kafka.command(jars, file)
        command = [program, f"-XX:AOTCacheOutput={output}", *rest]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            create_topics(Settings(kafka_port=port))
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
    return output.is_file()
