"""Forgets players in the memory of the API, and shuts the door to whoever would play as one of them (ways 1 and 3).

Twice is harmless: who is forgotten is not there any more.
"""

from typing import ClassVar, Final

from api.folds.audit_log import AuditLog
from api.folds.command_status import CommandStatus
from api.folds.recent_drawings import RecentDrawings
from api.folds.teachers import Teachers
from api.play.game import Game
from contracts.events import CommandSettled, Event, ForgetPlayer, PlayersForgotten, StageForgot, mark_of
from contracts.rebuilds import RebuildQueue

_STAGE: Final = "personal"


class Forgetting:
    """Takes the players who are forgotten out of all that this process remembers."""

    takes: ClassVar[tuple[type[Event], ...]] = (PlayersForgotten, StageForgot, CommandSettled)

    def __init__(
        self,
        game: Game,
        recent: RecentDrawings,
        teachers: Teachers,
        commands: CommandStatus,
        audit: AuditLog,
        rebuilds: RebuildQueue,
    ) -> None:
        """Keep what remembers players."""
        self._game = game
        self._recent = recent
        self._teachers = teachers
        self._commands = commands
        self._audit = audit
        self._rebuilds = rebuilds
        self._known: set[str] = set()

    def apply(self, event: PlayersForgotten | StageForgot | CommandSettled) -> None:
        """Forget the players whose marks are new, and once more whom a stage forgot: what was under way has come by then."""
        if isinstance(event, CommandSettled):
            if event.target == ForgetPlayer.model_fields["target"].default and event.outcome != "done":
                self._game.keep(event.command_id)
        elif isinstance(event, PlayersForgotten):
            new = set(event.marks) - self._known
            self._known |= new
            if new:
                self._game.forget(new)
                for player_id in {one for one in self._recent.players | self._teachers.known if mark_of(one) in new}:
                    self._forget(player_id)
        elif event.stage == _STAGE:
            self._forget(event.player_id)

    def _forget(self, player_id: str) -> None:
        self._recent.forget(player_id)
        self._teachers.forget(player_id)
        self._commands.forget(player_id)
        self._audit.forget(player_id)
        self._rebuilds.forget(player_id)
