"""Defines every event of the bus: its fields, its topic and the field that orders it. Pure, but for the stamp `now`.

A record's value is the event as JSON (UTF-8), its key the value of ``key`` as text. Events are in the past tense, commands in
the imperative. Optional fields are added freely; renaming, retyping or removing one takes a new topic version. Readers ignore
unknown fields. The writer makes every id and keeps it when it sends again, so a record that comes twice counts once.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from uuid import UUID, uuid5

from annotated_types import Ge, Len, Lt
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from contracts.drawing import MAX_SIDE, MAX_STROKES, Stroke, Strokes, check_limits
from contracts.prices import Dollars

NAMESPACE: Final = UUID("6f1b2c8e-6a0d-5c57-9d0e-2f6c1a5e7b11")
"""The namespace of the ids that are derived from others with `uuid5`."""
DIGITS: Final = 10
ONLINE_MODELS: Final = ("river",)
"""The models that learn from lessons.v1. A model's position here is its partition there: append only."""
PERSONAL_MODEL: Final = "yours"
"""Each player's own model: what they have taught it, on top of what `river` knows."""
BLEND: Final = "everyone"
"""The blend: the weighted guess of all models that answered in time."""

Digit = Annotated[int, Field(ge=0, le=9)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Probabilities = Annotated[list[Probability], Field(min_length=DIGITS, max_length=DIGITS)]
PlayerId = Annotated[str, Field(min_length=1, max_length=64)]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
"""The name of a model's version; it is part of names of objects and variants, so it must not lead to another folder."""
Time = Annotated[AwareDatetime, Ge(datetime(1970, 1, 1, tzinfo=UTC)), Lt(datetime(2200, 1, 1, tzinfo=UTC))]
"""A time with a zone, far enough from the ends of the calendar for arithmetic."""
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
"""A count, at most the largest whole number that is exact in JSON in every language."""
Offset = Annotated[int, Field(ge=0, lt=1 << 53)]
Milliseconds = Annotated[float, Field(ge=-1e9, le=1e9)]
Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(max_length=200)]
Resource = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")]
"""The name of an endpoint or of its variant, which is part of an address; empty: there is none."""
Device = Literal["mouse", "pen", "touch"]
"""What a drawing was made with, as the browser says (PointerEvent.pointerType)."""
MAX_GUESSES: Final = 64
"""The most guesses on one drawing, and so in an example: several times the number of models and candidates."""
MAX_CANDIDATES: Final = 3
"""The most versions beside a champion."""
MAX_ROLLOUT: Final = 20
"""The most steps that are kept of a version's way to the players: the newest."""
MAX_CORRECTIONS: Final = 64
"""The most corrections of a drawing by its player."""
MAX_FORGOTTEN: Final = 8000
"""The most drawings, or runs of lessons, that one event of a forgetting names; more take more events."""
Process = Literal["api", "router", "learning", "trainer"]
PROCESSES: Final[tuple[Process, ...]] = ("api", "router", "learning", "trainer")
"""The kinds of process that write to the bus; each may have a Kafka user of its own."""
MAX_EVENT: Final = 1_000_000
"""The size of the largest event in bytes: the limit of every topic, less the frame around it."""


def mark_of(player_id: str) -> str:
    """Return the mark of a player who is forgotten: an id that is made at random cannot be found by its mark."""
    return sha256(f"gamenight forgotten/{player_id}".encode()).hexdigest()[:32]


def now() -> datetime:
    """Return the time, UTC and aware."""
    return datetime.now(UTC)


class Event(BaseModel):
    """The base of all events: a type, the time of writing, and where the event goes."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False
    )

    topic: ClassVar[str]
    key: ClassVar[str]
    """The field that orders the partition."""
    times: ClassVar[tuple[str, ...]] = ("at",)
    """The fields with times of the past, which are never after the record itself: see `contracts.records.read`."""
    replaces: ClassVar[bool] = False
    """Whether an event says all that the earlier ones of its key said: those that are still unsent need not be sent."""

    type: str
    at: Time = Field(default_factory=now)
    """When the event was written, UTC."""

    def record_key(self) -> bytes:
        """Return the record's key on the bus."""
        return str(getattr(self, self.key)).encode()

    def record_value(self) -> bytes:
        """Return the record's value on the bus: JSON, UTF-8."""
        return self.__pydantic_serializer__.to_json(self)

    def partition(self) -> int | None:
        """Return the partition that the event must go to; None: the one that its key hashes to."""
        return None


class SignedEvent(Event):
    """The base of what is signed by the process that wrote it, over the bytes as they are on the log.

    The signature is the last member of the JSON; it is over all before it. See `producers.signing`.
    """

    signer: Process | None = None
    """The process whose key signed it; None: it is of the time before signatures."""
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")] | None = None
    """Ed25519, in hex."""

    def to_sign(self) -> bytes:
        """Return what is signed: the event as JSON without its signature."""
        return self.model_dump_json(exclude={"signature"}).encode()

    def record_value(self) -> bytes:
        """Return the record's value on the bus: JSON, its signature last."""
        whole = self.to_sign()
        return whole if self.signature is None else whole[:-1] + f',"signature":"{self.signature}"}}'.encode()


# --- way 1, ANSWER ---------------------------------------------------------------------------------------------------


class DrawingSubmitted(Event):
    """A player drew, or is still drawing, a digit.

    Written by api.play; read by streams (router, joiner). A final drawing is acknowledged to the player only after the broker
    has it; a preview may be dropped once a later one has come. Twice is harmless: the first event of a drawing_id counts.
    """

    topic: ClassVar[str] = "drawings.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["DrawingSubmitted"] = "DrawingSubmitted"
    drawing_id: UUID
    player_id: PlayerId
    room: Name | None = None
    strokes: Annotated[list[Stroke], Len(0, MAX_STROKES)]
    """Empty where `raster` is given."""
    width: Annotated[float, Field(gt=0, le=MAX_SIDE, allow_inf_nan=False)]
    """The width of the canvas, in CSS pixels."""
    height: Annotated[float, Field(gt=0, le=MAX_SIDE, allow_inf_nan=False)]
    final: bool
    """False: the player is still drawing; the guess is shown, never scored, never learned."""
    asked: Digit | None = None
    """The digit the player was asked to draw, if they were; it is the browser's word alone, unless `gold`."""
    gold: bool = False
    """Whether the server itself had asked this player for `asked`: then the digit is known before anybody guesses."""
    picked: Annotated[float, Field(gt=0, le=1)] | None = None
    """The probability with which chance picked this drawing, to estimate accuracy by it; None: it was not picked."""
    instead_of: UUID | None = None
    """The picked drawing of the same question that this one takes the place of: its player has added a stroke."""
    probe: bool = False
    """Whether the API itself or an app asks, outside the game; a probe is never final, and always answered."""
    device: Device | None = None
    """What it was made with, by the browser's word; None: nobody knows, as of drawings that are older than this."""
    raster: Annotated[bytes, Field(min_length=784, max_length=784)] | None = None
    """Pixels instead of strokes, on probes only: 28 x 28, row by row, one byte each, 0 is paper."""
    models: Annotated[list[ModelName], Field(max_length=MAX_GUESSES)] | None = None
    """The models that are asked, on probes only; None: all that answer."""

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        if self.raster is None:
            check_limits(self.strokes)
        elif self.strokes:
            raise ValueError("a drawing has strokes or a raster, not both")
        if self.probe and self.final:
            raise ValueError("a probe is never final")
        if self.gold and self.asked is None:
            raise ValueError("a gold drawing has the digit that was asked")
        if not self.probe and (self.raster is not None or self.models is not None):
            raise ValueError("only a probe may have a raster, or name the models to ask")
        return self


def _floats(raw: bytes) -> bytes:
    if len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are no float32s")
    return raw


Embedding = Annotated[bytes, Field(max_length=16_384), AfterValidator(_floats)]
"""Little-endian float32, as many as the embedding network gives."""


class Features(BaseModel):
    """A drawing as the models read it, kept with the guess so that nobody has to read it again."""

    model_config = Event.model_config

    raster: Annotated[bytes, Field(min_length=784, max_length=784)]
    """28 x 28 pixels, row by row, one byte each; 0 is paper."""
    embedding: Embedding
    reader: Name
    """Names the raster derivation and the embedding network: ``raster-1/<digest>``."""


Role = Literal["champion", "canary", "shadow"]
"""A version's role: the model's own; a candidate that answers some players in its place; one whose guesses nobody sees."""


Place = Annotated[int, Field(ge=0, lt=MAX_CANDIDATES)]
"""The number of a candidate's place beside its champion."""


def guess_part(model: str, version: str, shadow: bool, place: int = 0) -> str:
    """Return the part of a drawing's answer that a guess fills; the first guess of each part counts.

    A model answers a drawing once. A batch model has a shadow for each place beside its champion; an online model has several,
    one a generation.

    >>> guess_part("trees", "3", True), guess_part("trees", "3", True, 1), guess_part("trees", "4", False)
    ('trees/shadow', 'trees/shadow/1', 'trees')
    >>> guess_part(ONLINE_MODELS[0], "softmax-1+7", True).partition("/")[2]
    'shadow/softmax-1'
    """
    if not shadow:
        return model
    if model in ONLINE_MODELS:
        return f"{model}/shadow/{generation(version)}"
    return f"{model}/shadow/{place}" if place else f"{model}/shadow"


class GuessMade(Event):
    """One model's answer to one drawing.

    Written by streams (router); read by api.relay. Learners read `DrawingAnswered` instead. Twice is harmless: the first event
    of a `guess_id` counts.
    """

    topic: ClassVar[str] = "guesses.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["GuessMade"] = "GuessMade"
    drawing_id: UUID
    player_id: PlayerId
    model: ModelName
    version: Version
    """The version that answered, as the endpoint itself named it."""
    label: Digit
    probabilities: Probabilities
    final: bool
    """Whether the drawing is finished: False on a `PreviewGuessed`, unless it repeats a guess on a finished drawing."""
    hops: Annotated[dict[Name, Milliseconds], Field(max_length=16)]
    """How long each hop took, in milliseconds, in order: ``bus_in``, ``read``, ``wait``, ``model``."""
    table: Name = ""
    """The routing table that was in force; it changes with every event of models.v1 that changes a version or the policy."""
    features: Features | None = None
    """The drawing as the models read it; only on guesses of online models that are older than `DrawingAnswered`."""
    fallback: Text | None = None
    """Why this model or version answered in the place of another; None: it was its turn."""
    role: Role = "champion"
    """The role of the version. A shadow's guess is scored, and never shown."""
    place: Place = 0
    """Of a batch model's shadow: beside which candidate's place it was asked."""
    lead: ModelName | None = None
    """The model that this player is shown first for this drawing, by the policy in force."""
    lead_after: Count | None = None
    """If a bandit picked `lead`: the number of the player's corrections with a label that it knew, so that the pick can be
    repeated from the log."""
    left_out: Annotated[dict[ModelName, Name], Field(max_length=MAX_GUESSES)] = {}
    """On a blend: the models that it leaves out, and why."""

    @property
    def guess_id(self) -> UUID:
        """The same id for the same drawing and part: see `guess_part`."""
        return uuid5(NAMESPACE, f"guess/{self.drawing_id}/{self.part}")

    @property
    def part(self) -> str:
        """The part of the answer that the guess fills: see `guess_part`."""
        return guess_part(self.model, self.version, self.role == "shadow", self.place)


class PreviewGuessed(GuessMade):
    """A guess that is only shown: on a preview, on a probe, or repeated for a drawing that was sent again.

    Written by the router, and by the joiner for a drawing that came a second time: it repeats the first answers, which the
    sender has not seen. Read by api.relay. These guesses have a topic of their own, since they are the most, and learners would
    have to read and skip them all. Twice is harmless: the guess is only shown.
    """

    topic: ClassVar[str] = "previews.v1"

    type: Literal["PreviewGuessed"] = "PreviewGuessed"  # type: ignore[assignment]


class RememberedDrawing(BaseModel):
    """A drawing with its label, as a player's own model remembers it."""

    model_config = Event.model_config

    drawing_id: UUID
    drawn_at: Time
    label: Digit
    bits: Annotated[bytes, Field(min_length=98, max_length=98)]
    """28 x 28 pixels, row by row, one bit each, the first pixel in the highest bit; 1 is ink."""
    said: Annotated[dict[ModelName, Digit], Field(max_length=MAX_GUESSES)] = {}
    """The digit that each model was shown to see."""


class MemoryAsked(Event):
    """A player asks what their own model remembers of them.

    Written by api.play; read by the router, which answers with `MemoryTold`. Twice is harmless: it is answered twice.
    """

    topic: ClassVar[str] = "drawings.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["MemoryAsked"] = "MemoryAsked"
    request_id: UUID
    player_id: PlayerId
    whole: bool = False
    """Whether the drawings are wanted too."""


class MemoryTold(Event):
    """What a player's own model remembers, as counts; whole, if that was asked.

    Written by the router as the answer to `MemoryAsked`, and by the personal fold when it has forgotten what a `MemoryReset`
    says; read by api.relay. Twice is harmless: it is only shown.
    """

    topic: ClassVar[str] = "previews.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["MemoryTold"] = "MemoryTold"
    request_id: UUID
    """That of the `MemoryAsked`, or the `reset_id`."""
    player_id: PlayerId
    version: Version
    lessons: Count
    """How many labelled drawings it learns from."""
    most: Count
    """How many drawings it remembers at most: the newest."""
    size: Count
    """The bytes that the memory takes."""
    both: Count
    """The labelled drawings on which both the player's own model and the shared one were shown."""
    own_alone: Count
    """On how many of `both` the player's own model was right, and the shared one wrong."""
    shared_alone: Count
    """On how many of `both` the shared model was right, and the player's own wrong."""
    reset_until: Time | None = None
    """What was drawn up to this time is forgotten; None: nothing was."""
    drawings: Annotated[list[RememberedDrawing], Field(max_length=1024)] | None = None
    """The labelled drawings in the order of drawing; None: they were not asked for."""


class GuessMissed(Event):
    """A model did not answer a drawing within its budget, or was not asked because it rests after failures.

    Written by streams (router); read by api.relay. Only final drawings and probes have one. Twice is harmless: a guess of the
    model counts instead, whichever comes first.
    """

    topic: ClassVar[str] = "guesses.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["GuessMissed"] = "GuessMissed"
    drawing_id: UUID
    player_id: PlayerId
    model: ModelName
    final: bool
    resting: bool
    """Whether the model rests: it was not asked, and is tried again later; False: it was too slow for this drawing."""
    why: Text


class AnswerGuess(BaseModel):
    """One model's guess within a `DrawingAnswered`: the fields of a `GuessMade` without drawing, player and lead."""

    model_config = Event.model_config

    model: ModelName
    version: Version
    label: Digit
    probabilities: Probabilities
    hops: Annotated[dict[Name, Milliseconds], Field(max_length=16)]
    table: Name = ""
    fallback: Text | None = None
    role: Role = "champion"
    place: Place = 0
    left_out: Annotated[dict[ModelName, Name], Field(max_length=MAX_GUESSES)] = {}

    @property
    def shadow(self) -> bool:
        """Whether nobody was shown the guess."""
        return self.role == "shadow"

    @property
    def part(self) -> str:
        """The part of the answer that the guess fills: see `guess_part`."""
        return guess_part(self.model, self.version, self.shadow, self.place)


class DrawingAnswered(Event):
    """All guesses on a finished drawing, and the drawing as the models read it, for the learners.

    Written by streams (router) when every model has answered or was given up, at the latest at the blend's deadline; guesses
    that come later follow in another one, without the features. Read by the joiner, and by the trainer while it watches a
    canary; the API reads each guess as it comes, as GuessMade. What comes of a drawing is put together by `guess_part`, so
    twice is harmless: the first of each counts.
    """

    topic: ClassVar[str] = "answers.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["DrawingAnswered"] = "DrawingAnswered"
    drawing_id: UUID
    player_id: PlayerId
    guesses: Annotated[list[AnswerGuess], Field(max_length=MAX_GUESSES)]
    """The guesses in the order in which they came; one of each part (see `guess_part`). Those of an online model's experiments
    are here alone: nobody is shown them, so they are not on guesses.v1."""
    missed: Annotated[dict[ModelName, Text], Field(max_length=MAX_GUESSES)] = {}
    """The models that did not answer within the budget or rest, and why; they will not answer any more."""
    features: Features | None = None
    """The drawing as the models read it; None: this is a later part, and the first part has it."""
    lead: ModelName | None = None
    """The model that this player is shown first for this drawing, by the policy in force."""
    lead_after: Count | None = None
    """If a bandit picked `lead`: see `GuessMade.lead_after`."""

    def made(self) -> list[GuessMade]:
        """Return its guesses as they were shown, each at the time of this event."""
        given = {"drawing_id": self.drawing_id, "player_id": self.player_id, "final": True, "at": self.at}
        given |= {"lead": self.lead, "lead_after": self.lead_after}
        return [GuessMade(**given, **dict(guess)) for guess in self.guesses]


# --- way 2, LEARN ----------------------------------------------------------------------------------------------------


class CorrectionGiven(Event):
    """A player said what they drew: they put a guess right, confirmed one, or changed an earlier correction.

    Written by api.play; read by the joiner. A player's last correction of a drawing counts. Twice is harmless: a correction_id
    that came before has no effect.
    """

    topic: ClassVar[str] = "corrections.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["CorrectionGiven"] = "CorrectionGiven"
    correction_id: UUID
    drawing_id: UUID
    player_id: PlayerId
    label: Digit
    """The digit intended, 0-9."""
    over_quota: bool = False
    """Whether the player, or their address, had given more labels in the last minute than everybody's models learn of: this one
    teaches the player's own model alone. It is an answer all the same: it counts in scores, blend and bandit."""


class CorrectionWithdrawn(Event):
    """A player withdrew their corrections of a drawing.

    Written by api.play; read by the joiner. An id of a correction that was replaced already changes nothing; any other id
    removes the drawing's label. Twice is harmless: a correction that is withdrawn stays withdrawn.
    """

    topic: ClassVar[str] = "corrections.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["CorrectionWithdrawn"] = "CorrectionWithdrawn"
    correction_id: UUID
    """The correction that is withdrawn."""
    drawing_id: UUID
    player_id: PlayerId


class ResetAsked(Event):
    """A player asked that their own model forget what they have drawn until then.

    Written by api.play; read by the joiner, which puts it in its place among the player's examples. Twice is harmless: the time
    is that of the first sending.
    """

    topic: ClassVar[str] = "corrections.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["ResetAsked"] = "ResetAsked"
    reset_id: UUID
    player_id: PlayerId


class DrawingSought(Event):
    """The joiner got a correction of a drawing that it does not know, and looks for the drawing on the log.

    Written by the joiner, and read by it alone: the event comes after all drawings that were on the partition before the
    correction, so a joiner that reads it and has no such drawing knows that there is none. Twice is harmless: it looks again.
    """

    topic: ClassVar[str] = "drawings.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["DrawingSought"] = "DrawingSought"
    drawing_id: UUID
    player_id: PlayerId


class Probed(Event):
    """A probe of api.health, which goes the way of a correction to see whether one is learned; nobody learns from it.

    Each learner reads the probe on the topic that it learns from, and passes it on to the next.
    """

    key: ClassVar[str] = "player_id"

    probe_id: UUID
    player_id: PlayerId
    """An id that no player has; it chooses the partition."""


class CorrectionProbed(Probed):
    """A probe of corrections was sent, as a correction is.

    Written by api.health; read by the joiner. Twice is harmless: it changes nothing.
    """

    topic: ClassVar[str] = "corrections.v1"
    type: Literal["CorrectionProbed"] = "CorrectionProbed"
    only: Literal["joiner"] | None = None
    """The only stage that is probed, so that nothing stays on topics that are kept for good; None: every stage."""


class ExampleProbed(Probed):
    """The joiner has passed a probe on.

    Written by the joiner; read by the learner and the personal fold. Twice is harmless: it changes nothing.
    """

    topic: ClassVar[str] = "examples.v1"
    type: Literal["ExampleProbed"] = "ExampleProbed"


class LessonProbed(Probed):
    """The learner has passed a probe on.

    Written by the learner; read by the online model. Twice is harmless: it changes nothing.
    """

    topic: ClassVar[str] = "lessons.v1"
    type: Literal["LessonProbed"] = "LessonProbed"
    model: ModelName


class ReceiptProbed(Probed):
    """A probe has come to a stage that learns corrections.

    Written by the online model and by the personal fold, and by the joiner if it alone is probed; read by api.health. Twice
    is harmless: it is the same answer.
    """

    topic: ClassVar[str] = "receipts.v1"
    type: Literal["ReceiptProbed"] = "ReceiptProbed"
    stage: Literal["joiner", "learner", "personal"]
    """The stage that answers."""


class ShownGuess(BaseModel):
    """A guess as the player was shown it before their correction."""

    model_config = Event.model_config

    model: ModelName
    version: Version
    label: Digit
    probabilities: Probabilities
    latency_ms: Annotated[float, Field(ge=-1e12, le=1e12)]
    """Milliseconds from the arrival of the drawing at the API to the guess."""
    shadow: bool = False
    """Whether the guess was not shown: then it counts for its version, and for nothing else."""
    place: Place = 0
    """See `GuessMade.place`."""


class GivenLabel(BaseModel):
    """A label that the player gave a drawing, whether it still counts or not."""

    model_config = Event.model_config

    correction_id: UUID
    label: Digit
    over_quota: bool = False
    """See `CorrectionGiven.over_quota`."""


class ExampleLabelled(Event):
    """A drawing, the guesses on it, and the player's latest label, joined.

    Written by the joiner; read by all that learn, measure or archive. Twice is harmless: the highest revision of a drawing_id
    replaces all earlier ones.
    """

    topic: ClassVar[str] = "examples.v1"
    key: ClassVar[str] = "player_id"
    times: ClassVar[tuple[str, ...]] = ("at", "drawn_at")

    type: Literal["ExampleLabelled"] = "ExampleLabelled"
    drawing_id: UUID
    player_id: PlayerId
    revision: Annotated[int, Field(ge=1, lt=1 << 31)]
    correction_id: UUID
    """The correction that this revision comes from."""
    label: Digit | None
    """The digit drawn; None: the player withdrew their correction."""
    over_quota: bool = False
    """Whether the label teaches the player's own model alone: see `CorrectionGiven.over_quota`."""
    labels: Annotated[list[GivenLabel], Field(max_length=MAX_CORRECTIONS)] = []
    """All labels that the player gave it so far, in order, with those that were replaced or withdrawn."""
    asked: Digit | None = None
    gold: bool = False
    """Whether the server itself asked for `asked`: see `DrawingSubmitted.gold`."""
    picked: Annotated[float, Field(gt=0, le=1)] | None = None
    """See `DrawingSubmitted.picked`."""
    instead_of: UUID | None = None
    """See `DrawingSubmitted.instead_of`."""
    device: Device | None = None
    """See `DrawingSubmitted.device`."""
    drawn_at: Time
    strokes: Strokes
    width: Annotated[float, Field(gt=0, le=MAX_SIDE)]
    height: Annotated[float, Field(gt=0, le=MAX_SIDE)]
    features: Features | None
    """The features at the time of the guess; None while no online model has answered."""
    guesses: Annotated[list[ShownGuess], Field(max_length=MAX_GUESSES)]

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        check_limits(self.strokes)
        if self.revision > 1 + len(self.guesses) + MAX_CORRECTIONS:
            raise ValueError(
                f"revision {self.revision} is too high for {len(self.guesses)} guesses and {MAX_CORRECTIONS} corrections"
            )
        return self


class CountedGuess(BaseModel):
    """A guess on a picked drawing: as much of it as is counted."""

    model_config = Event.model_config

    model: ModelName
    version: Version
    label: Digit
    latency_ms: Annotated[float, Field(ge=-1e12, le=1e12)]
    """As in `ShownGuess`."""
    shadow: bool = False


class DrawingPicked(Event):
    """A finished drawing that chance picked was answered, and has no label yet; with one, its ExampleLabelled says as much.

    Written by the joiner, again only when another model has answered late; read by the scorer. Twice is harmless: the highest
    revision of a drawing_id replaces all earlier ones, also those of its ExampleLabelled.
    """

    topic: ClassVar[str] = "examples.v1"
    key: ClassVar[str] = "player_id"
    times: ClassVar[tuple[str, ...]] = ("at", "drawn_at")

    type: Literal["DrawingPicked"] = "DrawingPicked"
    drawing_id: UUID
    player_id: PlayerId
    revision: Annotated[int, Field(ge=1, lt=1 << 31)]
    asked: Digit | None = None
    """The digit that the server asked for, so the one drawn; None: the player drew freely."""
    picked: Annotated[float, Field(gt=0, le=1)]
    """The probability with which it was picked."""
    instead_of: UUID | None = None
    """See `DrawingSubmitted.instead_of`."""
    drawn_at: Time
    guesses: Annotated[list[CountedGuess], Field(min_length=1, max_length=MAX_GUESSES)]


class MemoryReset(Event):
    """A player's own model forgets what they have drawn up to a time; the shared models keep what they learned from it.

    Written by the joiner; read by the personal fold, which answers with `MemoryTold`. Twice is harmless: of several resets the
    latest time counts, and a drawing from before it is not learned again, whatever revisions of it come.
    """

    topic: ClassVar[str] = "examples.v1"
    key: ClassVar[str] = "player_id"
    times: ClassVar[tuple[str, ...]] = ("at", "until")

    type: Literal["MemoryReset"] = "MemoryReset"
    reset_id: UUID
    player_id: PlayerId
    until: Time
    """The last moment of what is forgotten, by the time of drawing."""


Restriction = Literal["none", "quarantined", "banned"]
"""Where a player's drawings do not count: quarantined, in no online model; banned, in no dataset either."""


class PlayerRestricted(Event):
    """An operator restricted a player, or lifted that.

    Written by trainers.steering; read by the learner, the scorer and the personal fold, in the place that the event has among
    the player's examples. Twice is harmless: the newest counts.
    """

    topic: ClassVar[str] = "examples.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["PlayerRestricted"] = "PlayerRestricted"
    player_id: PlayerId
    restriction: Restriction
    by: str = ""
    note: Text = ""


class DrawingEvidence(BaseModel):
    """What a labelled drawing says of drift: how models did, and what it was like; or what came later of that."""

    model_config = Event.model_config

    mark: Annotated[int, Field(ge=0, lt=1 << 16)]
    """A mark of the player, the same on all their drawings; others have it too, so it names nobody. 0: of all newcomers, and of
    all others whose labels are not believed."""
    drawn_at: Time
    label: Digit | None
    """The first label that the player gave it; None: it was told with the drawing's features."""
    ink: Count | None
    """How much ink the raster has, in pixels; None: as for the label."""
    directions: Annotated[list[Annotated[int, Field(ge=-(10**6), le=10**6)]], Field(max_length=64)]
    """Where the embedding lies along some directions, seen from the usual one of the digit, and how far away; empty: as for the
    label, or it cannot be read."""
    wrong: Annotated[dict[ModelName, bool], Field(max_length=MAX_GUESSES)]
    """Whether each model was wrong, as shown."""


class EvidenceGathered(Event):
    """The labelled drawings of a step of one partition, as drift is looked for in them.

    Written by the evidence fold; read by the drift fold. The drawings of a partition are
    numbered. All partitions meet on one, since drift concerns all of them. Twice is
    harmless: a number that has come is skipped. One that does not follow is an error,
    but after a player was forgotten: then a record without drawings says so.
    """

    topic: ClassVar[str] = "evidence.v1"
    key: ClassVar[str] = "series"

    type: Literal["EvidenceGathered"] = "EvidenceGathered"
    series: str
    """Names how the evidence was made of the examples."""
    source_partition: Count
    number: Count
    """The number of the first drawing in its series and partition, from 1."""
    behind: Count | None = None
    """The number of the last drawing before, where numbers are passed over since a player was forgotten; None: it is the one
    before ``number``."""
    drawings: Annotated[list[DrawingEvidence], Field(max_length=500)]


DriftKind = Literal["batch-errors", "online-errors", "class-mix", "ink", "embedding"]
"""What has drifted: the errors of a batch model, or of one that learns from lesson to lesson; or what is drawn."""
DriftAction = Literal["notify", "retrain", "freeze"]
"""What is done about it."""


class DriftDetected(SignedEvent):
    """A model errs more often than it did, or what is drawn has changed.

    Written by the drift fold; read by the trainer, which acts on it by policy, and by api. Twice is harmless: the
    detection_id is made of the evidence, and each is acted on once.
    """

    topic: ClassVar[str] = "drift.v1"
    key: ClassVar[str] = "subject"
    times: ClassVar[tuple[str, ...]] = ("at", "began_at", "drawn_at")

    type: Literal["DriftDetected"] = "DriftDetected"
    detection_id: UUID
    kind: DriftKind
    subject: ModelName
    """The model, or the kind of what is drawn."""
    what: Name
    """What has become more frequent, for people."""
    statistic: Annotated[float, Field(ge=0, le=1e6)]
    threshold: Annotated[float, Field(ge=0, le=1e6)]
    """What the statistic has exceeded."""
    before: Probability
    """How often it happened, as a share of the labelled drawings."""
    after: Probability
    """How often since the change began."""
    n: Count
    """The labelled drawings since the change began."""
    hands: Count
    """How many players it takes, by their marks: without the drawings of that many, the rest show no change. Of many drawings,
    the latest 256."""
    by_partition: Annotated[list[Count], Field(max_length=1024)]
    """How many of them are of each partition of examples.v1; of many, the latest 256."""
    began_at: Time
    """When the first of them was drawn."""
    drawn_at: Time
    """When the last of them was drawn."""
    series: str = ""
    """Names how it was detected, and in which evidence: detections of another series are compared with nothing. Empty: from
    before this was told."""


class DriftHandled(SignedEvent):
    """What was done about a drift, or why nothing was.

    Written by the trainer; read by it and by api. Twice is harmless: a detection is handled once, and the first counts.
    """

    topic: ClassVar[str] = "drift.v1"
    key: ClassVar[str] = "subject"

    type: Literal["DriftHandled"] = "DriftHandled"
    detection_id: UUID
    subject: ModelName
    action: DriftAction
    outcome: Literal["done", "refused", "failed"]
    message: Text
    by: str = ""
    """Whose policy it is."""
    targets: Annotated[list[ModelName], Field(max_length=MAX_GUESSES)] = []
    """The models for which a command was given; empty, too, in records from before this was told."""


class PlayerForgotten(Event):
    """A player is to be forgotten: what the joiner holds of them goes, and it passes the word on.

    Written by trainers.forgetting; read by the joiner. It is cut out of the log with all else of the player. Twice is harmless:
    nothing of theirs is there any more.
    """

    topic: ClassVar[str] = "corrections.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["PlayerForgotten"] = "PlayerForgotten"
    forget_id: UUID
    player_id: PlayerId
    drawings: Annotated[list[UUID], Field(max_length=MAX_FORGOTTEN)]
    """The drawings that records of theirs on the log name."""
    examples: Annotated[list[UUID], Field(max_length=MAX_FORGOTTEN)]
    """Those of which there is an example of theirs."""


class ExamplesForgotten(PlayerForgotten):
    """The joiner has passed on that a player is to be forgotten.

    Written by the joiner, behind all that it has ever written of the player; read by the folds of
    examples. It is cut out of the log with all else of the player. Twice is harmless: nothing of theirs is there any more.
    """

    topic: ClassVar[str] = "examples.v1"

    type: Literal["ExamplesForgotten"] = "ExamplesForgotten"  # type: ignore[assignment]


class LessonsCut(Event):
    """Lessons are to be cut out of the log: their numbers will be missing, and the learner numbers on from another one.

    A learner that starts anew makes fewer lessons of the examples that are left, and the next number must be the same for it.
    Written by trainers.forgetting before anything is cut, on the partition ``source``; read by the learner, and by the evidence
    fold, which numbers on in the same way. It says nothing of the player, and stays. Twice is harmless: the numbers are what
    they are.
    """

    topic: ClassVar[str] = "examples.v1"
    key: ClassVar[str] = "series"

    type: Literal["LessonsCut"] = "LessonsCut"
    source: Annotated[int, Field(ge=0, lt=1024)]
    """The partition, of examples and of lessons."""
    series: Name
    """The series of the lessons."""
    number: Count
    """The next lesson is at least one more."""
    numbers: Annotated[list[tuple[Count, Count]], Field(max_length=MAX_FORGOTTEN)]
    """The numbers of the lessons: the first and the last of each run, rising."""
    counted: bool = True
    """Whether one of them is such as experiments learn: what only newcomers had taught, or little weight, is in none."""

    def partition(self) -> int | None:
        """Return the partition of the lessons."""
        return self.source


class LessonsForgotten(LessonsCut):
    """Lessons with these numbers are missing on the log, since they were a player's who is forgotten.

    Written by the learner; read by the online model, which takes no other gap, and by the experiments, of which those begin
    anew that have read them. It says nothing of the player, and stays. Twice is harmless: the numbers are what they are.
    """

    topic: ClassVar[str] = "lessons.v1"

    type: Literal["LessonsForgotten"] = "LessonsForgotten"  # type: ignore[assignment]
    offset: Count
    """The number of the last lesson before this."""


class StageForgot(Event):
    """A stage holds nothing of a player any more.

    Written by the joiner, the scorer, the learner, the evidence fold and the personal fold; read by trainers.forgetting. Twice
    is harmless: it is the same answer.
    """

    topic: ClassVar[str] = "receipts.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["StageForgot"] = "StageForgot"
    forget_id: UUID
    player_id: PlayerId
    stage: Literal["joiner", "scorer", "learner", "evidence", "personal"]


class LessonTaught(Event):
    """An online model learns that a drawing has a label: the lesson is added to its sums.

    Written by the learner; read by the online model. The lessons of a partition are numbered. Twice is harmless: one whose
    number has come already is skipped.
    """

    topic: ClassVar[str] = "lessons.v1"
    key: ClassVar[str] = "player_id"
    sign: ClassVar[int] = 1
    """Whether the lesson is added or taken out."""

    type: Literal["LessonTaught"] = "LessonTaught"
    lesson_id: UUID
    model: ModelName
    drawing_id: UUID
    correction_id: UUID
    player_id: PlayerId
    label: Digit
    weight: Annotated[float, Field(ge=0, le=10)] = 1.0
    """How much the lesson counts; a multiple of one eighth."""
    embedding: Embedding
    reader: Name
    series: str = ""
    """Names how the lessons were made of the examples: a learner of another kind begins a series of its own, from number 1.
    Empty: a lesson from before models were sums, which is read by nobody any more."""
    number: Count = 0
    """The lesson's number in its series and partition, from 1."""
    newcomer: bool = False
    """Whether too little is known of the player: the lessons of all newcomers together count as an eighth of one."""
    shown: Annotated[list[ShownGuess], Field(max_length=MAX_GUESSES)] = []
    """Empty, but on lessons from before models were sums."""


class LessonTakenBack(LessonTaught):
    """An online model unlearns a lesson, since its label was changed or withdrawn: it is subtracted from its sums.

    Its fields are those of the LessonTaught that it takes back, but for the number. Written by the learner; read by the online
    model. Twice is harmless: one whose number has come already is skipped.
    """

    sign: ClassVar[int] = -1

    type: Literal["LessonTakenBack"] = "LessonTakenBack"  # type: ignore[assignment]


class LessonsRestricted(Event):
    """No lesson of a player counts that was taught until now, by an operator's word.

    Written by the learner, behind the lessons in force that it takes back; read by the experiments, of which those begin anew
    that have learned any of the player's, also one that was taken back long ago. Twice is harmless: one that has begun anew
    behind the first has learned none.
    """

    topic: ClassVar[str] = "lessons.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["LessonsRestricted"] = "LessonsRestricted"
    player_id: PlayerId
    series: Name
    """The series of the lessons."""
    number: Count
    """The number of the last lesson before this."""


class Outcome(StrEnum):
    """What a correction did."""

    LEARNED = "learned"
    WEIGHTED = "weighted"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    """The correction counts no more: a later one has replaced it, or it was taken back, as the receipt then says."""
    REFUSED = "refused"
    """The correction was not accepted and has no effect; the receipt says why."""


class ModelChange(BaseModel):
    """How the probability that one model gives to the player's label changed."""

    version_before: Version
    version_after: Version
    p_before: Probability
    p_after: Probability


class CorrectionReceipt(Event):
    """What a correction did.

    Written by the learner and by the personal fold, each for its models, and by the joiner for a correction that is replaced,
    withdrawn or refused; read by api.relay. Twice is harmless: the first of a correction_id, outcome and stage counts.
    """

    topic: ClassVar[str] = "receipts.v1"
    key: ClassVar[str] = "player_id"

    type: Literal["CorrectionReceipt"] = "CorrectionReceipt"
    correction_id: UUID
    drawing_id: UUID
    player_id: PlayerId
    outcome: Outcome
    models: Annotated[dict[ModelName, ModelChange], Field(max_length=MAX_GUESSES)]
    stage: Literal["learner", "personal", "joiner"] = "learner"
    """The stage that wrote it."""
    weight: Probability | None = None
    """How much the lesson counts in the shared model, of a whole one; None: another stage says so."""
    why: Text = ""
    """Why the correction is refused or counts less than others, as a player is told; empty: it is learned whole."""
    frozen: bool = False
    """Whether the shared model's learning is frozen: then the lesson changes nothing yet, and counts once it is thawed."""
    rules: Count = 0
    """The number of the rules of trust by which the learner weighed it: when they change, it tells all anew. 0: older."""


LATENCY_BUCKETS_MS: Final = (5, 10, 20, 35, 50, 80, 120, 150, 250, 500, 1000)
"""The upper bounds of the latency counts; one more count holds the latencies above the last."""


WINDOW_S: Final = 10
WINDOWS: Final = 360
"""How many windows an hour has: a window's number modulo this is its slot, so the compacted topic does not grow."""


class ScoresCounted(Event):
    """How often a model was right, as counts; the newest event of a `score_key` replaces those before it.

    There are two kinds: a total has a version and no window, a window has no version. Written by the scorer; read by api.watch,
    which sums over source. Twice is harmless: the counts are absolute.
    """

    topic: ClassVar[str] = "metrics.v1"
    key: ClassVar[str] = "score_key"
    replaces: ClassVar[bool] = True

    type: Literal["ScoresCounted"] = "ScoresCounted"
    model: ModelName
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}(/shadow)?$")] | None
    """The version of a batch model, or the generation of an online one (see `generation`); None on a window."""
    window: Time | None
    """Start of the `WINDOW_S` seconds in which the drawings were made; None on a total."""
    source: Count
    """The partition of examples.v1 that was counted."""
    n: Count
    correct: Count
    confusion: Annotated[list[Count], Field(min_length=DIGITS * DIGITS, max_length=DIGITS * DIGITS)]
    """The confusion matrix, row by row: rows are the player's labels, columns the guesses."""
    latency: Annotated[list[Count], Field(min_length=len(LATENCY_BUCKETS_MS) + 1, max_length=len(LATENCY_BUCKETS_MS) + 1)]

    @property
    def score_key(self) -> str:
        """The name of what a later record replaces: the total of a version, or the window an hour before."""
        if self.window is None:
            return f"{self.model}/{self.source}/total/{self.version}"
        return f"{self.model}/{self.source}/window/{int(self.window.timestamp()) // WINDOW_S % WINDOWS}"


PICK_WINDOW_S: Final = 60
"""The length of a window of `PicksCounted`."""
PICK_WINDOWS: Final = 60
"""How many of them an hour has."""
MAX_STRATA: Final = 1000


class PickStratum(BaseModel):
    """The guesses on drawings that were picked with one probability."""

    model_config = Event.model_config

    picked: Annotated[float, Field(gt=0, le=1)]
    """The probability: each of them stands for one over it."""
    gold: bool
    """Whether the server had asked for the digit; otherwise only its player knows it, who may be silent."""
    n: Count
    """All of them, also those of which nobody knows the digit."""
    confusion: Annotated[list[Count], Field(min_length=DIGITS * DIGITS, max_length=DIGITS * DIGITS)]
    """Those of which the digit is known, row by row: rows are the digits, columns the guesses."""


class PicksCounted(Event):
    """How often a model was right on drawings that chance picked, as counts; the newest of a `pick_key` replaces the others.

    As with ScoresCounted, a total has a version and no window, a window has no version. Written by the scorer; read by api,
    which sums over source. Twice is harmless: the counts are absolute.
    """

    topic: ClassVar[str] = "metrics.v1"
    key: ClassVar[str] = "pick_key"
    replaces: ClassVar[bool] = True

    type: Literal["PicksCounted"] = "PicksCounted"
    model: ModelName
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}(/shadow)?$")] | None
    window: Time | None
    """Start of the `PICK_WINDOW_S` seconds in which the drawings were made; None on a total."""
    source: Count
    """The partition of examples.v1 that was counted."""
    strata: Annotated[list[PickStratum], Field(max_length=MAX_STRATA)]
    """By probability, and by who knows the digit."""

    @property
    def pick_key(self) -> str:
        """The name of what a later record replaces: the total of a version, or the window an hour before."""
        if self.window is None:
            return f"picks/{self.model}/{self.source}/total/{self.version}"
        return f"picks/{self.model}/{self.source}/window/{int(self.window.timestamp()) // PICK_WINDOW_S % PICK_WINDOWS}"


SHADOW: Final = "/shadow"
"""The suffix of a version whose guesses were counted but not shown."""


def variant_of(version: str) -> str:
    """Return the production variant that serves a version: SageMaker does not take a number as a name.

    >>> variant_of("3"), variant_of("base1")
    ('v3', 'base1')
    """
    return f"v{version}" if version.isdigit() else version


def version_of(variant: str) -> str:
    """Return the version that a production variant serves.

    >>> version_of("v3"), version_of("base1")
    ('3', 'base1')
    """
    return variant[1:] if variant[:1] == "v" and variant[1:].isdigit() else variant


def generation(version: str) -> str:
    """Return the name a version is counted under: an online model's ``<generation>+<lessons>`` changes with every lesson."""
    return version.split("+", 1)[0]


class FoldAdvanced(Event):
    """The progress of a fold that is made again from the log, since its kept state is of another schema or another log.

    Written by streams.fold_runner, when a partition is taken up and during the folding; read by api, which reports until the
    end that something is missing. Twice is harmless: the newest counts.
    """

    topic: ClassVar[str] = "metrics.v1"
    key: ClassVar[str] = "fold_key"

    type: Literal["FoldAdvanced"] = "FoldAdvanced"
    fold: Name
    """``joiner``, ``scorer``, ``learner``, ``personal``."""
    source_partition: Count
    """The partition of the topics that the fold reads."""
    fraction: Probability
    """The share that is folded of what was on the log at the beginning; 1: all of it."""

    @property
    def fold_key(self) -> str:
        """The record's key: a later record with this key replaces it."""
        return f"fold/{self.fold}/{self.source_partition}"


MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")]


class MetricPoint(BaseModel):
    """A number of a metric family, as Prometheus has it."""

    model_config = Event.model_config

    suffix: Literal["", "_total", "_bucket", "_sum", "_count"]
    """What is added to the name of the family."""
    tags: Annotated[dict[MetricName, Name], Field(max_length=8)]
    """What Prometheus calls labels."""
    amount: float


class MetricFamily(BaseModel):
    """A metric with all its points."""

    model_config = Event.model_config

    metric: MetricName
    """The name, without the suffixes of its points."""
    what: Name
    """What it measures, for people."""
    counts: Literal["counter", "gauge", "histogram"]
    """How to read it: see Prometheus's types of metrics."""
    points: Annotated[list[MetricPoint], Field(max_length=500)]


class ProcessMeasured(Event):
    """What a process counts of itself, since its start.

    Written by streams.worker and the trainer, every few seconds; read by api, which shows all of them to Prometheus at one
    address, and misses a process that has said nothing for a while. Twice is harmless: the newest of a process counts.
    """

    topic: ClassVar[str] = "metrics.v1"
    key: ClassVar[str] = "process_key"
    times: ClassVar[tuple[str, ...]] = ("at", "began")
    replaces: ClassVar[bool] = True

    type: Literal["ProcessMeasured"] = "ProcessMeasured"
    process: Process
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    """Tells apart the processes of one kind; a process that is started anew in the place of another has its name."""
    began: Time
    """When the process started."""
    families: Annotated[list[MetricFamily], Field(max_length=100)]

    @property
    def process_key(self) -> str:
        """The record's key: a later record with this key replaces it."""
        return f"process/{self.process}/{self.instance}"


# --- model versions: the router knows no other source ------------------------------------------------------------------


class ModelsEvent(SignedEvent):
    """The base of all events of models.v1. The topic is compacted: each event names its own slot."""

    topic: ClassVar[str] = "models.v1"
    key: ClassVar[str] = "slot"

    number: Annotated[int, Field(ge=1, lt=1 << 53)] | None = None
    """Given by who signs: higher than that of all before it in its slot. One that comes after a higher one is a copy of an
    event that no longer counts. None: it is not signed."""

    @property
    def slot(self) -> str:
        """The record's key: a later event of the same slot replaces it."""
        raise NotImplementedError

    def bare(self) -> Self:
        """Return the event without its signature and number, as it was before it was signed."""
        return self if self.signer is None else self.model_copy(update={"signer": None, "signature": None, "number": None})


class ModelEvent(ModelsEvent):
    """The base of those events of models.v1 that are about a version of a model."""

    model: ModelName
    version: Version


GateVerdict = Literal["promoted", "refused", "undecided"]
"""What the gate says of a version: it may answer the players; it may not; nobody can tell yet, and it may not."""
_Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_ByDevice = dict[Device | Literal["unknown"], Count]
_TenCounts = Annotated[list[Count], Field(min_length=DIGITS, max_length=DIGITS)]


class _Beside(BaseModel):
    """A version beside the champion on drawings that both have guessed, person by person."""

    model_config = Event.model_config

    champion: Version
    tries: Count
    """How many versions, with this one, were looked at beside this champion: with each, more is asked of a difference."""
    people: Count
    judged: Count
    won: Count
    """Drawings that only this version got right; `lost`: that only the champion did."""
    lost: Count
    difference: _Difference
    """How much more often it is right, each person weighed by what their drawings tell, with the ends of its interval."""
    low: _Difference
    high: _Difference
    better: Count
    """For how many people it is right more often; `worse`: less often."""
    worse: Count


class BesideChampion(_Beside):
    """A version beside the champion on pictures of people of whom no drawing was trained on: all that the gate judged by."""

    quantiles: Annotated[list[_Difference], Field(min_length=5, max_length=5)]
    """The differences of people: least, a quarter, median, three quarters, greatest."""
    needs_people: Count = 0
    """How many more people there must be to tell the difference that is asked about; 0: it is told."""
    needs_drawings: Count = 0
    digit_judged: _TenCounts
    """By the digit drawn."""
    digit_won: _TenCounts
    digit_lost: _TenCounts
    device_judged: _ByDevice = {}
    """By what was drawn with; empty: it was judged before that was told."""
    device_won: _ByDevice = {}
    device_lost: _ByDevice = {}
    newest_judged: Count = 0
    """Drawings that were held back for their time, by people of whom older ones were trained on."""
    newest_won: Count = 0
    newest_lost: Count = 0
    mnist_won: Count
    mnist_lost: Count


class LiveBeside(_Beside):
    """A shadow beside the champion on live drawings: those that chance picked, of digits that the server asked for.

    The interval holds however often one looks; the looks of the gate count among its `tries`.
    """

    chance: Probability
    """How likely it would ever seem so much better if it were not; `chance_worse`: so much worse."""
    chance_worse: Probability
    allowed: Probability
    """The chance up to which it is promoted: what the looks before have left of what the policy allows."""
    since: AwareDatetime | None = None
    """From when on drawings count: when the version first became a shadow beside this champion. None: it is of before."""


class CanaryHealth(BaseModel):
    """How a canary and its champion have answered at one share, of finished drawings."""

    model_config = Event.model_config

    canary_drawings: Count
    """Drawings whose players it was to answer."""
    canary_misses: Count
    """Those of them that it did not answer, or not with probabilities, so that the champion answered."""
    canary_answers: Count
    """Its answers, shown or not."""
    canary_late: Count
    """Those of them that took longer than the policy allows."""
    canary_p99_ms: Annotated[float, Field(ge=0, le=1e9)]
    """Milliseconds within which it gave 99 of 100 answers, from the reading of the drawing; 0: it gave none."""
    champion_drawings: Count
    champion_misses: Count
    champion_answers: Count
    champion_late: Count
    champion_p99_ms: Annotated[float, Field(ge=0, le=1e9)]


RolloutMove = Literal["share", "promoted", "rolled-back", "stopped"]
"""It answers a share of the players; all of them; none, since it is worse or does not work; none, as somebody wanted."""


class RolloutStep(BaseModel):
    """A step of a version on its way to the players, or back, by policy: what was decided, when, and by what."""

    model_config = Event.model_config

    step: RolloutMove
    at: AwareDatetime
    champion: Version
    """The version beside which it was watched."""
    share: Probability = 0.0
    """The share of the players that it answers after this step."""
    why: Text
    live: LiveBeside | None = None
    """What live drawings had shown until then; None: nothing, or it was not watched."""
    health: CanaryHealth | None = None


class RightBySlice(BaseModel):
    """How many pictures a version got right of those that it was judged by, by digit, and by what was drawn with.

    The drawings are those of people of whom none was trained on, as in `BesideChampion`; MNIST's are its test images.
    """

    model_config = Event.model_config

    digit_judged: _TenCounts
    digit_right: _TenCounts
    device_judged: _ByDevice
    device_right: _ByDevice
    mnist_judged: _TenCounts
    mnist_right: _TenCounts


class ModelPublished(ModelEvent):
    """A version of a batch model was trained, evaluated and registered; it is not necessarily promoted.

    Written by trainers.promote, and again when its approval or failure changes, or while it is a shadow; read by api (library).
    Twice is harmless: the slot is the version.
    """

    type: Literal["ModelPublished"] = "ModelPublished"
    title: Name
    digest: str
    """sha256 of the artifact."""
    artifact: str
    """Where the artifact is: an S3 URI."""
    lineage: dict[str, str]
    """Training job, dataset, offsets, code, seed: all it takes to make the version again."""
    metrics: dict[str, float]
    gate: str
    """Why the version may, or may not, be promoted."""
    verdict: GateVerdict | None = None
    """What the gate has said, whoever has overruled it since; None: the version is a base, or older than verdicts."""
    beside: BesideChampion | None = None
    """What it has judged by; None: there was no champion to be compared with, or the version is older than that."""
    slices: RightBySlice | None = None
    """How good it is on each digit and device; None: it was not judged, or the version is older than that."""
    live: LiveBeside | None = None
    """How it did as a shadow or a canary; None: it was none."""
    rollout: Annotated[list[RolloutStep], Field(max_length=MAX_ROLLOUT)] = []
    """Its way to the players by policy, and back, the oldest step first. If the last one is a share, it is to be so."""
    approved: bool = True
    """Whether the gate lets the version reach players."""
    arn: str = ""
    """The ARN of its model package."""
    failed: str = ""
    """Why the version is taken for broken; empty: it is not, or was promoted on purpose since."""

    @property
    def slot(self) -> str:
        return f"{self.model}@{self.version}"


class ModelPromoted(ModelEvent):
    """From now on this version answers the players' drawings.

    Written by trainers.promote after the endpoint serves it, and by trainers.steering, if an experiment is to answer; read by
    the router, learning and api.relay. Twice is harmless: the event is a whole entry of the routing table, not a change to one.
    """

    type: Literal["ModelPromoted"] = "ModelPromoted"
    title: Name
    endpoint: Resource
    """The SageMaker endpoint that serves the version; empty: it is one of an online model, and answers in the router."""
    variant: Resource
    """The production variant that serves the version; the endpoint names it in each answer. Of an online model: the experiment
    that answers; empty: its own sums do."""
    previous: Version | None = None
    """The last good version: a variant without traffic on the endpoint, which is asked when this version fails."""
    note: str = ""

    @property
    def slot(self) -> str:
        return self.model if self.endpoint else f"{self.model}/promoted"  # the model's own slot has its snapshot


class ModelRolledBack(ModelPromoted):
    """An earlier version answers again; the fields are those of ModelPromoted.

    Written by trainers.promote and trainers.steering; read by the router, learning and api.relay. Twice is harmless, as with
    ModelPromoted.
    """

    type: Literal["ModelRolledBack"] = "ModelRolledBack"  # type: ignore[assignment]


class CandidateSet(ModelEvent):
    """A version was put beside its model's champion: a canary answers a share of the players, a shadow answers nobody.

    Written by trainers.promote after the endpoint serves it as a variant without traffic; read by the router and api. A model
    has a candidate in each place, and one canary at most. Twice is harmless: the event is the whole entry of its place.
    """

    type: Literal["CandidateSet"] = "CandidateSet"
    role: Literal["canary", "shadow", "none"]
    """The role of the candidate; ``none``: there is none in this place any more."""
    place: Place = 0
    share: Probability = 0.0
    """The share of the players that a canary answers; player, model and version alone decide who they are."""
    watched: bool = False
    """Whether the policy moves this canary on, or back. Both versions are asked about every finished drawing then, and the one
    that does not answer is a shadow, so that they are compared on the same drawings."""
    endpoint: Resource = ""
    variant: Resource = ""
    note: str = ""

    @property
    def slot(self) -> str:
        return f"{self.model}/candidate/{self.place}" if self.place else f"{self.model}/candidate"


Part = Literal["shown", "shadow", "off"]


class PolicySet(ModelsEvent):
    """The whole routing policy: which models guess, and which is shown first.

    Written by trainers.steering; read by the router and api. Twice is harmless: the newest policy counts.
    """

    type: Literal["PolicySet"] = "PolicySet"
    lead: Literal["bandit"] | ModelName
    """The model that every player is shown first; ``bandit``: for each player the model that their labels favour."""
    parts: dict[ModelName, Part] = {}
    """The part of each model that is not ``shown``: a shadow is asked and scored, but not shown; ``off`` is not asked."""
    by: str = ""
    note: str = ""

    @property
    def slot(self) -> str:
        """The record's key."""
        return "policy"


class RestrictionSet(ModelsEvent):
    """The players who are restricted, all of them: what datasets leave out.

    Written by trainers.steering; read by the trainer and api. Twice is harmless: the newest counts.
    """

    type: Literal["RestrictionSet"] = "RestrictionSet"
    players: dict[PlayerId, Restriction]

    @property
    def slot(self) -> str:
        """The record's key."""
        return "restrictions"


class LearningSet(ModelsEvent):
    """An online model's learning was frozen, or thawed.

    Written by trainers.steering; read by the online model, which publishes no newer snapshot while it is frozen, and by api.
    Lessons are taught on meanwhile. Twice is harmless: the newest counts.
    """

    type: Literal["LearningSet"] = "LearningSet"
    model: ModelName
    frozen: bool
    by: str = ""
    note: Text = ""

    @property
    def slot(self) -> str:
        """The record's key."""
        return f"{self.model}/learning"

    @property
    def who(self) -> str:
        """Who asked for it, and why, for people."""
        return f"by {self.by}: {self.note}" if self.note else f"by {self.by}"


class DriftPolicySet(ModelsEvent):
    """What is done about each kind of drift: the whole policy.

    Written by trainers.steering; read by the trainer and api. Twice is harmless: the newest counts.
    """

    type: Literal["DriftPolicySet"] = "DriftPolicySet"
    actions: dict[DriftKind, DriftAction]
    """The action of each kind for which more is done than to notify."""
    cooldown_s: Count = 3600
    """How long after an action the same is not done again for the same model; nor for any, if both are about what is drawn."""
    least_hands: Count = 3
    """Of how many players a drift must be for more to be done than to notify: so that nobody alone brings that about."""
    by: str = ""
    note: Text = ""

    @property
    def slot(self) -> str:
        """The record's key."""
        return "drift-policy"


class PlayersForgotten(ModelsEvent):
    """Players who are forgotten, by a mark from which nobody can tell who they were: nobody may play as them.

    A record has all marks that begin with the same letters, so that none grows too large.

    Written by trainers.forgetting; read by api. Twice is harmless: the newest counts.
    """

    type: Literal["PlayersForgotten"] = "PlayersForgotten"
    begin: Annotated[str, Field(pattern="^[0-9a-f]{0,2}$")] = ""
    """The two letters with which all these marks begin."""
    marks: list[str]
    """The `mark_of` each, in the order in which they were forgotten."""

    @property
    def slot(self) -> str:
        """The record's key."""
        return f"forgotten/{self.begin}" if self.begin else "forgotten"


class VariantSeen(BaseModel):
    """A production variant, as SageMaker describes it."""

    model_config = Event.model_config

    variant: Resource
    version: Version
    weight: Annotated[float, Field(ge=0, le=1e9)]
    """Its weight: of the requests that name no variant it gets this over the sum of all weights."""
    instances: Count
    instance_type: Name


class EndpointSeen(ModelEvent):
    """The state of an endpoint, as a cloud console shows it; ``version`` is the one that takes the traffic, or ``none``.

    Written by trainers.endpoint_monitor, whenever the state changes; read by api. Twice is harmless: the newest counts.
    """

    type: Literal["EndpointSeen"] = "EndpointSeen"
    endpoint: Resource
    arn: Text = ""
    status: Name
    """SageMaker's own status, or ``Unavailable``: the model cannot be served here, and ``reason`` says why."""
    reason: str = ""
    created: Time | None = None
    modified: Time | None = None
    variants: list[VariantSeen] = []
    cost_per_hour_usd: float | None = None
    """What the endpoint costs, by AWS's list price of its instances; None: not known."""

    @property
    def slot(self) -> str:
        return f"{self.model}/endpoint"


class SnapshotTaken(ModelEvent):
    """An online model after some lessons.

    Written by the online model; read by the router. Twice is harmless: the newest on the log counts, as after compaction.
    Readers do not compare the offsets in snapshots, since one that is too high would then stay for ever.
    """

    type: Literal["SnapshotTaken"] = "SnapshotTaken"
    title: Name
    offset: Annotated[int, Field(ge=-1, lt=1 << 53)]
    """How many records of lessons.v1 the snapshot includes, less one; -1: none, it is the base."""
    offsets: Annotated[list[Annotated[int, Field(ge=-1, lt=1 << 53)]], Field(max_length=1024)] = []
    """By partition of lessons.v1: the last offset that the snapshot includes; -1: none. Empty: it is from before models were
    sums."""
    lessons: Count
    """The lessons in force: those taught, without those taken back."""
    newcomers: Count = 0
    """How many of the lessons in force are newcomers'."""
    series: Name = ""
    """The series of its lessons; empty: it is from before snapshots said so. The newest answers, whatever its series; of
    versions of the past, only those of one series say anything, since each begins again with number 1."""
    digest: Name
    """The digest of the set of lessons in force, and of the base."""
    marked: Name = ""
    """The sum of the marks of these lessons, from which the digest follows; empty: it is older than this field."""
    reader: Name
    """The reader whose features the model understands."""
    basis: Name = ""
    """The features that are made of an embedding, see streams.additive; empty: the embedding itself, and a one."""
    weights: bytes
    """Little-endian float32: a row per digit, a column per feature of the basis."""

    @property
    def slot(self) -> str:
        return self.model


Link = Literal["softmax", "sigmoid"]
"""How an experiment's scores become probabilities: their softmax; or the sigmoid of each, divided by the sum of all ten."""


class ExperimentLearned(ModelEvent):
    """An experiment beside an online model, after some lessons: another estimator, which is asked as the model's shadow.

    Its version is ``<name>+<changes>``, counted as those of the model's own are. Written by streams.experimenter, beside the
    online model; read by it, when another process goes on, by the router, the trainer and api. Twice is harmless: the newest
    counts.
    """

    type: Literal["ExperimentLearned"] = "ExperimentLearned"
    offsets: Annotated[list[Annotated[int, Field(ge=-1, lt=1 << 53)]], Field(max_length=1024)]
    """By partition of lessons.v1: the last offset that it has read; -1: none."""
    numbers: Annotated[list[Count], Field(max_length=1024)]
    """By partition of lessons.v1: the number of the last lesson that it has read."""
    taught: Count
    """How many lessons it has learned: those that count by themselves and at least half."""
    jumped: Count = 0
    """How many numbers of lessons were passed over since players were forgotten."""
    made_of: Name
    """A digest of the estimator, its base, the reader and the series of lessons: another one begins anew."""
    reader: Name
    """The reader whose embeddings it understands."""
    link: Link
    weights: Annotated[bytes, Field(max_length=65_536), AfterValidator(_floats)]
    """Little-endian float32: a row per digit, a column per number of the embedding, and one for a one."""
    ended: bool = False
    """Whether it is no experiment any more: its line was removed."""

    @property
    def slot(self) -> str:
        return f"{self.model}/experiment/{generation(self.version)}"

    @property
    def changes(self) -> int:
        """The number in its version."""
        return sum(self.numbers) - self.jumped


class DatasetMade(ModelsEvent):
    """A dataset was made for a rebuild, or its data were deleted: all that its manifest says but for the players' names.

    Written by the trainer; read by the trainer and api. Twice is harmless: the newest of a digest counts.
    """

    type: Literal["DatasetMade"] = "DatasetMade"
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """sha256 of its bytes; the base counts by its own digest."""
    base_digest: str = ""
    """sha256 of the images that come before the players', as of MNIST."""
    feedback: Count
    """How many of the players' drawings are trained on."""
    held_back: Count
    """How many are not, to judge versions by them."""
    people: Count
    """How many players drew them."""
    new_people: Count = 0
    """How many of these are not in the dataset before."""
    labels: Annotated[list[Count], Field(min_length=DIGITS, max_length=DIGITS)]
    """How many of the players' drawings are each digit."""
    excluded: dict[Name, Count] = {}
    """How many examples were left out, by the reason."""
    trust: Probability | None = None
    """How far the players' labels are trusted, on average over the drawings of known players; None: nobody is known."""
    weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """How much a player's drawing counts beside one of the base."""
    offsets: list[Offset]
    """The first offset of each partition of examples.v1 that was not read."""
    split: str = ""
    """What is held back, as ``0.2 of people``."""
    held_back_by: str = ""
    """The fingerprint of the home's key that decides who; empty: the key that is in the code, which everybody knows."""
    newcomers: Count = 0
    """How many of the drawings that are trained on are newcomers'."""
    newcomers_weight: Annotated[float, Field(ge=0)] = 0.0
    """How much all of these together count, beside one of the base."""
    seed: int
    code: Name
    """The version of the code that made it."""
    images: dict[str, str] = {}
    """The digest of each image that may train on it."""
    shards: dict[str, str] = {}
    """sha256 of each of its files."""
    by: str = ""
    gone: str = ""
    """Why its data were deleted; empty: they are there."""

    @property
    def slot(self) -> str:
        """The record's key."""
        return f"datasets/{self.digest}"


TRAINING_STEPS: Final = (
    "queued", "archive", "dataset", "training", "evaluation", "gate", "endpoint", "done", "refused", "failed", "cancelled",
)  # fmt: skip
TRAINING_ENDS: Final = ("done", "refused", "failed", "cancelled")
"""The steps that end a rebuild; ``refused``: by the gate; ``cancelled``: by an operator."""


Trigger = Literal["count", "time", "drift"]
"""Why the trainer itself begins a rebuild: so many new labels, so much time, or drift."""


MOST_TRIED: Final = 20
"""The most settings of hyperparameters that one rebuild tries."""
HyperparameterName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]
HyperparameterValue = Annotated[str, Field(min_length=1, max_length=40)]
Hyperparameters = Annotated[dict[HyperparameterName, HyperparameterValue], Field(max_length=20)]
"""The hyperparameters that somebody sets for one rebuild."""
Grid = Annotated[
    dict[HyperparameterName, Annotated[list[HyperparameterValue], Field(min_length=1, max_length=20)]], Field(max_length=5)
]
"""The values of each hyperparameter that one rebuild tries, all with all."""


class Tried(BaseModel):
    """Settings of hyperparameters that a rebuild has tried, or is to try."""

    model_config = Event.model_config

    hyperparameters: Hyperparameters
    status: Literal["waiting", "running", "done", "failed", "cancelled"]
    accuracy: Probability | None = None
    """How good it was on the drawings that settings are compared by; None: it is not known, or not yet."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long its training job has taken, or takes by now, as AWS would bill it."""
    cost: Dollars | None = None
    """What that costs on AWS; None: there is no price of its instance."""
    kept: bool = False
    """Whether it was the best, and the version is trained with it."""


class TrainingAdvanced(ModelEvent):
    """The progress of a rebuild; ``version`` is the one that is being made.

    Written by the trainer; read by api.watch and `gamenight retrain`. Twice is harmless: the newest counts.
    """

    type: Literal["TrainingAdvanced"] = "TrainingAdvanced"
    command_id: UUID
    step: str
    """One of `TRAINING_STEPS`; those of `TRAINING_ENDS` end the rebuild."""
    fraction: Probability
    """The share of the whole rebuild that is done."""
    message: str = ""
    log: list[str] = []
    """New lines of the training job's log since the event before."""
    by: str = ""
    """Who asked for the rebuild."""
    trigger: Trigger | None = None
    """Why it was begun; None: somebody asked for it."""
    began: Time | None = None
    """When it was begun; None: it is from a version that did not say so."""
    offsets: list[Offset] = []
    """The first offset of each partition of examples.v1 that it has not read, where it ended because nothing was new."""
    tried: Annotated[list[Tried], Field(max_length=MOST_TRIED)] = []
    """The settings of hyperparameters that it tries."""
    dataset: str = ""
    """The digest of its dataset, which is kept as long as the rebuild is at work; empty: it has none yet."""
    seconds: Annotated[float, Field(ge=0)] | None = None
    """What AWS bills of its jobs, those of tries too, where it has ended without a version, which would say so itself. None: it
    had none, or nobody knows."""
    cost: Dollars | None = None
    """What that costs on AWS; None: there is no price of its instance."""

    @property
    def slot(self) -> str:
        ended = f"/{self.command_id}" if self.step in TRAINING_ENDS else ""  # how each one ended is kept
        return f"{self.model}/training{ended}"


# --- seats -----------------------------------------------------------------------------------------------------------

CodeId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A code's HMAC-SHA256 under the secret of seats: whoever reads the log cannot tell the code."""


class SeatOffered(Event):
    """A player asked for a code by which another device plays as the same player.

    Written by api.play; read by every process of the API. Twice is harmless: a player's newest offer counts.
    """

    topic: ClassVar[str] = "seats.v1"
    key: ClassVar[str] = "code_id"

    type: Literal["SeatOffered"] = "SeatOffered"
    code_id: CodeId
    player_id: PlayerId
    room: Name
    valid_s: Annotated[int, Field(ge=1, le=3600)]
    """How long the code is valid, in seconds from `at` on."""


class SeatClaimed(Event):
    """Somebody gave a code; the first claim of an offer, in the order of the log, gets the seat. Or they give the claim back.

    Written by api.play; read by every process of the API, the writer among them: what it reads says who was first. Twice is
    harmless: the second has the same claim_id, and what is given back claims nothing again.
    """

    topic: ClassVar[str] = "seats.v1"
    key: ClassVar[str] = "code_id"

    type: Literal["SeatClaimed"] = "SeatClaimed"
    code_id: CodeId
    claim_id: UUID
    returned: bool = False
    """Whether nobody took the seat by this claim, and nobody will: the next claim gets it."""


# --- OPERATE ---------------------------------------------------------------------------------------------------------


class CommandsEvent(SignedEvent):
    """The base of what is on commands.v1."""

    topic: ClassVar[str] = "commands.v1"
    key: ClassVar[str] = "target"


TRIGGERED: Final = "trainer"
DRIFT_POLICY: Final = "drift policy"
GATE_POLICY: Final = "gate policy"
POLICIES: Final = frozenset({TRIGGERED, DRIFT_POLICY, GATE_POLICY})
"""By whom commands are that the trainer gives itself, and what it does without one."""


class Command(CommandsEvent):
    """The base of the operators' commands."""

    command_id: UUID
    target: ModelName
    by: str
    """Who gave it: an operator's name, ``house`` with the token of the home itself, or a part of the game."""
    reason: str = ""
    """Why it was given."""
    via: Literal["cli", "http", "policy", "router", "player"] | None = None
    """How it was given: with `gamenight`, over HTTP, by the policy on drift, by the router, by a player of themselves."""
    address: Name | None = None
    """The address that it came from; None: from inside the game."""
    token: Name | None = None
    """The name of the token that it was given with: its operator and the beginning of its digest."""


class RetrainModel(Command):
    """Rebuild a batch model from its base and all feedback so far.

    Written by api.ops, and by the trainer when the settings or the policy on drift say so; read by the trainer and api. Twice
    is harmless: the training job is named after the command_id.
    """

    type: Literal["RetrainModel"] = "RetrainModel"
    base: bool = False
    """Whether to train from MNIST alone, without players' drawings."""
    hyperparameters: Hyperparameters = {}
    """Hyperparameters in place of the image's own, as training jobs have them: strings."""
    grid: Grid = {}
    """What is tried first, to train with the best of it; empty: nothing."""
    warm: bool = False
    """Whether training goes on from the champion's artifact."""
    trigger: Trigger | None = None
    """Why the trainer itself gives it; None: somebody asked for it."""


class CancelTraining(Command):
    """End a rebuild that waits or is at work, unless its version is being promoted already.

    Written by api.ops; read by the trainer and api. Twice is harmless: a rebuild ends once.
    """

    type: Literal["CancelTraining"] = "CancelTraining"
    training_id: UUID
    """The command_id of the RetrainModel."""


class PromoteModel(Command):
    """Let a version that the gate has approved, or an experiment of an online model, answer the players.

    Written by api.ops; read by the trainer. Twice is harmless: a version that is promoted already stays so.
    """

    type: Literal["PromoteModel"] = "PromoteModel"
    version: Version
    force: bool = False
    """Whether to promote it whatever the gate says; never one that has failed to serve."""


class RollBackModel(Command):
    """Let an earlier version answer again.

    Written by api.ops, and by the router when a version fails its first calls, with an id made of model, version and time of
    its promotion; read by the trainer. Twice is harmless: a settled command_id is not carried out again.
    """

    type: Literal["RollBackModel"] = "RollBackModel"
    version: Version | None = None
    """The version to return to; None: the last good one."""
    failed: Version | None = None
    """The version that failed; if it is not the champion, or no longer, nothing is done."""


class TryVersion(Command):
    """Put a version beside its model's champion, as a canary or a shadow, or remove the candidate.

    Written by api.ops, and by the router when a candidate is broken; read by the trainer. Twice is harmless: a candidate
    that is set already stays as it is.
    """

    type: Literal["TryVersion"] = "TryVersion"
    version: Version | None = None
    """The version; with the role ``none``: the candidate to remove, None: all of them."""
    role: Literal["canary", "shadow", "none"]
    share: Probability = 0.0
    watched: bool = False
    """Whether the policy moves the canary on from there, or back."""
    failed: Version | None = None
    """The candidate that failed; if it is not the candidate, or no longer, nothing is done."""


class SetPolicy(Command):
    """Change which models guess and which is shown first; fields that are left out change nothing.

    Written by api.ops; read by the trainer. Twice is harmless: a policy that is set already stays as it is.
    """

    type: Literal["SetPolicy"] = "SetPolicy"
    target: Literal["policy"] = "policy"
    lead: Literal["bandit"] | ModelName | None = None
    parts: dict[ModelName, Part] = {}


class RestrictPlayer(Command):
    """Restrict a player, or lift that: what the player taught is taken out of the online models, or put back, exactly.

    Written by api.ops; read by the trainer. Twice is harmless: a restriction that is in force stays as it is.
    """

    type: Literal["RestrictPlayer"] = "RestrictPlayer"
    target: Literal["players"] = "players"
    player_id: PlayerId
    restriction: Restriction


class FreezeLearning(Command):
    """Let an online model answer as it does now, whatever is taught, until it is thawed.

    Written by api.ops, and by the trainer when the policy on drift says so; read by the trainer. Twice is
    harmless: a model that is frozen stays so.
    """

    type: Literal["FreezeLearning"] = "FreezeLearning"


class ThawLearning(Command):
    """Let an online model learn again, at once all that was taught while it was frozen.

    Written by api.ops; read by the trainer. Twice is harmless: a model that learns goes on.
    """

    type: Literal["ThawLearning"] = "ThawLearning"


class SetDriftPolicy(Command):
    """Change what is done about drift; fields that are left out change nothing.

    Written by api.ops; read by the trainer. Twice is harmless: a policy that is set already stays as it is.
    """

    type: Literal["SetDriftPolicy"] = "SetDriftPolicy"
    target: Literal["drift"] = "drift"
    actions: dict[DriftKind, DriftAction] = {}
    cooldown_s: Count | None = None
    least_hands: Count | None = None


class ForgetPlayer(Command):
    """Forget a player: cut all that is theirs out of every store, and prove it.

    Written by api.ops and by api.play, for the player; read by the trainer. The command itself is cut out of the log at the
    end. Twice is harmless: of a player who is forgotten nothing is found.
    """

    type: Literal["ForgetPlayer"] = "ForgetPlayer"
    target: Literal["players"] = "players"
    player_id: PlayerId


class ForgettingAdvanced(CommandsEvent):
    """The progress of forgetting a player; it does not say whom.

    Written by trainers.forgetting; read by api and `gamenight forget`. Twice is harmless: the newest counts.
    """

    type: Literal["ForgettingAdvanced"] = "ForgettingAdvanced"
    command_id: UUID
    target: Literal["players"] = "players"
    step: Literal["door", "folds", "lessons", "log", "archive", "observations", "proof"]
    """What is done now: nobody may play as the player; folds; lessons; topics; S3; DynamoDB; the certificate."""
    fraction: Probability
    message: Text = ""


class CommandSettled(CommandsEvent):
    """A command was carried out, was refused or failed.

    Written by the trainer; of a RetrainModel, TrainingAdvanced say more. Read by api. Twice is harmless: a command has one
    outcome.
    """

    type: Literal["CommandSettled"] = "CommandSettled"
    command_id: UUID
    target: str
    outcome: Literal["done", "refused", "failed"]
    message: str


class CommandRefused(CommandsEvent):
    """An operator wanted something and was refused at the door, so that no command was given; kept for the audit.

    Written by api.ops; read by the audit of api.ops. Twice is harmless: the command_id is the same.
    """

    type: Literal["CommandRefused"] = "CommandRefused"
    command_id: UUID
    command: Name
    """What was wanted, as its route is called."""
    target: Name
    """What it was wanted of, if that was said; else a dash."""
    by: Name
    reason: Name = ""
    """Why it was wanted, the beginning of it."""
    via: Literal["cli", "http"]
    address: Name
    token: Name
    message: Text
    """Why it was refused."""


class CommandDone(CommandsEvent):
    """Something was done at once, without a command to the trainer; kept for the audit.

    An operator repairs or replays a rejected message, is given a token, or loses it; or the policy on versions tries, promotes
    or removes one. Written by api.ops, and by the trainer of its policy, before it is done; read by the audit of api.ops. Twice
    is harmless: the command_id is the same.
    """

    type: Literal["CommandDone"] = "CommandDone"
    command_id: UUID
    command: Name
    """What was done, as its route or `gamenight` calls it."""
    target: Name
    """To what: a topic, a model, an operator's token."""
    by: Name
    reason: Text = ""
    via: Literal["cli", "http", "policy"] | None = None
    """None: somebody has changed a file of the home."""
    address: Name | None = None
    token: Name | None = None
    message: Text = ""
    """What exactly."""


class CommandCut(CommandsEvent):
    """A command was cut out of the log since it named a player who is forgotten; what of it names nobody stays for the audit.

    Written by trainers.forgetting; read by the audit of api.ops. It is of the time of the command. Twice is harmless:
    it says the same.
    """

    type: Literal["CommandCut"] = "CommandCut"
    command_id: UUID
    command: Name
    """The type of the command; of what was refused at the door, its route."""
    target: Name
    by: Name
    via: Literal["cli", "http", "policy", "router", "player"] | None = None
    address: Name | None = None
    token: Name | None = None
    outcome: Literal["refused", "done"] | None = None
    """Whether it was refused at the door, or done at once; of a command, CommandSettled has the outcome."""


class SignaturesBegan(CommandsEvent):
    """From when on everything on a topic is signed; what came to the log before counts as it is.

    Written by the trainer, as it is noted in the bucket; read by api and by whoever else proves what is on the log, before the
    topic itself. Twice is harmless: the earliest time counts.
    """

    type: Literal["SignaturesBegan"] = "SignaturesBegan"
    target: Literal["signatures"] = "signatures"
    source: Name
    """The topic."""
    since: Time
    """By the broker's clock."""


class MessageRejected(Event):
    """A message that could not be handled, kept whole so that it can be repaired and replayed.

    Written by whoever could not handle it, at the time of the message itself; read by the console and `gamenight rejected`.
    Twice is harmless: the `rejection_id` is the same.
    """

    topic: ClassVar[str] = "rejected.v1"
    key: ClassVar[str] = "source"

    type: Literal["MessageRejected"] = "MessageRejected"
    source: Name
    """The topic of the message."""
    source_partition: Count
    source_offset: Offset
    source_key: bytes | None
    """The key of the message, as far as it is kept."""
    source_key_size: int | None = None
    """The size of the whole key in bytes; None: there was no key."""
    value: bytes
    """The message, as far as it is kept."""
    null: bool = False
    """Whether the record had no value at all."""
    size: int | None = None
    """The size of the whole message in bytes; None: `value` is all of it, unless `error` says otherwise."""
    digest: str = ""
    """sha256 of the whole message."""
    stage: str
    """The stage that could not handle the message."""
    error: str

    @property
    def rejection_id(self) -> UUID:
        """The same id for the same message and stage, so that rejecting it again adds nothing."""
        where = f"{self.source}/{self.source_partition}/{self.source_offset}"
        return uuid5(NAMESPACE, f"rejected/{where}/{self.digest}/{self.stage}")

    @property
    def whole(self) -> bool:
        """Whether all of the message and of its key is kept."""
        if self.size is None:
            return not self.error.startswith("only the first ")
        return self.size == len(self.value) and self.source_key_size in (None, len(self.source_key or b""))


class MessageRepaired(Event):
    """An operator repaired a rejected message: ``value`` is what it should have been, an event of its topic.

    Written by api.ops.rejected; read by it. Twice is harmless: the newest counts.
    """

    topic: ClassVar[str] = "rejected.v1"
    key: ClassVar[str] = "source"

    type: Literal["MessageRepaired"] = "MessageRepaired"
    rejection_id: UUID
    source: Name
    value: bytes
    by: Name
    reason: Text = ""


class MessageReplayed(Event):
    """An operator published a rejected message, repaired or not, on its topic again.

    Written by api.ops.rejected, after the message is on the log; read by it. Twice is harmless: the message keeps its ids.
    """

    topic: ClassVar[str] = "rejected.v1"
    key: ClassVar[str] = "source"

    type: Literal["MessageReplayed"] = "MessageReplayed"
    rejection_id: UUID
    source: Name
    by: Name


# --- topics ----------------------------------------------------------------------------------------------------------

PLAYER_PARTITIONS: Final = 4
"""The partitions of every topic keyed by player_id, so that all events of a player reach the same worker."""
_DAY_MS: Final = 86_400_000


_UNCUT: Final[Mapping[str, str]] = {
    "segment.ms": str(7 * _DAY_MS),
    "segment.jitter.ms": "0",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": str((1 << 63) - 1),
    "delete.retention.ms": str(_DAY_MS),
    "file.delete.delay.ms": "60000",
}
"""The defaults of Kafka's settings that are others while records are cut out of a topic: a start puts them back."""


class TopicSpec(BaseModel):
    """The settings with which a topic is created."""

    model_config = ConfigDict(frozen=True)

    name: str
    partitions: int
    retention_ms: int
    """How long records are kept, in milliseconds; -1: for good."""
    share: float = 0.0
    """The topic's share of the bytes that the log may take, whatever players send; 0: see decision 0018 for its bound."""
    compacted: bool = False
    description: str

    def configs(self, log_bytes: int) -> dict[str, str]:
        """Return Kafka's own settings for the topic.

        Args:
            log_bytes: What all topics with a share may take together. A partition that is written to exceeds its part by a
                segment.
        """
        configs = {"retention.ms": str(self.retention_ms), "max.message.bytes": "1048588", "cleanup.policy": "delete"}
        configs["message.timestamp.type"] = "LogAppendTime"  # the broker's own clock: no writer can claim another time
        configs["retention.bytes"] = str(int(self.share * log_bytes) // self.partitions if self.share else -1)
        if self.share:
            configs["segment.bytes"] = "33554432"
        configs |= _UNCUT
        if self.compacted:  # only closed segments are compacted: small ones keep a late reader's first read short
            configs |= {
                "cleanup.policy": "compact" if self.retention_ms < 0 else "compact,delete",
                "segment.bytes": "16777216",
                "segment.ms": "600000",
                "min.cleanable.dirty.ratio": "0.2",
            }
        return configs


def _spec(name: str, partitions: int, days: int, description: str, *, share: float = 0.0, compacted: bool = False) -> TopicSpec:
    retention = days * _DAY_MS if days > 0 else -1
    return TopicSpec(
        name=name, partitions=partitions, retention_ms=retention, share=share, compacted=compacted, description=description
    )


TOPICS: Final[Mapping[str, TopicSpec]] = {
    spec.name: spec
    for spec in (
        _spec("drawings.v1", PLAYER_PARTITIONS, 7, "drawings of players, finished or not", share=0.37),
        _spec("guesses.v1", PLAYER_PARTITIONS, 7, "guesses on finished drawings, each as it comes", share=0.17),
        _spec("answers.v1", PLAYER_PARTITIONS, 7, "all guesses on a finished drawing together, with its features", share=0.19),
        _spec(
            "previews.v1",
            PLAYER_PARTITIONS,
            1,
            "what is only shown: guesses on previews, on probes, and repeated; and what players' own models remember",
            share=0.075,
        ),
        _spec("corrections.v1", PLAYER_PARTITIONS, 7, "corrections of players", share=0.05),
        _spec("examples.v1", PLAYER_PARTITIONS, 0, "drawing, guesses and label, joined; kept for good"),
        _spec("lessons.v1", PLAYER_PARTITIONS, 0, "lessons of the online models, taught and taken back; kept for good"),
        _spec("evidence.v1", PLAYER_PARTITIONS, 0, "what labelled drawings say of drift, all on one partition; kept for good"),
        _spec("drift.v1", 1, 28, "drift that was detected, and what was done about it", share=0.005),
        _spec("receipts.v1", PLAYER_PARTITIONS, 7, "what each correction did", share=0.05),
        _spec("seats.v1", 1, 1, "codes by which a player goes on on another device, and who took them", share=0.01),
        _spec("metrics.v1", 1, 0, "counts per model: totals of each version, and an hour of windows", compacted=True),
        _spec("models.v1", 1, 0, "versions of models, the policy, and snapshots", compacted=True),
        _spec("commands.v1", 1, 0, "commands of operators, refused ones too, and their outcomes; kept for good"),
        _spec("rejected.v1", 1, 28, "messages that could not be handled, kept whole", share=0.08),
    )
}

EVENTS: Final[tuple[type[Event], ...]] = (
    DrawingSubmitted,
    DrawingSought,
    MemoryAsked,
    GuessMade,
    PreviewGuessed,
    MemoryTold,
    GuessMissed,
    DrawingAnswered,
    CorrectionGiven,
    CorrectionWithdrawn,
    ResetAsked,
    CorrectionProbed,
    ExampleLabelled,
    MemoryReset,
    ExampleProbed,
    DrawingPicked,
    PlayerRestricted,
    EvidenceGathered,
    DriftDetected,
    DriftHandled,
    PlayerForgotten,
    ExamplesForgotten,
    LessonsCut,
    LessonTaught,
    LessonTakenBack,
    LessonsForgotten,
    LessonsRestricted,
    LessonProbed,
    CorrectionReceipt,
    ReceiptProbed,
    StageForgot,
    ScoresCounted,
    PicksCounted,
    FoldAdvanced,
    ProcessMeasured,
    ModelPublished,
    ModelPromoted,
    ModelRolledBack,
    CandidateSet,
    PolicySet,
    RestrictionSet,
    LearningSet,
    DriftPolicySet,
    PlayersForgotten,
    EndpointSeen,
    SnapshotTaken,
    ExperimentLearned,
    DatasetMade,
    TrainingAdvanced,
    SeatOffered,
    SeatClaimed,
    RetrainModel,
    CancelTraining,
    PromoteModel,
    RollBackModel,
    TryVersion,
    SetPolicy,
    RestrictPlayer,
    FreezeLearning,
    ThawLearning,
    SetDriftPolicy,
    ForgetPlayer,
    ForgettingAdvanced,
    CommandSettled,
    CommandRefused,
    CommandDone,
    CommandCut,
    SignaturesBegan,
    MessageRejected,
    MessageRepaired,
    MessageReplayed,
)


_WRITERS: Final[Mapping[type[Event], tuple[Process, ...]]] = {
    DrawingSubmitted: ("api",),
    DrawingSought: ("learning",),
    MemoryAsked: ("api",),
    MemoryTold: ("router",),
    GuessMade: ("router",),
    PreviewGuessed: ("router", "learning"),
    GuessMissed: ("router",),
    DrawingAnswered: ("router",),
    CorrectionGiven: ("api",),
    CorrectionWithdrawn: ("api",),
    ResetAsked: ("api",),
    CorrectionProbed: ("api",),
    ExampleLabelled: ("learning",),
    MemoryReset: ("learning",),
    ExampleProbed: ("learning",),
    DrawingPicked: ("learning",),
    EvidenceGathered: ("learning",),
    DriftDetected: ("learning",),
    DriftHandled: ("trainer",),
    PlayerForgotten: ("trainer",),
    ExamplesForgotten: ("learning",),
    LessonsCut: ("trainer",),
    LessonsForgotten: ("learning",),
    LessonsRestricted: ("learning",),
    StageForgot: ("router", "learning"),
    LessonTaught: ("learning",),
    LessonTakenBack: ("learning",),
    LessonProbed: ("learning",),
    CorrectionReceipt: ("router", "learning"),
    ReceiptProbed: ("router", "learning"),
    ScoresCounted: ("learning",),
    PicksCounted: ("learning",),
    FoldAdvanced: ("router", "learning"),
    ProcessMeasured: ("router", "learning", "trainer"),
    ModelPublished: ("trainer",),
    ModelPromoted: ("trainer",),
    ModelRolledBack: ("trainer",),
    CandidateSet: ("trainer",),
    PolicySet: ("trainer",),
    RestrictionSet: ("trainer",),
    PlayersForgotten: ("trainer",),
    PlayerRestricted: ("trainer",),
    LearningSet: ("trainer",),
    DriftPolicySet: ("trainer",),
    EndpointSeen: ("trainer",),
    SnapshotTaken: ("learning",),
    ExperimentLearned: ("learning",),
    DatasetMade: ("trainer",),
    TrainingAdvanced: ("trainer",),
    SeatOffered: ("api",),
    SeatClaimed: ("api",),
    RetrainModel: ("api", "trainer"),
    CancelTraining: ("api",),
    PromoteModel: ("api",),
    RollBackModel: ("api", "router"),
    TryVersion: ("api", "router"),
    SetPolicy: ("api",),
    RestrictPlayer: ("api",),
    FreezeLearning: ("api", "trainer"),
    ThawLearning: ("api",),
    SetDriftPolicy: ("api",),
    ForgetPlayer: ("api",),
    ForgettingAdvanced: ("trainer",),
    CommandSettled: ("trainer",),
    CommandRefused: ("api",),
    CommandDone: ("api", "trainer"),
    CommandCut: ("trainer",),
    SignaturesBegan: ("trainer",),
    MessageRejected: PROCESSES,
    MessageRepaired: ("api",),
    MessageReplayed: ("api",),
}
"""The processes that write each event, as its docstring says."""


SIGNED: Final = frozenset(event.topic for event in EVENTS if issubclass(event, SignedEvent))
"""The topics of which everything is signed."""


def writers(topic: str) -> frozenset[Process]:
    """Return the processes that write to a topic; no other needs the right to."""
    return frozenset(process for event, several in _WRITERS.items() if event.topic == topic for process in several)


def writers_of(kind: type[Event]) -> tuple[Process, ...]:
    """Return the processes that write an event."""
    return _WRITERS[kind]


class UnknownEvent(ValueError):
    """A record holds no event of its topic."""


def _adapter(topic: str) -> TypeAdapter[Any]:
    kinds = [event for event in EVENTS if event.topic == topic]
    if len(kinds) == 1:
        return TypeAdapter(kinds[0])
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return TypeAdapter(Annotated[union, Field(discriminator="type")])


_ADAPTERS: Final = {topic: _adapter(topic) for topic in TOPICS}


def decode(topic: str, value: bytes | None) -> Event:
    """Decode a value on ``topic`` into its event; `contracts.records.read` reads a whole record.

    Raises:
        UnknownEvent: If the bytes are no event of this topic; the message says which field is wrong and why.
    """
    adapter = _ADAPTERS.get(topic)
    if adapter is None:
        raise UnknownEvent(f"no topic {topic!r}: contracts/events.py lists {', '.join(TOPICS)}")
    if value is None:
        raise UnknownEvent(f"not an event of {topic}: it has no value")
    try:
        event: Event = adapter.validate_json(value)
    except ValueError as wrong:
        raise UnknownEvent(f"not an event of {topic}: {wrong}") from wrong
    return event
