"""The one fold of models.v1: what it holds, and that repeats and compaction change nothing."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import DEFAULT_POLICY, Catalog
from contracts.events import (
    CandidateSet,
    EndpointSeen,
    Event,
    ModelPromoted,
    ModelRolledBack,
    PolicySet,
    TrainingAdvanced,
    variant_of,
)
from tests.histories import BEGAN, promoted, published, snapshot


def tried(version: str, role: str, share: float = 0.0) -> CandidateSet:
    told = {"model": "xgboost", "version": version, "role": role, "share": share, "variant": variant_of(version)}
    return CandidateSet.model_validate(told)


EVENTS: tuple[Event, ...] = (
    published("1", 1),
    published("2", 2),
    published("1", 3),
    promoted("1"),
    promoted("2"),
    promoted("1", kind=ModelRolledBack),
    tried("2", "canary", 0.1),
    tried("2", "none"),
    EndpointSeen(model="xgboost", version="1", endpoint="gamenight-xgboost", status="Creating"),
    EndpointSeen(model="xgboost", version="1", endpoint="gamenight-xgboost", status="InService"),
    PolicySet(lead="bandit", parts={"mxnet": "off"}),
    PolicySet(lead="xgboost"),
    TrainingAdvanced(model="xgboost", version="3", command_id=uuid4(), step="training", fraction=0.5),
    TrainingAdvanced(model="xgboost", version="3", command_id=uuid4(), step="done", fraction=1.0),
)


def folded(*events: Event) -> Catalog:
    catalog = Catalog()
    for event in events:
        catalog = catalog.apply(event)
    return catalog


def seen(catalog: Catalog) -> tuple[object, ...]:
    """All that a compacted topic still says."""
    versions = {model: dict(several) for model, several in catalog.published.items()}
    parts = (catalog.champions, catalog.candidates, catalog.endpoints, catalog.snapshots, catalog.training)
    return versions, *(dict(part) for part in parts), catalog.policy


def test_a_catalog_holds_what_was_said_last_of_everything():
    catalog = folded(*EVENTS)

    assert list(catalog.published["xgboost"]) == ["1", "2"], "in the order in which they were published"
    assert catalog.published["xgboost"]["1"] == EVENTS[2]
    assert catalog.answering("xgboost") == EVENTS[5]
    assert (catalog.candidates["xgboost"], catalog.candidate("xgboost")) == ({0: EVENTS[7]}, None)
    assert catalog.endpoints["xgboost"].status == "InService"
    assert (catalog.policy, catalog.part("mxnet")) == (EVENTS[11], "shown")
    assert catalog.training["xgboost"].step == "done"


def test_a_catalog_is_as_large_as_what_there_is_however_often_it_was_rebuilt():
    rebuilds = [TrainingAdvanced(model="xgboost", version="3", command_id=uuid4(), step="done", fraction=1.0)] * 2
    rebuilds += [one.model_copy(update={"command_id": uuid4()}) for one in rebuilds]
    catalog = folded(*EVENTS, *rebuilds)

    largest = max(len(part) for part in vars(catalog).values() if isinstance(part, Mapping))
    assert largest == 1, "there is one model, and it is copied with each event"


def test_a_catalog_of_nothing_knows_no_model_and_shows_all():
    nothing = Catalog()

    assert (nothing.answering("xgboost"), nothing.candidate("xgboost")) == (None, None)
    assert (nothing.policy, nothing.part("xgboost")) == (DEFAULT_POLICY, "shown")


def test_a_catalog_is_never_changed_and_what_concerns_no_model_gives_the_same():
    before = folded(promoted("1"))

    after = before.apply(promoted("2")).apply(published("9", 9))

    assert (before.champions["xgboost"].version, before.published) == ("1", {})
    assert after.champions["xgboost"].version == "2"
    assert before.apply(snapshot(3).model_copy(update={"type": "SnapshotTaken"})) is not before
    assert before.apply(Event(type="Other")) is before


@given(st.permutations([1, 5, 7, 9]))
def test_of_the_snapshots_the_newest_on_the_log_counts_whatever_offset_it_says(offsets: list[int]):
    assert folded(*map(snapshot, offsets)).snapshots["river"].offset == offsets[-1]


def test_a_snapshot_of_the_same_offset_counts_since_the_model_may_have_been_made_anew():
    first, second = snapshot(4), snapshot(4).model_copy(update={"digest": "made anew"})

    assert folded(first, second).answering("river") == second


def test_every_variant_that_was_ever_promoted_is_known_by_its_version():
    catalog = folded(promoted("1"), promoted("base1"), promoted("2"))

    assert catalog.variants["xgboost"] == {"v1": "1", "base1": "base1", "v2": "2"}


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_twice_is_once_and_a_compacted_topic_says_the_same(history: list[Event]):
    whole = folded(*history)
    newest = {event.record_key(): place for place, event in enumerate(history)}

    assert folded(*(event for event in history for _ in range(2))) == whole
    assert seen(folded(*(history[place] for place in sorted(newest.values())))) == seen(whole)


def test_the_champion_is_the_last_that_was_said_and_not_the_one_of_the_latest_time():
    early = ModelPromoted.model_validate({**promoted("3").model_dump(), "at": BEGAN - timedelta(days=9)})

    assert folded(promoted("2"), early).answering("xgboost") == early
