"""Generates the AsyncAPI 3 document: every event and topic of contracts/events.py, and the messages of /ws/play."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.play.frames import (
    ERROR_CODES,
    Check,
    Error,
    Forgotten,
    Guess,
    Joined,
    MemoryCard,
    MemoryFile,
    Missed,
    ModelChanged,
    Question,
    Receipt,
    RoomChanged,
    Saved,
    SeatCode,
)
from api.play.messages import MAX_FRAME, MESSAGES
from contracts.events import EVENTS, TOPICS
from contracts.settings import Settings

_TO_PLAYER: Final[tuple[type[BaseModel], ...]] = (
    Joined,
    Saved,
    Question,
    Check,
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


def document(version: str, settings: Settings) -> dict[str, Any]:
    """Build the whole document, as JSON-ready values.

    Args:
        version: The product's version.
        settings: Name the servers: Kafka's brokers, and the addresses of the game.
    """
    brokers, games = _brokers(settings), _games(settings)
    from_player = tuple(MESSAGES.values())
    messages = [*EVENTS, *from_player, *_TO_PLAYER]
    _, schemas = models_json_schema([(message, "validation") for message in messages], ref_template=_REF)
    channels: dict[str, Any] = {
        spec.name: {
            "address": spec.name,
            "servers": _servers(brokers),
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
        "servers": _servers(games),
        "description": f"The game: JSON text frames of at most {MAX_FRAME} bytes.",
        "messages": _refs([*from_player, *_TO_PLAYER]),
    }
    channels["watch"] = {
        "address": "/ws/watch",
        "servers": _servers(games),
        "description": "The dashboard: a `snapshot` of models, scores, rebuilds and players; then `scores` that changed "
        "(absolute counts), `model` (as players are told, and also for `learned` and `endpoint`), `training`, `online` and "
        "`honest` (estimates of a model's accuracy), at most five times a second. They have no schema here. "
        "It accepts no messages.",
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
        "servers": brokers | games,
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
            "securitySchemes": _security(settings),
        },
    }


def _brokers(settings: Settings) -> dict[str, Any]:
    """Return Kafka's brokers as they are configured: ``bus``, ``bus-2`` and so on."""
    secure = settings.kafka_security_protocol != "PLAINTEXT"
    server = {"protocol": "kafka-secure" if secure else "kafka", "description": settings.kafka_security_protocol}
    if security := _security(settings):
        server["security"] = [{"$ref": f"#/components/securitySchemes/{name}"} for name in security]  # type: ignore[assignment]
    return _numbered("bus", [{"host": host.strip(), **server} for host in settings.bootstrap_servers.split(",")])


def _security(settings: Settings) -> dict[str, Any]:
    """Return how clients say who they are, where AsyncAPI has a word for it."""
    if not settings.kafka_security_protocol.startswith("SASL"):
        return {}
    mechanism = settings.kafka_sasl_mechanism
    kinds = {"SCRAM-SHA-512": "scramSha512", "SCRAM-SHA-256": "scramSha256", "PLAIN": "plain"}
    if mechanism in kinds:
        return {"kafka": {"type": kinds[mechanism]}}
    if mechanism == "OAUTHBEARER" and settings.kafka_oauth_token_url:
        scope = settings.kafka_oauth_scope
        scopes = {scope: "asked for by the game"} if scope else {}
        flow = {"tokenUrl": settings.kafka_oauth_token_url, "availableScopes": scopes}
        return {"kafka": {"type": "oauth2", "flows": {"clientCredentials": flow}}}
    return {}


def _games(settings: Settings) -> dict[str, Any]:
    """Return the addresses of the game: that of its pages elsewhere, and its own."""
    own = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
    own = f"[{own}]" if ":" in own else own
    found = {f"{own}:{settings.port}": "ws"}
    for origin in settings.allowed_origins.split(","):
        parts = urlsplit(origin.strip())
        if parts.netloc:
            found.setdefault(parts.netloc, "wss" if parts.scheme == "https" else "ws")
    return _numbered("game", [{"host": host, "protocol": protocol} for host, protocol in found.items()])


def _numbered(name: str, servers: list[dict[str, Any]]) -> dict[str, Any]:
    return {name if not number else f"{name}-{number + 1}": server for number, server in enumerate(servers)}


def _servers(servers: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"$ref": f"#/servers/{name}"} for name in servers]


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
