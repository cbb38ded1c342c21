"""Draws the tree of what can go wrong for a client; each message is one line that says what to do. Pure."""

from uuid import UUID


class GameNightError(Exception):
    """The game did not do what was asked."""


class GameNightUnreachable(GameNightError, ConnectionError):
    """No game answers at the address."""

    def __init__(self, url: str, why: object, drawing_id: UUID | None = None) -> None:
        """Say where nobody answers, and why; of a drawing that was under way, keep its id as `GameNightSilent` does."""
        self.drawing_id = drawing_id
        super().__init__(f"no game at {url} ({why}): start one with `make play` or `gamenight up`, or name another address")


class GameNightSilent(GameNightError, TimeoutError):
    """The game is there, and did not answer in time.

    What was sent goes on being sent until it is answered. To wait for the same drawing once more, give `draw` this
    `drawing_id`: without it there will be two drawings.
    """

    def __init__(self, message: str, drawing_id: UUID | None = None) -> None:
        """Keep what is not answered.

        Args:
            message: What is missing, and what to do.
            drawing_id: The drawing that was sent, or whose correction was; None: it was neither.
        """
        super().__init__(message)
        self.drawing_id = drawing_id


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
