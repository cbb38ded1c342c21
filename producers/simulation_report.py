"""Reports a simulation: accuracy, latencies and counts, for people and for programs (ways 1 and 2)."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from producers.simulated_player import FIRST
from producers.simulation_options import SimulationOptions
from producers.tally import Spread, Tally

_QUANTILES = (0.5, 0.95, 0.99)


class Share(BaseModel):
    """How many of the guesses named the digit drawn."""

    model_config = ConfigDict(frozen=True)

    correct: int
    n: int

    @property
    def text(self) -> str:
        """Show it to people."""
        return f"{100 * self.correct / self.n:.1f} % of {self.n}" if self.n else "none"


class Latency(BaseModel):
    """A distribution in milliseconds, accurate to 1 %."""

    model_config = ConfigDict(frozen=True)

    n: int
    p50: float
    p95: float
    p99: float
    most: float


class SimulationReport(BaseModel):
    """The report of the simulated players, from their side of the socket."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    players: int
    drawings: int
    speed: float
    seed: int
    started: datetime
    seconds: float
    drawings_per_second: float
    seen: dict[str, int]
    """Plain counts: drawn, saved, answered by every model, corrected, confirmed, unfinished, sent again, reconnects, ..."""
    first_tenth: dict[str, Share]
    """How many guesses named the digit drawn, whatever the player's correction: by model, and for the one shown first."""
    last_tenth: dict[str, Share]
    latency_ms: dict[str, Latency]
    """Since the frame was sent: saved, first guess, all guesses (of a finished drawing); receipt, receipt of yours (of a
    correction)."""
    hops_ms: dict[str, dict[str, float]]
    """The median of each hop in the guess frames, by model."""
    receipts: dict[str, int]
    """The number of receipts by outcome, without those of `yours`."""
    missed: dict[str, int] = {}
    """How many finished drawings each model did not answer, since it rested or was too slow."""
    errors: dict[str, int]
    """The number of error frames by code, and of lost sockets."""
    saved: frozenset[UUID] = Field(frozenset(), exclude=True, repr=False)
    """The finished drawings that the game acknowledged."""
    receipted: dict[UUID, UUID] = Field({}, exclude=True, repr=False)
    """The drawing of each correction that the game acknowledged."""
    spreads: dict[str, Spread] = Field({}, exclude=True, repr=False)
    """The whole distributions of `latency_ms`, so that several runs can be merged."""

    @property
    def whole(self) -> bool:
        """Say whether the players saw every drawing saved, answered or missed by every model, and receipted."""
        return self.seen.get("unfinished", 0) == 0 and self.seen.get("saved", 0) == self.drawings

    def to_json(self) -> str:
        """Return the report as JSON."""
        return self.model_dump_json(indent=2)

    def to_table(self) -> RenderableType:
        """Show it to people."""
        head = (
            f"{self.drawings} drawings by {self.players} players in {self.seconds:.1f} s"
            f" ({self.drawings_per_second:.1f} a second, speed {self.speed:g}, seed {self.seed})"
        )
        models = Table(
            "model", "first tenth right", "last tenth right", "median of each hop, ms", title=head, title_justify="left"
        )
        for model in self.last_tenth:
            hops = "  ".join(f"{hop} {ms:.1f}" for hop, ms in self.hops_ms.get(model, {}).items())
            models.add_row(model, self.first_tenth[model].text, self.last_tenth[model].text, hops)
        times = Table("ms from sending to", "n", "p50", "p95", "p99", "most")
        for what, spread in self.latency_ms.items():
            times.add_row(what, str(spread.n), *(f"{ms:.1f}" for ms in (spread.p50, spread.p95, spread.p99, spread.most)))
        counts = Table("what the players saw", "n")
        for what, n in self.seen.items():
            counts.add_row(what, str(n))
        for what, n in self.missed.items():
            counts.add_row(f"missed by {what}", str(n))
        for what, n in self.receipts.items():
            counts.add_row(f"receipts: {what}", str(n))
        for what, n in self.errors.items():
            counts.add_row(Text(f"errors: {what}", style="red"), str(n))
        parts: list[RenderableType] = [models, times, counts]
        return Group(*parts)


def report(options: SimulationOptions, tally: Tally, started: datetime, seconds: float) -> SimulationReport:
    blocks = 1 + max((block for _, block in tally.guessed), default=0)
    tenth = max(1, blocks // 10)

    def accuracy(first: int, end: int) -> dict[str, Share]:
        shares: dict[str, Share] = {}
        guessed = {model for model, _ in tally.guessed}
        for model in sorted(guessed, key=lambda one: (one != FIRST, tally.models.get(one, len(tally.models)), one)):
            n, right = (sum(counts[model, block] for block in range(first, end)) for counts in (tally.guessed, tally.right))
            shares[model] = Share(correct=right, n=n)
        return shares

    hops: dict[str, dict[str, float]] = {}
    for (model, hop), spread in tally.hops.items():
        hops.setdefault(model, {})[hop] = round(spread.quantile(0.5), 2)
    return SimulationReport(
        players=options.players,
        drawings=tally.seen["drawn"],
        speed=options.speed,
        seed=options.seed,
        started=started,
        seconds=round(seconds, 2),
        drawings_per_second=round(tally.seen["drawn"] / seconds, 2),
        seen={what: n for what, n in tally.seen.items() if n},
        first_tenth=accuracy(0, tenth),
        last_tenth=accuracy(blocks - tenth, blocks),
        latency_ms={
            what: Latency(
                n=spread.n,
                **{f"p{round(100 * q)}": round(spread.quantile(q), 2) for q in _QUANTILES},
                most=round(spread.quantile(1), 2),
            )
            for what, spread in tally.latency.items()
        },
        hops_ms=hops,
        receipts=dict(tally.outcomes),
        missed=dict(tally.missed),
        errors=dict(tally.errors),
        saved=frozenset(tally.saved),
        receipted=tally.receipted,
        spreads=tally.latency,
    )
