"""Answers a small invocation when its last byte has come (way 1, ANSWER).

It is uvicorn's protocol without a task of the loop, which costs a guess more than some models do. Whatever is out of the
ordinary (a large or chunked body, another path, a second request before the first is answered, one that is refused, a model
that fails) goes the general way, to the ASGI application.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Prompt = Callable[[dict[bytes, bytes], bytes], tuple[str, bytes]]
"""A function that answers the headers and the body of an invocation with a content type and a body, or raises anything."""


def protocol(answer: Prompt, most: int) -> type[HttpToolsProtocol]:
    """Return the protocol for `uvicorn.Config(http=...)`.

    Args:
        answer: It is called on the loop, so it should take some milliseconds at most.
        most: The size of the largest body that is answered at once, in bytes.
    """

    class PromptProtocol(HttpToolsProtocol):
        _body: list[bytes] | None = None
        """What has come of the body of a small invocation; None: the request goes the general way."""

        def on_headers_complete(self) -> None:
            self._body = [] if self._small() else None
            if self._body is None:
                super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            if self._body is None:
                super().on_body(body)
            else:
                self._body.append(body)

        def on_message_complete(self) -> None:
            if self._body is not None:
                body, self._body = b"".join(self._body), None
                try:
                    content, answered = answer(dict(self.headers), body)
                except Exception:  # noqa: BLE001 the general way says what it was
                    super().on_headers_complete()
                    super().on_body(body)
                else:
                    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content}\r\ncontent-length: {len(answered)}\r\n\r\n"
                    self.transport.write(head.encode() + answered)
                    self.on_response_complete()
                    return
            super().on_message_complete()

        def _small(self) -> bool:
            free = self.cycle is None or self.cycle.response_complete
            if not free or self.expect_100_continue or self.url != b"/invocations" or self.flow.write_paused:
                return False
            length = dict(self.headers).get(b"content-length", b"")
            parser: Any = self.parser
            ordinary = parser.get_method() == b"POST" and parser.get_http_version() == "1.1" and parser.should_keep_alive()
            return ordinary and not parser.should_upgrade() and length.isdigit() and int(length) <= most

    return PromptProtocol
