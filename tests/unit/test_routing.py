"""Which version answers which drawing: the routing table as a fold over models.v1, and which drawings nobody waits for."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import CandidateSet, DrawingSubmitted, ModelPromoted, ModelRolledBack, PolicySet, SnapshotTaken
from streams import routing
from streams.additive import BASIS
from streams.online_base import load_base
from streams.online_model import of_base
from streams.routing import CandidateRoute, Route, Table, online, superseded
from tests import histories
from tests.histories import BEGAN, drawing

STALE = timedelta(seconds=1)


def promoted(version: str, kind: type[ModelPromoted] = ModelPromoted, endpoint: str = "gamenight-xgboost") -> ModelPromoted:
    variant = f"v{version}" if version.isdigit() else version
    return kind(model="xgboost", version=version, title="XGBoost", endpoint=endpoint, variant=variant)


def snapshot(offset: int, favourite: int = 0) -> SnapshotTaken:
    weights = np.zeros((10, BASIS.width), "<f4")
    weights[favourite, -1] = 1 / 64
    return histories.snapshot(offset, weights=weights.tobytes())


def folded(*events: ModelPromoted | SnapshotTaken) -> Table:
    table = Table()
    for event in events:
        table = table.apply(event)
    return table


def test_a_promotion_is_the_whole_entry():
    table = folded(promoted("base1"), promoted("2", endpoint="elsewhere"))

    assert (table.batch["xgboost"].version, table.batch["xgboost"].endpoint) == ("2", "elsewhere")


def test_a_roll_back_is_the_same_entry_told_differently():
    assert folded(promoted("1"), promoted("2"), promoted("1", ModelRolledBack)).batch["xgboost"].version == "1"


def test_a_table_is_never_changed_only_replaced():
    before = folded(promoted("1"), snapshot(4))

    after = before.apply(promoted("2")).apply(snapshot(5))

    assert (before.batch["xgboost"].version, before.online["river"].offset) == ("1", 4)
    assert (after.batch["xgboost"].version, after.online["river"].offset) == ("2", 5)


def test_twice_is_once_and_the_name_of_a_table_is_of_its_versions():
    once, twice = folded(promoted("1"), snapshot(3)), folded(snapshot(3), promoted("1"), promoted("1"), snapshot(3))

    assert once.digest == twice.digest
    assert len({once.digest, once.apply(promoted("2")).digest, once.apply(snapshot(4)).digest}) == 3


@settings(deadline=None)
@given(st.permutations([1, 5, 7, (1 << 53) - 1]))
def test_the_newest_snapshot_on_the_log_answers_whatever_offsets_they_say(offsets: list[int]):
    assert folded(*map(snapshot, offsets)).online["river"].offset == offsets[-1]


def test_the_weights_of_a_snapshot_are_read_once_and_other_events_read_none(monkeypatch):
    read: list[str] = []
    monkeypatch.setattr(routing, "online", lambda event: read.append(event.version) or online(event))

    table = folded(snapshot(4), promoted("1"), snapshot(5))

    assert read == ["mnist1+4", "mnist1+5"]
    assert table.online["river"].offset == 5


def test_a_snapshot_of_another_shape_or_of_no_online_model_is_refused():
    table = folded(snapshot(3))
    wider = snapshot(4).model_copy(update={"weights": np.zeros((10, 9), "<f4").tobytes()})

    with pytest.raises(ValueError, match="shape"):
        table.apply(wider)
    with pytest.raises(ValueError, match="no online model"):
        table.apply(snapshot(4).model_copy(update={"model": "xgboost"}))


def test_what_is_promoted_is_a_batch_model_at_an_endpoint():
    for odd in ({"endpoint": ""}, {"model": "river"}, {"model": "everyone"}, {"model": "yours"}):
        with pytest.raises(ValueError, match="no batch model at an endpoint"):
            Table().apply(promoted("2").model_copy(update=odd))


def test_the_version_is_the_one_that_answered_not_the_one_that_should():
    route = folded(promoted("1"), promoted("2")).batch["xgboost"]

    assert [route.version_of(variant) for variant in ("v1", "v2")] == ["1", "2"]


def test_a_version_that_answers_before_it_is_promoted_goes_by_its_variant():
    route = Route("base1", "gamenight-xgboost", {"base1": "base1"})

    assert [route.version_of(variant) for variant in ("v12", "base2", "vega")] == ["12", "base2", "vega"]


def test_an_online_model_answers_with_probabilities():
    shares = online(snapshot(1, favourite=8)).answer(np.ones((3, BASIS.size), np.float32))

    assert shares.shape == (3, 10)
    assert shares.argmax(axis=1).tolist() == [8, 8, 8]
    assert shares.sum(axis=1) == pytest.approx([1, 1, 1])
    assert shares[0, 8] == pytest.approx(np.exp(9) / (np.exp(9) + 9)), "as sure as a score of 1 is, times its sharpness"


def test_an_online_model_answers_as_the_one_that_took_its_snapshot():
    base = load_base()
    river = of_base(base).solved
    embeddings = np.random.default_rng(20181103).normal(0, 0.5, (20, BASIS.size)).astype(np.float32)

    shares = online(snapshot(1).model_copy(update={"weights": river.weights.astype("<f4").tobytes()})).answer(embeddings)

    assert np.allclose(shares, river.probabilities(base.basis.rows(embeddings)), atol=1e-4)


@pytest.mark.parametrize("weights", [b"", b"\0" * 4 * 10, b"\0" * 44, np.full((10, 5), np.nan, "<f4").tobytes()])
def test_weights_that_cannot_answer_are_refused(weights: bytes):
    with pytest.raises(ValueError, match=r"weights|reshape|buffer"):
        online(snapshot(1).model_copy(update={"weights": weights}))


def preview(name: str, player: str = "ada", at: float = 0) -> DrawingSubmitted:
    return drawing(name, player=player, at=at, final=False)


def test_only_the_newest_preview_of_a_player_is_answered():
    drawings = [preview("a"), preview("b", "bob"), preview("c"), preview("d")]

    assert superseded(drawings, BEGAN, STALE) == {0, 2}


def test_a_preview_is_overtaken_by_the_final_drawing_but_never_the_other_way_round():
    drawings = [preview("a"), drawing("b"), drawing("c"), preview("d")]

    assert superseded(drawings, BEGAN, STALE) == {0}


def test_a_stale_preview_is_dropped_and_a_stale_final_drawing_is_not():
    assert superseded([preview("a"), drawing("b", player="bob")], BEGAN + 2 * STALE, STALE) == {0}


def test_a_probe_is_always_answered():
    probes = [drawing(name, final=False, probe=True) for name in "ab"]

    assert superseded([*probes, preview("c")], BEGAN, STALE) == set()
    assert superseded(probes, BEGAN + 2 * STALE, STALE) == set()


# --- candidates and policy


def tried(version: str, role: Any, share: float = 0.0) -> CandidateSet:
    return CandidateSet(model="xgboost", version=version, role=role, share=share, endpoint="e", variant=f"v{version}")


def test_a_candidate_stands_beside_the_champion_until_it_is_taken_away_or_promoted():
    table = folded(promoted("1"), tried("2", "canary", 0.5))

    assert table.candidate("xgboost") is not None
    assert table.apply(tried("2", "none")).candidate("xgboost") is None
    assert table.apply(promoted("2")).candidate("xgboost") is None
    assert folded(tried("2", "canary", 0.5)).candidate("xgboost") is None, "without a champion there is no beside"


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_player_whom_a_canary_answers_stays_its_when_its_share_grows(player: str, share: float, more: float):
    small, large = (CandidateRoute("2", "v2", "e", False, each) for each in sorted((share, more)))

    assert not small.answers("xgboost", player) or large.answers("xgboost", player)


def test_a_shadow_answers_nobody():
    assert not CandidateRoute("2", "v2", "e", True, 1.0).answers("xgboost", "ada")


def test_a_version_that_failed_is_out_until_another_is_promoted():
    table = folded(ModelPromoted(model="xgboost", version="2", title="", endpoint="e", variant="v2", previous="1"))
    without = table.without("xgboost", "2", "it broke")

    assert (without.batch["xgboost"].target, without.batch["xgboost"].failed) == ("v1", "it broke")
    assert without.digest != table.digest
    assert table.without("xgboost", "1", "?") is table, "it is not the champion"
    assert folded(promoted("1")).without("xgboost", "1", "?").batch["xgboost"].failed is None, (
        "nobody could answer in its place"
    )
    assert without.apply(promoted("1")).batch["xgboost"].target is None


def test_a_policy_replaces_the_one_before_whole():
    first = folded(promoted("1"), PolicySet(lead="bandit", parts={"kmeans": "off"}))
    second = first.apply(PolicySet(lead="xgboost", parts={"mxnet": "shadow"}))

    assert (first.lead, first.part("kmeans"), first.part("mxnet")) == ("bandit", "off", "shown")
    assert (second.lead, second.part("kmeans"), second.part("mxnet")) == ("xgboost", "shown", "shadow")
    assert len({first.digest, second.digest, folded(promoted("1")).digest}) == 3
