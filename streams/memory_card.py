"""Says what a player's own model remembers: as counts for their card, or drawing by drawing (ways 1 and 2). Pure.

The counts compare the player's own model with the shared one on the same drawings, as both were shown before the label came. So
they are of the labelled drawings that are remembered, and no model is asked again.
"""

from datetime import datetime
from uuid import UUID

import numpy as np

from contracts.events import PERSONAL_MODEL, MemoryTold, RememberedDrawing
from streams.online_model import SHARED
from streams.player_memory import Memory, in_order, remembered, time_of
from streams.shown_labels import NONE


def told(memory: Memory, version: str, player_id: str, request_id: UUID, at: datetime, most: int, whole: bool) -> MemoryTold:
    """Tell what is remembered of a player.

    Args:
        memory: The player's memory.
        version: The name of the player's own model, as it answers now.
        player_id: The player.
        request_id: What this answers, a question or a reset.
        at: When it is told.
        most: How many drawings are remembered at most.
        whole: Whether to tell each drawing too.
    """
    rows = memory.rows
    right = {model: _right(memory, model) for model in (PERSONAL_MODEL, SHARED)}
    own, shared = right[PERSONAL_MODEL], right[SHARED]
    both = (own != NONE) & (shared != NONE)
    return MemoryTold(
        request_id=request_id,
        player_id=player_id,
        version=version,
        lessons=int(np.count_nonzero(remembered(rows))),
        most=most,
        size=memory.size,
        both=int(np.count_nonzero(both)),
        own_alone=int(np.count_nonzero(both & (own > shared))),
        shared_alone=int(np.count_nonzero(both & (shared > own))),
        reset_until=memory.resets.time,
        drawings=_drawings(memory) if whole else None,
        at=at,
    )


def _right(memory: Memory, model: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return of each drawing whether a model was right, 1 or 0; NONE: it has no label, or the model was not shown."""
    labels = memory.rows["label"].astype(np.int64)
    said = memory.said.by(model).astype(np.int64)
    return np.where((labels == NONE) | (said == NONE), NONE, said == labels)


def _drawings(memory: Memory) -> list[RememberedDrawing]:
    """Return the labelled drawings, in the order of drawing."""
    rows = memory.rows
    return [
        RememberedDrawing(
            drawing_id=UUID(int=(int(rows["high"][place]) << 64) + int(rows["low"][place])),
            drawn_at=time_of(int(rows["at"][place])),
            label=int(rows["label"][place]),
            bits=rows["ink"][place].tobytes(),
            said=memory.said.of(int(place)),
        )
        for place in in_order(rows, remembered(rows))
    ]
