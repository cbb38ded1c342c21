"""Signs and reads seats, the tokens that make a new socket the same player; names codes that give one (way 1)."""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from itsdangerous import BadData, URLSafeTimedSerializer

VALID_S: Final = 30 * 24 * 3600
"""How long a seat is valid, in seconds."""


class BadSeat(ValueError):
    """The seat was not signed with our secret, or too long ago."""


@dataclass(frozen=True, slots=True)
class SeatHolder:
    """The content of a seat: a player and a room."""

    player_id: str
    room: str


class Seats:
    """Signs and reads seats, which are JSON inside, never pickled; signatures are compared in constant time."""

    def __init__(self, secret: str) -> None:
        """Keep the secret to sign with."""
        self._secret = secret.encode()
        self._signer = URLSafeTimedSerializer(secret, salt="gamenight-seat-1")

    def sign(self, holder: SeatHolder) -> str:
        """Return the seat of a player in a room."""
        seat = self._signer.dumps([holder.player_id, holder.room])
        return seat if isinstance(seat, str) else seat.decode()

    def code_id(self, code: str) -> str:
        """Return the id of a code, by which it is known on the bus: without the secret nobody can tell the code from it."""
        return hmac.new(self._secret, b"gamenight-code-1/" + code.encode(), sha256).hexdigest()

    def read(self, seat: str) -> SeatHolder:
        """Return the player and the room of a seat.

        Raises:
            BadSeat: If the seat was not signed with this secret, or was signed over 30 days ago.
        """
        try:
            player_id, room = self._signer.loads(seat, max_age=VALID_S)
        except (BadData, ValueError, TypeError) as wrong:
            raise BadSeat("this seat is not valid here, or over 30 days old: join with seat null") from wrong
        return SeatHolder(str(player_id), str(room))
