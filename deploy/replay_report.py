"""Says what a replay has come to: each fold and partition, with digests, offsets and rate."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from rich import box
from rich.table import Table
from rich.text import Text

_SHOWN = 10
PartResult = Literal["same", "differs", "not compared"]


class PartReplayed(BaseModel):
    """One fold and partition, made anew."""

    model_config = ConfigDict(frozen=True)

    fold: str
    partition: int | None
    """None: the online model, of all partitions."""
    verdict: PartResult
    why: str = ""
    """Why it was not compared, or cannot be the same."""
    records: int
    """How many records were folded by this run."""
    cpu_s: float
    """What that took of one core, in seconds."""
    offsets: dict[str, int]
    """The last offset of each topic, or partition of lessons.v1, at which both states are compared."""
    running: str = ""
    """The digest of the state at work; empty: there is none."""
    fresh: str
    """The digest of the state that was made anew."""
    cells: int = 0
    """How many cells were compared."""
    differing: int = 0
    what: list[str] = []
    """The first that differ, in words."""
    rejected: int = 0
    """How many of the records could not be read or folded."""
    begins: dict[str, int] = {}
    """The topics of which the oldest records are gone, and where they begin."""


class ReplayReport(BaseModel):
    """The result of a replay."""

    model_config = ConfigDict(frozen=True)

    parts: list[PartReplayed]
    resumed: list[str]
    """The folds that went on from a state that was kept: of a run that was interrupted, or because that was asked for."""
    seconds: float

    @property
    def status(self) -> int:
        """The exit status: 0, all states are the same; 1, one differs; 2, one could not be compared."""
        verdicts = {part.verdict for part in self.parts}
        return 1 if "differs" in verdicts else 2 if "not compared" in verdicts or not verdicts else 0

    def faults(self) -> list[str]:
        """Return a sentence for each difference and each state that was not compared."""
        said = []
        for part in self.parts:
            where = part.fold if part.partition is None else f"{part.fold}, partition {part.partition}"
            if part.why:
                said.append(f"{where}: {part.verdict}: {part.why}")
            elif part.verdict == "differs":
                at = ", ".join(f"{topic} {offset}" for topic, offset in part.offsets.items())
                said.append(f"{where}: {part.differing} of {part.cells} differ at {at}:")
                said += [f"  {what}" for what in part.what[:_SHOWN]]
            said += [
                f"{where}: {topic} begins at offset {first}, and what came before is gone"
                for topic, first in part.begins.items()
            ]
        return said

    def to_table(self) -> Table:
        """Show the report as a table for people."""
        told = {0: ("all states are those of the log", "green"), 1: ("a state is not that of the log", "red")}
        title = Text.assemble("replay: ", told.get(self.status, ("not all states could be compared", "yellow")))
        table = Table(
            "fold", "partition", "records", "a second of one core", "digest", "", title=title, title_justify="left",
            box=box.SIMPLE_HEAD,
        )  # fmt: skip
        for part in self.parts:
            color = {"same": "green", "differs": "red"}.get(part.verdict, "yellow")
            rate = f"{part.records / part.cpu_s:,.0f}" if part.cpu_s and part.records else ""
            number = "all" if part.partition is None else str(part.partition)
            table.add_row(part.fold, number, f"{part.records:,}", rate, part.fresh[:12], Text(part.verdict, style=color))
        return table
