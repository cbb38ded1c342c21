"""How a candidate does beside the champion: both are asked the same, and nothing of it stays."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.events import ModelPublished, variant_of
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from tests.histories import published
from trainers import judging
from trainers.dataset import Feedback, LabelledImages, assemble, holdout_from_npz, to_npz
from trainers.dataset_store import Making, store, stored
from trainers.evaluate import compare
from trainers.judging import Judge as Judging
from trainers.rebuild import Cancelled
from trainers.serving import ServingFailed
from trainers.split import HeldBack, is_held_back


class Judge:
    """An endpoint where version 1 says 1 to everything, and version 2 says 2; others do not answer."""

    def __init__(self) -> None:
        self.there: dict[str, list[str]] = {}
        self.retired: list[str] = []

    def serve(self, endpoint: str, first: ModelPublished, others: Iterable[ModelPublished] = ()) -> None:
        self.there[endpoint] = [variant_of(one.version) for one in (first, *others)]

    def ready(self, endpoint: str, *told: Any) -> None:
        told[-1]()
        if not set(self.there[endpoint]) <= {"v1", "v2"}:
            raise ServingFailed("it does not start")

    def ask(self, endpoint: str, rasters: NDArray[np.uint8], variant: str) -> NDArray[np.float32]:
        assert variant in self.there[endpoint]
        return np.tile(np.eye(10, dtype=np.float32)[int(variant[1:])], (len(rasters), 1))

    def retire(self, endpoint: str, *_: Any) -> None:
        self.retired.append(endpoint)


def pictures(*labels: int) -> LabelledImages:
    n = len(labels)
    return LabelledImages(np.zeros((n, 784), np.uint8), np.array(labels, np.uint8), np.ones(n, np.float32))


def aside(*labels: int) -> HeldBack:
    return holdout_from_npz(to_npz(pictures(*labels)))


def test_both_are_asked_every_picture_on_an_endpoint_of_their_own():
    judge: Any = Judge()
    told: list[float] = []
    marks, before, times = compare(judge, published("2"), published("1"), pictures(1, 2, 2), aside(1), told.append)
    assert (marks.mnist.tolist(), marks.held_back.tolist()) == ([False, True, True], [False])
    assert (before.mnist.tolist(), before.held_back.tolist()) == ([True, False, False], [True])
    assert told[-1] == 1.0
    assert marks.certainty is not None
    assert marks.certainty.tolist() == [[1.0, 0.0]]
    assert times.keys() == {"answer_ms", "champion_answer_ms"}
    assert judge.retired == ["gamenight-xgboost-judge"]


def test_the_first_version_of_a_model_is_asked_alone():
    judge: Any = Judge()
    marks, before, times = compare(judge, published("1"), None, pictures(1, 2), aside(), lambda share: None)
    assert marks.mnist.tolist() == [True, False]
    assert before is None
    assert times.keys() == {"answer_ms"}
    assert judge.there == {"gamenight-xgboost-judge": ["v1"]}


def test_a_candidate_that_does_not_start_leaves_no_endpoint_behind():
    judge: Any = Judge()
    with pytest.raises(ServingFailed):
        compare(judge, published("3"), published("1"), pictures(1), aside(), lambda share: None)
    assert judge.retired == ["gamenight-xgboost-judge"]


def test_a_rebuild_that_is_cancelled_while_its_endpoint_comes_up_waits_no_longer_and_leaves_no_endpoint_behind():
    judge: Any = Judge()
    judge.ask = lambda *_: pytest.fail("it was waited for, and is asked")

    def cancelled(share: float) -> None:
        raise Cancelled("by bob")

    with pytest.raises(Cancelled):
        compare(judge, published("2"), published("1"), pictures(1), aside(), cancelled)
    assert judge.retired == ["gamenight-xgboost-judge"]


@pytest.mark.parametrize("champion", [None, "1"])
def test_what_a_version_got_right_is_kept_by_digit_and_device_with_a_champion_or_without(monkeypatch, champion):
    """The model card had only differences, and a first version had none of these."""
    drawings = replace(
        aside(2, 2, 1, 2), devices=np.array([2, 0, 2, 1], np.uint8), newest=np.array([False, False, False, True])
    )
    monkeypatch.setattr("trainers.dataset.read_mnist", lambda part: pictures(*[2] * 99, 7))
    monkeypatch.setattr("trainers.dataset.holdout_from_npz", lambda data: drawings)
    blobs, judge = MemoryBlobs(), Judge()
    for key in ("datasets/d1/holdout/holdout.npz", "m"):
        blobs.put(key, b"what is there")
    candidate, before = (
        published(version, artifact="s3://b/m", digest=version, lineage={"dataset": "s3://b/datasets/d1/train/"})
        for version in ("2", "1")
    )

    judged = Judging(Settings(), blobs, judge).judge(  # type: ignore[arg-type]
        candidate, before if champion else None, 1, None, lambda share: None
    )

    assert judged.slices is not None
    assert (judged.slices.digit_judged[:4], judged.slices.digit_right[:4]) == ([0, 1, 2, 0], [0, 0, 2, 0])
    assert judged.slices.device_judged == {"unknown": 1, "pen": 2}
    assert judged.slices.device_right == {"unknown": 1, "pen": 1}
    assert [judged.slices.mnist_judged[digit] for digit in (2, 7)] == [99, 1]
    assert [judged.slices.mnist_right[digit] for digit in (2, 7)] == [99, 0]
    assert (judged.beside is None) == (champion is None)
    if judged.beside:
        assert judged.slices.digit_judged == judged.beside.digit_judged, "of the same drawings"


def test_beside_a_champion_of_another_key_a_candidate_is_compared_on_the_people_whom_both_hold_back(monkeypatch):
    said = [Feedback(n, f"d{n}", f"player {n % 60}", 1, n % 10, n.to_bytes(4) * 196) for n in range(240)]
    blobs, asked = MemoryBlobs(), list[HeldBack]()
    told = store(blobs, assemble(pictures(1, 2), said, 0.5, 3.0, 0.0, "key"), Making())

    def compare(serving: Any, candidate: Any, champion: Any, mnist: Any, held_back: HeldBack, tell: Any) -> Any:
        asked.append(held_back)
        raise InterruptedError

    monkeypatch.setattr("trainers.evaluate.compare", compare)
    made_of = {"dataset": f"s3://b/{stored(told).train}", **stored(told).split}
    of_before = {name: value for name, value in made_of.items() if name != "held_back_by"}
    for lineage in (made_of, of_before):
        champion = published("1").model_copy(update={"lineage": lineage})
        candidate = published("2").model_copy(update={"lineage": made_of, "digest": "another"})
        with pytest.raises(InterruptedError):
            judging.Judge(Settings(), blobs, cast(Any, None)).judge(candidate, champion, 1, None, lambda share: None)

    of = [one for one in said if is_held_back(one.player_id, 0.5, "key")]
    both = [one for one in of if is_held_back(one.player_id, 0.5)]
    assert 0 < len(both) < len(of)
    assert [len(held_back) for held_back in asked] == [len(of), len(both)]
