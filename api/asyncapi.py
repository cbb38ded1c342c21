"""Generates the AsyncAPI 3 document: every event and topic of contracts/events.py, and the messages of /ws/play."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.play.frames import (
    ERROR_CODES,
    Error,
    Forgotten,
    Guess,
    Joined,
    MemoryCard,
    MemoryFile,
    Missed,
    ModelChanged,
    Receipt,
    RoomChanged,
    Saved,
    SeatCode,
)
from api.play.messages import MAX_FRAME, MESSAGES
from contracts.events import EVENTS, TOPICS

_TO_PLAYER: Final[tuple[type[BaseModel], ...]] = (
    Joined,
    Saved,
    Forgotten,
    Guess,
    Missed,
    Receipt,
    ModelChanged,
    RoomChanged,
    MemoryCard,
    MemoryFile,
    SeatCode,
    Error,
)
_REF: Final = "#/components/schemas/{model}"


def document(version: str) -> dict[str, Any]:
    """Build the whole document, as JSON-ready values.

    Args:
        version: The product's version.
    """
    from_player = tuple(MESSAGES.values())
    messages = [*EVENTS, *from_player, *_TO_PLAYER]
    _, schemas = models_json_schema([(message, "validation") for message in messages], ref_template=_REF)
    channels: dict[str, Any] = {
        spec.name: {
            "address": spec.name,
            "servers": [{"$ref": "#/servers/bus"}],
            "description": spec.description,
            "messages": _refs(event for event in EVENTS if event.topic == spec.name),
            "bindings": {
                "kafka": {"partitions": spec.partitions, "topicConfiguration": _kept(spec.retention_ms, spec.compacted)}
            },
        }
        for spec in TOPICS.values()
    }
    channels["play"] = {
        "address": "/ws/play",
        "servers": [{"$ref": "#/servers/game"}],
        "description": f"The game: JSON text frames of at most {MAX_FRAME} bytes.",
        "messages": _refs([*from_player, *_TO_PLAYER]),
    }
    channels["watch"] = {
        "address": "/ws/watch",
        "servers": [{"$ref": "#/servers/game"}],
        "description": "The dashboard: a `snapshot` of models, scores, rebuilds and players; then `scores` that changed "
        "(absolute counts), `model` (as players are told, and also for `learned` and `endpoint`), `training` and `online`, at "
        "most five times a second. It accepts no messages.",
        "messages": {},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Game Night",
            "version": version,
            "description": "Every event of the bus, and the public protocol of the game. Error codes: "
            + "; ".join(f"`{code}`: {when}" for code, when in ERROR_CODES.items()),
        },
        "defaultContentType": "application/json",
        "servers": {
            "bus": {"host": "127.0.0.1:9092", "protocol": "kafka"},
            "game": {"host": "127.0.0.1:8000", "protocol": "ws"},
        },
        "channels": channels,
        "operations": {
            "frames from players": _operation("receive", "play", from_player),
            "frames to players": _operation("send", "play", _TO_PLAYER),
            **{f"events of {topic}": _operation("send", topic, [e for e in EVENTS if e.topic == topic]) for topic in TOPICS},
        },
        "components": {
            "messages": {
                message.__name__: {
                    "name": message.__name__,
                    "summary": _first_line(message),
                    "description": (message.__doc__ or "").strip(),
                    "payload": {"$ref": _REF.format(model=message.__name__)},
                }
                for message in messages
            },
            "schemas": schemas["$defs"],
        },
    }


def _first_line(message: type[BaseModel]) -> str:
    return (message.__doc__ or "").strip().splitlines()[0]


def _refs(messages: Iterable[type[BaseModel]]) -> dict[str, Any]:
    return {m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in messages}


def _operation(action: str, channel: str, messages: Iterable[type[BaseModel]]) -> dict[str, Any]:
    place = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": place},
        "messages": [{"$ref": f"{place}/messages/{message.__name__}"} for message in messages],
    }


def _kept(retention_ms: int, compacted: bool) -> dict[str, Any]:
    return {"cleanup.policy": ["compact"] if compacted else ["delete"], "retention.ms": retention_ms}
