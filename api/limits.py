"""Limits how much a stranger may ask for, by address, by player and by socket (all ways). Pure: times and ids are passed in.

Each process counts for itself, so N processes behind one address let through N times as much.
"""

import ipaddress
import math
from collections import Counter
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cachetools import LRUCache

from contracts.events import MAX_CORRECTIONS
from contracts.settings import Settings

MAX_ADDRESSES: Final = 4096
"""How many addresses are remembered; the address that was silent longest is forgotten."""
REQUESTS_S: Final = 3
"""How many seconds' worth of requests may come at once: a page needs many."""
DRAWINGS_S: Final = 1
"""How many seconds' worth of drawings and frames may come at once: a player waits for each answer."""
FOR_FINISHED: Final = 0.5
"""The share of an address's drawings at once that is kept for finished drawings: if many people play behind one address,
each sees fewer previews, and nobody waits for guesses."""
FRAMES_A_DRAWING: Final = 15
"""How many frames of all kinds an address may send for each drawing that it may send."""
CORRECTIONS_S: Final = 3600
"""How many seconds' worth of corrections may come at once: a whole class may play together."""
LESSONS_S: Final = 60
"""How many seconds' worth of labels everybody's models learn at once, of a player and of an address."""
PICKS_S: Final = 3600
"""How many seconds' worth of drawings chance may pick at once, of a player and of an address."""
PLAYER_CORRECTIONS_S: Final = 60
"""How many seconds' worth of corrections a player may send at once."""
MOST_STROKES: Final = 160_000
"""The bytes on the log of the largest drawing that a frame can hold: JSON writes ``1e14`` at length."""
BESIDE_STROKES: Final = 7_000
"""The bytes of an example besides its strokes, and of its lesson: features twice, guesses, ids."""
OF_LESSONS: Final = 1_800
"""The bytes of the lessons that a new drawing's label changes: two. A player at a threshold of trust can have 32 changed on
average (see `streams.trust`); nobody else is charged for that."""
QUESTIONS: Final = (1.0, 20.0)
"""How many questions about their own model a player may ask in a second for long, and at once."""
FORGETS: Final = (20 / 3600, 30.0)
"""How many players of an address may be forgotten in a second for long, and at once: each takes the trainer some seconds."""
A_WHOLE_MEMORY: Final = 10
"""For how many questions the one for all that is remembered counts."""
OF_A_RESET: Final = 500
"""The bytes of a reset on the log."""
LATE_S: Final = 60.0
"""How long after its drawing a label comes at the latest if it is given in the order of drawing, as people do."""
OF_A_LATE: Final = 110_000
"""The bytes of all lessons that a label changes which is given in another order: 120, as measured at a threshold."""
OF_A_CHANGE: Final = 450_000
"""The bytes of all that may be taught anew when a label is changed: 256 lessons, taken back and taught."""
OF_A_PICK: Final = 2_000
"""The bytes that a drawing adds which chance picked, whether it is ever corrected or not."""
OF_A_CORRECTION: Final = 90
"""The bytes that each earlier correction of the drawing adds, since an example has all labels."""


class RequestRefused(ValueError):
    """A request is refused, and the person who sent it is told why."""

    def __init__(self, code: str, message: str, drawing_id: UUID | None = None) -> None:
        """Keep what the person is told.

        Args:
            code: For programs.
            message: For people: what is wrong and what to do.
            drawing_id: The drawing that the request is about; None: it is about no drawing, or could not be read.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.drawing_id = drawing_id


def lasting(strokes: int | None, corrections: int, unanswered: int, late: bool = False) -> int:
    """Compute the bytes that a correction of a drawing adds, at most, to what is kept for good.

    Args:
        strokes: Bytes of the drawing on the log; None: unknown, so assume the largest drawing, with all corrections.
        corrections: How many corrections of the drawing were given before.
        unanswered: How many models have not answered yet: the example is written again with each answer.
        late: Whether the drawing is older than `LATE_S`.
    """
    if strokes is None:
        strokes, corrections = MOST_STROKES, MAX_CORRECTIONS
    lessons = OF_A_CHANGE if corrections else OF_A_LATE if late else OF_LESSONS
    return (strokes + BESIDE_STROKES + OF_A_CORRECTION * corrections) * (1 + unanswered) + lessons


@dataclass(slots=True)
class Bucket:
    """A token bucket: it holds how much a caller may do now, and fills evenly, up to a limit."""

    limit: int
    per_second: float
    """How fast the bucket fills."""
    tokens: float
    filled: float
    """When the bucket was last filled, in seconds of the caller's monotonic clock."""

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take ``cost`` tokens and return 0; if there are too few, return how many seconds to wait until there are enough."""
        wait_s = self.wait(now, cost)
        if not wait_s:
            self.tokens -= cost
        return wait_s

    def wait(self, now: float, cost: float = 1.0) -> float:
        """Return the seconds until there are ``cost`` tokens to take."""
        self.tokens = min(float(self.limit), self.tokens + (now - self.filled) * self.per_second)
        self.filled = now
        return max(0.0, (cost - self.tokens) / self.per_second)

    def headers(self, wait_s: float = 0.0) -> dict[str, str]:
        """Return headers that say how much is left, and when the bucket is full again."""
        told = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(int(self.tokens)),
            "RateLimit-Reset": str(math.ceil((self.limit - self.tokens) / self.per_second)),
        }
        return told | ({"Retry-After": str(math.ceil(wait_s))} if wait_s else {})


def full_bucket(limit: int, per_second: float, now: float) -> Bucket:
    """Make a full bucket."""
    return Bucket(limit, per_second, float(limit), now)


class RateLimiter:
    """A bucket for each recent caller. ``now`` is monotonic, in seconds."""

    def __init__(self, per_second: float, burst: float) -> None:
        """Let each caller do ``per_second``, and at once ``burst``, at least one; if ``per_second`` is 0, there is no limit."""
        self._per_second = per_second
        self._burst = max(1, math.ceil(burst))
        self._buckets: LRUCache[str, Bucket] = LRUCache(MAX_ADDRESSES)

    def bucket(self, who: str, now: float) -> Bucket:
        """Return the bucket of a caller, which is full the first time."""
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = full_bucket(self._burst, self._per_second, now)
        return bucket

    def take(self, who: str, now: float, cost: float = 1.0, leave: float = 0.0) -> float:
        """Take from the bucket of a caller, at most its whole capacity.

        Args:
            who: The caller.
            now: Monotonic, in seconds.
            cost: How many tokens to take.
            leave: The share of a full bucket that must stay in it, 0..1.

        Returns:
            0, or how many seconds to wait.
        """
        if self._per_second <= 0:
            return 0.0
        bucket = self.bucket(who, now)
        kept = int(leave * self._burst)
        cost = min(cost, self._burst - kept)
        return bucket.wait(now, cost + kept) or bucket.take(now, cost)

    def wait(self, who: str, now: float) -> float:
        """Return the seconds until a caller may take a token."""
        return self.bucket(who, now).wait(now) if self._per_second > 0 else 0.0


def address_of(host: str) -> str:
    """Return the address that a host is counted under: all of an IPv6 network of 64 bits belongs to one customer."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return str(ip)


def in_seconds(wait_s: float) -> str:
    """Return how long to wait, for people, never less than it is.

    >>> in_seconds(0.01), in_seconds(1.62)
    ('0.1 s', '1.7 s')
    """
    return f"{math.ceil(wait_s * 10 - 1e-9) / 10:.1f} s"


def _limiter(per_second: float, burst_s: float) -> RateLimiter:
    """Build a limiter that lets a caller do at once as much as fills within ``burst_s`` seconds."""
    return RateLimiter(per_second, per_second * burst_s)


class Limits:
    """How much each address and player of one process may still do."""

    def __init__(self, settings: Settings) -> None:
        """Take the limits of the settings; all buckets are full."""
        drawings, corrections = settings.drawings_per_second, settings.corrections_per_minute / 60
        self.requests = _limiter(settings.requests_per_second, REQUESTS_S)
        self.frames = _limiter(FRAMES_A_DRAWING * drawings, DRAWINGS_S)
        self.drawings = _limiter(drawings, DRAWINGS_S)
        self.player_drawings = _limiter(settings.player_drawings_per_second, DRAWINGS_S)
        self.corrections = _limiter(corrections, CORRECTIONS_S)
        self.player_corrections = _limiter(corrections, PLAYER_CORRECTIONS_S)
        self.lessons = _limiter(settings.lessons_per_minute / 60, LESSONS_S)
        self.player_lessons = _limiter(settings.player_lessons_per_minute / 60, LESSONS_S)
        self.picks = _limiter(settings.picks_per_hour / 3600, PICKS_S)
        self.player_picks = _limiter(settings.player_picks_per_hour / 3600, PICKS_S)
        self.lasting = _limiter(settings.kept_mb_per_day * 1e6 / 86_400, CORRECTIONS_S)
        """Bytes that an address may add to what is kept for good."""
        self.joins = _limiter(settings.joins_per_minute / 60, 60)
        self.rooms = _limiter(settings.room_tries_per_minute / 60, 60)
        self.codes = _limiter(settings.code_tries_per_minute / 60, 60)
        self.forgets = RateLimiter(*FORGETS)
        self.questions = RateLimiter(*QUESTIONS)
        """What players may ask of their own models."""
        self.sockets_per_address = settings.sockets_per_address or math.inf
        self.sockets_per_player = settings.sockets_per_player or math.inf
        self.sockets: Counter[str] = Counter()
        """How many sockets are open, by address."""


class Guest:
    """The person at the other end of a socket: their requests count for their address, and for their player.

    A refusal of the address is ``busy`` and costs the socket nothing: another person behind the same address may be the
    cause. A refusal of the player is ``too_fast`` or ``too_many``, and counts as a mistake.
    """

    def __init__(self, limits: Limits, address: str, trusted: bool = False) -> None:
        """Take an address as `address_of` gives it; a trusted guest is an operator, and has no limits."""
        self._limits = limits
        self._trusted = trusted
        self.address = address

    def open(self) -> str:
        """Count a socket until `close`; return why it is refused, or an empty text if it is not."""
        sockets = self._limits.sockets
        if not self._trusted and sockets[self.address] >= self._limits.sockets_per_address:
            return f"{sockets[self.address]} sockets are open from your address: close one"
        sockets[self.address] += 1
        return ""

    def close(self) -> None:
        """Stop counting a socket."""
        sockets = self._limits.sockets
        sockets[self.address] -= 1
        if not sockets[self.address]:
            del sockets[self.address]

    def frame(self, cost: int, now: float) -> bool:
        """Say whether a frame may be handled."""
        return self._trusted or not self._limits.frames.take(self.address, now, cost)

    def join(self, now: float) -> None:
        """Ask for a seat."""
        if not self._trusted:
            self._busy(self._limits.joins.take(self.address, now), "joins")

    def seat(self, sockets: int) -> None:
        """Take the seat of a player who already has this many sockets."""
        if not self._trusted and sockets >= self._limits.sockets_per_player:
            raise RequestRefused("too_many", f"this player has {sockets} sockets already: close one")

    def room(self, empty: bool, now: float) -> None:
        """Enter a room by its name; an empty room counts as a guessed name. With no tries left, every name is refused."""
        if self._trusted:
            return
        rooms = self._limits.rooms
        self._busy(rooms.take(self.address, now) if empty else rooms.wait(self.address, now), "tries of rooms")

    def code(self, now: float) -> None:
        """Give a code for a seat, right or wrong."""
        if not self._trusted:
            self._busy(self._limits.codes.take(self.address, now), "codes")

    def ask(self, player_id: str, cost: int, now: float) -> None:
        """Ask what a player's own model remembers."""
        if not self._trusted:
            self._fast(self._limits.questions.take(player_id, now, cost), "questions", None)

    def go(self, now: float) -> None:
        """Ask to be forgotten."""
        if not self._trusted:
            self._busy(self._limits.forgets.take(self.address, now), "players who are forgotten")

    def draw(self, player_id: str, drawing_id: UUID, final: bool, cost: int, now: float) -> None:
        """Ask for guesses on a drawing, ``final`` or a preview; ``cost`` is over 1 for a large drawing."""
        if self._trusted:
            return
        self._fast(self._limits.player_drawings.take(player_id, now, cost), "drawings", drawing_id)
        leave = 0.0 if final else FOR_FINISHED
        self._busy(self._limits.drawings.take(self.address, now, cost, leave), "drawings", drawing_id)

    def correct(self, player_id: str, drawing_id: UUID | None, cost: int, now: float) -> None:
        """Give or withdraw a correction, or reset; ``cost``: the bytes that it adds to what is kept for good, see `lasting`."""
        if self._trusted:
            return
        self._fast(self._limits.player_corrections.take(player_id, now), "corrections", drawing_id)
        self._busy(self._limits.corrections.take(self.address, now), "corrections", drawing_id)
        self._busy(
            self._limits.lasting.take(self.address, now, cost),
            "corrections of large, old or corrected drawings",
            drawing_id,
        )

    def picks(self, player_id: str, now: float, again: bool) -> bool:
        """Have a drawing picked; return whether it may be, by what of player and address was picked in an hour.

        Estimates of accuracy weigh every pick alike, so nobody may have many more of them than a person who plays.

        Args:
            player_id: Whose drawing it is.
            now: Monotonic, in seconds.
            again: Whether it takes the place of one that was picked: it counts as no other one, and is kept as well.
        """
        if self._trusted:
            return True
        limits = self._limits
        few = again or (not limits.player_picks.take(player_id, now) and not limits.picks.take(self.address, now))
        return few and not limits.lasting.take(self.address, now, OF_A_PICK)

    def teaches(self, player_id: str, now: float) -> bool:
        """Give a label; return whether everybody's models may learn it, by what player and address have taught in a minute."""
        if self._trusted:
            return True
        limits = self._limits
        return not limits.player_lessons.take(player_id, now) and not limits.lessons.take(self.address, now)

    def _busy(self, wait_s: float, what: str, drawing_id: UUID | None = None) -> None:
        if wait_s:
            raise RequestRefused("busy", f"too many {what} from your address: try again in {in_seconds(wait_s)}", drawing_id)

    def _fast(self, wait_s: float, what: str, drawing_id: UUID | None) -> None:
        if wait_s:
            raise RequestRefused("too_fast", f"too many {what} of one player: try again in {in_seconds(wait_s)}", drawing_id)
