"""Says for each reader of models.v1 which records count: those that are proven, and no copies of earlier ones (all ways).

The topic is a table: the newest event of a slot counts. So a copy of an old event would bring an old state back, although its
signature holds. Hence who signs gives numbers, and one that comes after a higher number of its slot does not count. What is
not proven, or is a copy, changes nothing anywhere; the trainer tells of it, and says again what it stands before on the log
(`trainers.log_reader`), since of a slot the broker keeps the last record alone.

A proof takes a tenth of a millisecond. Whoever reads what was there at its start needs the newest of each slot only, and
`newest` proves no others. Twice is harmless: a record that is read again is judged as before, or counts until what replaced it
is read again too.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from contracts.events import CommandsEvent, Event, ModelsEvent
from contracts.ports import Bus, Record
from contracts.settings import Settings
from producers.signing import NotProven, Proofs, Signer, public_keys
from producers.whole_log import all_records

Reading = tuple[Record, Event]
"""A record, and the event that it carries."""
Unproven = tuple[Record, NotProven]
"""A record that does not count, and why."""

_COPY: Final = "it is a copy of what was said before, or was delayed: {slot} has number {newest}, and this is {number}"

log = structlog.get_logger()


def proofs_of(settings: Settings) -> Proofs | None:
    """Return what proves all that is signed; None: too few keys are known, which is told, and all counts as it is."""
    proofs = Proofs(public_keys(settings))
    if not proofs.missing:
        return proofs
    log.warning("what is signed is not proven in full: see GAMENIGHT_COMMAND_KEYS", no_public_key_of=proofs.missing)
    return None if settings.command_keys is None else proofs


class ProvenModels:
    """The view of models.v1 that one reader has, from the start of the topic on."""

    def __init__(self, proofs: Proofs | None, signer: Signer | None = None) -> None:
        """Begin with nothing.

        Args:
            proofs: Says who wrote a record; None, or without the keys of all who write the topic: all count.
            signer: Is told the numbers, where this process signs too: it goes on from them.
        """
        self._proofs = proofs if proofs is not None and proofs.complete(ModelsEvent.topic) else None
        self._signer = signer
        self._newest: dict[str, tuple[int, int]] = {}
        """The highest number of each slot that is proven, and its offset."""

    @property
    def proves(self) -> bool:
        """Whether anything is proven."""
        return self._proofs is not None

    @property
    def restores(self) -> bool:
        """Whether what this process says anew will be proven, so that it may say it where others have hidden it."""
        return self._proofs is not None and self._signer is not None and self._proofs.knows(self._signer)

    @property
    def topics(self) -> Sequence[str]:
        """What is to be read beside models.v1: where the trainer says from when on it is signed."""
        return () if self._proofs is None else (CommandsEvent.topic,)

    def begin(self, bus: Bus) -> None:
        """Learn from when on the topic is signed, before it is read. It reads commands.v1: not to be called on a loop."""
        for topic in self.topics:
            self.hear(all_records(bus, [topic]))

    def hear(self, commands: Iterable[Record]) -> None:
        """Learn the same from records of commands.v1 that come later."""
        if self._proofs is not None:
            self._proofs.begin(commands)

    def note(self, record: Record, event: Event) -> bool:
        """Say whether a record has a signature; if so, whatever comes later needs one."""
        if self._proofs is None or not isinstance(event, ModelsEvent) or event.signature is None:
            return False
        self._proofs.began(record, event)
        return True

    def check(self, record: Record, event: Event) -> Event:
        """Return the event of a record, without its signature; records are to be given in the order of the log.

        Raises:
            NotProven: If the record does not count.
        """
        if self._proofs is None or not isinstance(event, ModelsEvent):
            return event
        if (why := self._copy(record, event) or self._proofs.against(record, event)) is not None:
            log.warning("not proven, rejected", topic=record.topic, type=event.type, offset=record.offset, why=why)
            raise NotProven(why)
        if event.number is not None:
            self._newest[event.slot] = max(self._newest.get(event.slot, (0, 0)), (event.number, record.offset))
            if self._signer is not None:
                self._signer.heard(event)
        return event.bare()

    def _copy(self, record: Record, event: ModelsEvent) -> str | None:
        """Return why a signed record is not the newest of its slot, whoever signed it; None: it may be."""
        if event.signature is None:
            return None
        if record.key != event.record_key():
            return f"its key is not {event.slot}, as it is signed"
        number, offset = self._newest.get(event.slot, (0, -1))
        if event.number is None:
            return "it has no number"
        copied = event.number < number and record.offset > offset
        return _COPY.format(slot=event.slot, newest=number, number=event.number) if copied else None

    def newest_first(self, several: Sequence[Reading]) -> list[Reading]:
        """Return records of one key in the order in which they count if they are proven: by their numbers, then on the log."""
        if self._proofs is None:
            return list(reversed(several))
        return sorted(several, key=lambda one: (getattr(one[1], "number", None) or 0, one[0].offset), reverse=True)

    def all(self, readings: Sequence[Reading]) -> tuple[list[Reading], list[Unproven]]:
        """Return those of some records that count, and the others, which are not told of here."""
        counting: list[Reading] = []
        unproven: list[Unproven] = []
        for record, event in readings:
            try:
                counting.append((record, self.check(record, event)))
            except NotProven as wrong:
                unproven.append((record, wrong))
        return counting, unproven

    def newest(self, readings: Sequence[Reading]) -> tuple[list[Reading], list[Unproven]]:
        """Return of each key the newest record that counts, in the order of the log, and those that do not.

        Of what is signed, only as much is proven as is needed to find it. What is not signed is told of in any case.
        """
        if self._proofs is None:
            return list(readings), []
        of_key: dict[bytes | None, list[Reading]] = {}
        unproven: list[Unproven] = []
        for record, event in readings:
            told = [] if self.note(record, event) else self.all([(record, event)])[1]
            unproven += told
            if not told:
                of_key.setdefault(record.key, []).append((record, event))
        counting: list[Reading] = []
        for several in of_key.values():
            behind = -1
            for record, event in self.newest_first(several):
                if behind < 0:
                    good, bad = self.all([(record, event)])
                    counting += good
                    unproven += bad
                    behind = record.offset if good else -1
                elif record.offset > behind:
                    unproven += self.all([(record, event)])[1]
        return sorted(counting, key=lambda one: one[0].offset), unproven
