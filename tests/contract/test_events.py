"""The promises of contracts/events.py: what was ever written can be read, and every event knows where it goes.

golden/ has one record of each event as it was first published. They are never changed: a field that is added has a default, and
a change that breaks one of them takes a new topic version beside the old.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest

from contracts import events
from contracts.events import (
    EVENTS,
    ONLINE_MODELS,
    PLAYER_PARTITIONS,
    TOPICS,
    WINDOW_S,
    WINDOWS,
    DrawingSubmitted,
    Event,
    ExampleLabelled,
    LessonTakenBack,
    LessonTaught,
    ModelPublished,
    ScoresCounted,
    TrainingAdvanced,
    UnknownEvent,
    decode,
    generation,
)
from tests.histories import answered, correction, drawing, guess, lesson, seconds, shown, taken_back
from tests.roster import BATCH_MODELS

GOLDEN = Path(__file__).with_name("golden")
everyone = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)


def golden(kind: type[Event]) -> dict[str, Any]:
    """The first record of an event, as JSON."""
    read: dict[str, Any] = json.loads((GOLDEN / f"{kind.__name__}.json").read_text())
    return read


def read(kind: type[Event], record: dict[str, Any]) -> Event:
    return decode(kind.topic, json.dumps(record).encode())


def holds(written: Any, record: Any) -> bool:
    """Whether all of a record is in what is written now, however deep; fields that were added since may be there besides."""
    if isinstance(record, dict):
        return all(name in written and holds(written[name], value) for name, value in record.items())
    if isinstance(record, list):
        return len(written) == len(record) and all(map(holds, written, record))
    return bool(written == record)


def counted(at: float) -> ScoresCounted:
    """A window of river's, that starts ``at`` seconds."""
    counts = {"n": 0, "correct": 0, "confusion": [0] * 100, "latency": [0] * 12}
    return ScoresCounted(model="river", version=None, window=seconds(at), source=2, **counts)


# --- what was written can be read


@everyone
def test_a_record_of_the_first_day_can_be_read(kind):
    event = read(kind, golden(kind))

    assert type(event) is kind
    assert holds(json.loads(event.record_value()), golden(kind))


def test_what_was_drawn_with_is_nothing_in_records_of_before_and_one_of_three_in_those_of_today():
    for kind in (DrawingSubmitted, ExampleLabelled):
        old = golden(kind)
        assert "device" not in old
        assert read(kind, old).device is None  # type: ignore[attr-defined]
        assert read(kind, old | {"device": "touch"}).device == "touch"  # type: ignore[attr-defined]
        for hostile in ("finger", "", "x" * 100_000, 7, ["pen"], {"pen": 1}):
            with pytest.raises(UnknownEvent, match="device"):
                read(kind, old | {"device": hostile})


def test_what_a_rebuild_cost_is_nothing_in_records_of_before_and_a_number_in_those_of_today():
    old = golden(TrainingAdvanced)
    assert not {"seconds", "cost"} & old.keys()
    before = read(TrainingAdvanced, old)
    assert (before.seconds, before.cost) == (None, None)  # type: ignore[attr-defined]
    today = read(TrainingAdvanced, old | {"step": "failed", "seconds": 61.5, "cost": 0.0019651234})
    assert (today.seconds, today.cost) == (61.5, Decimal("0.001965"))  # type: ignore[attr-defined]
    assert json.loads(today.record_value())["cost"] == 0.001965
    for hostile in ({"seconds": -1}, {"seconds": "NaN"}, {"cost": -0.1}, {"cost": "Infinity"}, {"cost": 1e300}, {"cost": {}}):
        with pytest.raises(UnknownEvent):
            read(TrainingAdvanced, old | hostile)


def test_what_is_right_by_slice_is_nothing_in_records_of_before_and_whole_in_those_of_today():
    old = golden(ModelPublished)
    assert "slices" not in old
    assert read(ModelPublished, old).slices is None  # type: ignore[attr-defined]
    tens = dict.fromkeys(("digit_judged", "digit_right", "mnist_judged", "mnist_right"), [1] * 10)
    told = {**tens, "device_judged": {"pen": 3}, "device_right": {"pen": 2}}
    today = read(ModelPublished, old | {"slices": told})
    assert today.slices.device_right == {"pen": 2}  # type: ignore[attr-defined]
    for hostile in (told | {"digit_right": [1] * 9}, told | {"digit_right": [-1] * 10}, told | {"device_right": {"toe": 1}}, 7):
        with pytest.raises(UnknownEvent):
            read(ModelPublished, old | {"slices": hostile})


def test_every_event_of_the_module_is_on_its_list():
    defined = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]

    assert {kind.__name__ for kind in defined if get_origin(kind.model_fields["type"].annotation) is Literal} == set(by_name())


def test_every_event_has_a_golden_record_and_no_record_is_an_orphan():
    assert {kind.__name__ for kind in EVENTS} == {path.stem for path in GOLDEN.iterdir()}


@everyone
def test_a_reader_of_the_bus_ignores_fields_that_it_does_not_know(kind):
    assert read(kind, golden(kind) | {"a_field_of_next_year": {"deep": [1]}}) == read(kind, golden(kind))


@everyone
def test_a_field_with_a_default_may_be_missing(kind):
    optional = {name for name, field in kind.model_fields.items() if not field.is_required()} - {"type"}

    assert type(read(kind, {name: value for name, value in golden(kind).items() if name not in optional})) is kind


@everyone
def test_a_missing_required_field_is_named(kind):
    required = next(name for name, field in kind.model_fields.items() if field.is_required())

    with pytest.raises(UnknownEvent, match=required):
        read(kind, {name: value for name, value in golden(kind).items() if name != required})


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"null", b"[]", b'{"type":"Surprise"}', b"[" * 20_000, b"\xff\xfe", b'{"type":"CorrectionGiven","label":NaN}'],
)
@pytest.mark.parametrize("topic", TOPICS)
def test_bytes_that_are_no_event_are_refused_and_nothing_worse(topic, value):
    with pytest.raises(UnknownEvent):
        decode(topic, value)


def test_a_topic_that_is_not_ours_is_refused():
    with pytest.raises(UnknownEvent, match="no topic"):
        decode("drawings.v0", drawing().record_value())


def test_an_event_on_another_topic_is_refused():
    with pytest.raises(UnknownEvent):
        decode("drawings.v1", guess().record_value())


@pytest.mark.parametrize("label", [-1, 10, 1.5, "seven", None])
def test_a_label_is_a_digit(label):
    with pytest.raises(UnknownEvent, match="label"):
        decode("corrections.v1", json.dumps(json.loads(correction().record_value()) | {"label": label}).encode())


@everyone
def test_a_time_without_a_zone_is_refused(kind):
    with pytest.raises(UnknownEvent, match="at"):
        read(kind, golden(kind) | {"at": "2026-11-22T12:00:05"})


# --- every event knows where it goes


@everyone
def test_an_event_goes_to_a_topic_of_the_table_with_the_key_it_names(kind):
    event = read(kind, golden(kind))

    assert kind.topic in TOPICS
    assert event.record_key() == str(getattr(event, kind.key)).encode() != b""


@everyone
def test_an_event_that_chooses_its_partition_chooses_one_that_exists(kind):
    partition = read(kind, golden(kind)).partition()

    assert partition is None or 0 <= partition < TOPICS[kind.topic].partitions


@everyone
def test_an_event_says_who_writes_it_and_why_twice_is_harmless(kind):
    said = " ".join((kind.__doc__ or "").split())

    assert "Written by" in said
    assert "twice is harmless" in said.lower()


def test_topics_keyed_by_player_have_the_same_partitions_so_that_a_players_events_meet():
    keyed = {kind.topic for kind in EVENTS if kind.key == "player_id"}

    assert keyed == {
        "drawings.v1", "guesses.v1", "answers.v1", "previews.v1", "corrections.v1", "examples.v1", "lessons.v1",
        "receipts.v1",
    }  # fmt: skip
    assert {TOPICS[topic].partitions for topic in keyed} == {PLAYER_PARTITIONS}


def test_every_topic_carries_an_event():
    assert set(TOPICS) == {kind.topic for kind in EVENTS}


def test_a_compacted_topic_keeps_its_newest_records_for_good():
    kept = {name: spec.configs(10**9) for name, spec in TOPICS.items() if spec.compacted}

    assert set(kept) == {"metrics.v1", "models.v1"}
    assert {(configs["cleanup.policy"], configs["retention.ms"]) for configs in kept.values()} == {("compact", "-1")}


def test_examples_and_lessons_are_kept_for_good_and_what_players_sent_for_days():
    assert {name for name, spec in TOPICS.items() if spec.retention_ms < 0} == {
        "commands.v1",
        "evidence.v1",
        "examples.v1",
        "lessons.v1",
        "metrics.v1",
        "models.v1",
    }


def test_what_players_fill_is_bounded_by_bytes_and_all_of_it_by_what_was_given():
    bounded = {name: spec.configs(10**9) for name, spec in TOPICS.items() if spec.share}

    assert set(TOPICS) - set(bounded) == {"commands.v1", "evidence.v1", "examples.v1", "lessons.v1", "metrics.v1", "models.v1"}
    assert {TOPICS[name].configs(10**9)["retention.bytes"] for name in set(TOPICS) - set(bounded)} == {"-1"}
    together = sum(TOPICS[name].partitions * int(configs["retention.bytes"]) for name, configs in bounded.items())
    assert 0.99 * 10**9 < together <= 10**9
    assert all(int(configs["retention.bytes"]) > 0 for configs in bounded.values())


def test_lessons_are_of_a_players_partition_so_that_players_share_out_among_workers():
    taught = lesson(player_id="ada")

    for said in (taught, taken_back(taught, 2)):
        assert (said.partition(), said.record_key()) == (None, b"ada")


def test_a_lesson_that_is_taken_back_is_the_lesson_with_its_sign_turned():
    taught = lesson(number=4)

    back = decode("lessons.v1", taken_back(taught, 9).record_value())

    assert isinstance(back, LessonTakenBack)
    assert (taught.sign, back.sign, back.number) == (1, -1, 9)
    assert back.model_dump(exclude={"type", "number"}) == taught.model_dump(exclude={"type", "number"})


def test_a_lesson_from_before_models_were_sums_is_of_no_series():
    old = read(LessonTaught, golden(LessonTaught))

    assert isinstance(old, LessonTaught)
    assert (old.series, old.number) == ("", 0)


def test_no_online_model_is_a_batch_model():
    assert not set(ONLINE_MODELS) & set(BATCH_MODELS)


def test_a_model_answers_a_drawing_once():
    assert guess(label=1).guess_id == guess(label=7, version="mnist1+9", at=9).guess_id
    assert guess(model="river").guess_id != guess(model="xgboost").guess_id
    assert guess("d1").guess_id != guess("d2").guess_id


def test_the_guesses_of_an_answered_drawing_are_those_that_were_shown():
    seen = [guess(), guess(model="xgboost", role="shadow", fallback="why"), guess(model="everyone", left_out={"mxnet": "late"})]

    told = answered(seen, lead="river", lead_after=3)

    assert all((made.at, made.lead, made.lead_after) == (told.at, "river", 3) for made in told.made())
    same = {"at": told.at, "lead": "river", "lead_after": 3, "features": None}
    assert told.made() == [made.model_copy(update=same) for made in seen]
    assert [made.guess_id for made in told.made()] == [made.guess_id for made in seen]
    assert [one.shadow for one in told.guesses] == [False, True, False]


def test_what_is_later_in_a_models_slot_replaces_what_is_there():
    slots = {name: read(kind, golden(kind)).record_key() for name, kind in by_name().items() if kind.topic == "models.v1"}

    assert slots["ModelPromoted"] == slots["ModelRolledBack"] == b"xgboost"
    assert slots["ModelPublished"] == b"xgboost@3"
    assert slots["SnapshotTaken"] == b"river"
    assert slots["ExperimentLearned"] == b"river/experiment/softmax-1"
    assert slots["TrainingAdvanced"] == b"xgboost/training"


def test_a_window_of_scores_replaces_the_one_an_hour_before_and_no_other():
    assert counted(0).record_key() == counted(WINDOW_S * WINDOWS).record_key()
    assert len({counted(n * WINDOW_S).record_key() for n in range(WINDOWS)}) == WINDOWS


def test_totals_of_versions_stand_side_by_side():
    total = counted(0).model_copy(update={"window": None, "version": "base1"})

    assert total.record_key() == b"river/2/total/base1"


def test_an_online_model_is_counted_under_its_generation_and_a_batch_model_under_its_version():
    assert generation("mnist1+1234") == "mnist1"
    assert generation("base1") == "base1"


def test_bytes_survive_the_way_as_they_are():
    told = guess()
    assert told.features is not None

    back = decode("guesses.v1", told.record_value())

    assert back == told
    assert shown() == type(shown()).model_validate_json(shown().model_dump_json())


def by_name() -> dict[str, type[Event]]:
    return {kind.__name__: kind for kind in EVENTS}
