"""Shows the datasets that versions were trained on: a read-only view of the board (way 3, OPERATE)."""

from datetime import datetime

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from api.folds.model_board import ModelBoard
from api.ops.door import Door
from contracts.events import Count, DatasetMade, Probability


class DatasetVersion(BaseModel):
    """A version that was trained on a dataset."""

    model: str
    version: str
    approved: bool


class DatasetState(BaseModel):
    """A dataset: what its manifest says of it, without the players' names."""

    digest: str
    made: datetime
    base_digest: str
    """sha256 of MNIST's images, which it refers to; empty: they are a part of it."""
    trained_on: Count
    """How many of the players' drawings are trained on."""
    held_back: Count
    """How many are not, to judge versions by them."""
    people: Count
    new_people: Count
    """How many of them are not in the dataset before."""
    labels: list[Count]
    """How many drawings of each digit, 0 to 9."""
    excluded: dict[str, Count]
    """How many examples were left out, by the reason."""
    trust: Probability | None = Field(description="how far the labels of known players are trusted, on average")
    weight: float
    """How much a player's drawing counts beside one of MNIST."""
    offsets: list[int]
    """The first offset of each partition of examples.v1 that was not read."""
    split: str
    held_back_by: str
    """The fingerprint of the home's key that decides who is held back; empty: a key that everybody knows does."""
    newcomers: Count
    """How many of the drawings that are trained on are newcomers'."""
    newcomers_weight: float
    """How much all of these together count, beside one of MNIST."""
    seed: int
    code: str
    images: dict[str, str]
    shards: dict[str, str]
    """sha256 of each of its files."""
    by: str
    """Who had it made; only operators are told."""
    gone: str
    """Why its data were deleted; empty: they are there."""
    versions: list[DatasetVersion]
    """The versions that came of it."""


def datasets(board: ModelBoard) -> list[DatasetState]:
    """Return all datasets, the newest first."""
    made = sorted(board.catalog.datasets.values(), key=lambda one: one.at, reverse=True)
    return [_state(board, one) for one in made]


def _state(board: ModelBoard, made: DatasetMade) -> DatasetState:
    told = made.model_dump()
    versions = [
        DatasetVersion(model=model, version=one.version, approved=one.approved)
        for model, several in board.catalog.published.items()
        for one in several.values()
        if one.lineage.get("dataset_digest") == made.digest
    ]
    return DatasetState(**told | {"made": made.at, "trained_on": made.feedback, "versions": versions})


def datasets_router(door: Door, board: ModelBoard) -> APIRouter:
    """Build the routes."""
    routes = APIRouter()

    def shown(request: Request) -> list[DatasetState]:
        listed = datasets(board)
        return listed if door.knows(request) else [one.model_copy(update={"by": ""}) for one in listed]

    @routes.get("/api/datasets", tags=["queries"])
    async def list_datasets(request: Request) -> list[DatasetState]:
        """Return the datasets that batch models were trained on, the newest first."""
        return shown(request)

    @routes.get("/api/datasets/{digest}", tags=["queries"], responses={404: {"description": "No such dataset, or several"}})
    async def show_dataset(request: Request, digest: str) -> DatasetState:
        """Return a dataset by its digest, or by the first letters of it."""
        found = [one for one in shown(request) if one.digest.startswith(digest.lower())]
        if len(found) != 1:
            what = "no dataset" if not found else f"{len(found)} datasets"
            raise HTTPException(404, f"{what} with a digest that begins with {digest!r}: see `gamenight datasets`")
        return found[0]

    return routes
