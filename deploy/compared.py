"""Says in words how a version did beside the champion, for `gamenight models NAME`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def compared(told: Mapping[str, Any] | None) -> str:
    """Return a line for each slice of a comparison; nothing if there is none.

    Args:
        told: A `contracts.events.BesideChampion`, as JSON.
    """
    if told is None:
        return ""
    tries = f", try {told['tries']}" if told["tries"] > 1 else ""
    lines = [f"with {told['champion']}{tries}"]
    if told["people"]:
        least, quarter, median, most_of, greatest = (f"{one * 100:+.1f}" for one in told["quantiles"])
        lines += [
            f"people {told['difference'] * 100:+.2f} points, {told['low'] * 100:+.2f} to {told['high'] * 100:+.2f}:"
            f" {told['people']} people, better for {told['better']}, worse for {told['worse']}",
            f"one by one from {least} to {greatest}, half of them between {quarter} and {most_of}, median {median}",
            f"digits {_slices(enumerate(told['digit_judged']), told['digit_won'], told['digit_lost'])}",
        ]
        if told.get("device_judged"):
            lines.append(f"devices {_slices(told['device_judged'].items(), told['device_won'], told['device_lost'])}")
    if told["newest_judged"]:
        lines.append(f"newest {told['newest_judged']} drawings: {told['newest_won']} won, {told['newest_lost']} lost")
    lines.append(f"MNIST {told['mnist_won']} won, {told['mnist_lost']} lost")
    if told["needs_people"]:
        lines.append(f"needs {told['needs_drawings']} more drawings, of {told['needs_people']} other people")
    return "\n".join(lines)


def on_live(told: Mapping[str, Any] | None) -> str:
    """Return what live drawings say of a version that was a shadow; nothing if it was none.

    Args:
        told: A `contracts.events.LiveBeside`, as JSON.
    """
    if told is None:
        return ""
    return (
        f"with {told['champion']}, look {told['tries']}: {told['difference'] * 100:+.2f} points, {told['low'] * 100:+.2f} to"
        f" {told['high'] * 100:+.2f} however often one looks\n{told['judged']} drawings of {told['people']} people:"
        f" {told['won']} won, {told['lost']} lost; better for {told['better']} people, worse for {told['worse']}\n"
        f"by chance alone in {told['chance']:.2g} of the cases; promoted at {told['allowed']:.2g}"
    )


def rolled_out(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each step of a version's way to the players, and back; nothing if it has none by policy.

    Args:
        steps: Each a `contracts.events.RolloutStep`, as JSON.
    """
    return "\n".join(
        f"{one['at'][:16].replace('T', ' ')} {step_of(one)}, beside {one['champion']}: {one['why']}" for one in steps
    )


def step_of(step: Mapping[str, Any]) -> str:
    """Return what a step has done, in a few words."""
    return f"{step['share']:.0%} of the players" if step["step"] == "share" else str(step["step"]).replace("-", " ")


def _slices(drawings: Iterable[tuple[Any, int]], won: Any, lost: Any) -> str:
    return ", ".join(f"{one}: {won[one] - lost[one]:+d} of {n}" for one, n in drawings if n)
