"""Prints the versions beside the champions, as `gamenight candidates` shows them."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Column, Table


def rows(models: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each candidate, as JSON.

    Args:
        models: As the API's library gives them.
    """
    return [
        {"model": model["model"], "champion": model["version"], **candidate}
        for model in models
        for candidate in model.get("candidates") or ()
    ]


def candidate_table(told: Sequence[dict[str, Any]], wide: bool) -> Table | str:
    """Return a table of candidates, or a sentence if there is none."""
    if not told:
        return "no version stands beside a champion: gamenight shadow MODEL VERSION tries one unseen"
    more = (
        (Column("better / worse by chance", justify="right"), Column("look", justify="right"), Column("since, UTC"))
        if wide
        else ()
    )
    table = Table(
        "model",
        "candidate",
        Column("beside", no_wrap=True),
        Column("drawings, people", justify="right"),
        Column("points", justify="right"),
        Column("at any time", justify="right", no_wrap=True),
        *more,
        Column("$ / hour", justify="right"),
        box=box.SIMPLE_HEAD,
    )
    for one in told:
        role = f"canary {one['share']:.0%}{', watched' if one['watched'] else ''}" if one["role"] == "canary" else "shadow"
        live, cost = one["on_live"], one["cost_per_hour_usd"]
        seen = live is not None and live["judged"]
        table.add_row(
            one["model"],
            f"{one['version']} ({role})",
            one["champion"] or "",
            f"{live['judged']:,}, {live['people']:,}" if seen else "none yet",
            f"{live['difference'] * 100:+.1f}" if seen else "",
            f"{live['low'] * 100:+.1f} to {live['high'] * 100:+.1f}" if seen else "",
            *((f"{live['chance']:.2g} / {live['chance_worse']:.2g}" if seen else "",) if wide else ()),
            *(
                (f"{live['tries']}, allows {live['allowed']:.2g}" if live else "", one["at"][:16].replace("T", " "))
                if wide
                else ()
            ),
            "" if cost is None else f"{cost:.3f}",
        )
    return table
