"""Makes the tables of `gamenight costs`: what the game costs, for people (way 3, OPERATE)."""

from collections.abc import Iterator
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

WAYS: Final = {"always": "always", "to zero": "to zero", "serverless": "serverless"}


def cost_tables(told: dict[str, Any], wide: bool) -> Iterator[Table | Text]:
    """Yield the tables and sentences of a report of ``/api/costs``, in the order in which they are read.

    Args:
        told: The report; money is text.
        wide: Whether there is room for all columns.
    """
    prices = told["prices"]
    said = f"{prices['source']}, {prices['region']}, {prices['as_of']}; in dollars, without taxes and storage"
    yield Text(said, style="dim")
    if prices["stale"]:
        yield Text(prices["stale"], style="yellow")
    yield _endpoints(told, wide)
    for one in told["endpoints"]:
        if one["unpriced"]:
            yield Text(f"{one['model']}: {one['unpriced']}", style="yellow")
    at = (
        f"at {told['assumed']:g} guesses an hour"
        if told["assumed"] is not None
        else f"as in the last {told['minutes']} minutes"
    )
    month, year = _money(told["per_month"]), _money(told["per_year"])
    said = f"guesses {at}; all endpoints ${told['per_hour']} an hour, ${month} a month, ${year} a year"
    yield Text(said, style="dim")
    yield _ways(told)
    if told["trainings"]:
        yield _trainings(told)
    if told["in_vain"]:
        yield _in_vain(told)
    if told["trainings"] or told["in_vain"]:
        without = f", of which ${_money(told['trained_in_vain'])} without a version" if told["in_vain"] else ""
        yield Text(f"all trainings ${_money(told['trained'])}{without}", style="dim")
        for one in told["trainings"]:
            if one["warning"]:
                yield Text(f"{one['model']} {one['version']}: {one['warning']}", style="yellow")


def _endpoints(told: dict[str, Any], wide: bool) -> Table:
    table = Table("endpoint", *(("instances",) if wide else ()), "$ / hour", "$ / month", "$ / year", box=box.SIMPLE_HEAD)
    for name in ("guesses / hour", "$ / 1,000 guesses", "$ / right guess"):
        table.add_column(name, justify="right")
    for one in told["endpoints"]:
        rate = one["guesses_per_hour"]
        table.add_row(
            one["model"],
            *((", ".join(one["instances"]),) if wide else ()),
            one["per_hour"] or "",
            _money(one["per_month"]),
            _money(one["per_year"]),
            "" if rate is None else f"{rate:,.0f}",
            _money(one["per_thousand"]),
            _money(one["per_correct"]),
        )
    return table


def _ways(told: dict[str, Any]) -> Table:
    table = Table("$ / month", *WAYS.values(), "cheapest", "same at, an hour", box=box.SIMPLE_HEAD)
    for one in told["endpoints"]:
        by_way = {way["way"]: way["per_month"] for way in one["ways"]}
        even = "" if one["break_even"] is None else f"{one['break_even']:,}"
        table.add_row(one["model"], *(_money(by_way.get(way)) for way in WAYS), WAYS.get(one["cheapest"] or "", ""), even)
    table.caption = (
        f"serverless: {told['memory_gb']} GB; each drawing asked alone, for as long as a call takes here;"
        " with more guesses than in the last column, always there is cheaper"
    )
    table.caption_justify = "left"
    return table


def _trainings(told: dict[str, Any]) -> Table:
    table = Table("training", "when", "took", "on", "$", "points won", "points / cent", box=box.SIMPLE_HEAD)
    for one in told["trainings"]:
        table.add_row(
            f"{one['model']} {one['version']}",
            one["at"][:16].replace("T", " "),
            "" if one["seconds"] is None else f"{one['seconds']:.0f} s",
            one["instances"],
            _money(one["cost"]),
            "" if one["points"] is None else f"{float(one['points']):+.2f}",
            "" if one["points_per_cent"] is None else f"{float(one['points_per_cent']):+.2f}",
        )
    table.caption = "points: percentage points on held-back drawings, over the version that answered then"
    table.caption_justify = "left"
    return table


def _in_vain(told: dict[str, Any]) -> Table:
    table = Table("ended without a version", "when", "how", "took", "$", box=box.SIMPLE_HEAD)
    for one in told["in_vain"]:
        when = one["at"][:16].replace("T", " ")
        table.add_row(one["model"], when, one["outcome"], f"{one['seconds']:.0f} s", _money(one["cost"]))
    return table


def _money(amount: str | None) -> str:
    """Return an amount with two decimals, or with two digits that say something if it is small.

    >>> _money("83.95"), _money("0.000479167"), _money("0.10"), _money(None)
    ('83.95', '0.00048', '0.10', '')
    """
    if amount is None:
        return ""
    number = float(amount)
    if number == 0 or abs(number) >= 0.1:
        return f"{number:,.2f}"
    return f"{number:.{max(2, 1 - _exponent(number))}f}"


def _exponent(number: float) -> int:
    return int(f"{abs(number):e}".partition("e")[2])
