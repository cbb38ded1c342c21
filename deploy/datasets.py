"""Prints datasets as `gamenight datasets` and `gamenight dataset` show them, and makes one again to verify it."""

from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from contracts.settings import Settings

WIDE: Final = 110
"""Columns that the whole table needs; a narrower terminal shows the most important columns, and `dataset show` the rest."""


def show_all(listed: list[dict[str, Any]], console: Console) -> None:
    """Print a table of datasets, as the API gives them."""
    wide = console.width >= WIDE
    table = Table(
        Column("dataset", no_wrap=True),
        *((Column("made, UTC", no_wrap=True),) if wide else ()),
        Column("drawings", justify="right"),
        *((Column("held back", justify="right"),) if wide else ()),
        Column("people", justify="right"),
        *((Column("new", justify="right"), Column("trust", justify="right")) if wide else ()),
        Column("left out", overflow="fold"),
        Column("versions", overflow="fold"),
        box=box.SIMPLE_HEAD,
    )
    for one in listed:
        versions = "\n".join(_version(version) for version in one["versions"]) or Text("none", style="dim")
        held, people = f"{one['held_back']:,}", f"{one['people']:,}"
        trust = "" if one["trust"] is None else f"{one['trust']:.0%}"
        gone = ("\ndata deleted", "yellow") if one["gone"] else ""
        table.add_row(
            Text.assemble(one["digest"][:12], gone),
            *((one["made"][:16].replace("T", " "),) if wide else ()),
            f"{one['trained_on'] + one['held_back']:,}",
            *((held, people, f"{one['new_people']:,}", trust) if wide else (people,)),
            "\n".join(f"{n:,} {why}" for why, n in one["excluded"].items()),
            versions,
        )
    console.print(table)
    told = "gamenight dataset show DIGEST says what one was made of; gamenight dataset verify DIGEST makes it again"
    console.print(told if listed else "no dataset yet: gamenight retrain xgboost makes one", style="dim")


def show_one(one: dict[str, Any], console: Console) -> None:
    """Print all that a manifest says, but for the players' names."""
    table = Table(Column(style="dim"), Column(overflow="fold"), box=None, show_header=False)
    counts, drawn = one["labels"], sum(one["labels"])
    mix = "  ".join(f"{digit}: {n:,} ({n / drawn:.0%})" for digit, n in enumerate(counts)) if drawn else "none"
    base = one["base_digest"]
    rows = {
        "digest": one["digest"],
        "made": f"{one['made'][:19].replace('T', ' ')} UTC, asked for by {one['by'] or 'somebody'}",
        "gone": one["gone"] and f"its data are deleted: {one['gone']}",
        "trained on": f"{one['trained_on']:,} drawings of players, each of weight {one['weight']:g} at most beside MNIST's",
        "MNIST": f"bases/{base}" if base else "a part of the dataset",
        "newcomers": one["newcomers"] and f"{one['newcomers']:,} of these, together of weight {one['newcomers_weight']:.3g}",
        "held back": f"{one['held_back']:,} drawings ({one['split'] or 'by drawing'}{_key(one)})",
        "people": f"{one['people']:,}, of whom {one['new_people']:,} are not in the dataset before",
        "digits": mix,
        "left out": ", ".join(f"{n:,} {why}" for why, n in one["excluded"].items()) or "nothing",
        "trust": "nobody is known yet" if one["trust"] is None else f"{one['trust']:.1%} of the labels of known players count",
        "read up to": ", ".join(f"examples.v1/{part}: {to}" for part, to in enumerate(one["offsets"])),
        "seed": str(one["seed"]),
        "code": one["code"],
        "images": ", ".join(f"{name} {digest}" for name, digest in one["images"].items()),
        "files": "\n".join(f"{name} sha256 {digest}" for name, digest in one["shards"].items()),
        "versions": ", ".join(map(_version, one["versions"])) or "none",
    }
    for name, told in rows.items():
        if told:
            table.add_row(name, told)
    console.print(table, soft_wrap=True)


def _key(one: dict[str, Any]) -> str:
    by = f"the home's key {one['held_back_by']}" if one["held_back_by"] else "a key that everybody knows"
    return f", chosen by {by}" if one["split"] else ""


def _version(version: dict[str, Any]) -> str:
    return f"{version['model']} {version['version']}{'' if version['approved'] else ' (refused)'}"


def verified(settings: Settings, digest: str) -> list[dict[str, Any]]:
    """Compare a dataset on S3 with its manifest, and make it again from the archive; return what was found of each part.

    Raises:
        ImportError: In a container that has no trainer.
    """
    from producers.blobs import S3Blobs
    from trainers.dataset_store import verify

    found = verify(S3Blobs(settings), digest, settings.holdout_key or "")
    return [{"what": one.what, "holds": one.holds, "told": one.told} for one in found]
