"""Keeps the labels that each model was shown to give some drawings (way 2, LEARN). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = -1
"""The label of a drawing that has none."""


@dataclass(frozen=True, slots=True)
class ShownLabels:
    """The labels that each model was shown to give some drawings; never changed in place."""

    models: tuple[str, ...]
    """The columns, by name and in the order of the alphabet."""
    labels: NDArray[np.int8]
    """Shape (drawings, models); -1: nothing."""

    @classmethod
    def nothing(cls, drawings: int) -> "ShownLabels":
        """Return the table of so many drawings without any labels."""
        return cls((), np.empty((drawings, 0), np.int8))

    @classmethod
    def together(cls, parts: Sequence["ShownLabels"]) -> "ShownLabels":
        """Put the parts' drawings into one table, in this order."""
        models = tuple(sorted({model for part in parts for model in part.models}))
        return cls(models, np.concatenate([part._over(models) for part in parts]) if parts else np.empty((0, 0), np.int8))

    def of(self, place: int) -> dict[str, int]:
        """Return the labels that a drawing was given, by model."""
        return {model: label for model, label in zip(self.models, self.labels[place].tolist(), strict=True) if label != NONE}

    def by(self, model: str) -> NDArray[np.int8]:
        """Return the labels that a model was shown to give, shape (drawings,); -1: none."""
        here = self.models.index(model) if model in self.models else None
        return np.full(len(self.labels), NONE, np.int8) if here is None else self.labels[:, here]

    def putting(self, place: int, shown: Mapping[str, int]) -> "ShownLabels":
        """Return the table with the labels of the drawing at a place, or of one more behind the last."""
        models = tuple(sorted({*self.models, *shown}))
        labels = np.full((max(len(self.labels), place + 1), len(models)), NONE, np.int8)
        labels[: len(self.labels)] = self._over(models)
        labels[place] = [shown.get(model, NONE) for model in models]
        return ShownLabels(models, labels)

    def part(self, places: slice | NDArray[np.intp]) -> "ShownLabels":
        """Return the table of some of the drawings."""
        labels = self.labels[places]
        said = np.logical_or.reduce(labels != NONE, axis=0)
        if np.logical_and.reduce(said):
            return ShownLabels(self.models, labels)
        return ShownLabels(tuple(model for model, one in zip(self.models, said, strict=True) if one), labels[:, said])

    def _over(self, models: tuple[str, ...]) -> NDArray[np.int8]:
        """Return the labels with a column for each of ``models``, which are these and more."""
        if models == self.models:
            return self.labels
        labels = np.full((len(self.labels), len(models)), NONE, np.int8)
        labels[:, [models.index(model) for model in self.models]] = self.labels
        return labels
