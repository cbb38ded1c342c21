"""Defines the command ``gamenight``; an error is one line that says what to do.

Nothing heavy is imported before a command needs it.
"""

import asyncio
import json
import os
import shutil
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from contracts.plain_text import without_commands
from contracts.settings import Settings
from deploy.failures import FAILED, INTERRUPTED, CommandDeclined, CommandFailed, Interrupted, answered, failure_of, outcome_of
from deploy.plain_console import PlainConsole
from gamenight.home import settings_of_this_machine

if TYPE_CHECKING:
    import httpx
    from rich.text import Text

app = typer.Typer(
    help="Run and operate Game Night. Commands print for people, and JSON for machines with --json.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys_app = typer.Typer(
    help="Manage the keys of apps for /api/predict. Without a command, list the apps.", rich_markup_mode=None
)
app.add_typer(keys_app, name="keys", invoke_without_command=True)
operators_app = typer.Typer(
    help="Manage who may command, each with a token of their own. Without a command, list them.", rich_markup_mode=None
)
app.add_typer(operators_app, name="operators", invoke_without_command=True)
rejected_app = typer.Typer(
    help="Show, repair and replay rejected messages. Without a command, list them, the newest first.", rich_markup_mode=None
)
app.add_typer(rejected_app, name="rejected", invoke_without_command=True)
dataset_app = typer.Typer(
    help="Show a dataset, or make it again to verify it. Without a command, list them.", rich_markup_mode=None
)
app.add_typer(dataset_app, name="dataset", invoke_without_command=True)
console = PlainConsole(highlight=False, markup=False)  # what is told is of others too, brackets and all
WIDE: Final = 140
"""Columns that a whole table needs; a narrower terminal shows the most important columns, and the rest on demand."""
errors = PlainConsole(stderr=True, highlight=False, markup=False)

PATIENCE_S: Final = 5.0
"""How long a command that reads the log waits for a broker that is not there, in seconds."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def main() -> None:
    """Run the command line; an error is one line, or JSON with ``--json``, and its exit status."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        status = app(prog_name="gamenight", standalone_mode=False)
        if status == INTERRUPTED:  # typer makes that of Ctrl-C
            raise Interrupted("stopped by Ctrl-C")
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        if "--json" in sys.argv[1:]:
            print(failure.to_json())
        else:
            errors.print(failure.error, style="red", soft_wrap=True)
        sys.exit(failure.status)
    sys.exit(status if isinstance(status, int) else 0)


@app.command()
def up() -> None:
    """Start everything, watch it, and stop it with Ctrl-C."""
    from deploy.local.up import up as run

    run(Settings.load(), console)
    sys.stdout.flush()
    os._exit(0)  # everything is stopped and reported: the interpreter's own clearing up would only keep people waiting


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False) -> None:
    """Delete the data of the game in its home directory: all drawings, models, secrets and the audit of this machine."""
    from deploy.local.keys import FOLDERS
    from deploy.local.run_state import AlreadyRunning, holder

    home = Settings.load().home
    there = [home / name for name in FOLDERS if (home / name).exists()]
    if not there:
        console.print(f"{home} is empty already")
        return
    if (pid := holder(home)) is not None:
        raise AlreadyRunning(home, pid)
    if not yes:
        gone = "all drawings, corrections, models, secrets and the audit"
        typer.confirm(f"Empty {home.absolute()}? This deletes {gone}", abort=True)
    for folder in there:
        shutil.rmtree(folder)
    console.print(f"{home} is empty")


@app.command()
def topics() -> None:
    """Create the missing topics on the Kafka cluster that the settings name."""
    from contracts.events import TOPICS
    from producers.topics import create_topics

    settings = Settings.load()
    create_topics(settings)
    console.print(f"Kafka at {settings.bootstrap_servers} has all {len(TOPICS)} topics", soft_wrap=True)


@app.command()
def acls(
    prefix: Annotated[str, typer.Option(help="Prefix of every Kafka user: PREFIX and the name of the process.")] = "gamenight-",
    forgetting: Annotated[
        bool,
        typer.Option("--forgetting", help="Let the trainer cut players out of all topics, until this is run without it."),
    ] = False,
) -> None:
    """Allow each process's Kafka user to write its own topics and no others; running it again changes nothing."""
    from producers import acls as rights

    settings = Settings.load()
    users = rights.give(settings, prefix, forgetting)
    but = ", and the trainer to cut players out of all of them: run it without --forgetting afterwards" if forgetting else ""
    console.print(
        f"Kafka at {settings.bootstrap_servers} allows {', '.join(users)} to write their own topics only{but}", soft_wrap=True
    )


@app.command()
def replay(
    from_snapshot: Annotated[
        bool, typer.Option("--from-snapshot", help="Go on from the states that an earlier replay has left.")
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option(help="Only this fold: joiner, learner, personal, evidence, scorer, online or drift.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fold the log anew and compare with the states at work; exit status 1 if one differs, 2 if it cannot be known.

    It changes nothing of the game, which may run meanwhile. A replay that is interrupted goes on where it was.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from deploy.replay import FOLDS, ReplayRefused
    from deploy.replay import replay as replayed
    from producers.connection import BusError

    if fold is not None and fold not in FOLDS:
        raise CommandDeclined(f"there is no fold {fold!r}: say one of {', '.join(FOLDS)}")
    rate = TextColumn("{task.fields[rate]}", style="dim")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        shown: dict[str, TaskID] = {}

        def tell(name: str, done: int, whole: int) -> None:
            if name not in shown:
                shown[name] = progress.add_task(name, total=whole, rate="")
            task = progress.tasks[progress.task_ids.index(shown[name])]
            speed = f"{task.speed:,.0f} a second" if task.speed else ""
            progress.update(shown[name], completed=done, total=whole, rate=speed)

        try:
            report = replayed(Settings.load(), [fold] if fold else FOLDS, from_snapshot, tell)
        except (ReplayRefused, BusError) as wrong:
            raise CommandDeclined(str(wrong)) from wrong
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        console.print(report.to_table())
        if report.resumed:
            console.print(f"went on from the states that were kept: {', '.join(report.resumed)}", style="dim", soft_wrap=True)
        for fault in report.faults():
            console.print(fault, style="red" if report.status == 1 else "yellow", soft_wrap=True)
    raise typer.Exit(report.status)


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="river, or a batch model such as xgboost.")],
    first: Annotated[str, typer.Argument(metavar="A", help="A version, such as mnist3+10.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another version.")],
    as_json: Json = False,
) -> None:
    """Show which lessons, or which data, made the difference of two versions: whose, with what effect on which digits."""
    from deploy.explain import TOPICS_READ, CannotExplain, Explanation
    from deploy.explain import explain as explained
    from deploy.past_tables import data_changed
    from deploy.past_tables import explained as told
    from producers.bus import open_bus
    from streams.refold.lesson_history import NoSuchVersion

    bus = open_bus(Settings.load(), TOPICS_READ, deadline_s=PATIENCE_S)
    try:
        with errors.status("reading the log"):
            found = explained(bus, model, first, second)
    except (CannotExplain, NoSuchVersion) as wrong:
        raise CommandDeclined(str(wrong)) from wrong
    finally:
        bus.close()
    if not _printed(found.model_dump(mode="json"), as_json):
        console.print(told(found) if isinstance(found, Explanation) else data_changed(found))


@app.command("as-of")
def as_of(
    time: Annotated[str, typer.Argument(help="A time as 2026-11-29T14:30; without a zone it is UTC.")],
    file: Annotated[Path | None, typer.Argument(help="A PNG, or JSON as /api/predict takes it.", show_default=False)] = None,
    drawing: Annotated[UUID | None, typer.Option(help="ID of a drawing that is on the log.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Show what the models would have answered at a time: to a drawing, or to MNIST's test images if none is given."""
    from deploy import as_of as past
    from deploy.past_tables import told_as_of
    from producers.bus import open_bus

    if file is not None and drawing is not None:
        raise CommandDeclined("give a file or a drawing, not both")
    at, now = _time(time), datetime.now(UTC)
    try:
        past.check_past(at, now)
        raster = past.drawing_in(file) if file is not None else None
        with (
            closing(open_bus(Settings.load(), past.TOPICS_READ, deadline_s=PATIENCE_S)) as bus,
            errors.status("reading the log"),
        ):
            if drawing is not None:
                raster = past.drawing_on_the_log(bus, drawing)
            found = past.as_of(bus, at, now, raster)
    except past.CannotTell as wrong:
        raise CommandDeclined(str(wrong)) from wrong
    if not _printed(found.model_dump(mode="json"), as_json):
        console.print(told_as_of(found), soft_wrap=True)


@app.command()
def export(
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File to write: .csv, .parquet or .hyper; may be repeated.", show_default=False),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this time on: 2026-11-29T14:30, or 2h ago.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.", show_default=False)] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Guesses of this model only; may be repeated.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Write labelled guesses to files: a row for each drawing and model, as docs/export.md has the columns."""
    from deploy.export import TOPICS_READ, Wanted
    from deploy.export import export as exported
    from deploy.export_files import ExportRefused, check_files
    from producers.bus import open_bus
    from streams.online_base import load_base

    if not out:
        raise CommandDeclined("say where to: --out guesses.parquet, .csv or .hyper")
    wanted = Wanted(since=since and _time(since), until=until and _time(until), models=model or [])
    if wanted.since and wanted.since > datetime.now(UTC):
        raise CommandDeclined(f"--since {since} is after now")
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise CommandDeclined(f"--since {since} is not before --until {until}")
    try:
        check_files(out)
        with (
            closing(open_bus(Settings.load(), TOPICS_READ, deadline_s=PATIENCE_S)) as bus,
            errors.status("reading the log") as status,
        ):
            done = exported(bus, load_base(), out, wanted, lambda what, n: status.update(f"{n:,} {what}"))
    except ExportRefused as wrong:
        raise CommandDeclined(str(wrong)) from wrong
    if not _printed(done.model_dump(mode="json"), as_json):
        left = [
            f"{n} drawings of {why} players left out"
            for why, n in (("banned", done.banned), ("forgotten", done.forgotten))
            if n
        ]
        told = f"{done.guesses:,} guesses on {done.drawings:,} drawings of {done.players:,} players"
        console.print("; ".join([told, *left]), soft_wrap=True)
        for file in done.files:
            console.print(f"{file.path}  {file.bytes / 1e6:.1f} MB", soft_wrap=True)


def _time(text: str) -> datetime:
    """Return the time that a command names; without a zone it is UTC."""
    from deploy.operators import time_of

    try:
        return time_of(text, datetime.now(UTC))
    except CommandDeclined:
        told = f"{text!r} is no time: write it as 2026-11-29T14:30 or 2026-11-29T14:30:05+01:00, or 2h for two hours ago"
        raise CommandDeclined(told) from None


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show what runs, since when and with what lag, and how to fix what does not; exit status 1 if anything is wrong."""
    from rich.table import Table
    from rich.text import Text

    from deploy.local.doctor import examine

    found = examine(Settings.load())
    if as_json:
        print(found.model_dump_json(indent=2))
        raise typer.Exit(0 if found.status == "ok" and not found.advice else 1)
    parts = Table("process", "state", "pid", "since", "restarts", "MB", "")
    for part in found.parts:
        color = {"ready": "green", "outside": "cyan", "down": "red"}.get(part.phase, "yellow")
        numbers = (str(part.pid or ""), _ago(part.since), str(part.restarts), str(part.memory_mb or ""))
        parts.add_row(part.name, Text(part.phase, style=color), *numbers, part.note)
    console.print(parts)
    if found.lag:
        lags = Table("consumer group", "lag by topic")
        for group, topics in found.lag.items():
            lags.add_row(group, "  ".join(f"{topic} {behind}" for topic, behind in topics.items()))
        console.print(lags)
    if found.disk_mb:
        console.print("disk use, MB: " + "  ".join(f"{name} {size:.0f}" for name, size in found.disk_mb.items()))
    if found.unconfined:
        told = f"model servers and jobs are not confined here: {found.unconfined}"
        console.print(told, style="yellow", soft_wrap=True)
    color = {"ok": "green", "degraded": "yellow", "unavailable": "red"}[found.status]
    console.print(found.status, style=color)
    for what, why in found.missing.items():
        console.print(f"- {what}: {why}", style=color, soft_wrap=True)
    for advice in found.advice:
        console.print(f"- {advice}", style="yellow", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", style="dim", soft_wrap=True)
    raise typer.Exit(0 if found.status == "ok" and not found.advice else 1)


def _ago(since: str | None) -> str:
    if since is None:
        return ""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


Named = Annotated[str | None, typer.Argument(help="Show only this one, in full, with what each version is made of.")]


@app.command()
def models(name: Named = None, as_json: Json = False) -> None:
    """List the models and their versions: which one answers, what it costs, how often players said it was right."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    listed = _asked("GET", "/api/models").json()
    if name is not None:
        model = _one(listed, name)
        return None if _printed(model, as_json) else _show_model(model)
    if _printed(listed, as_json):
        return None
    narrow = console.width < WIDE
    provenance = () if narrow else ("created", "digest", Column("ARN", overflow="fold"))
    table = Table("model", "version", "status", "right, by players", "$ / hour", *provenance, box=box.SIMPLE_HEAD)
    for model in listed:
        color = {"champion": "cyan", "challenger": "default"}.get(model["standing"], "yellow")
        named, cost = Text.assemble((model["model"], "bold"), "\n", (model["standing"], color)), _dollars(model)
        stands = model["unavailable"] or (f"rests: {model['resting']}" if model["resting"] else "")
        if model.get("frozen"):
            stands = "; ".join(filter(None, (stands, "frozen" if narrow else f"frozen {model['frozen']}")))
        if stands or not model["versions"]:
            table.add_row(named, model["version"] or "", Text(stands, style="red"), "", cost)
            named, cost = Text(), ""
        for version in model["versions"]:
            status = _status(model, version)
            counted = (_accuracy(version["live"]), version["as_shadow"]["n"] and f"as shadow {_accuracy(version['as_shadow'])}")
            provenance = () if narrow else (_minute(version["created"]), version["digest"][:12], version["arn"])
            table.add_row(named, version["version"], status, "\n".join(filter(None, counted)), cost, *provenance)
            named, cost = Text(), ""
        table.add_section()
    console.print(table)
    console.print(
        f"gamenight models NAME shows {'ARN, digest, lineage: ' if narrow else ''}what a version is made of", style="dim"
    )
    return None


NamedEndpoint = Annotated[
    str | None, typer.Argument(help="Show only this endpoint, or this model's, in full, with what its variants are made of.")
]


@app.command()
def endpoints(name: NamedEndpoint = None, as_json: Json = False) -> None:
    """List the batch models' endpoints: status, variants, cost per hour, latency, and why a model does not answer."""
    from rich import box
    from rich.table import Table

    listed = _asked("GET", "/api/endpoints").json()
    if name is not None:
        endpoint = _one(listed, name)
        return None if _printed(endpoint, as_json) else _show_endpoint(endpoint)
    if _printed(listed, as_json):
        return None
    narrow = console.width < WIDE
    more = () if narrow else ("instances", "created")
    table = Table("endpoint", "status", "variant: weight, players", "$ / hour", "p50 / p95 ms", *more, box=box.SIMPLE_HEAD)
    for one in listed:
        variants = [f"{v['variant']} ({v['role']}): {v['weight']:g}, {v['players']:.0%}" for v in one["variants"]]
        why = f"rests: {one['resting']}" if one["resting"] else one["unavailable"] or one["reason"]
        instances = "\n".join(f"{v['instances']} x {v['instance_type']}" for v in one["variants"])
        table.add_row(
            one["model"] if narrow else one["endpoint"] or one["model"],
            _health(one),
            "\n".join(filter(None, (*variants, why))),
            _dollars(one),
            _latency(one),
            *(() if narrow else (instances, _minute(one["created"]))),
        )
    console.print(table)
    console.print("gamenight endpoints NAME shows its ARN, and what its versions are made of", style="dim")
    return None


@app.command()
def card(
    model: Annotated[str, typer.Argument(help="A batch model, such as xgboost.")],
    version: Annotated[str, typer.Argument(help="One of its versions, such as 3.")],
    as_json: Json = False,
) -> None:
    """Print the model card of a version, as Markdown: data, people, slices, limits, cost, lineage, and who approved it."""
    path = f"/api/models/{_segment(model, 'models')}/{_segment(version, 'models')}/card"
    if as_json:
        _printed(_asked("GET", path).json(), True)
    else:
        print(without_commands(_asked("GET", f"{path}.md").text), end="")


@app.command()
def costs(
    guesses_per_hour: Annotated[
        float | None, typer.Option(min=0, max=1e9, help="Assume so many instead of those of the last hour.")
    ] = None,
    memory_gb: Annotated[int, typer.Option(min=1, max=6, help="Memory of a serverless endpoint, in GB.")] = 2,
    as_json: Json = False,
) -> None:
    """Show what endpoints and trainings cost on AWS, what a retrain bought, and what other ways to run them would cost."""
    from rich.text import Text

    from deploy.cost_tables import cost_tables

    rate = "" if guesses_per_hour is None else f"&guesses_per_hour={guesses_per_hour}"
    told = _asked("GET", f"/api/costs?memory_gb={memory_gb}{rate}").json()
    if not _printed(told, as_json):
        for part in cost_tables(told, console.width >= WIDE):
            console.print(part, soft_wrap=isinstance(part, Text))


def _segment(word: str, listing: str) -> str:
    """Return a name or an id as a part of an address; ``listing``: the command that lists those that there are."""
    from urllib.parse import quote

    if "/" in word or not word.strip("."):
        raise CommandDeclined(f"{word!r} is no name and no id: see gamenight {listing}")
    return quote(word, safe="")


def _one(listed: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the model, or the endpoint, that has this name."""
    for each in listed:
        if name in (each["model"], each.get("endpoint")):
            return each
    raise CommandDeclined(f"no model or endpoint is called {name!r}: there is {', '.join(each['model'] for each in listed)}")


def _show_model(model: dict[str, Any]) -> None:
    told = {
        "kind": model["kind"],
        "in the policy": model["standing"],
        "cost": _dollars(model) and f"${_dollars(model)} an hour on AWS, by list price",
        "right": _accuracy(model["live"]) + _none_yet(model),
        "rests": model["resting"],
        "unavailable": model["unavailable"],
        "frozen": model.get("frozen"),
    }
    _sheet(f"{model['title']} ({model['model']})", told)
    for version in reversed(model["versions"]):
        _sheet(f"version {version['version']}, {_status(model, version)}", _provenance(version))


def _show_endpoint(endpoint: dict[str, Any]) -> None:
    told = {
        "model": f"{endpoint['title']}, {endpoint['standing']}",
        "status": endpoint["status"],
        "ARN": endpoint["arn"],
        "created": endpoint["created"],
        "modified": endpoint["modified"],
        "cost": _dollars(endpoint) and f"${_dollars(endpoint)} an hour on AWS, by list price",
        "p50 / p95 ms": _latency(endpoint),
        "rests": endpoint["resting"],
        "why": endpoint["unavailable"] or endpoint["reason"],
    }
    _sheet(endpoint["endpoint"] or endpoint["model"], told)
    for variant in endpoint["variants"]:
        told = {
            "weight": f"{variant['weight']:g}, answers {variant['players']:.0%} of the players",
            "instances": f"{variant['instances']} x {variant['instance_type']}",
        }
        provenance = _provenance(variant["papers"]) if variant["papers"] else {}
        _sheet(f"variant {variant['variant']}: version {variant['version']}, {variant['role']}", told | provenance)


def _provenance(version: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of a version: each fact by its name."""
    from deploy.compared import compared, on_live, rolled_out

    return {
        "right": _accuracy(version["live"]),
        "as shadow": _accuracy(version["as_shadow"]),
        "created": version["created"],
        "ARN": version["arn"],
        "digest": version["digest"] and f"sha256:{version['digest']}",
        "artifact": version["artifact"],
        "failed": version["failed"],
        "gate": version["gate"],
        "compared": compared(version.get("beside")),
        "on live drawings": on_live(version.get("on_live")),
        "way to players": rolled_out(version.get("rollout") or ()),
        "metrics": "\n".join(f"{key} {value:.6g}" for key, value in version["metrics"].items()),
        "lineage": "\n".join(f"{key} {value}" for key, value in version["lineage"].items()),
    }


def _sheet(title: str, told: dict[str, Any]) -> None:
    """Print a heading, and below it each known fact on a line; unknown facts are left out."""
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column(style="dim", no_wrap=True), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for term, value in told.items():
        if value:
            table.add_row(f"  {term}", Text(str(value)))
    console.print(Text(title, style="bold"))
    console.print(table)


def _status(model: dict[str, Any], version: dict[str, Any]) -> str:
    share = model["candidate"]["share"] if version["status"] == "canary" else 0  # a model has one canary, which comes first
    return str(version["status"]) + (f" {share:.0%}" if share else "") + (", best so far" if version.get("best") else "")


def _health(endpoint: dict[str, Any]) -> "Text":
    from rich.text import Text

    status = endpoint["status"]
    color = {"InService": "green", "Unavailable": "yellow", "Unknown": "yellow", "Failed": "red"}.get(status, "cyan")
    return Text(status, style=color)


def _dollars(priced: dict[str, Any]) -> str:
    cost = priced["cost_per_hour_usd"]
    return "" if cost is None else f"{cost:.3f}"


def _latency(endpoint: dict[str, Any]) -> str:
    latency = endpoint["latency"]
    return f"{latency['p50_ms']:.1f} / {latency['p95_ms']:.1f}" if latency else ""


def _minute(created: str | None) -> str:
    return (created or "")[:16].replace("T", " ")


def _printed(listed: Any, as_json: bool) -> bool:
    """Print the list for machines, if that is asked for; return whether it was printed."""
    import orjson

    if as_json:
        print(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
    return as_json


def _accuracy(live: dict[str, Any]) -> str:
    if not live["n"]:
        return ""
    return f"{live['share']:.1%} ({live['low']:.1%} to {live['high']:.1%}) of {live['n']}"


# --- datasets ----------------------------------------------------------------------------------------------------------

DatasetDigest = Annotated[str, typer.Argument(help="The digest of a dataset, or its first letters.")]


@dataset_app.callback()
def dataset(context: typer.Context, as_json: Json = False) -> None:
    """List the datasets."""
    if context.invoked_subcommand is None:
        _list_datasets(as_json)


@app.command()
def datasets(as_json: Json = False) -> None:
    """List the datasets that batch models were trained on: drawings, people, what was left out, which versions came of it."""
    _list_datasets(as_json)


def _list_datasets(as_json: bool) -> None:
    from deploy.datasets import show_all

    listed = _asked("GET", "/api/datasets").json()
    if not _printed(listed, as_json):
        show_all(listed, console)


@dataset_app.command("show")
def show_dataset(digest: DatasetDigest, as_json: Json = False) -> None:
    """Show what a dataset was made of."""
    from deploy.datasets import show_one

    one = _asked("GET", f"/api/datasets/{_segment(digest, 'datasets')}").json()
    if not _printed(one, as_json):
        show_one(one, console)


@dataset_app.command("verify")
def verify_dataset(digest: DatasetDigest, as_json: Json = False) -> None:
    """Compare a dataset on S3 with its manifest, and make it again from the archive; exit status 1 if it differs."""
    from deploy.datasets import verified

    whole = _asked("GET", f"/api/datasets/{_segment(digest, 'datasets')}").json()["digest"]
    try:
        found = verified(settings_of_this_machine(), whole)
    except ImportError as missing:
        raise CommandFailed(f"{missing}: it takes the trainer's packages; in containers, run it in `trainer`") from missing
    if not _printed(found, as_json):
        for one in found:
            console.print("ok" if one["holds"] else "no", style="green" if one["holds"] else "red", end="  ")
            console.print(f"{one['what']}: {one['told']}", soft_wrap=True)
    raise typer.Exit(0 if all(one["holds"] for one in found) else 1)


# --- keys of apps ------------------------------------------------------------------------------------------------------

Called = Annotated[str, typer.Argument(help="Name of an app: letters, digits, _ . and -.")]


@keys_app.callback()
def keys(context: typer.Context, as_json: Json = False) -> None:
    """List the apps that have a key; the keys themselves are stored nowhere."""
    from rich.table import Table

    from api.apps.keyring import Keyring
    from api.apps.keys import named

    if context.invoked_subcommand is not None:
        return
    settings = Settings.load()
    given = {name: at.isoformat() for name, at in Keyring(settings.home).given().items()}
    listed = [{"name": name, "given": given.get(name)} for name in sorted({*named(settings.api_keys), *given})]
    if _printed(listed, as_json):
        return
    table = Table("app", "key given")
    for one in listed:
        table.add_row(one["name"], _minute(one["given"]) or "by GAMENIGHT_API_KEYS, or by the first start")
    console.print(table)


@keys_app.command()
def add(name: Called, as_json: Json = False) -> None:
    """Give an app a key, valid at once; it is shown only now."""
    from api.apps.keyring import Keyring, KeyringError
    from api.apps.keys import named

    settings = Settings.load()
    if name in named(settings.api_keys):
        raise KeyringError(f"{name} has a key already, from GAMENIGHT_API_KEYS or the first start: use another name")
    key = Keyring(settings.home).add(name)
    if not _printed({"name": name, "key": key}, as_json):
        errors.print(f"This is the key of {name}. It is shown only now and stored nowhere:", soft_wrap=True)
        print(key)


@keys_app.command()
def revoke(name: Called, as_json: Json = False) -> None:
    """Revoke an app's key: requests with it are refused from now on."""
    from api.apps.keyring import Keyring, KeyringError
    from api.apps.keys import named

    settings = Settings.load()
    if name in named(settings.api_keys):
        raise KeyringError(
            f"the key of {name} is from GAMENIGHT_API_KEYS, or from the first start in {settings.home}/secrets/api_keys:"
            " change it there and start the game again"
        )
    Keyring(settings.home).revoke(name)
    if not _printed({"name": name, "revoked": True}, as_json):
        console.print(f"{name} has no key any more")


# --- operators ---------------------------------------------------------------------------------------------------------


@operators_app.callback()
def operators(context: typer.Context, as_json: Json = False) -> None:
    """List who may command; tokens are stored nowhere."""
    if context.invoked_subcommand is None:
        _list_operators(as_json)


@operators_app.command("list")
def list_operators(as_json: Json = False) -> None:
    """List who may command; tokens are stored nowhere."""
    _list_operators(as_json)


def _list_operators(as_json: bool) -> None:
    from deploy import operators as people

    listed = people.operators(Settings.load())
    if not _printed(listed, as_json):
        console.print(people.operators_table(listed))


TokenWhy = Annotated[str, typer.Option("--why", "--reason", help="Why; kept in the audit, for good.")]
OperatorName = Annotated[str, typer.Argument(help="An operator's name: letters, digits, _ . and -.")]


@operators_app.command("add")
def add_operator(name: OperatorName, why: TokenWhy = "", as_json: Json = False) -> None:
    """Give an operator a token of their own, valid at once; it is shown only now."""
    from deploy import operators as people

    token = people.add_operator(Settings.load(), name, why)
    if not _printed({"name": name, "token": token}, as_json):
        errors.print(f"This is the token of {name}. It is shown only now; set GAMENIGHT_OPERATOR_TOKEN to it:", soft_wrap=True)
        print(token)


@operators_app.command("revoke")
def revoke_operator(name: OperatorName, why: TokenWhy = "", as_json: Json = False) -> None:
    """Revoke an operator's token: commands with it are refused from now on."""
    from deploy import operators as people

    people.revoke_operator(Settings.load(), name, why)
    if not _printed({"name": name, "revoked": True}, as_json):
        console.print(f"{name} is no operator any more")


@app.command()
def audit(
    since: Annotated[str | None, typer.Option(help="30m, 2h, 7d ago, or a time as 2026-11-29T14:30.")] = None,
    until: Annotated[str | None, typer.Option(help="Only what was given before this time; all of the log is read.")] = None,
    who: Annotated[str | None, typer.Option(help="Only what this operator wanted.")] = None,
    target: Annotated[str | None, typer.Option("--model", "--target", help="Only what concerns this model.")] = None,
    command: Annotated[str | None, typer.Option(help="Only this command, such as promote.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=20_000, help="How many to list at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List who commanded what, from where, why and with what outcome, the newest first; refused commands too."""
    from urllib.parse import urlencode

    from deploy import operators as people

    times = {
        name: None if text is None else people.time_of(text, datetime.now(UTC)).isoformat()
        for name, text in (("since", since), ("until", until))
    }
    asked = {**times, "who": who, "target": target, "command": command, "limit": limit}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    answer = _asked("GET", f"/api/ops/audit?{query}", patience_s=10 if until is None else 300)
    listed, older = answer.json(), answer.headers.get("X-Older-Until")
    if not _printed(listed, as_json):
        console.print(people.audit_table(listed) if listed else "no such command was given")
    if older:
        errors.print(f"There may be older ones: gamenight audit --until {older}", soft_wrap=True)


Batch = Annotated[str, typer.Argument(help="A batch model, such as xgboost.")]
Versioned = Annotated[str, typer.Argument(help="A batch model, such as xgboost; or river.")]
Reason = Annotated[str, typer.Option("--why", "--reason", help="Why; kept with the command, for good.")]


@app.command("retrain")
@app.command("train")
def train(
    target: Annotated[str | None, typer.Argument(help="The batch model to rebuild.", show_default=False)] = None,
    base: Annotated[bool, typer.Option("--base", help="Train on MNIST alone, without players' drawings.")] = False,
    given: Annotated[
        list[str], typer.Option("--set", help="NAME=VALUE, a hyperparameter in place of the image's own. May be repeated.")
    ] = [],  # noqa: B006
    tries: Annotated[
        list[str],
        typer.Option("--try", help="NAME=VALUE,VALUE: all are tried, and the best is kept. May be repeated: all with all."),
    ] = [],  # noqa: B006
    warm: Annotated[
        bool, typer.Option("--continue", help="Go on from the version that answers, with new labels: quick, and not for ever.")
    ] = False,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option(help="Wait for the end, and show the progress.")] = True,
    as_json: Json = False,
) -> None:
    """Rebuild a model from its base and all feedback; exit status 1 if the rebuild fails, 2 if the gate refuses the result."""
    from deploy.retraining import follow, grid, hyperparameters

    settings = Settings.load()
    if target is None:
        raise CommandDeclined(f"say which model is to be rebuilt: {', '.join(settings.roster().batch)}")
    try:
        own, tried = hyperparameters(given), grid(tries)
    except ValueError as wrong:
        raise CommandDeclined(str(wrong)) from wrong
    body = {"target": target, "base": base, "reason": reason, **({"hyperparameters": own} if own else {})}
    body |= {**({"grid": tried} if tried else {}), **({"warm": True} if warm else {})}
    if not wait:
        command_id = _ordered("retrain", body)
        print(
            f'{{"command_id": "{command_id}"}}'
            if as_json
            else f"the command is on the log: gamenight follow {command_id} shows the progress"
        )
        return
    _token(settings)
    raise typer.Exit(follow(_url(settings), lambda: _ordered("retrain", body), console, as_json, _new_job))


def _new_job(job_id: str) -> dict[str, Any]:
    """Return the state of a rebuild that was just commanded; empty if the game does not list it within two seconds."""
    import time

    for _ in range(20):
        try:
            return dict(_asked("GET", f"/api/jobs/{job_id}").json())
        except CommandDeclined:
            time.sleep(0.1)
    return {}


JobId = Annotated[str, typer.Argument(help="The id of a rebuild, or its first letters: see `gamenight jobs`.")]


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most; the newest of those that have ended.")] = 20,
    as_json: Json = False,
) -> None:
    """List the rebuilds: the queue, what is at work, and how others ended, each with what began it."""
    from deploy.jobs import show_jobs

    listed = _asked("GET", f"/api/jobs?limit={limit}").json()
    if not _printed(listed, as_json):
        show_jobs(listed, console)


@app.command("follow")
def follow_job(job_id: JobId, as_json: Json = False) -> None:
    """Show the progress of a rebuild until it ends; exit status as of `retrain`."""
    from deploy.retraining import follow

    settings = Settings.load()
    whole = _asked("GET", f"/api/jobs/{_segment(job_id, 'jobs')}").json()["id"]

    def state(one: str) -> dict[str, Any]:
        return dict(_asked("GET", f"/api/jobs/{one}").json())

    raise typer.Exit(follow(_url(settings), lambda: str(whole), console, as_json, state))


@app.command("tuning")
def tuning_of(job_id: JobId, as_json: Json = False) -> None:
    """Compare the settings that a rebuild has tried (`retrain --try`): how good, how long, at what cost, which was kept."""
    from deploy.jobs import show_tried

    job = _asked("GET", f"/api/jobs/{_segment(job_id, 'jobs')}").json()
    if not job["tried"]:
        raise CommandDeclined(
            f"the rebuild {job['id'][:8]} tries no settings: `gamenight retrain {job['model']} --try eta=0.1,0.3` does"
        )
    if not _printed({"id": job["id"], "model": job["model"], "state": job["state"], "tried": job["tried"]}, as_json):
        show_tried(job["tried"], console)


@app.command("cancel")
def cancel_job(job_id: JobId, reason: Reason = "", as_json: Json = False) -> None:
    """Cancel a rebuild that waits or is at work; exit status 2 if it has ended already, or is being promoted."""
    whole = _asked("GET", f"/api/jobs/{_segment(job_id, 'jobs')}").json()["id"]
    _carry_out("cancel", {"training_id": whole, "reason": reason}, as_json)


@app.command()
def promote(
    model: Versioned,
    version: Annotated[str, typer.Argument(help="A version that the gate has approved; or of river, an experiment.")],
    force: Annotated[bool, typer.Option("--force", help="Whatever the gate says; never one that failed to serve.")] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Promote a version, so that it answers the players; exit status 2 if the command is refused, 1 if it fails."""
    _carry_out("promote", {"target": model, "version": version, "force": force, "reason": reason}, as_json)


@app.command()
def rollback(
    model: Versioned,
    version: Annotated[str | None, typer.Argument(help="Version to return to. By default, the last good one.")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Return to an earlier version; exit status 2 if there is none, 1 if the command fails."""
    _carry_out("rollback", {"target": model, "version": version, "reason": reason}, as_json)


@app.command()
def canary(
    model: Batch,
    version: Annotated[str, typer.Argument(help="A version that the gate has approved.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the players that it answers.")] = 0.1,
    watched: Annotated[bool, typer.Option("--watched", help="Let the policy move it on from there, or back.")] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Let a version answer a share of the players, always the same ones."""
    body = {"target": model, "version": version, "role": "canary", "share": share, "reason": reason}
    _carry_out("try", body | ({"watched": True} if watched else {}), as_json)


@app.command()
def shadow(
    model: Batch,
    version: Annotated[str, typer.Argument(help="A version that exists.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Ask a version about every drawing and score its guesses on players' labels, but show them to nobody."""
    _carry_out("try", {"target": model, "version": version, "role": "shadow", "reason": reason}, as_json)


@app.command()
def untry(
    model: Batch,
    version: Annotated[str | None, typer.Argument(help="The candidate to remove. By default, all of them.")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Remove a model's canary and shadows, or one of them."""
    body = {"target": model, "role": "none", "reason": reason}
    _carry_out("try", body | ({} if version is None else {"version": version}), as_json)


@app.command()
def candidates(model: Annotated[str | None, typer.Argument(help="Only this model's.")] = None, as_json: Json = False) -> None:
    """List the versions beside the champions: canaries and shadows, how each does beside its champion, and what it costs."""
    from deploy.candidate_tables import candidate_table, rows

    listed = _asked("GET", "/api/models").json()
    told = rows(listed if model is None else [_one(listed, model)])
    if not _printed(told, as_json):
        console.print(candidate_table(told, console.width >= WIDE))


@app.command()
def lead(
    who: Annotated[
        str, typer.Argument(help="A model; or bandit, which picks for each player the model that their labels favour.")
    ],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Choose the model that players are shown first."""
    _carry_out("policy", {"lead": who, "reason": reason}, as_json)


@app.command()
def part(
    model: Annotated[str, typer.Argument(help="Any model.")],
    part: Annotated[str, typer.Argument(help="shown; shadow: asked and scored, but not shown; off: not asked.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Choose whether a model is shown, a shadow, or off."""
    _carry_out("policy", {"parts": {model: part}, "reason": reason}, as_json)


PlayerArgument = Annotated[str, typer.Argument(help="The player's id, as gamenight players shows it.")]


@app.command()
def players(as_json: Json = False) -> None:
    """List who taught lately and what became of it, those first of whom the most was set aside; and who is restricted."""
    from rich import box
    from rich.table import Column, Table

    listed = _asked("GET", "/api/ops/players").json()
    if _printed(listed, as_json):
        return
    player = Column(
        "player", no_wrap=True, overflow="fold", min_width=max((len(one["player_id"]) for one in listed), default=0)
    )
    others = ("corrections", "learned", "counted less", "set aside", "last", "restriction")
    table = Table(player, *(Column(name, overflow="fold") for name in others), box=box.SIMPLE_HEAD)
    for one in listed:
        counts = (str(one[name]) for name in ("corrections", "learned", "weighted", "set_aside"))
        table.add_row(one["player_id"], *counts, _minute(one["last"]) if one["last"] else "", one["restriction"])
    console.print(table)
    console.print("gamenight quarantine, ban or pardon ID says what is to be done", style="dim")


@app.command()
def accuracy(as_json: Json = False) -> None:
    """Show how often each model is right: as players' labels give it, and as it is by drawings that chance picked."""
    from rich import box
    from rich.table import Column, Table

    told = _asked("GET", "/api/accuracy").json()
    if _printed(told, as_json):
        return
    names = (
        "model",
        "version",
        "since",
        "labelled right",
        "of",
        "right as it is",
        "95 % at any time",
        "of",
        "picked",
        "95 % within",
    )
    table = Table(*(Column(name, overflow="fold") for name in names), box=box.SIMPLE_HEAD)
    for one in told:
        labelled, honest, within = one["labelled"], one["estimated"]["whole"], one["latency_ms"]["95"]
        known = honest["share"] is not None
        table.add_row(
            one["title"],
            one["version"] or "",
            _minute(one["since"]) if one["since"] else "",
            f"{labelled['share']:.1%}" if labelled["n"] else "",
            _labelled(one),
            f"{honest['share']:.1%}" if known else "",
            f"{honest['low']:.1%} to {honest['high']:.1%}" if known else "",
            str(honest["known"]),
            str(honest["picked"]),
            f"{within:.0f} ms" if within else "",
        )
    console.print(table)
    silent, unasked = (max((one["estimated"][name] for one in told), default=0) for name in ("silent", "unasked"))
    console.print("labels are mostly of wrong guesses; picked drawings are chosen by chance", style="dim")
    if unasked:
        console.print(f"of {unasked} that were drawn freely, players did not say of {silent} what they were", style="dim")


def _labelled(one: dict[str, Any]) -> str:
    """Return how many labelled guesses were counted, and of which versions if that which answers is none of them."""
    return f"{one['labelled']['n']}{_none_yet(one)}"


def _none_yet(one: dict[str, Any]) -> str:
    """Say of which versions the labelled guesses were if that which answers is none of them."""
    versions, version = one.get("counted", ()), (one["version"] or "").partition("+")[0]  # all of an online model's lessons
    return f", none of {version} yet: {', '.join(versions)}" if version and versions and version not in versions else ""


@app.command()
def quarantine(player: PlayerArgument, reason: Reason = "", as_json: Json = False) -> None:
    """Take what a player taught out of the online models, and let nothing of theirs count until they are pardoned."""
    _carry_out("restrict", {"player_id": player, "restriction": "quarantined", "reason": reason}, as_json)


@app.command()
def ban(player: PlayerArgument, reason: Reason = "", as_json: Json = False) -> None:
    """Take what a player taught out of the online models, and out of all datasets from now on."""
    _carry_out("restrict", {"player_id": player, "restriction": "banned", "reason": reason}, as_json)


@app.command()
def pardon(player: PlayerArgument, reason: Reason = "", as_json: Json = False) -> None:
    """Let what a player taught and teaches count again, as far as the player is trusted."""
    _carry_out("restrict", {"player_id": player, "restriction": "none", "reason": reason}, as_json)


LearningModel = Annotated[str | None, typer.Argument(help="A model that learns from each lesson; without it, the shared one.")]


@app.command()
def forget(
    player: Annotated[str | None, typer.Argument(help="The player's id, as gamenight players shows it.")] = None,
    verify: Annotated[
        str | None, typer.Option(help="A certificate, or the id of its command: check it, and prove it again on all stores.")
    ] = None,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant: nothing can be brought back.")] = False,
    as_json: Json = False,
) -> None:
    """Cut a player out of every store, for good, and write a signed certificate of it; or verify one."""
    if (player is None) == (verify is None):
        raise CommandDeclined("give a player to forget, or --verify with a certificate")
    if verify is not None:
        raise typer.Exit(_verified(verify, as_json))
    if not yes and not as_json:
        _asked("GET", "/api/ops/players")  # before anybody is asked: whether there is a game, and a token that it takes
        typer.confirm(
            f"All that is of {player} is cut out of every store, and cannot be brought back. Is that meant?", abort=True
        )
    _carry_out("forget", {"player_id": player, "reason": reason}, as_json, FORGOTTEN_S)


FORGOTTEN_S = 600.0
"""How long to wait until a player is forgotten; it goes on afterwards."""


def _verified(given: str, as_json: bool) -> int:
    """Print what a certificate says and whether it holds; return the exit status."""
    from producers import bus

    try:
        from deploy.forgotten import certificate_of, read_certificate, verify
        from producers.certificate import BadCertificate
    except ImportError as missing:
        raise CommandFailed(f"here is no {missing.name}: verify in the trainer's container, or from a checkout") from missing

    settings = settings_of_this_machine()
    try:
        certificate = read_certificate(certificate_of(settings, given))
        with closing(bus.open_bus(settings, deadline_s=PATIENCE_S)) as log, errors.status("looking through all stores"):
            proofs = list(verify(certificate, settings, log))
    except FileNotFoundError as wrong:
        raise CommandDeclined(str(wrong)) from wrong
    except BadCertificate as wrong:
        raise CommandFailed(str(wrong)) from wrong
    if not _printed([one._asdict() for one in proofs], as_json):
        for one in proofs:
            console.print("✓" if one.holds else "✗", style="green" if one.holds else "red", end=" ")
            console.print(f"{one.what}: {one.found}", soft_wrap=True)
    return 0 if all(one.holds for one in proofs) else 1


@app.command()
def freeze(model: LearningModel = None, reason: Reason = "", as_json: Json = False) -> None:
    """Let an online model answer as it does now, whatever is taught; lessons are kept, and count once it is thawed."""
    _carry_out("freeze", _learning(model, reason), as_json)


@app.command()
def thaw(model: LearningModel = None, reason: Reason = "", as_json: Json = False) -> None:
    """Let an online model learn again, at once all that was taught while it was frozen."""
    _carry_out("thaw", _learning(model, reason), as_json)


def _learning(model: str | None, reason: str) -> dict[str, str]:
    from contracts.events import ONLINE_MODELS

    return {"target": ONLINE_MODELS[0] if model is None else model, "reason": reason}


KindAction = Annotated[
    list[str],
    typer.Option("--policy", help="KIND=ACTION, the action being notify, retrain or freeze. May be repeated."),
]


@app.command()
def drift(
    policy: KindAction = [],  # noqa: B006
    cooldown: Annotated[int | None, typer.Option(min=0, help="Seconds before the same is done again.")] = None,
    hands: Annotated[int | None, typer.Option(min=1, help="Of how many players it must be to do more than notify.")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """List the drift that was detected and what was done about it; or, with options, change what is done."""
    actions = {}
    for one in policy:
        kind, equals, action = one.partition("=")
        if not equals:
            raise CommandDeclined(f"--policy {one!r}: write KIND=ACTION, as online-errors=freeze")
        actions[kind] = action
    asked = {"actions": actions or None, "cooldown_s": cooldown, "least_hands": hands}
    body = {name: value for name, value in asked.items() if value is not None}
    if reason and not body:
        raise CommandDeclined("--why says why something is changed: give --policy, --cooldown or --hands with it")
    if body:
        _carry_out("drift-policy", {**body, "reason": reason}, as_json)
    _show_drift(_asked("GET", "/api/drift").json(), as_json)


def _show_drift(state: dict[str, Any], as_json: bool) -> None:
    from rich import box
    from rich.table import Column, Table

    if _printed(state, as_json):
        return
    table = Table("at", "what", "before", "now", "drawings", Column("done", overflow="fold"), box=box.SIMPLE_HEAD)
    for one in state["detections"]:
        what, size = f"{one['subject']}: {one['what']}", f"{one['n']} of {one['hands']} players"
        deed = one["deed"]
        done = f"{deed['action']}, {deed['outcome']}: {deed['message']}" if deed else "nothing yet"
        table.add_row(_minute(one["at"]), what, f"{one['before']:.1%}", f"{one['after']:.1%}", size, done)
    if state["detections"]:
        console.print(table)
    else:
        console.print("no drift was detected in the last weeks")
    actions = ", ".join(f"{kind}: {action}" for kind, action in state["actions"].items()) or "operators are notified"
    console.print(
        f"policy: {actions}; cooldown {state['cooldown_s']} s, of {state['least_hands']} players or more", style="dim"
    )


# --- rejected messages -------------------------------------------------------------------------------------------------

Rejection = Annotated[UUID, typer.Argument(help="ID of a rejected message, as the list shows it.")]
Topic = Annotated[str | None, typer.Option(help="Show only messages of this topic.")]
Stage = Annotated[str | None, typer.Option(help="Show only messages that this stage could not handle.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many messages to list at most.")]
Last = Annotated[int, typer.Option(min=1, max=20_000, help="How many of the newest records of rejected.v1 to search.")]


@rejected_app.callback()
def rejected(
    context: typer.Context,
    topic: Topic = None,
    stage: Stage = None,
    limit: Limit = 50,
    last: Last = 1000,
    as_json: Json = False,
) -> None:
    """List the messages that nobody could handle, the newest first."""
    if context.invoked_subcommand is None:
        _list_rejected(topic, stage, limit, last, as_json)


@rejected_app.command("list")
def list_rejected(
    topic: Topic = None, stage: Stage = None, limit: Limit = 50, last: Last = 1000, as_json: Json = False
) -> None:
    """List the rejected messages, the newest first."""
    _list_rejected(topic, stage, limit, last, as_json)


def _list_rejected(topic: str | None, stage: str | None, limit: int, last: int, as_json: bool) -> None:
    from urllib.parse import urlencode

    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    from contracts.events import TOPICS

    if topic is not None and topic not in TOPICS:
        raise CommandDeclined(f"no topic {topic!r}: there is {', '.join(TOPICS)}")
    asked = {"topic": topic, "stage": stage, "limit": limit, "last": last}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    listed = _asked("GET", f"/api/ops/rejected?{query}").json()
    if _printed(listed, as_json):
        return
    if not listed:
        console.print(f"no rejected messages among the last {last} records of rejected.v1")
        return
    narrow = console.width < WIDE
    names = ("state", "why") if narrow else ("at", "from", "by", "state", "why")
    whole = Column("id", no_wrap=True, min_width=36)  # `rejected show` takes nothing less
    table = Table(whole, *(Column(name, overflow="fold") for name in names), box=box.SIMPLE_HEAD)
    for one in listed:
        where = (
            () if narrow else (_minute(one["at"]), f"{one['source']}/{one['partition']}/{one['offset']}", Text(one["stage"]))
        )
        state = one["state"] + ("" if one["whole"] else ", cut")
        table.add_row(Text(one["rejection_id"]), *where, state, Text(" ".join(one["error"].split())[:200]))
    console.print(table)
    console.print("gamenight rejected show ID shows a message in full", style="dim")


@rejected_app.command("show")
def show_rejected(rejection_id: Rejection, as_json: Json = False) -> None:
    """Show a rejected message: where it was, which stage could not handle it and why, and its content."""
    one = _asked("GET", f"/api/ops/rejected/{rejection_id}").json()
    if not _printed(one, as_json):
        _show_rejected(one)


def _show_rejected(one: dict[str, Any]) -> None:
    size = f"{one['size']} bytes" + ("" if one["whole"] else ", only the first of which are kept")
    _sheet(
        f"rejected message {one['rejection_id']}",
        {
            "state": one["state"],
            "from": f"{one['source']}, partition {one['partition']}, offset {one['offset']}, key {one['key']!r}",
            "at": one["at"],
            "by": one["stage"] + (f", {one['times']} times" if one["times"] > 1 else ""),
            "why": one["error"],
            "size": "none: the record has no value" if one["null"] else size,
            "digest": one["digest"] and f"sha256:{one['digest']}",
            "message": one["text"][:4000],
            "repaired": one["repaired"],
        },
    )


@rejected_app.command("repair")
def repair_rejected(
    rejection_id: Rejection,
    value: Annotated[Path | None, typer.Option(help="A file with the whole message as it should have been.")] = None,
    fields: Annotated[
        list[str], typer.Option("--set", help="FIELD=VALUE; the value is JSON, or else text. May be repeated.")
    ] = [],  # noqa: B006
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Repair a message; exit status 2 if the result would be no event of its topic, or if the message was not kept whole."""
    import json

    given: dict[str, Any] = {}
    for field in fields:
        name, equals, text = field.partition("=")
        if not equals:
            raise CommandDeclined(f"--set {field!r}: write FIELD=VALUE")
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    try:
        whole = None if value is None else value.read_text(encoding="utf-8")
    except (OSError, ValueError) as wrong:
        raise CommandDeclined(f"{value} cannot be read: {wrong}") from wrong
    body = {"value": whole, "fields": given, "reason": reason}
    one = _asked("POST", f"/api/ops/rejected/{rejection_id}/repair", body).json()
    if not _printed(one, as_json):
        console.print(f"repaired: gamenight rejected replay {rejection_id} puts it on {one['source']}", soft_wrap=True)


@rejected_app.command("replay")
def replay_rejected(
    rejection_ids: Annotated[list[UUID], typer.Argument(help="IDs of rejected messages.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Publish messages, repaired or not, on their topics again; exit status 2 at the first that is no event of its topic."""
    from urllib.parse import urlencode

    done, why = [], urlencode({"reason": reason})
    for rejection_id in rejection_ids:
        one = _asked("POST", f"/api/ops/rejected/{rejection_id}/replay?{why}").json()
        done.append(one)
        if not as_json:
            console.print(f"replayed: {rejection_id} is now {one['topic']}/{one['partition']}/{one['offset']}", soft_wrap=True)
    _printed(done, as_json)


SETTLED_S = 30.0
"""How long to wait for a command's outcome; it may still be carried out afterwards."""


def _carry_out(path: str, body: dict[str, Any], as_json: bool, patience_s: float = SETTLED_S) -> None:
    """Send a command, wait for its outcome, print the outcome in one line, and exit with the status that it means."""
    import time

    from deploy.retraining import ENDS

    command_id = _ordered(path, body)
    deadline, step = time.monotonic() + patience_s, None
    while (order := _asked("GET", f"/api/ops/commands/{command_id}").json())["outcome"] == "pending":
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"command {command_id} is on the log, but was not carried out within {patience_s:.0f} s: see gamenight doctor"
            )
        if order.get("step") != step and not as_json:
            step = order["step"]
            console.print(f"{order['fraction']:4.0%} {step}: {order['message']}", style="dim", soft_wrap=True)
        time.sleep(0.1)
    status = ENDS[order["outcome"]]
    if not _printed(order | ({"error": order["message"], "status": status} if status else {}), as_json):
        told = outcome_of(order["outcome"], order["message"])
        console.print(told, style="red" if status else "green", soft_wrap=True)
    raise typer.Exit(status)


ORDERED_S: Final = 60.0
"""How long to wait until a command is on the log: for a player who taught long ago, the game reads the examples first."""


def _ordered(path: str, body: dict[str, Any]) -> str:
    """Send a command; return its id once it is on the log."""
    return str(_asked("POST", f"/api/ops/{path}", body, ORDERED_S).json()["command_id"])


def _token(settings: Settings) -> str:
    if settings.operator_token is None:
        raise CommandFailed("there is no operator token yet: start the game with make play, or set GAMENIGHT_OPERATOR_TOKEN")
    if not (settings.operator_token.isascii() and settings.operator_token.isprintable()):
        raise CommandFailed("GAMENIGHT_OPERATOR_TOKEN is no token: it has characters that are not printable ASCII")
    return settings.operator_token


LATE_S: Final = 120.0
"""How much longer than a player's patience an answer or a receipt is waited for: late is not lost."""


@app.command()
def simulate(
    players: Annotated[int, typer.Option(min=1, max=1000, help="Number of players at the same time.")] = 30,
    drawings: Annotated[int, typer.Option(min=1, help="Number of drawings, of all players together.")] = 6000,
    speed: Annotated[float, typer.Option(min=0, help="1: human pace; N: N times as fast; 0: as fast as answers come.")] = 1.0,
    correct: Annotated[float, typer.Option(min=0, max=1, help="Probability that a wrong guess is corrected.")] = 0.9,
    confirm: Annotated[float, typer.Option(min=0, max=1, help="Probability that a right guess is confirmed.")] = 0.9,
    delay: Annotated[
        float, typer.Option(min=0, help="Seconds from the guesses to the player's correction, at human pace.")
    ] = 1.0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Probability that a player's label is wrong.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 20181103,
    url: Annotated[str | None, typer.Option(help="Address of the game. By default, the one of the settings.")] = None,
    audit: Annotated[bool, typer.Option(help="Afterwards, check on the log that nothing was lost or doubled.")] = True,
    as_json: Json = False,
) -> None:
    """Simulate players who draw as the writers of data/pen did; exit status 1 if anything was lost or doubled.

    After Ctrl-C no player begins another drawing; what was played is told, with exit status 130.
    """
    import uvloop

    from producers.simulation_options import SimulationOptions

    settings = Settings.load()
    if url is not None and not url.startswith(("http://", "https://")):
        raise CommandDeclined(f"--url {url!r} is no address of a game: write http://HOST:PORT")
    options = SimulationOptions(
        url=url or _url(settings),
        token=None if url else settings.operator_token,  # a game elsewhere must not get this machine's token
        players=players,
        drawings=drawings,
        speed=speed,
        correct_probability=correct,
        confirm_probability=confirm,
        delay_s=delay,
        error_rate=error_rate,
        late_s=LATE_S,
        seed=seed,
    )
    status = uvloop.run(_simulate(options, audit, as_json))
    if as_json:
        sys.exit(status)  # all is told: `main` would add a line of its own after Ctrl-C
    raise typer.Exit(status)


async def _simulate(options: Any, with_audit: bool, as_json: bool) -> int:
    import signal

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from deploy.audit import audit, committed
    from gamenight.errors import GameNightUnreachable
    from producers import bus
    from producers import simulation as players

    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, enough.set)
    columns = (TextColumn("drawings"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
            task = progress.add_task("drawings", total=options.drawings)
            report = await players.simulate(
                options, lambda done, total: progress.update(task, completed=done, total=total), enough
            )
    except GameNightUnreachable as error:
        raise CommandFailed(str(error)) from error
    finally:
        loop.remove_signal_handler(signal.SIGINT)  # another Ctrl-C ends the audit; and uvloop leaves a handler behind
    found, unaudited = None, ""
    if with_audit:
        settings = Settings.load()
        here = settings.home if settings.kafka_bootstrap_servers is None else None  # else workers may have homes elsewhere
        commits = partial(committed, settings) if here else None
        try:
            with (
                closing(await asyncio.to_thread(bus.open_bus, settings)) as log,
                errors.status("auditing: folding the whole log again"),
            ):
                found = await audit(
                    log,
                    report.saved,
                    report.receipted,
                    models=settings.roster().names,
                    home=here,
                    commits=commits,
                    log_bytes=settings.log_bytes,
                )
        except bus.BusError as absent:
            unaudited = f"not audited, since the log cannot be read: {absent}"  # what was played is told all the same
    if as_json:
        told = {**report.model_dump(mode="json"), "audit": found and found.model_dump(mode="json")}
        told |= {"interrupted": True} if enough.is_set() else {}
        print(json.dumps(told | ({"error": unaudited} if unaudited else {}), indent=2))
    else:
        console.print(report.to_table())
        if late := report.seen.get("late", 0):
            console.print(f"{late} drawings took over {options.patience_s:.0f} s: late, and not lost", style="yellow")
        if found is not None:
            console.print(found.to_table())
        if unaudited:
            raise CommandFailed(unaudited)
    if not report.whole or unaudited or (found is not None and not found.clean):
        return FAILED
    return INTERRUPTED if enough.is_set() else 0


def _url(settings: Settings) -> str:
    from deploy.local.components import game_url

    return game_url(settings)


def _asked(method: str, path: str, body: dict[str, Any] | None = None, patience_s: float = 10) -> "httpx.Response":
    """Send a request to the game and return the answer; what it says instead is raised, see `deploy.failures.answered`."""
    import httpx

    settings = Settings.load()
    headers = {"User-Agent": "gamenight"}  # so that the audit says how a command was given
    if path.startswith("/api/ops/") or settings.operator_token is not None:  # who and why is shown to operators alone
        headers["Authorization"] = f"Bearer {_token(settings)}"
    try:
        response = httpx.request(
            method, f"{_url(settings)}{path}", json=body, headers=headers, timeout=patience_s, trust_env=False
        )
    except httpx.TransportError as error:
        raise CommandFailed(f"no game answers at {_url(settings)} ({error}): start it with make play") from error
    except (httpx.InvalidURL, UnicodeError) as wrong:
        raise CommandFailed(f"{_url(settings)} is no address: see GAMENIGHT_HOST") from wrong
    return answered(response, markdown=path.endswith(".md"))


if __name__ == "__main__":
    main()
