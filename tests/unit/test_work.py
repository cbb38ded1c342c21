"""The loops of a trainer's work: what goes wrong in one of them ends neither it nor the others."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trainers.work import Stopped, Work


class Held:
    """A lease that is held."""

    def wait(self) -> None:
        pass

    def check(self) -> None:
        pass


class Looking:
    """Triggers that look, and may fail."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self.look = look


def failing(wrong: Exception, times: list[str]) -> Callable[[], int]:
    """Something that fails the first time and stops the trainer the second time."""

    def done() -> int:
        times.append("tried")
        if len(times) > 1:
            raise Stopped
        raise wrong

    return done


def nothing_due(due: Callable[[], list[Any]]) -> Any:
    return pytest.fail("nothing is due")


@pytest.mark.parametrize("wrong", [ValueError("Parquet magic bytes not found"), KeyError("gone"), TimeoutError("slow")])
@pytest.mark.parametrize("loop", ["keep", "begin_rebuilds"])
def test_what_goes_wrong_with_one_object_is_tried_again_and_ends_no_loop(loop: str, wrong: Exception) -> None:
    times: list[str] = []
    work = Work(Held(), None, nothing_due, lambda seconds: None)  # type: ignore[arg-type]

    tried = failing(wrong, times)
    loops = {"keep": partial(work.keep, tried, 60.0), "begin_rebuilds": partial(work.begin_rebuilds, Looking(tried))}  # type: ignore[arg-type]

    with pytest.raises(Stopped):
        loops[loop]()

    assert times == ["tried", "tried"]
