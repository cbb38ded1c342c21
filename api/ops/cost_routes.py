"""Builds the HTTP route that tells what the game costs (way 3, OPERATE)."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from api.folds.endpoint_latency import EndpointLatency
from api.folds.guess_rates import GuessRates
from api.folds.model_board import ModelBoard
from api.ops.costs import Asked, Costs, costs
from contracts.prices import PricesUnreadable
from contracts.rebuilds import RebuildQueue
from contracts.settings import Settings
from producers.price_file import read_prices


def cost_router(
    settings: Settings, board: ModelBoard, latency: EndpointLatency, rates: GuessRates, rebuilds: RebuildQueue
) -> APIRouter:
    """Build the route. The list of prices is read at each request: who changes the file need not start anything anew."""
    routes = APIRouter()

    @routes.get("/api/costs", tags=["queries"], responses={503: {"description": "The list of prices cannot be read"}})
    async def told(
        guesses_per_hour: Annotated[
            float | None,
            Query(ge=0, le=1e9, allow_inf_nan=False, description="reckon with so many instead of what was counted"),
        ] = None,
        memory_gb: Annotated[int, Query(ge=1, le=6, description="memory of a serverless endpoint")] = 2,
    ) -> Costs:
        """Return what endpoints and trainings cost on AWS in dollars, what a retrain bought, and what other ways would cost."""
        try:
            prices = read_prices(settings)
        except PricesUnreadable as wrong:
            raise HTTPException(503, str(wrong)) from wrong
        return costs(board, latency, rates, rebuilds, prices, Asked(datetime.now(UTC), guesses_per_hour, memory_gb))

    return routes
