"""Names the ways in which a rebuild ends before it has a version (way 3, REBUILD)."""

from collections.abc import Sequence


class UnknownModel(ValueError):
    """The command names a model that cannot be rebuilt."""


class DatasetGone(RuntimeError):
    """The dataset of a rebuild was deleted meanwhile."""


class NothingNew(RuntimeError):
    """There is a version of all that this rebuild would be made of."""

    def __init__(self, why: str, read: Sequence[int]) -> None:
        """Keep why, and the first offset of each partition of examples.v1 that was not read."""
        super().__init__(why)
        self.read = read


class CannotContinue(RuntimeError):
    """Training cannot go on from the champion; the message says why, and what to do."""


class Cancelled(RuntimeError):
    """Somebody wants the rebuild to end."""
