"""What `gamenight up` and `gamenight doctor` make of /healthz: its own answer, whatever the status, and no other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain, repeat

import pytest
from rich.console import Console

from deploy.local import up
from deploy.local.doctor import _logs
from deploy.local.up import HealthReport, health


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("code", [200, 503])
def test_health_is_what_it_says_of_itself(code):
    with answering(code, b'{"status":"degraded","missing":{"mxnet":"it rests"},"reason":"mxnet: it rests","age_s":0.1}') as url:
        assert health(url) == HealthReport(status="degraded", missing={"mxnet": "it rests"}, reason="mxnet: it rests")


@pytest.mark.parametrize(
    ("code", "body"), [(500, b"oops"), (200, b"<html>"), (200, b'{"status":"fine","missing":{},"reason":""}')]
)
def test_whoever_says_something_else_is_unavailable(code, body):
    with answering(code, body) as url:
        said = health(url)
    assert (said.status, list(said.missing)) == ("unavailable", ["api"])


def test_up_waits_until_nothing_is_missing_and_not_for_what_does_not_come(monkeypatch):
    def told(*several: HealthReport) -> list[str]:
        answers = chain(several, repeat(several[-1]))
        monkeypatch.setattr(up, "health", lambda _: next(answers))
        with Console(quiet=True).status("") as status:
            return list(up._settled("", status).missing)

    ok = HealthReport(status="ok", missing={}, reason="")
    down = HealthReport(status="unavailable", missing={"router": "no model answered"}, reason="router")
    starting = HealthReport(status="degraded", missing={"mxnet": "it is being started"}, reason="mxnet")

    assert told(down, starting, ok) == []
    monkeypatch.setattr(up, "UNCHANGED_S", 0.2)
    assert told(down, starting) == ["mxnet"]
    monkeypatch.setattr(up, "HEALTHY_WITHIN_S", 0.2)
    assert told(down) == ["router"]


def test_doctor_sends_to_the_logs_of_those_who_are_missing():
    assert _logs(["learning", "learning of yours"]) == "learning, router"
    assert _logs(["kafka"]) == "kafka"
    assert _logs(["mxnet", "xgboost"]) == "router, trainer and sagemaker"
