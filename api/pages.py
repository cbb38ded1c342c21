"""Pages: the game, the dashboard, the documentation; under one strict policy, and nothing from elsewhere (all ways)."""

import hashlib
import json
import re
from html import escape
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

WEB: Final = Path(__file__).parent.parent / "web"
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
code, pre { font: 14px/1.4 ui-monospace, monospace } pre { overflow: auto; padding: .5rem; border: 1px solid #8886 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886 } h3 { margin-bottom: .25rem }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0 }
"""


class Policy:
    """Puts the security headers on every HTTP answer: scripts, styles and sockets from this server only, nothing inline."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""  # 'self' leaves sockets out in older browsers

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = (
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
                    f"connect-src 'self'{sockets}; manifest-src 'self'; "
                    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                )
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["X-Frame-Options"] = "DENY"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class _Assets(StaticFiles):
    """Files that a browser keeps, and asks about each time: their names do not change with their content."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: Starlette, web: Path, openapi: dict[str, Any], asyncapi: dict[str, Any]) -> None:
    """Serve the pages of a folder, and the documentation.

    Args:
        app: Gets the routes.
        web: Has game/, dashboard/, library/, endpoints/ and lib/; a page that is not there yet answers 404 and says so.
        openapi: Of the HTTP routes.
        asyncapi: Of the bus and the sockets.
    """

    def page(file: Path) -> Any:
        async def serve(request: Request) -> Response:
            if not file.is_file():
                return PlainTextResponse(f"there is no {file.relative_to(web)} in web/", 404)
            tag = f'"{hashlib.sha256(file.read_bytes()).hexdigest()[:32]}"'
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
            return FileResponse(file, headers={"ETag": tag, "Cache-Control": "no-cache"})

        return serve

    def fixed(response: Response) -> Any:
        response.headers["Cache-Control"] = "no-cache"

        async def serve(request: Request) -> Response:
            return response

        return serve

    app.routes.extend(
        [
            Route("/", page(web / "game" / "index.html")),
            Route("/watch", page(web / "dashboard" / "index.html")),
            Route("/library", page(web / "library" / "index.html")),
            Route("/endpoints", page(web / "endpoints" / "index.html")),
            Route("/docs", fixed(HTMLResponse(_openapi_page(openapi)))),
            Route("/asyncapi", fixed(HTMLResponse(_asyncapi_page(asyncapi)))),
            Route("/asyncapi.json", fixed(JSONResponse(asyncapi))),
            Route("/docs.css", fixed(Response(STYLE, media_type="text/css"))),
            Mount("/web", _Assets(directory=web, check_dir=False), name="web"),
        ]
    )


# --- documentation, rendered here: no script, nothing from a content network ---------------------------------------------


def _html(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/docs.css"></head><body>{body}</body></html>'
    )


def _openapi_page(api: dict[str, Any]) -> str:
    parts = [
        "<h1>Game Night: HTTP</h1><p>Machines read <a href='/openapi.json'>/openapi.json</a>; "
        "sockets and the bus are at <a href='/asyncapi'>/asyncapi</a>.</p>"
    ]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description', operation.get('summary', '')))}</p>")
            if "operators" in operation.get("tags", ()):
                parts.append("<p>Wants <code>Authorization: Bearer &lt;operator token&gt;</code>.</p>")
            elif operation.get("security"):
                parts.append(
                    "<p>Wants <code>X-API-Key: &lt;key&gt;</code>, or <code>Authorization: Bearer &lt;key&gt;</code>.</p>"
                )
            if "requestBody" in operation:
                parts.append(f"<h3>Body</h3>{_json(operation['requestBody']['content'])}")
            rows = "".join(
                f"<tr><td><code>{escape(status)}</code></td><td>{escape(response['description'])}</td></tr>"
                for status, response in operation["responses"].items()
            )
            parts.append(f"<h3>Answers</h3><table>{rows}</table>")
    parts.append(f"<h2>Schemas</h2>{_json(api.get('components', {}).get('schemas', {}))}")
    return _html("Game Night: HTTP", "".join(parts))


def _asyncapi_page(api: dict[str, Any]) -> str:
    messages, schemas = api["components"]["messages"], api["components"]["schemas"]
    parts = [
        f"<h1>Game Night: events and sockets</h1><p>{escape(api['info']['description'])}</p>"
        "<p>Machines read <a href='/asyncapi.json'>/asyncapi.json</a>.</p>"
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
