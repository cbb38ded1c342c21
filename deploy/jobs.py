"""Prints rebuilds as `gamenight jobs` shows them."""

from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from contracts.hyperparameters import words

SHOWN = 120
"""How much of a message is shown, in characters; --json has all of it."""
COLOURS = {"done": "green", "refused": "yellow", "failed": "red", "cancelled": "yellow", "running": "cyan", "queued": "default"}


def show_jobs(listed: list[dict[str, Any]], console: Console) -> None:
    """Print a table of rebuilds, as the API gives them."""
    if not listed:
        console.print("no rebuilds yet: gamenight retrain xgboost begins one", style="dim")
        return
    table = Table("id", "model", "state", "trigger", "by", "took", Column("message", overflow="fold"), box=box.SIMPLE_HEAD)
    for one in listed:
        state = Text(one["state"], style=COLOURS.get(one["state"], "default"))
        if one["position"]:
            state.append(f", number {one['position']}", style="default")
        if one["state"] == "running":
            state.append(f" {one['fraction']:.0%} ({one['step']})", style="default")
        if one["cancelling"]:
            state.append(", to be cancelled", style="default")
        model = one["model"] + (f" {one['version']}" if one["version"] else "")
        told = one["message"] or one["reason"]
        if one.get("tried"):
            told = f"{len(one['tried'])} settings (gamenight tuning {one['id'][:8]}): {told}"
        told = told if len(told) <= SHOWN else f"{told[: SHOWN - 1]}…"
        table.add_row(one["id"][:8], model, state, one["trigger"], one["by"], took(one), told)
    console.print(table)
    console.print("gamenight follow ID shows one at work; gamenight cancel ID ends it", style="dim")


def show_tried(tried: list[dict[str, Any]], console: Console) -> None:
    """Print a table of the settings that a rebuild has tried, as the API gives them."""
    table = Table("settings", "state", Column("right", justify="right"), Column("s", justify="right"), box=box.SIMPLE_HEAD)
    table.add_column("on AWS", justify="right")
    table.add_column("")
    for one in tried:
        right = "" if one["accuracy"] is None else f"{one['accuracy']:.2%}"
        cost = "" if one["cost"] is None else f"${one['cost']:.4f}"
        state = Text(one["status"], style=COLOURS.get(one["status"], "default"))
        seconds = f"{one['seconds']:.0f}" if one["seconds"] else ""
        table.add_row(words(one["hyperparameters"]), state, right, seconds, cost, "kept" if one["kept"] else "")
    console.print(table)
    console.print("right: on drawings kept aside to compare settings; the gate has others: docs/rebuilds.md", style="dim")


def took(one: dict[str, Any]) -> str:
    """Return how long a rebuild took, or takes by now."""
    if not one["began"]:
        return ""
    until = datetime.fromisoformat(one["ended"]) if one["ended"] else datetime.now(UTC)
    seconds = max(0, round((until - datetime.fromisoformat(one["began"])).total_seconds()))
    return f"{seconds // 60}:{seconds % 60:02}"
