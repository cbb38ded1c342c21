"""No unsigned command leads: who signs what, what proves it as it is on the log, and what becomes of everything else."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.events import (
    CommandSettled,
    Event,
    FreezeLearning,
    MessageRejected,
    PolicySet,
    PromoteModel,
    RestrictPlayer,
    RetrainModel,
    RollBackModel,
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
from tests.roster import ROSTER
from trainers.log_reader import LogReader
from trainers.model_log import ModelLog
from trainers.signed_since import KEY, signed_since

SEEDS = {"api": "01" * 32, "router": "02" * 32, "trainer": "03" * 32}
KEYS = ",".join(f"{process}:{public_key(seed)}" for process, seed in SEEDS.items())
SIGNED_SINCE = now() - timedelta(minutes=1)
TRIED = TryVersion(command_id=uuid4(), target="xgboost", role="canary", version="9", share=1, failed="3", by="x")
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
    return named.model_copy(update={"signature": key.sign(b"gamenight commands.v1\n" + named.to_sign()).hex()})


def on_the_log(event: Event, value: bytes | None = None, late_ms: int = 0) -> Record:
    at = int(now().timestamp() * 1000) + late_ms
    return Record("commands.v1", 0, 7, event.record_key(), event.record_value() if value is None else value, at)


def against(event: SignedEvent, value: bytes | None = None, late_ms: int = 0, keys: str = KEYS) -> str | None:
    record = on_the_log(event, value, late_ms)
    read = decode("commands.v1", record.value)
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


# --- in the trainer


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


def test_what_is_not_on_commands_v1_is_not_signed():
    bus = open_bus(f"memory://{uuid4()}")
    SigningBus(bus, Signer("trainer", SEEDS["trainer"])).publish(PolicySet(lead="bandit"))

    [record] = bus.follow(["models.v1"], "start").poll(1)
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


def test_a_trainer_without_keys_makes_no_note():
    blobs = MemoryBlobs()

    signed_since(blobs, [], kept=False)

    assert not list(blobs.keys(""))
