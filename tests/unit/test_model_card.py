"""A version's card says what is known of it, and what is not; nothing that an operator wrote breaks out of its cell."""

import re
from datetime import UTC, datetime
from html import escape
from typing import Any
from uuid import uuid4

import httpx
import pytest
from markdown_it import MarkdownIt

from api.folds.audit_log import AuditLog
from api.folds.endpoint_latency import EndpointLatency
from api.folds.guess_rates import GuessRates
from api.folds.model_board import ModelBoard
from api.ops.costs import Asked, costs
from api.ops.model_card import ENOUGH, ModelCard, model_card, to_markdown
from contracts.events import (
    BesideChampion,
    CandidateSet,
    DatasetMade,
    DriftPolicySet,
    LearningSet,
    ModelPromoted,
    ModelPublished,
    PolicySet,
    PromoteModel,
    RetrainModel,
    RightBySlice,
    RollBackModel,
)
from contracts.rebuilds import RebuildQueue
from contracts.settings import Settings
from producers.bus import open_bus
from producers.price_file import read_prices
from tests.histories import named
from tests.roster import ROSTER
from tests.serving import eventually, get, serving

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
DIGEST = "d" * 64
BESIDE = BesideChampion(
    champion="base1", tries=1, people=9, judged=400, won=20, lost=8, difference=0.03, low=-0.01, high=0.07, better=6, worse=2,
    quantiles=[-0.1, 0.0, 0.02, 0.05, 0.2], digit_judged=[80, 80, 80, 80, 80, 0, 0, 0, 0, 5],
    digit_won=[8, 0, 0, 4, 4, 0, 0, 0, 0, 4], digit_lost=[4, 0, 0, 0, 4, 0, 0, 0, 0, 0],
    device_judged={"unknown": 100, "pen": 300}, device_won={"pen": 12}, device_lost={"pen": 6}, mnist_won=3, mnist_lost=5,
)  # fmt: skip
RETRAIN = RetrainModel(command_id=named("retrain"), target="xgboost", by="ada", reason="a week | of\ncorrections", at=NOON)


def published(**more: Any) -> ModelPublished:
    metrics = {"mnist_n": 10_000.0, "mnist_accuracy": 0.99, "champion_mnist_accuracy": 0.992, "held_back_n": 400.0,
               "held_back_accuracy": 0.97, "training_seconds": 90.0, "training_cost_usd": 0.0029,
               "calibration_error": 0.0123}  # fmt: skip
    lineage = {
        "training_job": "j",
        "dataset_digest": DIGEST,
        "command": str(RETRAIN.command_id),
        "instance_type": "ml.m5.large",
    }
    given: dict[str, Any] = {"title": "XGBoost", "digest": "a", "artifact": "s3://b/m", "gate": "better", "at": NOON}
    return ModelPublished(model="xgboost", version="3", metrics=metrics, lineage=lineage, **given, **more)


def dataset() -> DatasetMade:
    return DatasetMade(digest=DIGEST, feedback=1600, held_back=400, people=45, new_people=5, labels=[160] * 10, weight=3,
                       excluded={"withdrawn": 3, "forgotten": 2}, trust=0.93, offsets=[1], split="0.2 of people", seed=1,
                       code="c", newcomers=12, newcomers_weight=31.25)  # fmt: skip


SLICES = RightBySlice(
    digit_judged=BESIDE.digit_judged, digit_right=[60, 80, 80, 80, 80, 0, 0, 0, 0, 4], device_judged=BESIDE.device_judged,
    device_right={"unknown": 90, "pen": 294}, mnist_judged=[980] * 10, mnist_right=[971] * 10,
)  # fmt: skip


def card(*events: Any) -> ModelCard:
    board, audit = ModelBoard(ROSTER), AuditLog()
    for event in events:
        (audit if event.topic == "commands.v1" else board).apply(event)
    found = model_card(board, list(audit.entries(target="xgboost")), "xgboost", "3")
    assert found is not None
    return found


@pytest.mark.parametrize(("beside", "whose"), [(BESIDE, "their"), (None, "held-back")])
def test_a_card_says_how_often_it_is_right_on_each_digit_and_device_of_a_first_version_too(
    beside: BesideChampion | None, whose: str
) -> None:
    told = card(published(beside=beside, slices=SLICES))

    slices = {one.of: one for one in told.slices}
    assert (slices[f"{whose} 0s"].n, slices[f"{whose} 0s"].right) == (80, 0.75)
    assert (slices[f"{whose} 9s"].right, slices[f"{whose} 9s"].note) == (0.8, "too few to say")
    assert slices[f"{whose} 5s"].right is None, "nobody has drawn one"
    assert (slices["drawn by pen"].right, slices["MNIST's 3s"].right) == (0.98, 971 / 980)
    assert (slices["drawn by pen"].difference is None) == (beside is None)
    assert any("Too few held-back drawings to say how good it is on 5, 6, 7, 8, 9" in limit for limit in told.limits)
    assert f"| {whose} 0s | 80 | 75.00% |" in to_markdown(told)


def test_a_card_of_a_version_of_before_has_differences_alone() -> None:
    slices = {one.of: one for one in card(published(beside=BESIDE)).slices}

    assert (slices["their 0s"].right, slices["their 0s"].difference) == (None, 0.05)
    assert "MNIST's 3s" not in slices


def test_a_card_says_of_whom_it_learned_how_good_it_is_for_whom_what_it_cost_and_who_approved_it() -> None:
    promoted = ModelPromoted(model="xgboost", version="3", title="X", endpoint="e", variant="v3", note="better", at=NOON)
    promote = PromoteModel(command_id=named("p"), target="xgboost", version="3", by="eve", reason="looks good", at=NOON)
    other = RollBackModel(command_id=named("r"), target="xgboost", version="2", by="bob", reason="another version", at=NOON)
    told = card(dataset(), published(beside=BESIDE, verdict="promoted"), promoted, RETRAIN, promote, other)

    assert told.status == "answers players"
    drawings = "1,600 trained on, each as 3 of MNIST at most (12 of them newcomers', together as 31.2); 400 held back"
    assert told.data["drawings"] == drawings
    assert (told.data["people"], told.data["left out"]) == ("45, of whom 5 new", "2 forgotten, 3 withdrawn")
    slices = {one.of: one for one in told.slices}
    assert (slices["MNIST's test images"].right, slices["MNIST's test images"].difference) == (0.99, -0.002)
    assert slices["9 people of whom nothing was trained on"].difference == 0.03
    assert (slices["their 0s"].difference, slices["their 9s"].note, slices["their 5s"].difference) == (
        0.05,
        "too few to say",
        None,
    )
    assert (slices["drawn by pen"].n, slices["drawn by pen"].difference) == (300, 0.02)
    assert slices["drawn with something else, or nobody knows what"].difference == 0
    assert told.cost == {"training": "90 s on 1 x ml.m5.large", "on AWS": "$0.0029"}
    assert told.numbers == {"calibration error": "0.0123"}
    tried = published().model_copy(
        update={"metrics": published().metrics | {"tuning_seconds": 61.4, "tuning_cost_usd": 0.00197}}
    )
    assert card(tried).cost["settings tried before"] == "61 s, $0.0020"
    assert sorted((one.who, one.what.split(":")[0]) for one in told.approvals) == [
        ("ada", "RetrainModel"), ("eve", "PromoteModel"), ("the gate", "promoted"), ("the trainer", "ModelPromoted"),
    ]  # fmt: skip
    assert any("Too few held-back drawings to say how good it is on 5, 6, 7, 8, 9" in limit for limit in told.limits)
    assert any("worse than the version before it for 2 of the 9 people" in limit for limit in told.limits)


def test_who_overruled_the_gate_and_why_is_told_to_operators_and_that_somebody_did_to_everybody() -> None:
    gate = "Approved in the model registry: forced, ada: a secret; the gate had said: undecided: too few"
    events: list[Any] = [
        published().model_copy(update={"gate": gate}),
        published().model_copy(update={"version": "2", "failed": "ada: a secret"}),
        ModelPromoted(
            model="xgboost", version="3", title="X", endpoint="e", variant="v3", note=f"ada: a secret; {gate}", at=NOON
        ),
        CandidateSet(model="xgboost", version="2", role="shadow", endpoint="e", variant="v2", note="ada: a secret", at=NOON),
        CandidateSet(model="kmeans", version="2", role="shadow", note="by policy: undecided, so watched", at=NOON),
        LearningSet(model="river", frozen=True, by="ada", note="a secret", at=NOON),
        PolicySet(lead="river", parts={"mxnet": "shadow"}, by="ada", note="a secret", at=NOON),
        DriftPolicySet(actions={"ink": "retrain"}, by="ada", note="a secret", at=NOON),
    ]
    bus = open_bus(f"memory://{uuid4()}")
    for event in events:
        bus.publish(event).result()
    with serving(bus) as address:
        eventually(lambda: "by policy: undecided" in get(address, "/api/models").text)
        anybody = {path: get(address, path).text for path in ("/api/models", "/api/routing", "/api/drift")}
        operator = {path: get(address, path, headers={"Authorization": "Bearer token"}).text for path in anybody}
        wrong = get(address, "/api/models", headers={"Authorization": "Bearer wrong"}).text

    assert all('"ada' not in told and "a secret" not in told for told in (*anybody.values(), wrong)), anybody
    assert all("a secret" in told for told in operator.values())
    assert "Approved in the model registry: by an operator; the gate had said: undecided: too few" in anybody["/api/models"]
    assert '"frozen":"by an operator"' in anybody["/api/models"]
    assert '"frozen":"by ada: a secret"' in operator["/api/models"]


def test_what_is_not_known_is_said_to_be_so() -> None:
    bare = published().model_copy(update={"metrics": {}, "lineage": {"training_job": "j"}, "gate": "", "approved": False})
    told = card(bare)

    assert (told.status, told.gate, told.data["dataset"]) == ("not approved", "not said", "not known")
    assert told.cost == {"training": "not known", "on AWS": "not known"}
    assert all(one.right is None and one.difference is None for one in told.slices)
    assert any("compared with no champion" in limit for limit in told.limits)
    assert {one.note for one in told.slices if one.n < ENOUGH} <= {"too few to say", ""}


def test_markdown_has_every_part_and_what_operators_write_stays_in_its_cell() -> None:
    text = to_markdown(card(dataset(), published(beside=BESIDE), RETRAIN))

    for part in ("# XGBoost, version 3", "## What it is not for", "## How good it is", "## What it cost", "## Who approved it"):
        assert part in text
    [row] = [line for line in text.splitlines() if "RetrainModel" in line]
    assert row.endswith(r"| ada | RetrainModel: pending | a week \| of corrections |")
    assert "MNIST's test images | 10,000 | 99.00% | -0.20 points" in text


HOSTILE = (
    "[pay](javascript:alert(1))", "x](javascript:alert(1)) [y", "![p](http://e.example/p.png)", "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "<javascript:alert(1)>", "a | b | c", "a \\| b", "a \\\\| b",
    "end |\n\n# Approved by all\n\n- yes",
    "a\u2028# Approved\u2029", "`a | b`", "``` \n code", "&#91;x&#93;(javascript:1) &lt;b&gt;",
    "**bold**", "\x1b[31mred\u202e", "\\[x\\](y)",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_nothing_but_text_in_a_card(text: str) -> None:
    def page(said: str) -> tuple[str, list[str]]:
        promote = PromoteModel(command_id=named("p"), target="xgboost", version="3", by=said, reason=said, at=NOON)
        hostile = {"title": f"X{said}", "gate": f"x {said}", "failed": f"x {said}"}
        told = card(dataset(), published(beside=BESIDE).model_copy(update=hostile), promote, RETRAIN)
        told.lineage[f"x{said}"] = said
        raw = to_markdown(told)
        assert raw.isascii() or all(letter.isprintable() or letter == "\n" for letter in raw)
        html = MarkdownIt("commonmark").enable("table").render(raw)
        return html, re.findall(r"<(/?[a-z0-9]+)", html)

    html, tags = page(text)

    assert tags == page("harmless")[1], "no link, no HTML, no cell, no heading more than with a harmless text"
    shown = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    assert f"<td>{escape(shown, quote=False)}</td>" in html.replace("&quot;", '"'), "and it is all there, as it was written"


def test_who_has_no_token_is_told_neither_who_gave_commands_nor_why() -> None:
    gate = "Approved by hand: forced, ada: a secret; the gate had said: it is worse"
    promoted = ModelPromoted(model="xgboost", version="3", title="X", endpoint="e", variant="v3", note="ada: a secret", at=NOON)
    promote = PromoteModel(command_id=named("p"), target="xgboost", version="3", by="ada", reason="a secret", at=NOON)
    bus = open_bus(f"memory://{uuid4()}")
    for event in (published().model_copy(update={"gate": gate, "failed": "ada: a secret"}), promoted, promote):
        bus.publish(event).result()
    with serving(bus) as address:
        path = f"http://{address}/api/models/xgboost/3/card"
        for ending in ("", ".md"):
            eventually(lambda: get(address, "/api/models/xgboost/3/card").status_code == 200)
            anybody = get(address, f"/api/models/xgboost/3/card{ending}").text
            operator = httpx.get(path + ending, headers={"Authorization": "Bearer token"}, trust_env=False)
            assert "ada" not in anybody
            assert "a secret" not in anybody
            assert "an operator" in anybody
            assert "Approved by hand: by an operator; the gate had said: it is worse" in anybody
            assert operator.text.count("a secret") >= 4
        for wrong in ("Bearer wrong", "Basic YTpi"):
            answer = httpx.get(path, headers={"Authorization": wrong}, trust_env=False)
            assert (answer.status_code, "a secret" in answer.text) == (200, False)


def test_a_retrain_that_may_have_won_by_chance_is_warned_of() -> None:
    board = ModelBoard(ROSTER)
    board.apply(published(beside=BESIDE))
    [training] = costs(
        board, EndpointLatency(ROSTER.batch), GuessRates(NOON), RebuildQueue(), read_prices(Settings()), Asked(NOON)
    ).trainings
    assert (float(training.points or 0), training.warning) == (3.0, "it may be chance: -1.00 to +7.00 points")


def test_cards_are_asked_over_http_and_a_version_that_is_not_there_says_which_are() -> None:
    bus = open_bus(f"memory://{uuid4()}")
    bus.publish(published()).result()
    with serving(bus) as address:
        eventually(lambda: get(address, "/api/models/xgboost/3/card").status_code == 200)
        assert get(address, "/api/models/xgboost/3/card").json()["version"] == "3"
        assert get(address, "/api/models/xgboost/3/card.md").text.startswith("# XGBoost, version 3")
        missing = get(address, "/api/models/xgboost/9/card")
        others = [get(address, f"/api/models/{model}/3/card.md") for model in ("river", "nosuch")]
    assert (missing.status_code, missing.json()["detail"]) == (404, "no version '9' of 'xgboost': there is 3")
    there = "there is xgboost, tensorflow, mxnet, kmeans"
    assert [one.json()["detail"] for one in others] == [f"no batch model {model!r}: {there}" for model in ("river", "nosuch")]
