"""Lists the models that exist, with name, title, kind, colour, place and training of each. Pure.

Each batch model is an image, a folder whose `image.json` describes it completely. The models that answer in the router's
process are in `BUILT_IN`. `Settings.roster` reads the files; everybody else gets a `Roster`. So a new model is a new folder.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.events import BLEND, ONLINE_MODELS, PERSONAL_MODEL, ModelName

Kind = Literal["batch", "online", "personal", "blend"]
RESERVED: Final = frozenset({"bandit", "policy", "champion", "all", "contract"})
"""Names that mean something else where a model's name could be."""
_NAME: Final[TypeAdapter[str]] = TypeAdapter(ModelName)
_CIRCLE: Final = 360
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class RosterError(ValueError):
    """An image cannot be a model of the game; the message names the image and what to change."""


class ImageFacts(BaseModel):
    """The content of `image.json`; trainers/images/README.md documents it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(min_length=1, max_length=60)]
    about: str
    """A sentence for players."""
    hyperparameters: dict[str, int | float | str] = {}
    """The hyperparameters of a rebuild."""
    continues: dict[str, int | float | str] = {}
    """The hyperparameters, beside those of the version before, with which training goes on from it; empty: it cannot."""
    takes: list[str] | dict[str, tuple[int, int] | tuple[float, float]] = []
    """The hyperparameters that can be set for one rebuild, with least and greatest value, or without; empty: any."""
    platforms: list[str] = []
    """The platforms that it runs on; empty: all."""
    python: str | None = None
    """The one version of Python that it needs; None: that of the game."""
    libraries: dict[str, str] = {}
    """The shared libraries that its packages look for by name, and the files of other packages that are linked there."""
    order: Annotated[int, Field(ge=1, le=99)] = 50
    """Its place: lower ones are shown first."""
    hue: Annotated[int, Field(ge=0, lt=_CIRCLE)] | None = None
    """Its colour, in degrees on the circle of OKLCH; None: as far as possible from all others."""
    least_mnist: Annotated[float, Field(ge=0, le=1)] | None = None
    """The accuracy on MNIST below which a version of it is broken; None: as the gate has it for all."""
    instances: Annotated[int, Field(ge=1, le=20)] = 1
    """On how many instances together one training job of it can run."""


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A model, with its description."""

    model: ModelName
    title: str
    kind: Kind
    order: int
    hue: int | None
    """Its colour, in degrees on the circle of OKLCH; None: the colour of ink."""
    about: str
    hyperparameters: Mapping[str, str]
    """The hyperparameters of a rebuild; `seed` comes from the settings."""
    continues: Mapping[str, str]
    """Hyperparameters with which training goes on from a version, beside those it was trained with; empty: it cannot."""
    takes: tuple[str, ...]
    """The hyperparameters that can be set for one rebuild; empty: it does not say."""
    ranges: Mapping[str, tuple[float, float]]
    """The least and the greatest value of some; both are whole where the values are."""
    least_mnist: float | None
    """The accuracy on MNIST below which a version of it is broken; None: as the gate has it for all."""
    instances: int = 1
    """On how many instances together one training job of it can run."""


def _built_in(model: ModelName, kind: Kind, title: str, order: int, hue: int | None, about: str) -> RosterEntry:
    return RosterEntry(model, title, kind, order, hue, about, _NOTHING, _NOTHING, (), {}, None)


BUILT_IN: Final[Mapping[str, RosterEntry]] = MappingProxyType(
    {
        entry.model: entry
        for entry in (
            _built_in(BLEND, "blend", "Everyone", 0, None, "The combined guess of all models that answered in time."),
            *(
                _built_in(model, "online", model.title(), 80, 205, "It learns from every correction.")
                for model in ONLINE_MODELS
            ),
            _built_in(PERSONAL_MODEL, "personal", "Yours", 90, 350, "What you have taught it, on top of what River knows."),
        )
    }
)
"""The models that answer in the router's process."""


def is_batch(model: str) -> bool:
    """Return whether a model is trained on SageMaker and answers at its own endpoint: all do that are not built in."""
    return model not in BUILT_IN


class Roster:
    """All models, in the order in which they are shown."""

    def __init__(self, entries: Iterable[RosterEntry]) -> None:
        """Make a roster of these entries; see `roster` for what is checked."""
        ordered = sorted(entries, key=lambda entry: (entry.order, entry.model))
        self._entries = {entry.model: entry for entry in ordered}
        self.names: tuple[ModelName, ...] = tuple(self._entries)
        """All models that guess, in the order in which they are shown."""
        self.batch: tuple[ModelName, ...] = tuple(entry.model for entry in ordered if entry.kind == "batch")
        """The models that are trained on SageMaker and answer at an endpoint each, in the same order."""

    def __getitem__(self, model: str) -> RosterEntry:
        """Return the entry of a model. Raises KeyError."""
        return self._entries[model]

    def __contains__(self, model: object) -> bool:
        """Say whether there is such a model."""
        return model in self._entries

    def entry(self, model: str) -> RosterEntry:
        """Return the entry of a model; for one that only the log knows, an entry made from its name."""
        known = self._entries.get(model)
        hue = sum(model.encode()) * 47 % _CIRCLE
        return known or RosterEntry(model, model, "batch", 100, hue, "", _NOTHING, _NOTHING, (), {}, None)

    def ordered(self, models: Iterable[str]) -> list[str]:
        """Sort models in the order in which they are shown; those that only the log knows come last, by name."""
        return sorted(models, key=lambda model: (self.entry(model).order, model))


def facts(name: str, told: bytes) -> ImageFacts:
    """Read the `image.json` of an image.

    Args:
        name: The name of its folder.
        told: Its `image.json`.

    Raises:
        RosterError: If it is not valid, or has a name that means something else.
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


def _entry(name: ModelName, image: ImageFacts) -> RosterEntry:
    given = MappingProxyType({key: str(value) for key, value in image.hyperparameters.items()})
    onward = MappingProxyType({key: str(value) for key, value in image.continues.items()})
    takes = tuple(image.takes)
    ranges = dict(image.takes) if isinstance(image.takes, dict) else {}
    least, most = image.least_mnist, image.instances
    return RosterEntry(
        name, image.title, "batch", image.order, image.hue, image.about, given, onward, takes, ranges, least, most
    )


def roster(images: Mapping[str, bytes]) -> Roster:
    """Make the roster of these images and the models that are built in.

    Args:
        images: The `image.json` of each, by the name of its folder.

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
    """Return the hue in the middle of the widest gap between those taken (at least one); the first of several.

    >>> _farthest({0, 90, 180})
    270
    """
    hues = sorted(taken)
    gaps = [((after - before) % _CIRCLE or _CIRCLE, before) for before, after in zip(hues, [*hues[1:], hues[0]], strict=True)]
    width, start = max(gaps, key=lambda gap: (gap[0], -gap[1]))
    return (start + width // 2) % _CIRCLE
