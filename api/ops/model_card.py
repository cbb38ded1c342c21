"""Makes a version's model card: what it is made of, how good for whom, what it is not for, what it cost, who approved it. Pure.

It is a view of the log (way 3, OPERATE): of ModelPublished, of the dataset, of commands and promotions. What is not known
is said to be so, since a card that is silent is read as praise.

Source:
    Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from pydantic import BaseModel

from api.folds.audit_log import Audited
from api.folds.impersonal import gate_for_anybody, step_for_anybody
from api.folds.model_board import ModelBoard
from api.ops.accuracy import Accuracy
from contracts.events import DatasetMade, ModelPromoted, ModelPublished, RolloutStep

ENOUGH: Final = 30
"""Fewer drawings than this of a slice say nothing."""
INTENDED: Final = "Guesses which digit a player of Game Night has drawn: one guess among several, which the player may correct."
LIMITS: Final = (
    "Not for reading digits where an error has consequences: forms, cheques, meters, post codes.",
    "Always answers with a digit: letters, pictures and empty drawings too.",
    "Knows drawings in pen strokes, and MNIST's scans; photographs of paper were not tried.",
    "Who draws is not known, so nothing can be said of age, hand or script; who writes unlike most is guessed worse.",
    "Probabilities are the model's own, and are not promised to be calibrated.",
)


GATE: Final = "the gate"
TRAINER: Final = "the trainer"
HIDDEN: Final = "for operators: `gamenight card`, or with an operator's token"
"""Shown in place of a reason."""
_MEASURED: Final = {
    "calibration_error": "calibration error",
    "brier_score": "Brier score",
    "log_loss": "log loss",
    "answer_ms": "an answer, ms",
    "artifact_kb": "size, KB",
}


_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {letter: f"\\{letter}" for letter in "\\|[]`*"})
"""What would begin a link, a picture, HTML, code, emphasis or another cell."""


class Slice(BaseModel):
    """How good it is on a part of the drawings."""

    of: str
    n: int
    right: float | None
    """The share that was right; None: there are none, or a version of before there were slices told only the difference."""
    difference: float | None
    """How much more often than the champion of then, -1..1; None: it was not compared."""
    note: str


class Approval(BaseModel):
    """A command or a decision on the version."""

    at: datetime
    who: str
    what: str
    why: str


class ModelCard(BaseModel):
    """All there is to know of a version before it is used."""

    model: str
    version: str
    title: str
    made: datetime
    status: str
    intended: str
    data: dict[str, str]
    """What it has learned from, by name."""
    lineage: dict[str, str]
    slices: list[Slice]
    numbers: dict[str, str]
    """How calibrated, how quick and how large it is, beside the champion of then."""
    limits: list[str]
    cost: dict[str, str]
    gate: str
    rollout: list[RolloutStep]
    """Its way to the players by policy, and back, with what each step was decided by; the oldest step first."""
    approvals: list[Approval]
    """Who asked for it, and who let it answer, the oldest first."""


def model_card(board: ModelBoard, audited: list[Audited], model: str, version: str) -> ModelCard | None:
    """Return the card of a version; None: there is no such version of a batch model."""
    published = board.catalog.published.get(model, {}).get(version)
    if published is None:
        return None
    dataset = board.catalog.datasets.get(published.lineage.get("dataset_digest", ""))
    return ModelCard(
        model=model,
        version=version,
        title=published.title,
        made=published.at,
        status=_status(board, published),
        intended=INTENDED,
        data=_data(published, dataset),
        lineage={"digest": published.digest, "artifact": published.artifact, "arn": published.arn, **published.lineage},
        slices=list(_slices(board, published)),
        numbers=_numbers(published),
        limits=[*LIMITS, *_own_limits(published)],
        cost=_cost(published),
        gate=published.gate or "not said",
        rollout=published.rollout,
        approvals=list(_approvals(board, audited, published)),
    )


def card_for_anybody(card: ModelCard) -> ModelCard:
    """Return a card without operators' names and reasons, which only operators may see."""
    told = [
        one.model_copy(update={"why": gate_for_anybody(one.why)})
        if one.who == GATE
        else one.model_copy(update={"who": one.who if one.who == TRAINER else "an operator", "why": HIDDEN})
        for one in card.approvals
    ]
    rollout = [step_for_anybody(step) for step in card.rollout]
    status = card.status.partition(":")[0]
    changed = {"approvals": told, "gate": gate_for_anybody(card.gate), "status": status, "rollout": rollout}
    return card.model_copy(update=changed)


def _status(board: ModelBoard, version: ModelPublished) -> str:
    answering = board.catalog.answering(version.model)
    if answering is not None and answering.version == version.version:
        return "answers players"
    if version.failed:
        return f"withdrawn: {version.failed}"
    return "approved, does not answer" if version.approved else "not approved"


def _newcomers(dataset: DatasetMade) -> str:
    new, weight = dataset.newcomers, dataset.newcomers_weight
    return f" ({new:,} of them newcomers', together as {weight:.3g})" if new else ""


def _data(version: ModelPublished, dataset: DatasetMade | None) -> dict[str, str]:
    told = {"learned from": version.lineage.get("learned_from", "not said"), "MNIST": "60,000 training images"}
    if dataset is None:
        return told | {"dataset": version.lineage.get("dataset_digest", "not known")}
    excluded = ", ".join(f"{n} {why}" for why, n in sorted(dataset.excluded.items())) or "none"
    return told | {
        "dataset": dataset.digest,
        "drawings": (
            f"{dataset.feedback:,} trained on, each as {dataset.weight:g} of MNIST at most{_newcomers(dataset)};"
            f" {dataset.held_back:,} held back"
        ),
        "people": f"{dataset.people:,}, of whom {dataset.new_people:,} new",
        "of each digit": " ".join(f"{digit}:{n}" for digit, n in enumerate(dataset.labels)),
        "left out": excluded,
        "trust in labels": "not known" if dataset.trust is None else f"{dataset.trust:.0%}",
        "split": dataset.split or "not said",
        **({"deleted": dataset.gone} if dataset.gone else {}),
    }


def _slices(board: ModelBoard, version: ModelPublished) -> Iterator[Slice]:
    numbers, beside, slices = version.metrics, version.beside, version.slices
    for name, what in (("mnist", "MNIST's test images"), ("held_back", "held-back drawings")):
        n = int(numbers.get(f"{name}_n", 0))
        right, before = numbers.get(f"{name}_accuracy"), numbers.get(f"champion_{name}_accuracy")
        difference = None if right is None or before is None else round(right - before, 6)
        yield Slice(of=what, n=n, right=right, difference=difference, note=_note(n))
    if beside is not None:
        ends = f"{beside.low * 100:+.1f} to {beside.high * 100:+.1f} points"
        note = f"{ends}, each person weighed; better for {beside.better}, worse for {beside.worse}"
        people = f"{beside.people} people of whom nothing was trained on"
        right = _share(sum(slices.digit_right), beside.judged) if slices else None
        yield Slice(of=people, n=beside.judged, right=right, difference=beside.difference, note=note)
    if (counted := beside or slices) is not None:
        whose = "their" if beside else "held-back"
        for digit, n in enumerate(counted.digit_judged):
            right = _share(slices.digit_right[digit], n) if slices else None
            moved = _share(beside.digit_won[digit] - beside.digit_lost[digit], n) if beside else None
            yield Slice(of=f"{whose} {digit}s", n=n, right=right, difference=moved, note=_note(n))
        for device, n in counted.device_judged.items():
            right = _share(slices.device_right.get(device, 0), n) if slices else None
            moved = _share(beside.device_won.get(device, 0) - beside.device_lost.get(device, 0), n) if beside else None
            drawn = "drawn with something else, or nobody knows what" if device == "unknown" else f"drawn by {device}"
            yield Slice(of=drawn, n=n, right=right, difference=moved, note=_note(n))
    for digit, n in enumerate(slices.mnist_judged if slices else ()):
        right = _share(slices.mnist_right[digit], n) if slices else None
        yield Slice(of=f"MNIST's {digit}s", n=n, right=right, difference=None, note=_note(n))
    counts = board.score(version.model)["versions"].get(version.version, {"n": 0, "correct": 0})
    live = Accuracy.of(counts["n"], counts["correct"])
    known = live.low is not None and live.high is not None
    shown = f"{live.low:.1%} to {live.high:.1%}; players label mostly what is wrong" if known else ""
    yield Slice(of="what players were shown and labelled", n=live.n, right=live.share, difference=None, note=shown)


def _numbers(version: ModelPublished) -> dict[str, str]:
    told = {}
    for name, what in _MEASURED.items():
        if (now := version.metrics.get(name)) is not None:
            before = version.metrics.get(f"champion_{name}")
            told[what] = f"{now:g}" + ("" if before is None else f", against {before:g}")
    return told


def _share(part: int, n: int) -> float | None:
    return part / n if n else None


def _note(n: int) -> str:
    return "" if n >= ENOUGH else "too few to say"


def _own_limits(version: ModelPublished) -> Iterator[str]:
    if version.beside is None:
        yield "It was compared with no champion on people that neither had seen."
    counted = version.beside or version.slices
    few = [str(digit) for digit, n in enumerate(counted.digit_judged) if n < ENOUGH] if counted else []
    if few:
        yield f"Too few held-back drawings to say how good it is on {', '.join(few)}."
    if version.beside and version.beside.worse:
        worse, people = version.beside.worse, version.beside.people
        yield f"It is worse than the version before it for {worse} of the {people} people by whom it was judged."


def _cost(version: ModelPublished) -> dict[str, str]:
    numbers = version.metrics
    seconds, dollars = numbers.get("training_seconds"), numbers.get("training_cost_usd")
    count, kind = int(numbers.get("training_instances", 1)), version.lineage.get("instance_type", "")
    return {
        "training": "not known" if seconds is None else f"{seconds:.0f} s" + (f" on {count} x {kind}" if kind else ""),
        "on AWS": "not known" if dollars is None else f"${dollars:.4f}",
        **_tries(numbers),
    }


def _tries(numbers: Mapping[str, float]) -> dict[str, str]:
    """Return what the settings cost that were tried before it was trained with the best."""
    if "tuning_seconds" not in numbers:
        return {}
    dollars = numbers.get("tuning_cost_usd")
    priced = "" if dollars is None else f", ${dollars:.4f}"
    return {"settings tried before": f"{numbers['tuning_seconds']:.0f} s{priced}"}


def _approvals(board: ModelBoard, audited: list[Audited], version: ModelPublished) -> Iterator[Approval]:
    asked_for = version.lineage.get("command")
    found = [
        Approval(at=one.at, who=one.who, what=f"{one.command}: {one.outcome}", why=one.why or "not said")
        for one in audited
        if str(one.command_id) == asked_for
        or (one.target == version.model and f"version={version.version}" in one.what.split())
    ]
    verdict = version.verdict or ("promoted" if version.approved else "refused")
    found.append(Approval(at=version.at, who=GATE, what=verdict, why=version.gate or "not said"))
    answering = board.catalog.answering(version.model)
    if isinstance(answering, ModelPromoted) and answering.version == version.version:
        found.append(Approval(at=answering.at, who=TRAINER, what=answering.type, why=answering.note or "not said"))
    yield from sorted(found, key=lambda one: one.at)


def to_markdown(card: ModelCard) -> str:
    """Return a card as Markdown; whatever others wrote is plain text in it: no link, no HTML, no cell of its own."""
    lines = [f"# {_cell(card.title)}, version {_cell(card.version)}", ""]
    lines += [f"`{card.model}` · {card.made:%Y-%m-%d %H:%M} · {_cell(card.status)}", ""]
    lines += [
        "## What it is for",
        "",
        card.intended,
        "",
        "## What it is not for",
        "",
        *(f"- {limit}" for limit in card.limits),
        "",
    ]
    lines += ["## How good it is", "", "| on | drawings | right | beside the champion of then | |", "|---|---|---|---|---|"]
    for one in card.slices:
        right = "" if one.right is None else f"{one.right:.2%}"
        moved = "" if one.difference is None else f"{one.difference * 100:+.2f} points"
        lines.append(f"| {one.of} | {one.n:,} | {right} | {moved} | {_cell(one.note)} |")
    for title, told in (
        ("Other numbers", card.numbers),
        ("What it learned from", card.data),
        ("What it cost", card.cost),
        ("Lineage", card.lineage),
    ):
        if any(told.values()):
            lines += ["", f"## {title}", "", *(f"- {_cell(name)}: {_cell(value)}" for name, value in told.items() if value)]
    if card.rollout:
        lines += ["", "## Its way to the players", "", "| when | step | beside | drawings, people | difference | why |"]
        lines += ["|---|---|---|---|---|---|", *map(_step, card.rollout)]
    lines += ["", "## Who approved it", "", f"Gate: {_cell(card.gate)}", ""]
    lines += ["| when | who | what | why |", "|---|---|---|---|"]
    lines += [
        f"| {one.at:%Y-%m-%d %H:%M} | {_cell(one.who)} | {_cell(one.what)} | {_cell(one.why)} |" for one in card.approvals
    ]
    return "\n".join(lines) + "\n"


def _step(one: RolloutStep) -> str:
    """Return the row of a step."""
    step = f"{one.share:.0%} of the players" if one.step == "share" else one.step.replace("-", " ")
    seen, moved = "", ""
    if one.live is not None and one.live.judged:
        seen, ends = f"{one.live.judged:,}, {one.live.people:,}", (one.live.difference, one.live.low, one.live.high)
        moved = "{:+.1f} points, {:+.1f} to {:+.1f}".format(*(end * 100 for end in ends))
    return f"| {one.at:%Y-%m-%d %H:%M} | {step} | {_cell(one.champion)} | {seen} | {moved} | {_cell(one.why)} |"


def _cell(text: str) -> str:
    """Return a text that stays in its cell and is nothing but text, whatever an operator's reason holds.

    Source:
        GitHub Flavored Markdown, "Backslash escapes" and "Tables".
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.translate(_ESCAPED).split())
