"""No unsigned command leads: who signs what, what proves it as it is on the log, and what becomes of everything else."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.events import (
    SIGNED,
    CommandSettled,
    DriftHandled,
    Event,
    FreezeLearning,
    MessageRejected,
    PlayerRestricted,
    PromoteModel,
    RestrictPlayer,
    RetrainModel,
    RollBackModel,
    SignaturesBegan,
    SignedEvent,
    TryVersion,
    decode,
    now,
)
from contracts.ports import Record
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.rejections import Rejections
from producers.signing import COPY_MS, BadKey, NotOurs, Proofs, Signer, SigningBus, public_key
from tests.histories import drift
from tests.roster import ROSTER
from trainers.log_reader import LogReader
from trainers.model_log import ModelLog
from trainers.signed_since import KEY, proving, signed_since

SEEDS = {"api": "01" * 32, "router": "02" * 32, "trainer": "03" * 32, "learning": "04" * 32}
KEYS = ",".join(f"{process}:{public_key(seed)}" for process, seed in SEEDS.items())
SIGNED_SINCE = now() - timedelta(minutes=1)
TRIED = TryVersion(command_id=uuid4(), target="xgboost", role="canary", version="9", share=1, failed="3", by="x")
HANDLED = DriftHandled(detection_id=uuid4(), subject="river", action="notify", outcome="done", message="")
BANNED = RestrictPlayer(command_id=uuid4(), player_id="eve", restriction="banned", by="x")


def promote(**given: Any) -> PromoteModel:
    return PromoteModel(command_id=uuid4(), target="xgboost", version="3", by="ada", **given)


def rolled_back(failed: str | None, **given: Any) -> RollBackModel:
    by: dict[str, Any] = {"by": "router", "via": "router"} | given
    return RollBackModel(command_id=uuid4(), target="xgboost", failed=failed, **by)


def frozen(**given: Any) -> FreezeLearning:
    by: dict[str, Any] = {"by": "drift policy", "via": "policy"} | given
    return FreezeLearning(command_id=uuid4(), target="river", **by)


def signed(event: SignedEvent, process: Any = "api", seed: str | None = None) -> SignedEvent:
    """Sign as whoever has the key of a process can, whatever it is."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed or SEEDS[process]))
    named = event.model_copy(update={"signer": process, "signature": None})
    return named.model_copy(update={"signature": key.sign(f"gamenight {event.topic}\n".encode() + named.to_sign()).hex()})


def on_the_log(event: Event, value: bytes | None = None, late_ms: int = 0) -> Record:
    at = int(now().timestamp() * 1000) + late_ms
    return Record(event.topic, 0, 7, event.record_key(), event.record_value() if value is None else value, at)


def against(event: SignedEvent, value: bytes | None = None, late_ms: int = 0, keys: str = KEYS) -> str | None:
    record = on_the_log(event, value, late_ms)
    read = decode(record.topic, record.value)
    assert isinstance(read, SignedEvent)
    return Proofs(keys, SIGNED_SINCE).against(record, read)


def test_what_is_signed_is_proven_by_the_bytes_on_the_log_and_read_as_it_was():
    event = signed(promote(reason='because of "7" and \u00e4', via="cli", address="::1", token="ada/3f9c21"))

    assert against(event) is None
    assert decode("commands.v1", event.record_value()) == event


@pytest.mark.parametrize(
    ("event", "process"),
    [
        (promote(), "api"),
        (rolled_back("3"), "router"),
        (rolled_back(None, by="ada", via="cli"), "api"),
        (TryVersion(command_id=uuid4(), target="xgboost", role="none", failed="3", by="router", via="router"), "router"),
        (frozen(), "trainer"),
        (RetrainModel(command_id=uuid4(), target="xgboost", by="trainer", via="policy", trigger="count"), "trainer"),
        (CommandSettled(command_id=uuid4(), target="xgboost", outcome="done", message=""), "trainer"),
        (drift("a"), "learning"),
        (HANDLED, "trainer"),
    ],
)
def test_each_process_signs_what_it_writes(event, process):
    assert against(Signer(process, SEEDS[process]).signed(event)) is None


@pytest.mark.parametrize(
    ("event", "process", "why"),
    [
        (promote(), "router", "the router gives no PromoteModel"),
        (promote(), "trainer", "the trainer gives no PromoteModel"),
        (rolled_back(None), "router", "only reports versions that failed"),
        (TRIED, "router", "only reports"),
        (rolled_back("4", version="base1"), "router", "only reports"),
        (rolled_back("4", by="ada"), "router", "as itself"),
        (rolled_back("4", via="cli"), "router", "as itself"),
        (rolled_back("4", token="ada/3f9c21"), "router", "as itself"),
        (rolled_back("4", address="192.0.2.1"), "router", "as itself"),
        (frozen(by="ada"), "trainer", "by its policies alone"),
        (frozen(via="http"), "trainer", "by its policies alone"),
        (frozen(token="ada/3f9c21"), "trainer", "by its policies alone"),
        (RetrainModel(command_id=uuid4(), target="xgboost", by="ada", trigger="drift"), "trainer", "by its policies alone"),
        (rolled_back("4"), "api", "by way of the router"),
        (frozen(), "api", "by way of the policy"),
        (CommandSettled(command_id=uuid4(), target="xgboost", outcome="done", message=""), "api", "gives no CommandSettled"),
        (BANNED, "trainer", "gives no RestrictPlayer"),
        (drift("a"), "trainer", "the trainer gives no DriftDetected"),
        (drift("a"), "api", "the api gives no DriftDetected"),
        (HANDLED, "learning", "the learning gives no DriftHandled"),
    ],
)  # fmt: skip
def test_a_process_whose_key_was_taken_signs_nothing_that_it_does_not_write(event, process, why):
    assert why in str(against(signed(event, process)))
    with pytest.raises(NotOurs, match=why):
        Signer(process, SEEDS[process]).signed(event)


def test_without_a_signature_or_with_another_nothing_is_proven():
    event = signed(promote())
    written = event.record_value()

    assert "it is not signed" in str(against(promote()))
    assert "not of these bytes" in str(against(event, written.replace(b'"version":"3"', b'"version":"4"')))
    assert "not of these bytes" in str(against(event, written.replace(str(event.command_id).encode(), str(uuid4()).encode())))
    assert "not of these bytes" in str(against(signed(promote(), seed="09" * 32)))
    assert "not of these bytes" in str(against(event, written.replace(b'{"type"', b'{ "type"', 1)))
    assert "not the last of it" in str(against(event, written[:-1] + b',"version":"4"}'))
    assert "not the last of it" in str(against(event, written + b"\n"))
    assert "no key of api is known here, but of router" in str(against(event, keys=f"router:{public_key(SEEDS['router'])}"))
    assert "but of nobody" in str(against(event, keys=""))


def test_a_signature_of_the_router_is_none_of_the_api():
    assert "not of these bytes" in str(against(signed(promote(), "api", SEEDS["router"])))


def test_nobody_signs_what_another_process_has_signed():
    with pytest.raises(NotOurs, match="is the api's, and the trainer does not sign it"):
        Signer("trainer", SEEDS["trainer"]).signed(signed(frozen(by="ada", via="cli")))


def test_a_copy_that_comes_when_the_log_may_have_forgotten_the_command_is_none():
    event = signed(promote())

    assert against(event, late_ms=COPY_MS - 60_000) is None
    assert "a copy" in str(against(event, late_ms=COPY_MS + 60_000))


def test_an_old_and_a_new_key_of_a_process_may_both_be_known():
    keys = f"api:{public_key('0a' * 32)}, api:{public_key(SEEDS['api'])}"

    assert against(signed(promote()), keys=keys) is None
    assert against(signed(promote(), seed="0a" * 32), keys=keys) is None


@pytest.mark.parametrize("keys", ["api", "api:zz", "api:00", "somebody:" + "00" * 32])
def test_a_setting_that_is_no_key_is_named(keys):
    with pytest.raises(BadKey, match="GAMENIGHT_COMMAND_KEYS"):
        Proofs(keys)
    with pytest.raises(BadKey, match="32 bytes in hex"):
        Signer("api", "abc")


def test_before_the_first_signature_is_seen_old_commands_count_and_after_it_none():
    proofs, new, old = Proofs(KEYS), signed(promote()), promote()

    assert proofs.against(on_the_log(old), old) is None
    assert proofs.against(on_the_log(new, late_ms=1000), new) is None
    assert "not signed" in str(proofs.against(on_the_log(old, late_ms=2000), old))


def test_each_topic_has_its_own_beginning_of_signatures_and_its_own_signatures():
    proofs, old, new = Proofs(KEYS, {"commands.v1": SIGNED_SINCE}), drift("a"), signed(drift("b"), "learning")

    assert proofs.against(on_the_log(old), old) is None, "commands were signed before drift was"
    assert proofs.against(on_the_log(new, late_ms=1000), new) is None
    assert "it is not signed: drift.v1 is written by the game" in str(proofs.against(on_the_log(old, late_ms=2000), old))
    settled = CommandSettled(command_id=uuid4(), target="xgboost", outcome="done", message="")
    elsewhere = signed(HANDLED, "trainer").model_copy(update={"signature": signed(settled, "trainer").signature})
    assert "not of these bytes" in str(proofs.against(on_the_log(elsewhere), elsewhere))


def test_who_has_no_bucket_knows_from_the_trainer_when_a_topic_began_to_be_signed():
    began = SignaturesBegan(source="drift.v1", since=now() - timedelta(seconds=10))
    old, forged = drift("a"), drift("b")
    told = [on_the_log(began), on_the_log(promote()), on_the_log(signed(began, "api")), on_the_log(signed(began, "trainer"))]
    proofs, misled = Proofs(KEYS), Proofs(KEYS)

    proofs.begin(told)
    misled.begin(told[:3])

    assert proofs.against(on_the_log(old, late_ms=-20_000), old) is None
    assert "not signed" in str(proofs.against(on_the_log(forged), forged)), "although nothing on the topic has a signature yet"
    assert misled.against(on_the_log(forged), forged) is None, "what anybody else says of it is not believed"
    later = signed(SignaturesBegan(source="drift.v1", since=now() + timedelta(days=1)), "trainer")
    proofs.begin([on_the_log(later)])
    assert "not signed" in str(proofs.against(on_the_log(forged), forged)), "the earliest time counts"


def test_the_trainer_says_once_on_the_log_from_when_on_each_topic_is_signed_whatever_a_stranger_has_said():
    bus, blobs = open_bus(f"memory://{uuid4()}"), MemoryBlobs()
    through = SigningBus(bus, Signer("trainer", SEEDS["trainer"]))
    bus.publish(SignaturesBegan(source="drift.v1", since=now() + timedelta(days=1)))

    for _ in range(2):
        proving(through, blobs, KEYS, tells=True)
    proving(through, MemoryBlobs(), None, tells=True)

    told = [decode(record.topic, record.value) for record in bus.follow(["commands.v1"], "start").poll(1)]
    own = [one for one in told if isinstance(one, SignaturesBegan) and one.signer == "trainer"]
    assert sorted(one.source for one in own) == sorted(SIGNED)
    assert all(one.since == signed_since(blobs, [], topic=one.source) for one in own)
    assert len(told) == len(own) + 1


def test_what_a_fold_publishes_is_signed_as_it_is_sent_if_its_topic_is_and_else_as_it_was():
    signer, event = Signer("learning", SEEDS["learning"]), drift("a")

    value = signer.sealed("drift.v1", event.record_value())

    assert against(event, value) is None
    assert decode("drift.v1", value) == signed(event, "learning")
    assert signer.sealed("evidence.v1", b"whatever") == b"whatever"
    assert Signer("learning", None).sealed("drift.v1", event.record_value()) == event.record_value()


# --- in the trainer


def test_the_trainer_acts_on_the_drift_that_learning_has_signed_alone_and_knows_what_was_done_by_itself():
    bus, model_log = open_bus(f"memory://{uuid4()}"), ModelLog(ROSTER)
    tail, rejected = bus.follow(["drift.v1"], "start"), bus.follow(["rejected.v1"], "start")
    forged, found = drift("forged", at=1), drift("found", at=2)
    done = {"detection_id": found.detection_id, "subject": "river", "action": "freeze", "outcome": "done", "message": ""}
    for event in (forged, signed(forged, "api"), DriftHandled.model_validate(done), signed(found, "learning")):
        bus.publish(event)

    LogReader(model_log, Rejections(bus), Proofs(KEYS, SIGNED_SINCE)).take(tail.poll(1))

    assert [one.detection_id for one in model_log.detections()] == [found.detection_id]
    assert model_log.drift_actions("freeze") == []
    told = [decode(record.topic, record.value) for record in rejected.poll(1)]
    assert [one.error.split(": ")[1] for one in told if isinstance(one, MessageRejected)] == [
        "it is not signed",
        "the api gives no DriftDetected",
        "it is not signed",
    ]


def test_the_trainer_acts_on_proven_commands_alone_once_each_and_rejects_the_others():
    bus = open_bus(f"memory://{uuid4()}")
    through = SigningBus(bus, Signer("api", SEEDS["api"]))
    forged, given = promote(), promote()
    bus.publish(forged)
    through.publish(given)
    bus.publish(signed(given))  # somebody's copy
    bus.publish(CommandSettled(command_id=given.command_id, target="xgboost", outcome="done", message="believe me"))
    model_log = ModelLog(ROSTER)

    commands, rejected = bus.follow(["commands.v1"], "start"), bus.follow(["rejected.v1"], "start")
    LogReader(model_log, Rejections(bus), Proofs(KEYS, SIGNED_SINCE)).take(commands.poll(1))

    assert [command.command_id for command in model_log.unsettled()] == [given.command_id]
    told = [decode(record.topic, record.value) for record in rejected.poll(1)]
    assert [
        (one.source_offset, "NotProven: it is not signed" in one.error) for one in told if isinstance(one, MessageRejected)
    ] == [
        (0, True),
        (3, True),
    ]


def test_what_is_on_no_topic_that_is_signed_is_not_signed():
    bus = open_bus(f"memory://{uuid4()}")
    SigningBus(bus, Signer("trainer", SEEDS["trainer"])).publish(PlayerRestricted(player_id="eve", restriction="none"))

    [record] = bus.follow(["examples.v1"], "start").poll(1)
    assert b"signature" not in (record.value or b"")


def test_from_when_on_commands_are_signed_is_noted_once_and_no_record_changes_it():
    blobs, old = MemoryBlobs(), promote()
    first = signed_since(blobs, [on_the_log(old, late_ms=-5000)])

    assert timedelta(0) <= now() - first < timedelta(seconds=5), "all that was there counts"
    later = [on_the_log(signed(promote()), late_ms=9000), on_the_log(old, late_ms=99_000)]
    assert signed_since(blobs, later) == first


def test_without_the_note_the_first_signature_on_the_log_says_it_whoever_made_it():
    blobs, forged, new = MemoryBlobs(), promote(), signed(promote(), seed="0b" * 32)
    records = [on_the_log(new, late_ms=-60_000), on_the_log(forged, late_ms=-1000)]

    since = signed_since(blobs, records)

    assert int(since.timestamp() * 1000) == records[0].timestamp_ms
    assert "not signed" in str(Proofs(KEYS, since).against(records[1], forged))
    assert blobs.get(KEY).decode() == since.isoformat()


@pytest.mark.parametrize("note", [b"", b"soon", b"\xff", b"2026-11-29T10:00:00", b"2199-01-01T00:00:00+00:00"])
def test_a_note_that_is_none_counts_as_lost_and_is_made_anew(note):
    blobs, new = MemoryBlobs(), on_the_log(signed(promote()), late_ms=-60_000)
    blobs.put(KEY, note)

    since = signed_since(blobs, [new])

    assert int(since.timestamp() * 1000) == new.timestamp_ms
    assert blobs.get(KEY).decode() == since.isoformat()
    assert signed_since(blobs, []) == since


def test_each_topic_has_a_note_of_its_own():
    blobs, commands = MemoryBlobs(), signed_since(MemoryBlobs(), [])
    blobs.put(KEY, commands.isoformat().encode())

    first = signed_since(blobs, [on_the_log(drift("a"), late_ms=-5000)], topic="drift.v1")

    assert first > commands
    assert signed_since(blobs, [on_the_log(signed(drift("b"), "learning"))], topic="drift.v1") == first
    assert signed_since(blobs, []) == commands


def test_a_trainer_without_keys_makes_no_note():
    blobs = MemoryBlobs()

    signed_since(blobs, [], kept=False)

    assert not list(blobs.keys(""))
