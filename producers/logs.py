"""Writes structured logs: one JSON object a line on standard error; the supervisor keeps one file a process."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from cachetools import LRUCache

from contracts.settings import Settings

LINES: Final = 100
"""Lines of one kind that are written in `LINES_S`: lines that strangers cause must not fill the disk."""
LINES_S: Final = 60.0
KINDS: Final = 1000
"""Kinds of lines that are counted; the one that was silent longest is forgotten."""


class Sparing(logging.Filter):
    """Lets `LINES` of a kind pass in a minute; the first of the next minute says how many were left out.

    A kind is the event of a structured line, or the unformatted text of another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing counted; ``clock`` is monotonic, in seconds."""
        super().__init__()
        self._clock = clock
        self._kinds: LRUCache[tuple[str, object], tuple[float, int]] = LRUCache(KINDS)
        self._lock = threading.Lock()  # logging filters a line before it takes the handler's lock

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to write a line."""
        line = record.msg if isinstance(record.msg, dict) else None
        kind = (record.name, line.get("event") if line else str(record.msg)[:200])
        with self._lock:
            now = self._clock()
            since, n = self._kinds.get(kind, (now, 0))
            if now - since >= LINES_S:
                if n > LINES and line is not None:
                    line["left_out"] = n - LINES
                since, n = now, 0
            self._kinds[kind] = (since, n + 1)
        return n < LINES


def configure(settings: Settings, service: str) -> None:
    """Send every log line of this process, the libraries' too, to standard error as JSON with ``service`` in it."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(Sparing())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for chatty in ("kafka", "aiokafka", "botocore", "urllib3", "uvicorn.access", "faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)  # asyncio warns whenever the machine was busy for 0.1 s
    structlog.contextvars.bind_contextvars(service=service)
