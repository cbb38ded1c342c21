"""Learns each player's own model, `yours`, on top of the shared model (way 2, LEARN; asked by way 1). Pure.

`streams.kernel_memory` has how it answers from what is remembered.
What is remembered is a function of the set of the latest revisions of the player's examples and of their resets, so every order
of arrival ends in the same answers. A reset forgets what was drawn until then, whatever revisions of it come later. Twice is
harmless: a revision at or below the one that is held changes nothing, and each correction gets one receipt.

A player's **correction** is counted when it first gives an example a label. One that was replaced before its drawing's features
came is not learned here, and one of a drawing older than all that are kept is not counted.

The fold runs inside the router's process, on the same loop, and is asked there without a call: a partition of drawings.v1 and
the same one of examples.v1 are always with the same worker. See `streams.bandit` for the model that a player is shown first,
`streams.blend` for the effect of all players' corrections on the blend, and `streams.all_players` for what both stand on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from contracts.events import (
    PERSONAL_MODEL,
    CorrectionReceipt,
    Event,
    ExampleLabelled,
    ExampleProbed,
    ExamplesForgotten,
    MemoryAsked,
    MemoryReset,
    MemoryTold,
    ModelChange,
    ModelName,
    Outcome,
    PlayerRestricted,
    ReceiptProbed,
    ShownGuess,
    StageForgot,
)
from contracts.ports import Cells, Origin
from streams import memory_card
from streams.additive import Floats
from streams.all_players import AT_FIRST, AllPlayers, Means
from streams.bandit import Belief, outcomes
from streams.blend import BlendWeights, blend_weights
from streams.kernel_memory import GENERATION, Compared, Player, Prior
from streams.online_base import Base
from streams.online_model import SHARED
from streams.outline import look_at, outlines_of_ink
from streams.player_memory import (
    NO_ROWS,
    ROW,
    ROWS_A_CELL,
    Memory,
    Rows,
    age_of,
    drop,
    in_order,
    putting,
    read,
    remembered,
    row_of,
    same_drawing,
    write,
    write_anew,
)
from streams.player_outcomes import BLEND_SPREAD, LEAD_SPREAD, NEWEST
from streams.player_outcomes import ROW as OUTCOMES
from streams.shown_labels import NONE
from streams.trust import TRUST

KEPT: Final = 256
"""How many drawings of a player are remembered, the newest: some dozens show a player's handwriting. They take 63 KB."""
_LOADED: Final = 12_288
"""How many drawings of a partition's players are held in memory, those of the latest asked players: some 25 MB at most."""
_AT_FIRST: Final = blend_weights(AT_FIRST)


@dataclass(slots=True)
class _Partition:
    """The memory of an assigned partition."""

    cells: Cells
    prior: Prior
    everybody: AllPlayers
    weights: tuple[Means, BlendWeights] = AT_FIRST, _AT_FIRST
    """Means, and the blend's weights that follow from them."""
    players: LRUCache[str, Player] = field(default_factory=lambda: LRUCache(_LOADED, lambda player: player.size))
    """The players asked for lately, as many as have `_LOADED` rows together; each player counts as some rows more."""

    def player(self, player_id: str) -> Player:
        """Return a player, who is read from the cells if need be."""
        player = self.players.get(player_id)
        if player is None:
            player = self.players[player_id] = Player(read(self.cells, player_id), self.prior)
        return player


class PersonalModels:
    """The fold from examples to every player's own model, and to the receipts of what each label changed."""

    name = "personal"
    sources = ("examples.v1",)

    def __init__(self, base: Base) -> None:
        """Learn from embeddings that the base can read, and from no others; its judge says whom to trust."""
        self._base, self._prior = base, Prior.of(base)
        made_of = sha256(repr((ROW.descr, ROWS_A_CELL, SHARED, GENERATION)).encode()).hexdigest()[:16]
        counts = (OUTCOMES.descr, NEWEST, LEAD_SPREAD, BLEND_SPREAD, TRUST, base.judge.tobytes())
        counted = sha256(repr(counts).encode()).hexdigest()[:16]
        self.schema = f"personal 7, keeps {KEPT}, reads {base.reader}, cells {made_of}, counts {counted}"
        self._partitions: dict[int, _Partition] = {}

    # --- way 1: asked by the router

    def answer(
        self, partition: int, player_id: str, embeddings: NDArray[np.float32], rasters: NDArray[np.uint8], shared: Floats
    ) -> tuple[Floats, str]:
        """Answer with a player's own model.

        Args:
            partition: The player's partition; one that is not assigned here answers as for a player without labels.
            player_id: The player.
            embeddings: Shape (n, d).
            rasters: Of the same drawings, shape (n, 784).
            shared: The shared model's probabilities for them, shape (n, 10).

        Returns:
            Probabilities, shape (n, 10): ``shared`` itself if the player has given no label; and the version.
        """
        here = self._partitions.get(partition)
        if here is None:
            return shared, f"{GENERATION}+0"
        player = here.player(player_id)
        return player.answer(embeddings, rasters, shared), player.version

    def answers(
        self, whose: Sequence[tuple[int, str]], embeddings: NDArray[np.float32], rasters: NDArray[np.uint8], shared: Floats
    ) -> tuple[Floats, list[str]]:
        """Do as `answer` for drawings of several players, each given by partition and id; bit for bit the same."""
        look_at(rasters)
        own, versions = shared.copy(), []
        for place, (partition, player_id) in enumerate(whose):
            at = slice(place, place + 1)
            own[at], version = self.answer(partition, player_id, embeddings[at], rasters[at], shared[at])
            versions.append(version)
        return own, versions

    def player(self, partition: int, player_id: str) -> Player:
        """Return the memory of a player of an assigned partition."""
        return self._partitions[partition].player(player_id)

    def pick(self, partition: int, player_id: str, arms: Sequence[ModelName]) -> tuple[ModelName, int]:
        """Return which of ``arms`` this player is shown first, and after how many corrections; see `streams.bandit`."""
        here = self._partitions.get(partition)
        if here is None:
            return Player.nobody().pick(player_id, arms, AT_FIRST.shares)
        return here.player(player_id).pick(player_id, arms, here.everybody.means.shares)

    def blend_weights(self, partition: int) -> BlendWeights:
        """Return how much each model's opinion counts in the blend, by the corrections of the partition's players."""
        here = self._partitions.get(partition)
        if here is None:
            return _AT_FIRST
        if here.weights[0] is not here.everybody.means:
            here.weights = here.everybody.means, blend_weights(here.everybody.means)
        return here.weights[1]

    def told(self, partition: int, asked: MemoryAsked, at: datetime) -> MemoryTold | None:
        """Return what is remembered of a player; None: the partition is not assigned here, or not yet: ask again."""
        here = self._partitions.get(partition)
        if here is None:
            return None
        return _told(here.player(asked.player_id), asked.player_id, asked.request_id, at, asked.whole)

    # --- way 2: a fold

    def open(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Take up a partition; nothing is published again, and players are read when they are asked for."""
        self._partitions[partition] = _Partition(cells, self._prior, AllPlayers.take_up(cells, self._base))
        return ()

    def close(self, partition: int) -> None:
        """Forget the partition: from now on it may change elsewhere."""
        self._partitions.pop(partition, None)

    def apply(self, cells: Cells, event: Event, origin: Origin) -> Iterable[Event]:
        """Remember an example's latest revision; return the receipt of a correction that is learned for the first time.

        An example can be learned as soon as the shared model has guessed: a correction that came before that guess gets its
        receipt with the revision that brings it. A drawing that is older than the `KEPT` newest is not learned any more.
        """
        if isinstance(event, ExampleProbed):
            return (ReceiptProbed(probe_id=event.probe_id, player_id=event.player_id, stage="personal", at=cells.at),)
        here = self._partitions[origin.partition]
        if isinstance(event, ExamplesForgotten):
            drop(cells, event.player_id)
            here.players.pop(event.player_id, None)
            here.everybody.forget(event.player_id)
            return (StageForgot(forget_id=event.forget_id, player_id=event.player_id, stage="personal", at=cells.at),)
        if isinstance(event, MemoryReset):
            return (self._reset(cells, here, event),)
        if isinstance(event, PlayerRestricted):
            change = here.everybody.restricted(event.player_id, event.restriction != "none")
            here.everybody.keep(event.player_id, change)
            return ()
        if not isinstance(event, ExampleLabelled):
            return ()
        heard = here.everybody.heard(event)
        learned = self._learned(cells, here, event)
        here.everybody.keep(event.player_id, heard)
        if learned is None:
            return ()
        after, said = learned
        if after.means is None:
            after.means = here.everybody.means.shares
        here.players[event.player_id] = after
        return said

    def _learned(
        self, cells: Cells, here: _Partition, event: ExampleLabelled
    ) -> tuple[Player, Sequence[CorrectionReceipt]] | None:
        """Write what the player's own model remembers after an example; return it, and the receipt; None: it is as before."""
        player = here.player(event.player_id)
        before = player.memory
        row = row_of(event, _shared(event), self._base.reader)
        place = None if before.resets.forgets(row)[0] else _place(before.rows, row)
        if place is None:
            return None
        old = before.rows[place : place + 1]
        was = old if len(old) and same_drawing(old, row)[0] else NO_ROWS
        news = event.label is not None and not (len(was) and np.array_equal(was["correction"][0], row["correction"][0]))
        if len(was) and not news:
            row["correction"], row["told"] = was["correction"], was["told"]
        learns = bool(remembered(row)[0]) and not row["told"][0]
        row["told"] |= learns
        rows = putting(before.rows, place, row)
        shown = {guess.model: guess.label for guess in event.guesses if not guess.shadow}
        heard = before.said.putting(place, shown)
        belief = before.belief
        if news:
            corrections = 1 if belief is None else belief.corrections + 1
            labelled = in_order(rows, rows["label"] != NONE)
            counts = outcomes(rows["label"][labelled], heard.labels[labelled], heard.models)
            belief = Belief(corrections, *counts)
        drawn = _drawn(event, player, row) if learns else None
        after = player.learning(Memory(rows, heard, belief, before.resets), place, None if news else player.means, drawn)
        said = [] if drawn is None else [_receipt(event, player, after, drawn, cells.at)]
        write(cells, event.player_id, after.memory, place)
        return after, said

    def _reset(self, cells: Cells, here: _Partition, reset: MemoryReset) -> MemoryTold:
        """Forget what was drawn until a time; tell what is left. What all players together say of the models stays."""
        before = here.player(reset.player_id).memory
        after = before
        if reset not in before.resets:
            after = replace(before, resets=before.resets.adding(reset)).without_forgotten()
            if after.belief is not None:
                labelled = in_order(after.rows, after.rows["label"] != NONE)
                counts = outcomes(after.rows["label"][labelled], after.said.labels[labelled], after.said.models)
                after = replace(after, belief=replace(after.belief, n=counts[0], correct=counts[1]))
            write_anew(cells, reset.player_id, after, before.parts)
            here.players[reset.player_id] = Player(after, self._prior, here.players[reset.player_id].means)
        return _told(here.player(reset.player_id), reset.player_id, reset.reset_id, cells.at)

    def settle(self, cells: Cells, partition: int) -> Iterable[Event]:
        """Write what all players together say, if it has changed; there is nothing to publish."""
        self._partitions[partition].everybody.settle()
        return ()


def _told(player: Player, player_id: str, request_id: UUID, at: datetime, whole: bool = False) -> MemoryTold:
    return memory_card.told(player.memory, player.version, player_id, request_id, at, most=KEPT, whole=whole)


def _shared(example: ExampleLabelled) -> ShownGuess | None:
    """Return the shared model's guess: what is beside it is asked only if that is shown; None: it made none."""
    return min((guess for guess in example.guesses if guess.model == SHARED), key=lambda guess: guess.shadow, default=None)


def _place(rows: Rows, row: Rows) -> int | None:
    """Find where a row goes: in the place of an earlier revision, at the end, or in the oldest's place; None: nowhere."""
    [same] = np.nonzero(same_drawing(rows, row))
    if len(same):
        return int(same[0]) if row["revision"][0] > rows["revision"][same[0]] else None
    if len(rows) < KEPT:
        return len(rows)
    oldest = int(np.lexsort((rows["low"], rows["high"], rows["at"]))[0])
    return oldest if age_of(row, 0) > age_of(rows, oldest) else None


def _drawn(example: ExampleLabelled, player: Player, row: Rows) -> Compared:
    """Look at the drawing of an example, and of its row, as for an answer to it."""
    if example.features is None:
        raise AssertionError("nothing is learned without features")
    return player.compared(np.frombuffer(example.features.embedding, "<f4")[None], outlines_of_ink(row["ink"]))


def _receipt(example: ExampleLabelled, before: Player, after: Player, drawn: Compared, at: datetime) -> CorrectionReceipt:
    """Make the receipt: the player's model before and after, given the shared model's guess as it was shown."""
    shared = _shared(example)
    if example.label is None or shared is None:
        raise AssertionError("nothing is learned without a label and the shared model's guess")
    p_shared = np.array([shared.probabilities])
    return CorrectionReceipt(
        at=at,
        correction_id=example.correction_id,
        drawing_id=example.drawing_id,
        player_id=example.player_id,
        outcome=Outcome.LEARNED,
        stage="personal",
        models={
            PERSONAL_MODEL: ModelChange(
                version_before=before.version,
                version_after=after.version,
                p_before=float(before.answer_to(drawn, p_shared)[0, example.label]),
                p_after=float(after.answer_to(drawn, p_shared)[0, example.label]),
            )
        },
    )
