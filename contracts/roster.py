"""Which models there are, and what is said of each: name, title, kind, colour, place, how it is trained. Pure.

The batch models are the images that this product was given, one folder each: what its `image.json` says is all there is to say.
The models that the router answers by itself are in `BUILT_IN`. `Settings.roster` reads the files; everybody else is handed a
`Roster`. So one more model is one more folder.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.events import BLEND, ONLINE_MODELS, PERSONAL_MODEL, ModelName

Kind = Literal["batch", "online", "personal", "blend"]
RESERVED: Final = frozenset({"bandit", "policy", "champion", "all", "contract"})
"""What stands where a model's name could, and means something else."""
_NAME: Final[TypeAdapter[str]] = TypeAdapter(ModelName)
_CIRCLE: Final = 360


class RosterError(ValueError):
    """An image that cannot be a model of the game; the message says which and what to change."""


class ImageFacts(BaseModel):
    """What `image.json` says; docs are in trainers/images/README.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(min_length=1, max_length=60)]
    about: str
    """A sentence for players."""
    hyperparameters: dict[str, int | float | str] = {}
    """The hyperparameters of a rebuild."""
    platforms: list[str] = []
    """The platforms that it runs on; none: all."""
    python: str | None = None
    """The one version that it needs; None: that of the game."""
    libraries: dict[str, str] = {}
    """The libraries of other packages that one of its own looks for by name."""
    order: Annotated[int, Field(ge=1, le=99)] = 50
    """Its place: lower ones are shown first."""
    hue: Annotated[int, Field(ge=0, lt=_CIRCLE)] | None = None
    """Its colour, in degrees on the circle of OKLCH; None: as far as can be from all others."""
    least_mnist: Annotated[float, Field(ge=0, le=1)] | None = None
    """The accuracy on MNIST below which a version of it is broken; None: as the gate has it for all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A model, and what is said of it."""

    model: ModelName
    title: str
    kind: Kind
    order: int
    hue: int | None
    """In degrees on the circle of OKLCH; None: the colour of ink."""
    about: str
    hyperparameters: Mapping[str, str]
    """The hyperparameters of a rebuild; `seed` comes from the settings."""
    least_mnist: float | None
    """The accuracy on MNIST below which a version of it is broken; None: as the gate has it for all."""


def _built_in(model: ModelName, kind: Kind, title: str, order: int, hue: int | None, about: str) -> Entry:
    return Entry(model, title, kind, order, hue, about, MappingProxyType({}), None)


BUILT_IN: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        entry.model: entry
        for entry in (
            _built_in(BLEND, "blend", "Everyone", 0, None, "What all that answered in time say together."),
            *(
                _built_in(model, "online", model.title(), 80, 205, "It learns from every correction.")
                for model in ONLINE_MODELS
            ),
            _built_in(PERSONAL_MODEL, "personal", "Yours", 90, 350, "What you have taught, over what River knows."),
        )
    }
)
"""The models that the router answers by itself."""


def is_batch(model: str) -> bool:
    """Whether a model is trained on SageMaker and answers at an endpoint of its own: all do that are not built in."""
    return model not in BUILT_IN


class Roster:
    """All models, in the order in which they are shown."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Make a roster of these entries; see `roster` for what is checked."""
        ordered = sorted(entries, key=lambda entry: (entry.order, entry.model))
        self._entries = {entry.model: entry for entry in ordered}
        self.names: tuple[ModelName, ...] = tuple(self._entries)
        """All that guess, in the order in which they are shown."""
        self.batch: tuple[ModelName, ...] = tuple(entry.model for entry in ordered if entry.kind == "batch")
        """Trained on SageMaker, each answering at an endpoint of its own; in the same order."""

    def __getitem__(self, model: str) -> Entry:
        """What is said of a model. Raises KeyError."""
        return self._entries[model]

    def __contains__(self, model: object) -> bool:
        """Whether there is such a model."""
        return model in self._entries

    def entry(self, model: str) -> Entry:
        """What is said of a model; of one that only the log knows, by its name."""
        known = self._entries.get(model)
        return known or Entry(model, model, "batch", 100, sum(model.encode()) * 47 % _CIRCLE, "", MappingProxyType({}), None)

    def ordered(self, models: Iterable[str]) -> list[str]:
        """Models in the order in which they are shown; those that only the log knows come last, by name."""
        return sorted(models, key=lambda model: (self.entry(model).order, model))


def facts(name: str, told: bytes) -> ImageFacts:
    """What an image says of itself.

    Args:
        name: Of its folder.
        told: Its `image.json`.

    Raises:
        RosterError: If it says anything else than an image can, or has a name that means something else.
    """
    if name in BUILT_IN or name in RESERVED:
        raise RosterError(f"an image cannot be called {name}, which means something else in the game: rename its folder")
    try:
        _NAME.validate_python(name)
        return ImageFacts.model_validate_json(told)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or f"the folder's name {name!r}"
        raise RosterError(f"image {name}: {where}: {first['msg']}") from wrong


def _entry(name: ModelName, image: ImageFacts) -> Entry:
    given = MappingProxyType({key: str(value) for key, value in image.hyperparameters.items()})
    return Entry(name, image.title, "batch", image.order, image.hue, image.about, given, image.least_mnist)


def roster(images: Mapping[str, bytes]) -> Roster:
    """The models of these images, and those that are built in.

    Args:
        images: By name of the folder, its `image.json`.

    Raises:
        RosterError: If one cannot be a model.
    """
    entries = sorted(
        (_entry(name, facts(name, told)) for name, told in images.items()), key=lambda entry: (entry.order, entry.model)
    )
    taken = {entry.hue for entry in (*BUILT_IN.values(), *entries) if entry.hue is not None}
    coloured = []
    for entry in entries:
        if entry.hue is None:
            entry = replace(entry, hue=_farthest(taken))
            taken.add(entry.hue or 0)
        coloured.append(entry)
    return Roster([*BUILT_IN.values(), *coloured])


def _farthest(taken: Collection[int]) -> int:
    """The hue in the middle of the widest gap between those that are taken, at least one; the first of several.

    >>> _farthest({0, 90, 180})
    270
    """
    hues = sorted(taken)
    gaps = [((after - before) % _CIRCLE or _CIRCLE, before) for before, after in zip(hues, [*hues[1:], hues[0]], strict=True)]
    width, start = max(gaps, key=lambda gap: (gap[0], -gap[1]))
    return (start + width // 2) % _CIRCLE
