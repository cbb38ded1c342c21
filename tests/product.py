"""The whole game, started as its users start it: for the bench and for tests that kill, or look at, the running product."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.settings import Settings

ROOT = Path(__file__).parent.parent
_PORTS = ("port", "kafka_port", "kafka_controller_port", "sagemaker_port", "s3_port", "dynamodb_port")


class Product:
    """`gamenight up` in a home of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = settings.home / "up.log"

    def start(self, patience_s: float = 120.0) -> float:
        """Start it; gives the seconds until a drawing would be answered by every model."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("gamenight")), "up"],
                cwd=ROOT,
                env={**os.environ, **self.settings.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while not self.playable():
            if self._process.poll() is not None or time.monotonic() - began > patience_s:
                raise RuntimeError(f"not playable after {time.monotonic() - began:.0f} s:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    def playable(self) -> bool:
        """Whether /healthz says 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> float:
        """Stop it as Ctrl-C does; gives the seconds it took."""
        if self._process is None:
            return 0.0
        began = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        return time.monotonic() - began


@contextmanager
def product(home: Path | None = None, **given: Any) -> Iterator[Product]:
    """The game, not yet started, in a fresh home or in the one given, on free ports; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="gamenight-", ignore_cleanup_errors=True) as fresh:
        folder = (home or Path(fresh)).resolve()
        settings = Settings(home=folder, tools=ROOT / ".tools", **{"log_level": "WARNING", **_free_ports(), **given})
        running = Product(settings)
        try:
            yield running
        finally:
            running.stop()


def _free_ports() -> dict[str, int]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    ports = {name: door.getsockname()[1] for name, door in zip(_PORTS, doors, strict=True)}
    for door in doors:
        door.close()
    return ports
