"""Adds up what all players of a partition say of the models, for the blend and the pick of the lead (way 2, LEARN). Pure.

What is added is each player's `PlayerOutcomes.counted`, in whole eighths of a guess. So what a player has added can be taken
out again, and the sums are a function of the set of all players' labels and restrictions, whatever order they came in.

The counts of a player stand at the hour of their newest drawing that counts. What is in force are the newest hours that have
`WINDOW` guesses together: so a model that was rebuilt, or that became worse, is soon known as what it is now.
"""

import json
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from cachetools import LRUCache

from contracts.events import ExampleLabelled
from contracts.ports import Cells
from streams.additive import EIGHTHS
from streams.bandit import START
from streams.online_base import Base
from streams.player_outcomes import NOTHING, ModelCounts, PlayerOutcomes, drop, read, write

_START_STRENGTH: Final = 20.0
WINDOW: Final = 1200
"""The newest hours that have so many guesses of a model together are in force: those of twenty-five players or more. A few who
came last do not make all others forgotten, and a model that was rebuilt is known as it is now after as many labels."""
MOST: Final = 400
"""As how many guesses those in force count at most, however many there are."""
_LOADED: Final = 65_536
"""How many labelled drawings of a partition's players are held in memory, of the latest players: some 3 MB, or
one player who alone has more."""
_HOURS: Final = "hours"


@dataclass(frozen=True)
class Means:
    """The share of right guesses of each model over the players of a partition, as it is in force; never changed in place."""

    counts: ModelCounts = NOTHING

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """The means; a missing model has `START`."""
        return {
            model: (self.counts.right.get(model, 0) / EIGHTHS + _START_STRENGTH * START) / (count / EIGHTHS + _START_STRENGTH)
            for model, count in self.counts.n.items()
        }

    @cached_property
    def shares_blend(self) -> Mapping[str, float]:
        """Those by which the blend is weighted, in which nobody moves a model as far: as they are, since a belief would make
        the best one of a model of which little is known."""
        return {model: self.counts.right_blend.get(model, 0) / count for model, count in self.counts.n.items()}

    def mean(self, model: str) -> float:
        """Return the mean of a model."""
        return self.shares.get(model, START)

    def known(self, model: str) -> float:
        """Return how many guesses of a model its mean rests on, at most `MOST`."""
        return min(self.counts.n.get(model, 0) / EIGHTHS, MOST)

    def believed(self, model: str) -> float:
        """Return how many of those tell a model from the best one: at first it is believed to be as good."""
        n = self.counts.n.get(model, 0) / EIGHTHS
        return self.known(model) * n / (n + _START_STRENGTH)


AT_FIRST: Final = Means()


@dataclass(slots=True)
class AllPlayers:
    """The outcomes of an assigned partition's players, and their sum."""

    cells: Cells
    base: Base
    means: Means = AT_FIRST
    """The means in force."""
    _hours: list[int] = field(default_factory=list)
    """The hours at which anything stands, the newest last."""
    _sums: dict[int, ModelCounts] = field(default_factory=dict)
    """The sums of the hours that were read."""
    _changed: set[int] = field(default_factory=set)
    """The hours whose sums are to be written."""
    _players: LRUCache[str, PlayerOutcomes] = field(
        default_factory=lambda: LRUCache(_LOADED, lambda player: min(1 + len(player.rows), _LOADED))
    )

    @classmethod
    def take_up(cls, cells: Cells, base: Base) -> "AllPlayers":
        """Read the sums; players are read when they label something."""
        here = cls(cells, base, _hours=json.loads(cells.get(_HOURS) or b"[]"))
        here._look()
        return here

    def heard(self, example: ExampleLabelled) -> tuple[PlayerOutcomes, int] | None:
        """Return the outcomes of a player after an example, and the place of its row; None: it changes nothing."""
        return self._player(example.player_id).hearing(self.base, example)

    def restricted(self, player_id: str, restricted: bool) -> tuple[PlayerOutcomes, None] | None:
        """Return the outcomes of a player who is restricted or not; None: that is known."""
        player = self._player(player_id)
        return None if player.restricted == restricted else (player.restricting(restricted), None)

    def keep(self, player_id: str, change: tuple[PlayerOutcomes, int | None] | None) -> None:
        """Put a player's outcomes in the place of those before."""
        if change is None:
            return
        after, place = change
        before = self._player(player_id)
        write(self.cells, player_id, after, place)
        self._players[player_id] = after
        self._replace(before, after)

    def forget(self, player_id: str) -> None:
        """Take out all that a player has said, and let go of them."""
        before = self._player(player_id)
        drop(self.cells, player_id, before)
        self._players.pop(player_id, None)
        self._replace(before, PlayerOutcomes())

    def _replace(self, before: PlayerOutcomes, after: PlayerOutcomes) -> None:
        """Count what a player says now, in the place of what they said before."""
        if before.counted != after.counted:
            for (hour, counts), sign in ((before.counted, -1), (after.counted, 1)):
                if counts.drawings:
                    self._move(hour, counts, sign)
            self._look()

    def settle(self) -> None:
        """Write the sums that have changed."""
        if self._changed:
            if self._hours:
                self.cells.put(_HOURS, json.dumps(self._hours).encode())
            else:
                self.cells.drop(_HOURS)
        for hour in sorted(self._changed):
            if self._sums[hour].drawings:
                self.cells.put(f"hour/{hour}", self._sums[hour].cell())
            else:
                self.cells.drop(f"hour/{hour}")
                del self._sums[hour]
        self._changed.clear()

    def _player(self, player_id: str) -> PlayerOutcomes:
        player = self._players.get(player_id)
        if player is None:
            player = self._players[player_id] = read(self.cells, player_id)
        return player

    def _at(self, hour: int) -> ModelCounts:
        if hour not in self._sums:
            self._sums[hour] = ModelCounts.of(self.cells.get(f"hour/{hour}"))
        return self._sums[hour]

    def _move(self, hour: int, counts: ModelCounts, sign: int) -> None:
        before = self._at(hour)
        after = self._sums[hour] = before.adding(counts, sign)
        self._changed.add(hour)
        if after.drawings and not before.drawings:
            insort(self._hours, hour)
        elif before.drawings and not after.drawings:
            self._hours.remove(hour)

    def _look(self) -> None:
        """Take the means anew, of the newest hours that have enough."""
        together = NOTHING
        for hour in reversed(self._hours):
            together = together.adding(self._at(hour))
            if max(together.n.values(), default=0) >= WINDOW * EIGHTHS:
                break
        self.means = Means(together)
