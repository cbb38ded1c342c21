"""How a candidate does beside the champion: both are asked the same, and nothing of it stays."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.events import ModelPublished, variant_of
from tests.histories import published
from trainers.dataset import LabelledImages, holdout_from_npz, to_npz
from trainers.evaluate import compare
from trainers.rebuild import Cancelled
from trainers.serving import ServingFailed
from trainers.split import HeldBack


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
