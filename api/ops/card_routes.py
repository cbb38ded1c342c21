"""Builds the HTTP routes of model cards: for machines, and as Markdown (way 3, OPERATE)."""

from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse

from api.folds.audit_log import AuditLog
from api.folds.model_board import ModelBoard
from api.ops.door import Door
from api.ops.model_card import ModelCard, card_for_anybody, model_card, to_markdown

_NONE: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such version of a batch model"}}


def card_router(door: Door, board: ModelBoard, audit: AuditLog) -> APIRouter:
    """Build the routes. Operators are told who approved a version and why, as the audit tells them; others that it was."""
    routes = APIRouter()

    def card(request: Request, model: str, version: str) -> ModelCard:
        entries = audit.entries(since=None, who=None, target=model, command=None)
        found = model_card(board, list(entries), model, version)
        if found is None and model not in board.roster.batch and model not in board.catalog.published:
            raise HTTPException(404, f"no batch model {model[:32]!r}: there is {', '.join(board.roster.batch)}")
        if found is None:
            there = ", ".join(board.catalog.published.get(model, {})) or "none"
            raise HTTPException(404, f"no version {version[:64]!r} of {model[:32]!r}: there is {there}")
        return found if door.knows(request) else card_for_anybody(found)

    @routes.get("/api/models/{model}/{version}/card", tags=["queries"], responses=_NONE)
    async def told(request: Request, model: str, version: str) -> ModelCard:
        """Return the model card of a version: data, people, slices, limits, cost, lineage; to operators who approved it."""
        return card(request, model, version)

    @routes.get("/api/models/{model}/{version}/card.md", tags=["queries"], responses=_NONE, response_class=PlainTextResponse)
    async def markdown(request: Request, model: str, version: str) -> PlainTextResponse:
        """Return the model card of a version as Markdown."""
        return PlainTextResponse(to_markdown(card(request, model, version)))

    return routes
