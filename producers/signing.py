"""Signs what a process writes to the topics that are signed, and proves it as it is on the log (way 3, OPERATE).

The signature (Ed25519) is the last member of the JSON, over the bytes of all before it, so nobody writes JSON a second time in
the same way. A command has an id, of which whoever reads takes each once; what is on models.v1, a number: see `proven.py`.
"""

import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contracts.events import (
    POLICIES,
    PROCESSES,
    SIGNED,
    Command,
    CommandDone,
    CommandsEvent,
    Event,
    ModelsEvent,
    Process,
    RollBackModel,
    SignaturesBegan,
    SignedEvent,
    TryVersion,
    decode,
    writers,
    writers_of,
)
from contracts.ports import Bus, Listener, Partition, Record, Since, Tail
from contracts.records import read
from contracts.settings import Settings

COPY_MS: Final = 3_600_000
"""How long after a command was made it may come to the log; later it is a copy of one that the log may have forgotten."""
_SIGNATURE: Final = re.compile(rb'(.*),"signature":"([0-9a-f]{128})"\}', re.DOTALL)

Signed = TypeVar("Signed", bound=SignedEvent)


class NotProven(ValueError):
    """A record is not by whom it says; nothing is done about it."""


class NotOurs(ValueError):
    """An event is not for this process to sign."""


class BadKey(ValueError):
    """A setting holds no key; the message says what would be one."""


def public_key(seed: str) -> str:
    """Return the public key that belongs to a signing key, both in hex."""
    return _private(seed).public_key().public_bytes_raw().hex()


def _private(seed: str) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    except ValueError as wrong:
        raise BadKey("a signing key is 32 bytes in hex: let `gamenight up` make it, or `openssl rand -hex 32`") from wrong


def public_keys(settings: Settings) -> str | None:
    """Return the setting of the public keys, or else what follows from the signing keys that are known; None: neither is."""
    if settings.command_keys is not None:
        return settings.command_keys
    seeds: Mapping[Process, str | None] = {
        "api": settings.api_signing_key,
        "router": settings.router_signing_key,
        "learning": settings.learning_signing_key,
        "trainer": settings.trainer_signing_key,
    }
    return ",".join(f"{process}:{public_key(seed)}" for process, seed in seeds.items() if seed) or None


class Signer:
    """Signs as one process."""

    def __init__(self, process: Process, seed: str | None) -> None:
        """Keep the process and its key.

        Args:
            process: The process that signs.
            seed: Its signing key in hex; None: it has none, and what it writes stays as it is.

        Raises:
            BadKey: If that is no key.
        """
        self.process = process
        self._key = None if seed is None else _private(seed)
        self.public = None if self._key is None else self._key.public_key()
        self._numbers: dict[str, int] = {}
        """The highest number of each slot of models.v1 that was given, or heard of."""
        self._numbering = threading.Lock()

    def __bool__(self) -> bool:
        """Say whether there is a key."""
        return self._key is not None

    def signed(self, event: Signed) -> Signed:
        """Return an event with its signature; one of models.v1 gets a number besides, higher than all before it in its slot.

        Raises:
            NotOurs: If another process has signed it, or is the one to write it: nobody's word becomes this process's own.
        """
        if self._key is None:
            return event
        if isinstance(event, ModelsEvent):
            event = event.model_copy(update={"number": self._next(event.slot)})
        return self.again(event)

    def again(self, event: Signed) -> Signed:
        """Return an event with its signature, which is the same each time, and with the number that it has, or else 1.

        Raises:
            NotOurs: As `signed` does.
        """
        if self._key is None:
            return event
        if isinstance(event, ModelsEvent) and event.number is None:
            event = event.model_copy(update={"number": 1})
        if event.signer not in (None, self.process):
            raise NotOurs(f"this {event.type} is the {event.signer}'s, and the {self.process} does not sign it")
        named = event.model_copy(update={"signer": self.process, "signature": None})
        if (why := _beyond(named)) is not None:
            raise NotOurs(why)
        return named.model_copy(update={"signature": self._key.sign(_context(named) + named.to_sign()).hex()})

    def heard(self, event: ModelsEvent) -> None:
        """Give no number to what comes in the event's slot that is not higher than the event's."""
        with self._numbering:
            self._numbers[event.slot] = max(event.number or 0, self._numbers.get(event.slot, 0))

    def has_said_more(self, event: ModelsEvent) -> bool:
        """Say whether something newer than the event was signed in its slot, or heard of."""
        return self._numbers.get(event.slot, 0) > (event.number or 1)

    def _next(self, slot: str) -> int:
        """Return the number of what is said now: the time in microseconds, unless the last of the slot was not before it."""
        with self._numbering:
            number = self._numbers[slot] = max(time.time_ns() // 1000, self._numbers.get(slot, 0) + 1)
        return number

    def sealed(self, topic: str, value: bytes) -> bytes:
        """Return the value of a record with its signature, if its topic is one of those that are signed.

        Raises:
            NotOurs: As `signed` does.
            UnknownEvent: If it is no event of the topic.
        """
        if self._key is None or topic not in SIGNED:
            return value
        event = decode(topic, value)
        return self.signed(event).record_value() if isinstance(event, SignedEvent) else value


def _context(event: SignedEvent) -> bytes:
    """Return what stands before the bytes that are signed: a signature is of one topic and no other."""
    return f"gamenight {event.topic}\n".encode()


class SigningBus:
    """A bus that signs, as one process, what has to be signed."""

    def __init__(self, bus: Bus, signer: Signer) -> None:
        """Keep the bus, which whoever opened it closes."""
        self._bus = bus
        self._signer = signer
        self._in_order = threading.Lock()

    @property
    def signer(self) -> Signer:
        """What signs."""
        return self._signer

    def publish(self, event: Event) -> "Future[Record]":
        """Sign an event if it is of those that are, and send it."""
        if isinstance(event, ModelsEvent):
            with self._in_order:  # two events of a slot have their numbers in the order in which they come to the log
                return self._bus.publish(self._signer.signed(event))
        return self._bus.publish(self._signer.signed(event) if isinstance(event, SignedEvent) else event)

    def again(self, event: SignedEvent) -> "Future[Record]":
        """Send an event of models.v1 once more, with the number that it has, so that nothing newer gives way to it."""
        return self._bus.publish(self._signer.again(event))

    def flush(self, timeout_s: float) -> None:
        """Wait until everything that was published is acknowledged."""
        self._bus.flush(timeout_s)

    def follow(self, topics: Sequence[str], since: Since, only: int | None = None) -> Tail:
        """Read topics as a bystander."""
        return self._bus.follow(topics, since) if only is None else self._bus.follow(topics, since, only)

    async def listen(self, topics: Sequence[str], since: Mapping[Partition, int]) -> Listener:
        """Read topics as a bystander, on the running loop."""
        return await self._bus.listen(topics, since)

    def close(self) -> None:
        """Close the bus."""
        self._bus.close()


class Proofs:
    """Verifies the signatures of records on the topics that are signed."""

    def __init__(
        self,
        keys: str | None,
        since: datetime | Mapping[str, datetime] | None = None,
        past: Mapping[str, datetime] = MappingProxyType({}),
    ) -> None:
        """Keep the public keys.

        Args:
            keys: ``process:key``, the key in hex, with commas between; a process may have several, of which one is in use.
            since: From when on every record must be signed, of all topics or of each; where nothing is said, from when the
                trainer says, or from the first one on that has a signature.
            past: Keys of before, each with the time from which on it proves nothing any more; they prove models.v1 alone.

        Raises:
            BadKey: If one is no key.
        """
        self._keys: dict[str, list[Ed25519PublicKey]] = {}
        for entry in entries(keys):
            process, found = _key(entry)
            self._keys.setdefault(process, []).append(found)
        self._past = [(*_key(entry), until.timestamp() * 1000) for entry, until in past.items()]
        of_each = dict.fromkeys(SIGNED, since) if isinstance(since, datetime) else since or {}
        self._since_ms = {topic: at.timestamp() * 1000 for topic, at in of_each.items()}

    @property
    def missing(self) -> list[str]:
        """The processes that write what is signed and have no key here."""
        signing = frozenset().union(*map(writers, SIGNED))
        return [process for process in PROCESSES if process in signing and process not in self._keys]

    def complete(self, topic: str) -> bool:
        """Say whether the keys of all who write a topic are here."""
        return writers(topic) <= self._keys.keys()

    def knows(self, signer: Signer) -> bool:
        """Say whether what this signer signs is proven here."""
        return signer.public is not None and signer.public in self._keys.get(signer.process, ())

    def _before(self, record: Record, event: SignedEvent) -> Iterator[Ed25519PublicKey]:
        """Give the keys that its signer had when a record came: what stands on models.v1 outlives the key that it has."""
        if isinstance(event, ModelsEvent):
            yield from (key for process, key, ms in self._past if process == event.signer and record.timestamp_ms < ms)

    def begin(self, records: Iterable[Record]) -> None:
        """Learn from commands.v1 from when on each topic is signed, before any of them is read.

        Args:
            records: All of commands.v1; only what the trainer says of signatures is looked at.
        """
        for record in records:
            if b'"SignaturesBegan"' in (record.value or b""):
                event = read(record, "signatures")
                if isinstance(event, SignaturesBegan):
                    self.against(record, event)

    def began(self, record: Record, event: SignedEvent) -> None:
        """Take note of a record with a signature, whosever it is: what comes later on its topic needs one."""
        self._since_ms[event.topic] = min(self._since_ms.get(event.topic, record.timestamp_ms), record.timestamp_ms)

    def against(self, record: Record, event: SignedEvent) -> str | None:
        """Return why a record is not proven; None: it is, or it is of the time before signatures."""
        since_ms = self._since_ms.get(event.topic, float("inf"))
        if event.signature is None:
            if record.timestamp_ms < since_ms and not isinstance(event, SignaturesBegan):
                return None
            if isinstance(event, CommandsEvent):
                return "it is not signed: commands come through the operators' door, by gamenight or POST /api/ops/"
            return f"it is not signed: {event.topic} is written by the game itself, with its keys"
        self.began(record, event)
        found = _SIGNATURE.fullmatch(record.value or b"")
        if found is None:
            return "its signature is not the last of it"
        signed, signature = _context(event) + found[1] + b"}", bytes.fromhex(found[2].decode())
        if event.signer is None or event.signer not in self._keys:
            there = ", ".join(sorted(self._keys)) or "nobody"
            return f"no key of {event.signer or 'its signer'} is known here, but of {there}: see GAMENIGHT_COMMAND_KEYS"
        if not _verified([*self._keys[event.signer], *self._before(record, event)], signature, signed):
            return f"its signature is not of these bytes by the key of {event.signer}"
        if (why := _beyond(event)) is not None:
            return why
        if isinstance(event, Command) and record.timestamp_ms - event.at.timestamp() * 1000 - COPY_MS > 0:
            return f"it is of {event.at:%Y-%m-%d %H:%M} UTC, and came over an hour later: a copy"
        if isinstance(event, SignaturesBegan):
            began_ms = event.since.timestamp() * 1000
            self._since_ms[event.source] = min(began_ms, self._since_ms.get(event.source, began_ms))
        return None


def entries(keys: str | None) -> list[str]:
    """Return each ``process:key`` of the setting of the public keys."""
    return [entry for part in (keys or "").split(",") if (entry := part.strip())]


def _key(entry: str) -> tuple[str, Ed25519PublicKey]:
    process, _, key = entry.partition(":")
    with suppress(ValueError):
        if process in PROCESSES:
            return process, Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    raise BadKey("GAMENIGHT_COMMAND_KEYS: write process:key, comma between; a key is 32 bytes in hex")


def _verified(keys: Collection[Ed25519PublicKey], signature: bytes, signed: bytes) -> bool:
    for key in keys:
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return True
    return False


def _beyond(event: SignedEvent) -> str | None:
    """Return why its signer may not write an event, whoever has the key; None: it may."""
    if event.signer not in writers_of(type(event)):
        return f"the {event.signer} gives no {event.type}"
    if not isinstance(event, Command | CommandDone):
        return None
    inside = event.token is None and event.address is None
    by_itself = inside and event.by == event.via == "router" and isinstance(event, Command) and _reports(event)
    if event.signer == "router" and not by_itself:
        return "the router only reports versions that failed, as itself"
    if event.signer == "trainer" and not (event.via == "policy" and event.by in POLICIES and inside):
        return "the trainer gives commands by its policies alone"
    if event.signer == "api" and event.via in ("router", "policy"):
        return f"the api gives no commands by way of the {event.via}"
    return None


def _reports(event: Command) -> bool:
    """Say whether a command is no more than that a version failed."""
    if not isinstance(event, RollBackModel | TryVersion) or event.failed is None or event.version is not None:
        return False
    return isinstance(event, RollBackModel) or event.role == "none"
