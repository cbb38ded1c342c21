"""Renders the AsyncAPI document as a page without scripts or outside resources (all ways).

AsyncAPI's own component compiles schemas with eval when it is loaded, which no page here may do: see decision 0001.
"""

import json
from html import escape
from typing import Any


def page(api: dict[str, Any]) -> str:
    """Build the page of an AsyncAPI document, as HTML."""
    messages, schemas = api["components"]["messages"], api["components"]["schemas"]
    parts = [
        f"<h1>Game Night: events and sockets</h1><p>{escape(api['info']['description'])}</p>"
        "<p>Machines read <a href='/asyncapi.json'>/asyncapi.json</a>; HTTP is described at <a href='/docs'>/docs</a>.</p>"
    ]
    for channel in api["channels"].values():
        parts.append(f"<h2><code>{escape(channel['address'])}</code></h2><p>{escape(channel['description'])}</p>")
        partitions = channel.get("bindings", {}).get("kafka", {}).get("partitions")
        parts.append(f"<p>{partitions} partitions</p>" if partitions else "")
        for message in channel["messages"]:
            parts.append(f"<h3 id='{escape(message)}'>{escape(message)}</h3><p>{escape(messages[message]['description'])}</p>")
            parts.append(f"<details><summary>fields</summary>{_fields(schemas[message])}{_json(schemas[message])}</details>")
    return _html("Game Night: events and sockets", "".join(parts))


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{'required' if name in required else ''}</td>"
        f"<td>{escape(str(field.get('description', '')))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table>{rows}</table>"


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1))}</pre>"


def _html(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/web/asyncapi/style.css">'
        f"</head><body>{body}</body></html>"
    )
