"""Cases of strangers who connect to the services beside the game on one machine."""

import random
import struct
from collections.abc import Callable, Iterator

from tests.hostile.client import Case, Doors, case, sends


def services() -> Iterator[Case]:
    """Yield requests to the services that one machine has beside the game: they refuse or close, and keep running."""
    noise = {
        "noise": b"\xff" + random.Random(10).randbytes(300) + b"\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
        "a negative length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "100,000 headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        "a header of 1 MB": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * (1 << 20) + b"\r\n\r\n",
        "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
    }
    refused = "400|403|404|405|411|413|414|431|500|501|505|closed"
    doors: dict[str, Callable[[Doors], str]] = {
        "sagemaker": lambda doors: doors.sagemaker,
        "s3": lambda doors: doors.s3,
        "dynamodb": lambda doors: doors.dynamodb,
    }
    for name, door in doors.items():
        for what, sent in noise.items():
            yield case(f"{name}: {what}", refused, sends(door, sent))
    for operation in ("CreateTrainingJob", "DeleteEndpoint", "ListModels"):
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.{operation}\r\n"
        head += "Content-Type: application/x-amz-json-1.1\r\n"
        yield case(
            f"sagemaker: {operation} without a signature", "400|403",
            sends(doors["sagemaker"], f"{head}Content-Length: 2\r\n\r\n{{}}".encode()),
        )  # fmt: skip
    invoked = b"POST /endpoints/x/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    yield case("sagemaker: an invocation without a signature", "400|403", sends(doors["sagemaker"], invoked))
    for method, path in (
        ("GET", "/"), ("GET", "/gamenight"), ("DELETE", "/gamenight"), ("POST", "/gamenight?delete"),
        ("GET", "/gamenight/../../secrets/operator_token"), ("POST", "/_ministack/reset"),
    ):  # fmt: skip
        sent = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
        yield case(f"s3: {method} {path} without a signature", "400|403|404|405|501", sends(doors["s3"], sent))
    kafka = {
        "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "a size of 2 GB": struct.pack("!i", 2**31 - 1) + bytes(100),
        "a negative size": struct.pack("!i", -1) + bytes(100),
        "an unknown request": struct.pack("!ihhih", 10, 999, 0, 1, 0) + bytes(100),
        "an unknown version": struct.pack("!ihhih", 10, 3, 999, 1, 0) + bytes(100),
        "half a request": struct.pack("!ihhi", 8, 0, 9, 1) + bytes(100),
        "noise": b"\x00\x00\x01\x00" + b"\xff" * 256,
    }
    for what, sent in kafka.items():
        yield case(f"kafka: {what}", "closed", sends(lambda doors: doors.kafka, sent, half_close=what == "a size of 2 GB"))
