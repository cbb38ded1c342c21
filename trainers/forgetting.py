"""Forgets a player: cuts what is theirs out of every store, and certifies it (way 3, OPERATE).

The order makes it whole. First nobody may play as the player any more. Then the folds let go of them, in the place that the
word has among their events; the numbers of their lessons are told to be missing; and only then is the log cut, since a fold
that is made anew must be able to number on. S3, DynamoDB and the files of the home follow, and the proof is last.

Every step looks at what is there, and not at what was done: so a forgetting that was interrupted anywhere is resumed by
carrying out the same command again, and twice is harmless. The command itself is the last record that names the player; it is
cut out when its outcome is on the log.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from contracts.events import (
    TOPICS,
    CommandSettled,
    ExamplesForgotten,
    ForgetPlayer,
    ForgettingAdvanced,
    LessonsCut,
    LessonTaught,
    PlayerForgotten,
    PlayersForgotten,
    StageForgot,
    mark_of,
    now,
)
from contracts.ports import Blobs, Bus, Since
from contracts.settings import Settings
from producers.certificate import signed, signing_key
from producers.cutting import CUTTABLE, Found, LogCutter, NotCut, scan
from producers.placement import partition_of
from producers.signing import Proofs
from trainers import archive, continuing, dataset_store, forgetting_log, home_files
from trainers.certificate_draft import LEFT, OLD_EXPERIMENTS, CertificateDraft, certificate_key, certified
from trainers.forgettable import LEAST_NAME, CannotForget, refuse_frozen, refuse_nobody, refuse_old
from trainers.forgetting_log import (
    STAGES,
    Echoes,
    LessonNumbers,
    OnlineFold,
    Unheard,
    drawings_of,
    experiments_anew,
    is_of,
    lesson_numbers,
)
from trainers.jobs import Pause
from trainers.model_log import ModelLog
from trainers.named_commands import remnants
from trainers.observations import Observations
from trainers.promote import Promoter

QUIET_S: Final = 1.0
"""How long the API may take to put on the log what it had taken before it heard that a player is forgotten."""
WITHIN_S: Final = 120.0
"""How long a stage, or the broker's log cleaner, may take."""
CLEAN_S: Final = 20.0
"""How long it may take until no file of the home names the player."""
EXPERIMENTS_S: Final = 60.0
"""How long the experiments may take to begin anew; the certificate names those that take longer."""
ROUNDS: Final = 5
"""How often the folds and the log are gone over until nothing new of the player has come."""
_SAID: Final = frozenset(event.topic for event in (PlayerForgotten, ExamplesForgotten, LessonTaught, StageForgot, ForgetPlayer))
"""The topics on which the forgetting itself names the player."""
JUMP: Final = 1 << 24
"""By how much the lessons' numbers go on: more than are taught meanwhile."""
SHARES: Final = {"door": 0.02, "folds": 0.1, "lessons": 0.3, "log": 0.4, "archive": 0.75, "observations": 0.85, "proof": 0.92}
"""The share that is done when each step begins."""

log = structlog.get_logger()


class Forgetter:
    """Carries out ForgetPlayer."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        blobs: Blobs,
        observations: Observations,
        sinks: Callable[[], AbstractContextManager[None]],
        rebuilds: Callable[[Callable[[str], None]], AbstractContextManager[None]],
        model_log: ModelLog,
        promoter: Promoter,
        pause: Pause,
        proofs: Proofs,
    ) -> None:
        """Keep the parts that it needs.

        Args:
            settings: Where Kafka and the home are.
            bus: Where the log is.
            blobs: The bucket.
            observations: The table.
            sinks: Brings archive and observations up to the log's end, and keeps them there as long as its context lasts.
            rebuilds: Waits for a rebuild at work, telling so, and lets none begin as long as its context lasts.
            model_log: The log, folded.
            promoter: Publishes what is folded into it.
            pause: Waits; raises when the trainer must stop.
            proofs: Says of each command that is cut whether it is by whom it says.
        """
        self._settings = settings
        self._bus = bus
        self._blobs = blobs
        self._observations = observations
        self._sinks = sinks
        self._rebuilds = rebuilds
        self._model_log = model_log
        self._promoter = promoter
        self._pause = pause
        self._proofs = proofs
        self._cutter = LogCutter(settings, bus, pause)

    def carry_out(self, command: ForgetPlayer) -> None:
        """Forget the player; then cut the command out of the log.

        Raises:
            Exception: Whatever went wrong; the caller publishes it with `failed`.
        """
        outcome = self._model_log.outcome(command.command_id)
        if outcome is None:
            try:
                message = self._forgotten(command)
            except CannotForget as refused:
                if self.is_begun(command):  # nobody can play as the player any more, nor ask again
                    raise Unheard(str(refused)) from refused
                self._settle(command, "refused", str(refused))
            else:
                self._settle(command, "done", message)
                outcome = "done"
        if outcome == "done":
            self._cut(command.player_id, scan(self._bus, [ForgetPlayer.topic], is_of(command.player_id)), None)
        self._model_log.forget(command.command_id)

    def is_begun(self, command: ForgetPlayer) -> bool:
        """Say whether nobody can play as the player any more: then it is tried until it is done."""
        return mark_of(command.player_id) in self._model_log.marks

    def failed(self, command: ForgetPlayer, error: Exception) -> None:
        """Publish that it failed before anything was done."""
        self._settle(command, "failed", _told(error))
        self._model_log.forget(command.command_id)

    def waits(self, command: ForgetPlayer, error: Exception) -> None:
        """Publish why it is tried again."""
        self._tell(command, "door", f"it is tried again: {_told(error)}"[:900])

    def _forgotten(self, command: ForgetPlayer) -> str:
        """Forget the player, and return what is told of it."""
        player = command.player_id
        if (told := certified(self._blobs, self._settings.home, command.command_id)) is not None:
            return told
        if len(player) < LEAST_NAME:
            raise CannotForget(f"no player has an id of under {LEAST_NAME} letters: see `gamenight players`")
        draft = CertificateDraft(self._blobs, mark_of(player))
        refuse_frozen(self._model_log)
        theirs = self._scanned(command)
        refuse_nobody(self._model_log, command, theirs)
        refuse_old(theirs, _SAID)
        self._tell(command, "door", "nobody may play as this player any more")
        self._shut(player)
        self._pause(QUIET_S)
        if command.via == "player" and not (theirs.is_left or draft.is_begun or self._scanned(command, theirs.ends).is_left):
            home_files.blot_logs(self._settings.home, player)
            return "nothing of the player was on the log, so there is no certificate; nobody can play as this player any more"
        for round_ in range(ROUNDS):
            self._tell(command, "folds", f"the folds let go of the player{', once more' if round_ else ''}")
            found = self._scanned(command)
            if not draft.before:  # without the command, which is cut out last: commands are kept for good too
                draft.note_others(scan(self._bus, CUTTABLE, is_of(player)))
            if round_ and not found.is_left:
                break
            taught = self._release(command, found)
            found = self._scanned(command)
            while not taught.has(found.records):  # a lesson came after the words
                taught = self._release(command, found)
                found = self._scanned(command)
            draft.add_records(found.records)
            self._tell(command, "log", f"{len(found.records)} records are cut out of {len(found.keys)} partitions")
            self._cut(player, found, command.command_id)
        else:
            raise Unheard("records of the player go on coming: is an old process still running?")
        after = scan(self._bus, CUTTABLE, is_of(player), draft.bounds).digests()
        if after != draft.before:
            raise Unheard(f"the log has changed for others too: {draft.before} is {after}; nothing is certified")
        with self._rebuilds(lambda waits: self._tell(command, "archive", waits)):  # or a version would come that nothing names
            facts = self._clean_stores(command, draft)
            facts["log"] = {"ends": draft.ends, "others_before": draft.before, "others_after": after}
            self._tell(command, "proof", "everything is looked through once more")
            return self._certify(command, draft, facts)

    def _shut(self, player: str) -> None:
        """Let nobody play as the player, and take them off the list of restricted players."""
        mark = mark_of(player)
        if mark not in self._model_log.marks:
            alike = [one for one in self._model_log.marks if one[:2] == mark[:2]]
            self._promoter.say(PlayersForgotten(begin=mark[:2], marks=[*alike, mark]))
        if player in self._model_log.restrictions():
            self._promoter.restrict(player, "none")

    def _release(self, command: ForgetPlayer, found: Found) -> LessonNumbers:
        """Let the folds take the word, and the learner number on; return the lessons that are told to be missing."""
        player, partition = command.player_id, self._partition(command.player_id)
        echoes = Echoes(self._settings, self._bus, self._pause, WITHIN_S)
        try:
            echoes.wait_folded(partition)
            drawings, examples = drawings_of(found.records, player)
            for part in forgetting_log.parts_of(drawings):
                forget_id, theirs = uuid4(), [one for one in part if one in examples]
                word = PlayerForgotten(forget_id=forget_id, player_id=player, drawings=part, examples=theirs)
                self._bus.publish(word).result(WITHIN_S)
                echoes.wait_stages(forget_id)
            self._tell(command, "lessons", "the numbers of their lessons are told to be missing")
            taught = self._number_on(partition, player, echoes, any_example=bool(examples))
            echoes.wait_snapshot(partition, taught.last)
            return taught
        finally:
            echoes.close()

    def _partition(self, player: str) -> int:
        return partition_of(player.encode(), TOPICS[PlayerForgotten.topic].partitions)

    def _number_on(self, partition: int, player: str, echoes: Echoes, *, any_example: bool) -> LessonNumbers:
        """Tell which lessons will be missing; return all lessons of the player."""
        taught = lesson_numbers(self._bus, partition, player)
        missing = taught.missing or ({taught.series: []} if any_example else {})  # it also tells that examples are missing
        number = taught.highest
        for series, numbers in missing.items():
            for part in forgetting_log.parts_of(numbers):
                number += JUMP  # above all before it, or a fold would pass it by that a fresh one takes
                cut = LessonsCut(source=partition, series=series, number=number, numbers=part, counted=taught.counted)
                self._bus.publish(cut).result(WITHIN_S)
                echoes.wait_lessons(cut)
        return taught

    def _cut(self, player: str, found: Found, but: UUID | None) -> None:
        """Cut the records that were found out of the log; ``but``: the command that stays for now."""
        wanted = is_of(player, but)
        for remnant in remnants(found.records, self._proofs.against):
            self._promoter.say(remnant)
        compacted = [name for name in TOPICS if name not in CUTTABLE]
        found.entries = {(one.topic, one.partition) for one in scan(self._bus, compacted, wanted).records}
        self._cutter.cut(found, wanted, WITHIN_S)

    def _clean_stores(self, command: ForgetPlayer, draft: CertificateDraft) -> dict[str, Any]:
        """Take the player out of S3, DynamoDB and what replays have left; return what the certificate tells of it."""
        player = command.player_id
        since = draft.known_since
        if since is not None and not home_files.drop_replays(self._settings.home, since):
            raise Unheard("a replay is at work, which has read the player: give the command again when it is done")
        with self._sinks():
            self._tell(command, "archive", "archive and datasets on S3")
            marks = frozenset(self._model_log.marks)
            archive.without(self._blobs, player, draft.add_object, lambda: self._pause(0), marks)
            if (taught := draft.taught_since) is not None:
                archive.drop_copies(self._blobs, taught, draft.add_copies)
            datasets = dataset_store.without(self._blobs, player)
            for digest in datasets:
                self._promoter.say(dataset_store.announced(dataset_store.read_manifest(self._blobs, digest)))
            self._tell(command, "observations", "the table of observations")
            self._observations.without(player, draft.add_items)
        return {
            **draft.stores(),
            "datasets": datasets,
            "versions": [
                {"model": model, "version": version, "drawings": drawings}
                for model in self._model_log.roster.batch
                for version, drawings in continuing.taught(self._model_log.published(model), datasets).items()
            ],
        }

    def _certify(self, command: ForgetPlayer, draft: CertificateDraft, facts: dict[str, Any]) -> str:
        """Look through everything once more, write the certificate, and return what is told of it."""
        player, home = command.player_id, self._settings.home
        deadline = time.monotonic() + CLEAN_S
        while left := self._left_in_home(player, draft):
            if time.monotonic() > deadline:
                raise Unheard(f"{len(left)} files still name the player, such as {left[0]}: give the command again")
            self._pause(0.5)
        found = self._scanned(command)
        if found.is_left:
            raise Unheard(f"{len(found.records)} records of the player have come meanwhile: give the command again")
        anew = experiments_anew(self._bus, self._partition(player), self._pause, EXPERIMENTS_S)
        told = {
            "command_id": str(command.command_id),
            "player": mark_of(player),
            "by": command.by,
            "asked_at": command.at.isoformat(),
            "begun_at": draft.begun_at,
            "done_at": now().isoformat(),
            "topics": draft.topics,
            "stages": sorted(STAGES),
            **facts,
            "log_lines": draft.log_lines,
            "experiments": anew,
            "online": OnlineFold(self._bus, self._pause).proof(WITHIN_S),
            "scan": {"records": found.scanned, "of_the_player": 0, "files_of_the_home": True},
            "left": LEFT if all(anew["begun_anew"].values()) else (*LEFT, OLD_EXPERIMENTS),
        }
        whole = json.dumps(signed(told, signing_key(home)), indent=1)
        self._blobs.put(certificate_key(command.command_id), whole.encode())
        log.info("player forgotten", command_id=str(command.command_id), records=sum(draft.topics.values()))
        return certified(self._blobs, home, command.command_id) or ""

    def _left_in_home(self, player: str, draft: CertificateDraft) -> list[str]:
        """Clean the files of the home; return those that name the player still."""
        home = self._settings.home
        home_files.shrink_dynamodb(home)
        draft.add_lines(home_files.blot_logs(home, player))
        return [path for path in home_files.holding(home, [player.encode()]) if not path.startswith("kafka/")]

    def _scanned(self, command: ForgetPlayer, since: Since = "start") -> Found:
        return scan(self._bus, CUTTABLE, is_of(command.player_id, command.command_id), since=since)

    def _tell(self, command: ForgetPlayer, step: str, message: str) -> None:
        log.info("forgetting", command_id=str(command.command_id), step=step, message=message)
        fields = {"command_id": command.command_id, "step": step, "fraction": SHARES[step], "message": message}
        self._promoter.say(ForgettingAdvanced.model_validate(fields))

    def _settle(self, command: ForgetPlayer, outcome: str, message: str) -> None:
        fields = {"command_id": command.command_id, "target": command.target, "outcome": outcome, "message": message[:1000]}
        self._promoter.say(CommandSettled.model_validate(fields))


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, NotCut | Unheard) else f"{type(error).__name__}: {error}"
