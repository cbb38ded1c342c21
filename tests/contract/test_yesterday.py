"""Yesterday's programs read and write today's events: what docs/evolution.md promises to whoever is not in this repository."""

import json
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

YESTERDAY = Path(__file__).parents[1] / "yesterday"
sys.path.insert(0, str(YESTERDAY))  # they are scripts, beside each other

import consumer  # noqa: E402
import shapes  # noqa: E402

from api.asyncapi import document  # noqa: E402
from contracts.events import (  # noqa: E402
    EVENTS,
    CorrectionGiven,
    CorrectionReceipt,
    DrawingSubmitted,
    GuessMade,
    GuessMissed,
    MemoryTold,
    decode,
)
from contracts.settings import Settings  # noqa: E402
from tests.contract.test_events import golden  # noqa: E402
from tests.histories import correction, drawing, guess, named  # noqa: E402

DIGEST = "d3cb346a1c981d0b56954929d50c99c36a7ea883c2aff3be2ea3fd53a0e07bde"
STROKES = [[[140.0, 40.0, 0.0], [140.0, 240.0, 160.0]]]


def read(topic: str, event: Any) -> Any:
    aside: Counter[str] = Counter()
    found = consumer.read(topic, event.record_value(), aside)
    assert not aside
    return found


def test_the_programs_are_as_they_were():
    """Whoever has to change them has changed an event in a way that its readers outside will not survive."""
    files = sorted(YESTERDAY.glob("*.py"))

    assert sha256(b"".join(file.read_bytes() for file in files)).hexdigest() == DIGEST


def test_todays_guesses_are_read_with_all_that_was_added_to_them():
    today = guess(label=7).model_copy(update={"features": None})
    more = GuessMade.model_validate(json.loads(today.record_value()) | {"a_field_of_tomorrow": {"deep": [1]}})

    old = read("guesses.v1", more)

    assert (old.model, old.version, old.label) == (today.model, today.version, today.label)
    missed = GuessMissed(drawing_id=named("d1"), player_id="ada", model="mxnet", final=True, resting=True, why="it rests")
    assert (read("guesses.v1", missed).resting, read("guesses.v1", missed).why) == (True, "it rests")


@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind.__name__ in vars(shapes)], ids=lambda kind: kind.__name__)
def test_the_golden_record_of_an_event_is_read_by_both(kind: Any):
    record = json.dumps(golden(kind)).encode()

    old, new = getattr(shapes, kind.__name__).model_validate_json(record), decode(kind.topic, record)

    assert old.model_dump(mode="json").items() <= {**new.model_dump(mode="json"), **only_once_known(old, new)}.items()


def only_once_known(old: Any, new: Any) -> dict[str, Any]:
    """The optional fields that today's event has no more: none was filled by anybody."""
    gone = set(type(old).model_fields) - set(type(new).model_fields)
    return {name: value for name, value in old.model_dump(mode="json").items() if name in gone}


def test_a_type_that_is_new_on_a_topic_is_passed_by_and_a_value_that_is_new_is_set_aside():
    aside: Counter[str] = Counter()
    told = MemoryTold.model_validate(golden(MemoryTold))
    assert consumer.read("guesses.v1", told.record_value(), aside) is None
    assert not aside

    refused = golden(CorrectionReceipt) | {"outcome": "refused"}
    assert consumer.read("receipts.v1", json.dumps(refused).encode(), aside) is None
    assert aside == {"receipts.v1": 1}


def test_the_document_of_the_bus_names_the_servers_that_are_configured():
    """It named one machine's own defaults, whatever was set."""
    alone = document("1", Settings())
    cloud = document(
        "1",
        Settings(
            host="0.0.0.0",
            port=80,
            allowed_origins="https://game.example, http://127.0.0.1:80",
            kafka_bootstrap_servers="b1.example:9096,b2.example:9096",
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_password="hush",
        ),
    )

    assert alone["servers"] == {
        "bus": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "PLAINTEXT"},
        "game": {"host": "127.0.0.1:8000", "protocol": "ws"},
    }
    hosts = {name: (one["host"], one["protocol"]) for name, one in cloud["servers"].items()}
    assert hosts == {
        "bus": ("b1.example:9096", "kafka-secure"),
        "bus-2": ("b2.example:9096", "kafka-secure"),
        "game": ("127.0.0.1:80", "ws"),
        "game-2": ("game.example", "wss"),
    }
    assert cloud["components"]["securitySchemes"] == {"kafka": {"type": "scramSha512"}}
    assert cloud["servers"]["bus-2"]["security"] == [{"$ref": "#/components/securitySchemes/kafka"}]
    assert cloud["channels"]["drawings.v1"]["servers"] == [{"$ref": "#/servers/bus"}, {"$ref": "#/servers/bus-2"}]
    assert [one["$ref"] for one in cloud["channels"]["play"]["servers"]] == ["#/servers/game", "#/servers/game-2"]
    assert "hush" not in json.dumps(cloud)


def test_what_yesterdays_producer_writes_is_today_what_it_was():
    drawn = shapes.DrawingSubmitted(drawing_id=named("d1"), player_id="ada", strokes=STROKES, width=280, height=280, final=True)
    given = shapes.CorrectionGiven(correction_id=named("c1"), drawing_id=named("d1"), player_id="ada", label=7)

    today = decode("drawings.v1", drawn.model_dump_json().encode())
    label = decode("corrections.v1", given.model_dump_json().encode())

    assert isinstance(today, DrawingSubmitted)
    assert (today.strokes, today.gold, today.picked) == (STROKES, False, None)
    assert isinstance(label, CorrectionGiven)
    assert (label.label, type(drawing()), type(correction())) == (7, DrawingSubmitted, CorrectionGiven)
