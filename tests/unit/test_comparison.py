"""Two states of a fold are compared cell by cell; stories that may be forgotten are no difference, and all else is."""

import pytest

from streams.joiner import Joiner
from streams.ledger import Ledger
from streams.ledger_view import viewing
from streams.refold.comparison import compared, in_order
from streams.scorer import Scorer
from tests.histories import MemoryCells, answer, correction, drawing, example, folded, named, seconds


@pytest.mark.parametrize(
    ("running", "fresh", "said"),
    [
        ({"a": b"1"}, {"a": b"1"}, ()),
        ({"a": b"1", "b": b"2"}, {"b": b"2"}, ("a is in the running one only",)),
        ({"b": b"2"}, {"a": b"1", "b": b"2", "c": b"3"}, ("a is in the fresh fold only", "c is in the fresh fold only")),
        ({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"3"}, ("b differs",)),
        ({}, {"a": b""}, ("a is in the fresh fold only",)),
    ],
)
def test_each_cell_that_differs_is_named(running, fresh, said):
    found = compared("scorer", in_order(running), in_order(fresh))

    assert found.first == said
    assert found.differing == len(said)
    assert found.same is (not said)
    assert (found.running == found.fresh) is (not said)
    assert found.cells == len(running.keys() | fresh.keys())


def test_of_many_cells_that_differ_the_first_are_named_and_all_are_counted():
    found = compared("scorer", in_order({f"{n:03}": b"" for n in range(500)}), in_order({}))

    assert found.differing == 500
    assert found.first[0] == "000 is in the running one only"
    assert len(found.first) == 10


def test_the_digest_is_that_of_the_ledger_at_the_moment_that_is_looked_at(tmp_path):
    cells = MemoryCells()
    folded(Scorer(), [example("d1"), example("d2")], cells)
    ledger = Ledger(tmp_path / "0.sqlite")
    with ledger.step():
        for key, value in reversed(list(cells.items())):
            ledger.put(key, value)
    digest = ledger.digest()

    with viewing(tmp_path / "0.sqlite") as view:
        with ledger.step():
            ledger.put("zz", b"later")
        found = compared("scorer", view.cells, in_order(cells))
    ledger.close()

    assert found.same
    assert found.running == found.fresh == digest


def joined(*names: str, days: float = 0) -> MemoryCells:
    cells = MemoryCells()
    at = days * 86_400
    folded(
        Joiner(), [one for name in names for one in (drawing(name, at=at), answer(name, at=at), correction(name, at=at))], cells
    )
    return cells


def test_of_the_joiner_stories_are_compared_and_not_their_queue():
    one, other = joined("d1", "d2"), joined("d2", "d1")

    assert one != other
    assert compared("joiner", in_order(one), in_order(other)).same
    other.drop(f"story/{named('d2')}")
    assert compared("joiner", in_order(one), in_order(other)).first == (f"story/{named('d2')} is in the running one only",)


def test_a_story_from_before_the_log_begins_is_no_difference_and_a_later_one_is():
    old, both = joined("d1"), joined("d1", "d2")

    assert compared("joiner", in_order(both), in_order(old), since=seconds(3600)).same
    assert not compared("joiner", in_order(both), in_order(old), since=seconds(-1)).same


def test_a_story_without_news_for_a_week_may_be_forgotten():
    old, new = joined("d1"), joined("d2", days=7.1)

    both = MemoryCells(old | new)
    assert compared("joiner", in_order(both), in_order(new)).same
    assert not compared("joiner", in_order(both), in_order(old)).same
