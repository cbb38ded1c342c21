"""Decides which version of an online model answers: its own sums, or one of its experiments (way 3, OPERATE).

There is no endpoint to change: what answers is a snapshot on models.v1 already. A version is named by its generation.
"""

from collections.abc import Sequence

from contracts.events import (
    ONLINE_MODELS,
    ModelPromoted,
    ModelRolledBack,
    PromoteModel,
    RollBackModel,
    TryVersion,
    generation,
)
from contracts.roster import BUILT_IN
from trainers.model_log import ModelLog


def versions(model_log: ModelLog, model: str) -> Sequence[str]:
    """Return the versions that could answer: the model's own sums first, if there is a snapshot of them."""
    own = model_log.snapshot(model)
    return [*([generation(own.version)] if own else []), *sorted(model_log.experiments(model))]


def answering(model_log: ModelLog, model: str) -> str | None:
    """Return the version that is to answer; None: nothing has named one."""
    champion, own = model_log.champion(model), model_log.snapshot(model)
    if champion is not None and champion.variant:
        return champion.version
    return None if own is None else generation(own.version)


def refusal(model_log: ModelLog, command: PromoteModel | RollBackModel | TryVersion) -> str | None:
    """Return why a command on an online model is refused; None: nothing forbids it."""
    model = command.target
    there = ", ".join(versions(model_log, model)) or "none yet"
    if isinstance(command, TryVersion):
        return f"every version of {model} but the one that answers is a shadow already: there is {there}"
    if command.version is not None and generation(command.version) not in versions(model_log, model):
        return (
            f"{model} has no version {command.version} that has learned anything: there is {there}. An experiment is there some"
            " seconds after the learning process has started with it"
        )
    if isinstance(command, RollBackModel) and command.version is None and _earlier(model_log, model) is None:
        return f"{model} has no earlier version: {answering(model_log, model) or 'its base'} stays"
    return None


def promotion(model_log: ModelLog, command: PromoteModel | RollBackModel, note: str) -> ModelPromoted | None:
    """Return the event that lets the version of a command answer, which is not refused; None: it answers already."""
    model, before = command.target, answering(model_log, command.target)
    version = generation(command.version) if command.version is not None else _earlier(model_log, model)
    if version is None or version == before:
        return None
    back = isinstance(command, RollBackModel)
    own = version not in model_log.experiments(model)
    sums = model_log.snapshot(model)
    previous = generation(sums.version) if back and sums is not None else before
    return (ModelRolledBack if back else ModelPromoted)(
        model=model,
        version=version,
        title=BUILT_IN[model].title,
        endpoint="",
        variant="" if own else version,
        previous=None if (own and back) or previous == version else previous,
        note=note,
    )


def holding(model_log: ModelLog) -> str:
    """Return what is told of the experiments when a player's lessons count no more: none can unlearn."""
    names = [
        f"{name} (which answers)" if name == answering(model_log, model) else name
        for model in ONLINE_MODELS
        for name, one in sorted(model_log.experiments(model).items())
        if one.taught and not one.ended
    ]
    told = "; experiments that have learned from the player hold it until they have begun anew and caught up:"
    return f"{told} {', '.join(names)}" if names else ""


def _earlier(model_log: ModelLog, model: str) -> str | None:
    """Return the version to which a rollback returns: the one before, or if that is gone the model's own sums; None: none."""
    champion, there = model_log.champion(model), versions(model_log, model)
    if champion is None or champion.previous is None:
        return None
    found = champion.previous if champion.previous in there else next(iter(there), None)
    return None if found == answering(model_log, model) else found
