"""Shows for people what `gamenight explain` and `gamenight as-of` have found."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from deploy.as_of import AsOf
from deploy.explain import DRAWN, MNIST, DataChange, Explanation

_PLAYERS = 10


def explained(found: Explanation) -> RenderableType:
    """Show the difference of two versions of an online model."""
    said = [
        f"{found.came} lessons are in force in {found.second} and not in {found.first}, {found.went} the other way round;"
        f" {found.relabelled} drawings have another label, {found.reweighed} count more or less"
    ]
    said += [
        f"{version} is known but for {n} lessons that were written within a second of it: models.v1 has its snapshot no more"
        for version, n in found.doubtful.items()
    ]
    said += [
        f"{version} is told without {n} lessons of players who were forgotten since: they are not on the log any more"
        for version, n in found.forgotten.items()
    ]
    digits = Table("digit", "came", "went", f"right of {MNIST}, %", f"right of {DRAWN}, %", box=box.SIMPLE_HEAD)
    for one in found.digits:
        right = (f"{before:.2f} > {after:.2f}" for before, after in (one.right[MNIST], one.right[DRAWN]))
        digits.add_row(str(one.digit), str(one.came or ""), str(one.went or ""), *right)
    longest = max((len(player.player_id) for player in found.players[:_PLAYERS]), default=0)
    whole = Column("player", no_wrap=True, overflow="fold", min_width=longest)
    players = Table(whole, "came", "went", f"does to {MNIST}", "does to others' drawings", box=box.SIMPLE_HEAD)
    for player in found.players[:_PLAYERS]:
        does = (_effect(player.points[name], player.hits[name]) for name in (MNIST, DRAWN))
        players.add_row(player.player_id, _digits(player.came), _digits(player.went), *does)
    rest = max(0, len(found.players) - _PLAYERS) + found.others
    more = [Text(f"and {rest} players more: --json has those whose effect was computed", style="dim")] if rest else []
    note = "does: points of the right digit's mean probability, and right answers, with these lessons and without them"
    return Group(*map(Text, said), digits, players, *more, Text(note, style="dim"))


def _digits(counts: Sequence[int]) -> str:
    return ", ".join(f"{n} x {digit}" for digit, n in enumerate(counts) if n)


def _effect(points: Sequence[float], hits: int) -> str:
    """The largest effects on digits, in words."""
    largest = sorted(range(len(points)), key=lambda digit: -abs(points[digit]))[:3]
    told = ", ".join(f"{digit}: {points[digit]:+.2f}" for digit in largest if abs(points[digit]) >= 0.005)
    return f"{told or 'nothing'} ({hits:+d} right)"


def data_changed(found: DataChange) -> RenderableType:
    """Show what came between two versions of a batch model."""
    read = " and ".join(
        f"{version} has read {f'examples.v1 up to {offsets}' if offsets else 'nothing of examples.v1'}"
        for version, offsets in _read(found)
    )
    table = Table("digit", "drawings labelled in between", box=box.SIMPLE_HEAD)
    for digit, n in enumerate(found.labelled):
        table.add_row(str(digit), str(n))
    lines = [f"{found.examples} records in between, {found.withdrawn} of their drawings without a label in the end"]
    if found.players:
        first = list(found.players.items())[:_PLAYERS]
        lines.append(f"of {len(found.players)} players: " + ", ".join(f"{player} {n}" for player, n in first))
    lines += [f"{key}: {before or 'none'} > {after or 'none'}" for key, (before, after) in found.lineage.items()]
    lines += [f"{key}: {_number(before)} > {_number(after)}" for key, (before, after) in found.metrics.items()]
    return Group(Text(read), table, *map(Text, lines))


def _read(found: DataChange) -> Iterator[tuple[str, str]]:
    return zip((found.first, found.second), found.offsets, strict=True)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def told_as_of(found: AsOf) -> RenderableType:
    """Show what was answered at a time."""
    lines = [f"{found.model} was {found.version}, with {found.lessons} lessons in force, digest {found.digest[:12]}"]
    lines += [why for why in (found.learning, found.promoted) if why]
    if found.other_series:
        lines.append(f"{found.other_series} lessons of then were made by other rules, and are not in it")
    if found.forgotten:
        lines.append(f"{found.forgotten} lessons of then are of players who were forgotten since, and are not in it")
    if found.label is not None:
        order = sorted(range(len(found.probabilities)), key=lambda digit: -found.probabilities[digit])[:3]
        lines.append("it would have answered " + ", ".join(f"{digit}: {found.probabilities[digit]:.1%}" for digit in order))
    else:
        share = "".join(f"  {digit}: {right:.2f}" for digit, right in enumerate(found.right))
        lines.append(f"of MNIST's test images it had {found.accuracy or 0:.2%} right; by digit, in %:{share}")
    lines += [f"{one.model}: {one.version or '?'} ({one.how})" for one in found.batch]
    return Group(*map(Text, lines))
