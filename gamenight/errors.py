"""Draws the tree of what can go wrong for a client; each message is one line that says what to do. Pure."""


class GameNightError(Exception):
    """The game did not do what was asked."""


class GameNightUnreachable(GameNightError, ConnectionError):
    """No game answers at the address."""

    def __init__(self, url: str, why: object) -> None:
        """Say where nobody answers, and why."""
        super().__init__(f"no game at {url} ({why}): start one with `make play` or `gamenight up`, or name another address")


class GameNightSilent(GameNightError, TimeoutError):
    """The game is there, and did not answer in time; what was sent is sent again, so asking once more is harmless."""


class GameNightRefused(GameNightError):
    """The game refuses what was asked."""

    def __init__(self, code: str, message: str, retry_after_s: float | None = None) -> None:
        """Keep why.

        Args:
            code: An error code of the socket, or the status of an HTTP answer.
            message: What the game says of it.
            retry_after_s: When to ask again, in seconds; None: never the same again.
        """
        super().__init__(f"{message} ({code})")
        self.code = code
        self.retry_after_s = retry_after_s
