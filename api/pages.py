"""Serves the pages: game, dashboard and documentation, under one strict policy, without resources from elsewhere (all ways)."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.asyncapi_page import page as asyncapi_page

WEB: Final = Path(__file__).parent.parent / "web"
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")


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
    """Files that a browser caches and revalidates each time, since their names do not change with their content.

    Large third-party files are stored compressed in vendor/, and are sent as they are stored.
    """

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        found, stat = super().lookup_path(path)
        return (found, stat) if stat is not None else super().lookup_path(f"{path}.gz")

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(full_path, *args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        path = os.fspath(full_path)
        if path.endswith(".js.gz"):
            response.headers["Content-Type"] = "text/javascript; charset=utf-8"
            response.headers["Content-Encoding"] = "gzip"
        return response


def add_pages(app: Starlette, web: Path, asyncapi: dict[str, Any]) -> None:
    """Serve the pages of a folder, and the documentation.

    Args:
        app: The app that gets the routes.
        web: The folder of the pages; for a page that is not there yet, the answer is 404 and says so.
        asyncapi: The document of the bus and the sockets.
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

    def fixed(body: bytes | memoryview, media_type: str) -> Any:
        async def serve(request: Request) -> Response:
            return Response(body, headers={"Cache-Control": "no-cache"}, media_type=media_type)

        return serve

    app.routes.extend(
        [
            Route("/", page(web / "game" / "index.html")),
            Route("/watch", page(web / "dashboard" / "index.html")),
            Route("/library", page(web / "library" / "index.html")),
            Route("/endpoints", page(web / "endpoints" / "index.html")),
            Route("/costs", page(web / "costs" / "index.html")),
            Route("/docs", page(web / "docs" / "index.html")),
            Route("/asyncapi", fixed(asyncapi_page(asyncapi).encode(), "text/html")),
            Route("/asyncapi.json", fixed(JSONResponse(asyncapi).body, "application/json")),
            Mount("/web", _Assets(directory=web, check_dir=False), name="web"),
        ]
    )
