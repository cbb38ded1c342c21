"""Names the folds that are made anew, by the audit and by the replay (ways 1 and 2). Pure."""

from collections.abc import Callable, Mapping
from functools import partial

from streams.drift import Drift
from streams.evidence import Evidence
from streams.fold import Fold
from streams.joiner import Joiner
from streams.learner import Learner
from streams.online_base import Base
from streams.personal_model import PersonalModels
from streams.scorer import Scorer


def fold_makers(base: Base, log_bytes: int | None) -> Mapping[str, Callable[[], Fold]]:
    """Return what builds each fold, by its name.

    Args:
        base: The base of the online model.
        log_bytes: How much the log may take, which bounds the joiner's stories; None: there is no bound.
    """
    return {
        "joiner": partial(Joiner, log_bytes),
        "scorer": Scorer,
        "learner": partial(Learner, base),
        "personal": partial(PersonalModels, base),
        "evidence": partial(Evidence, base),
        "drift": partial(Drift, Evidence(base).series),
    }
