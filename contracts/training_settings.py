"""The settings of how batch models are trained and judged; `contracts.settings` has them with all others."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from contracts.events import MAX_CANDIDATES


class TrainingSettings(BaseSettings):
    """What can be set of rebuilds; each default works on one machine."""

    archive_days: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="days that examples stay in the archive on S3, and datasets that were made of them; not given: for good",
    )
    held_back: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="share of the people whose drawings are kept from training, to judge versions by them"
    )
    held_back_newest_hours: Annotated[float, Field(ge=0)] = Field(
        0.0, description="the newest drawings of so many hours are kept from training too, whoever drew them; 0: none"
    )
    holdout_key: str | None = Field(
        None,
        description="key that decides which people are held back; not given: made by up, and else one that everybody knows",
        repr=False,
    )
    gate_tells_points: Annotated[float, Field(gt=0, le=100)] = Field(
        2.0, description="difference on people's drawings, in points, that the gate asks for enough drawings to tell"
    )
    gate_least_gain_points: Annotated[float, Field(ge=0, le=100)] = Field(
        0.5, description="a version that surely gains less than this on people's drawings, in points, is refused"
    )
    gate_false_promotions: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="how likely the gate may ever promote a version that is no better than the champion, 0..1"
    )
    gate_mnist_points: Annotated[float, Field(ge=0, le=100)] = Field(
        0.1, description="loss on MNIST, in points, that is borne without a gain"
    )
    gate_mnist_per_gain: Annotated[float, Field(ge=0)] = Field(
        0.2, description="points on MNIST that may be lost for each point that is gained on people's drawings"
    )
    gate_mnist_most_points: Annotated[float, Field(ge=0, le=100)] = Field(
        1.0, description="loss on MNIST, in points, that no gain makes up for"
    )
    gate_slice_points: Annotated[float, Field(ge=0)] = Field(
        3.0,
        description="a version that surely loses more than this on drawings of any digit or by any device, in points, is"
        " refused; `inf`: none is",
    )
    gate_calibration_points: Annotated[float, Field(ge=0)] = Field(
        3.0,
        description="a version whose calibration error is surely greater by more than this, in points, is refused;"
        " `inf`: none is",
    )
    gate_slower_times: Annotated[float, Field(ge=1)] = Field(
        3.0,
        description="a version whose answer takes more than so many times as long as the champion's is refused; `inf`: none is",
    )
    gate_slower_ms: Annotated[float, Field(ge=0)] = Field(
        5.0, description="by so many milliseconds an answer may take longer in any case"
    )
    gate_larger_times: Annotated[float, Field(ge=1)] = Field(
        10.0,
        description="a version whose artifact is more than so many times as large as the champion's is refused; `inf`: none is",
    )
    gate_watches: Literal["no", "shadows", "acts"] = Field(
        "no",
        description="whether undecided versions, and those before a new one, are shadows; `acts`: and answer once better",
    )
    gate_canary_percent: str = Field(
        "",
        description="the players that a version which the gate let through answers, step by step, in per cent, comma between:"
        " `5,25,50`; not given: all of them at once",
    )
    gate_canary_drawings: Annotated[int, Field(ge=1)] = Field(
        100, description="drawings by which such a canary and the champion are compared at each step before the next"
    )
    gate_canary_minutes: Annotated[float, Field(ge=0)] = Field(
        10.0, description="how long each step lasts at least, in minutes"
    )
    gate_canary_slow_ms: Annotated[float, Field(gt=0)] = Field(
        500.0, description="a canary of which over 1 % of the answers take longer is rolled back, unless the champion's do too"
    )
    gate_canary_unanswered_percent: Annotated[float, Field(gt=0, le=100)] = Field(
        1.0, description="a canary that leaves more drawings unanswered is rolled back, unless the champion does too"
    )
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = Field(
        MAX_CANDIDATES, description="versions that may stand beside a champion; each costs as much as the champion"
    )
    feedback_weight: float = Field(3.0, description="weight of a player's drawing beside one of MNIST in training")
    training_rounds: Annotated[int, Field(ge=1)] | None = Field(
        None, description="`rounds` of a rebuilt model, where its `image.json` has any; not given: as many as that says"
    )
    training_limit_s: Annotated[int, Field(ge=1, le=2419200)] = Field(
        3600, description="seconds after which a training job is stopped, and the rebuild fails"
    )
    training_instances: Annotated[int, Field(ge=1, le=20)] = Field(
        1, description="instances that a training job runs on, as far as its image can use several: its image.json says so"
    )
    training_spot: bool = Field(
        False,
        description="train on spare instances (managed spot training): cheaper on AWS, and may have to wait or begin again",
    )
    training_wait_s: Annotated[int, Field(ge=1, le=2419200)] = Field(
        7200,
        description="seconds that a training job on spare instances may take with all its waiting; training_limit_s at least",
    )
    tuning_at_once: Annotated[int, Field(ge=1, le=10)] = Field(
        2, description="settings of hyperparameters that a rebuild with `--try` trains at the same time"
    )
    seed: int = Field(20181103, description="seed of every draw of chance in training")
    retrain_after_labels: Annotated[int, Field(ge=1)] | None = Field(
        None, description="new labels after which a batch model is rebuilt by itself; not given: labels alone begin no rebuild"
    )
    retrain_every_hours: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="hours after which a batch model is rebuilt if there are new labels; not given: time alone begins none",
    )
    retrain_cooldown_s: Annotated[float, Field(ge=0)] = Field(
        3600.0, description="how long after a model's rebuild none is begun by labels or time, in seconds"
    )
    retrain_models: str = Field("", description="the batch models that labels and time rebuild, comma between; not given: all")

    @field_validator("gate_canary_percent")
    @classmethod
    def _growing(cls, given: str) -> str:
        if given.strip() and not _shares(given):
            raise ValueError("numbers above 0, at most 100, each above the one before, comma between, such as 5,25,50")
        return given

    @property
    def canary_shares(self) -> tuple[float, ...]:
        """The shares of the players that a canary answers, one after another, each 0..1; none: there is no canary."""
        return _shares(self.gate_canary_percent)


def _shares(given: str) -> tuple[float, ...]:
    """Read shares in per cent, such as ``5,25,50``; return none if they are not numbers that grow."""
    try:
        told = [float(one) for one in given.split(",")]
    except ValueError:
        return ()
    grow = all(before < after for before, after in zip([0.0, *told], told, strict=False))
    return tuple(one / 100 for one in told) if grow and told[-1] <= 100 else ()
