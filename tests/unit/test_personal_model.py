"""Each player's own model: what it remembers, what it forgets, and what it says of that."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import CorrectionReceipt, Event, ExampleLabelled, ExampleProbed, Outcome, ReceiptProbed
from contracts.ports import Origin, Record
from streams import personal_model, player_memory, player_outcomes, taught
from streams.additive import EIGHTHS
from streams.bandit import START
from streams.fold import LogBounds, advance, take_up
from streams.ledger import Identity, Ledger
from streams.personal_model import KEPT, PersonalModels
from streams.player_memory import MOST_BYTES, ROW, labelled_row, putting, scores_of
from tests.histories import READER, MemoryCells, example, features, folded, like, named, probabilities, shown
from tests.judged import BASE, clear

SHARED = np.array([probabilities(7)])
ALL = ("everyone", "river", "yours")


def said(own: PersonalModels, seed: int = 0, player: str = "ada", partition: int = 0) -> np.ndarray:
    answer, _ = own.answer(partition, player, *like(seed), SHARED)
    return answer[0]


def version(own: PersonalModels, player: str = "ada") -> str:
    return own.answer(0, player, *like(), SHARED)[1]


def after(history: list[Event], cells: MemoryCells | None = None) -> PersonalModels:
    own = PersonalModels(BASE)
    folded(own, history, cells)
    return own


def receipts(history: list[Event], step: int | None = None) -> list[CorrectionReceipt]:
    heard = folded(PersonalModels(BASE), history, step=step)
    assert all(isinstance(event, CorrectionReceipt) and event.stage == "personal" for event in heard)
    return heard


def test_until_the_first_label_the_answer_is_the_shared_models_own():
    own = after([])

    answer, named_version = own.answer(0, "ada", *like(), SHARED)

    assert answer is SHARED
    assert named_version == "own3+0"


def test_a_probe_is_answered_and_teaches_nothing():
    own, cells = PersonalModels(BASE), MemoryCells()

    [heard] = folded(own, [ExampleProbed(probe_id=named("p"), player_id="ada")], cells)

    assert (type(heard), heard.probe_id, heard.stage) == (ReceiptProbed, named("p"), "personal")
    assert version(own) == "own3+0"
    assert cells == {}


def test_one_correction_is_enough_for_a_drawing_like_it_and_leaves_others_alone():
    own = after([example(label=1)])

    assert said(own).argmax() == 1
    assert said(own, seed=5).argmax() == 7
    assert said(own).sum() == pytest.approx(1)
    assert version(own) == "own3+1"


def test_several_drawings_are_answered_at_once_as_they_are_alone():
    own = after([example(f"d{n}", n, features=features(n), correction=f"c{n}") for n in range(5)])
    asked, shared = map(np.concatenate, zip(*map(like, range(7)), strict=True)), np.repeat(SHARED, 7, axis=0)

    at_once, _ = own.answer(0, "ada", *asked, shared)

    np.testing.assert_allclose(at_once, [said(own, n) for n in range(7)], rtol=1e-4)


def test_what_one_player_teaches_is_nobody_elses():
    own = after([example(label=1)])

    assert own.answer(0, "bob", *like(), SHARED) == (SHARED, "own3+0")


def test_a_partition_that_is_not_here_answers_as_for_somebody_who_has_taught_nothing():
    own = after([example(label=1)])

    assert own.answer(3, "ada", *like(), SHARED) == (SHARED, "own3+0")
    assert own.pick(3, "ada", ALL)[1] == 0
    own.close(0)
    assert own.answer(0, "ada", *like(), SHARED) == (SHARED, "own3+0")


def test_what_changed_elsewhere_while_the_partition_was_away_is_there_when_it_comes_back():
    here, elsewhere, cells = PersonalModels(BASE), PersonalModels(BASE), MemoryCells()
    folded(here, [example(label=1)], cells)
    assert said(here).argmax() == 1
    here.close(0)

    folded(elsewhere, [example(label=4, revision=9, correction="c2")], cells)
    list(here.open(cells, 0))

    assert said(here).argmax() == 4


def test_a_later_revision_replaces_and_an_earlier_one_changes_nothing():
    first, second = example(label=1, revision=3), example(label=4, revision=4, correction="c2")

    assert said(after([first, second])).argmax() == 4
    assert said(after([second, first])).argmax() == 4
    assert version(after([first, second, first])) == "own3+1"


def test_a_label_that_is_taken_back_is_forgotten():
    history = [example(label=1, revision=3), example(label=None, revision=4)]

    assert said(after(history)).tolist() == SHARED[0].tolist()
    assert version(after(history)) == "own3+0"


@pytest.mark.parametrize(
    "unread",
    [
        {"features": None},
        {"features": features(reader="raster-1/another")},
        {"features": features().model_copy(update={"embedding": b"\0" * 12})},
        {"features": features().model_copy(update={"embedding": b"\0" * 256})},
        {"features": features().model_copy(update={"embedding": b"\xff" * 256})},
        {"guesses": [shown(model="xgboost")]},
    ],
)
def test_what_cannot_be_compared_or_was_not_guessed_is_left_out(unread):
    history = [example(label=1, **unread)]

    assert receipts(history) == []
    assert after(history).answer(0, "ada", *like(), SHARED) == (SHARED, "own3+0")


def test_a_receipt_says_what_the_label_was_worth_before_and_after():
    [first, second] = receipts([example(label=1), example("d2", 1, correction="c2", at=5)])

    assert (first.correction_id, first.outcome, set(first.models)) == (named("c1"), Outcome.LEARNED, {"yours"})
    change = first.models["yours"]
    assert (change.version_before, change.version_after) == ("own3+0", "own3+1")
    assert change.p_before == pytest.approx(0.01)  # as river was shown to say it
    assert change.p_after > 0.9
    assert second.models["yours"].p_before == pytest.approx(change.p_after, rel=0.05)


def test_a_correction_has_one_receipt_however_often_its_example_is_revised():
    history = [example(label=1, revision=revision, guesses=[shown()] * (revision - 2)) for revision in (3, 4, 5)]

    assert [receipt.correction_id for receipt in receipts(history + history, step=1)] == [named("c1")]


def test_a_correction_that_came_before_the_shared_guess_gets_its_receipt_with_it():
    early = example(label=1, revision=2, features=None, guesses=[])

    assert receipts([early]) == []
    [receipt] = receipts([early, example(label=1, revision=3)])

    assert receipt.correction_id == named("c1")


def test_a_changed_correction_has_a_receipt_of_its_own():
    history = [example(label=1), example(label=None, revision=4), example(label=2, revision=5, correction="c2")]

    assert [receipt.correction_id for receipt in receipts(history)] == [named("c1"), named("c2")]


def test_the_less_the_shared_model_was_right_the_less_it_has_to_say():
    def p_of_river(guessed: int) -> float:
        history = [
            example(f"d{n}", 1, correction=f"c{n}", at=n, features=features(n + 1), guesses=[shown(guessed)]) for n in range(20)
        ]
        return float(said(after(history), seed=99)[7])

    assert p_of_river(1) > p_of_river(7)


def test_the_newest_drawings_are_kept_and_no_more():
    many = [example(f"d{n}", n % 10, correction=f"c{n}", at=n, features=features(n)) for n in range(KEPT + 20)]
    cells = MemoryCells()

    own = after(many, cells)

    assert version(own) == f"own3+{KEPT}"
    assert said(own, seed=KEPT + 19).argmax() == (KEPT + 19) % 10
    assert said(own, seed=3).tolist() == said(after(many[20:]), seed=3).tolist(), "as if the older ones had never been there"
    assert receipts([*many, example("older", 1, correction="older", at=1, features=features(9999))])[-1].correction_id != named(
        "older"
    )
    assert sum(map(len, cells.values())) <= MOST_BYTES


def test_a_label_writes_little_however_much_is_remembered():
    cells = MemoryCells()
    own = after([example(f"d{n}", correction=f"c{n}", at=n, features=features(n)) for n in range(KEPT - 1)], cells)
    before = cells.copy()

    list(own.apply(cells, example("one more", correction="more", at=KEPT), Origin(0, 0, 0)))

    assert sum(len(value) for key, value in cells.items() if before.get(key) != value) < 3000


def test_a_memory_that_is_read_anew_answers_as_the_one_that_grew_bit_for_bit():
    cells, revised = MemoryCells(), {"label": 4, "revision": 4}
    grown = after([example(f"d{n}", n % 10, correction=f"c{n}", at=n, features=features(n)) for n in range(KEPT + 5)], cells)
    for number, changed in ((200, example("d200", **revised, at=200)), (9, example("d9", at=9, **(revised | {"label": None})))):
        list(grown.apply(cells, changed, Origin(0, KEPT + number, 0)))
    anew = PersonalModels(BASE)
    list(anew.open(cells, 0))

    for seed in range(6):
        assert said(grown, seed).tolist() == said(anew, seed).tolist()


def test_the_scores_of_a_row_are_its_half_bytes_as_fifteenths_of_a_whole_from_the_least_on():
    rows = np.zeros(256, ROW)
    rows["scores"] = np.arange(256)[:, None]

    expected = [[high / 15 - 0.3, low / 15 - 0.3] * 5 for high in range(16) for low in range(16)]
    assert scores_of(rows).tolist() == expected


@pytest.mark.parametrize("kind", [player_memory.ROW, player_outcomes.ROW, taught.ROW])
def test_a_row_of_every_kind_says_which_drawing_it_is_of(kind):
    said = example("d1", 4, revision=3, at=2.5)

    [row] = labelled_row(said, kind)

    at = round(said.drawn_at.timestamp() * 1e6)
    assert [int(row[name]) for name in ("at", "high", "low", "revision", "label")] == [
        at, said.drawing_id.int >> 64, said.drawing_id.int % 2**64, 3, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_goes_to_its_place_and_leaves_the_others(place):
    rows, row = (
        np.arange(2 * ROW.itemsize, dtype=np.uint16).astype(np.uint8).view(ROW),
        np.full(ROW.itemsize, 7, np.uint8).view(ROW),
    )

    after = putting(rows, place, row)

    expected = [one.tobytes() for one in rows]
    expected[place : place + 1] = [row.tobytes()]
    assert [one.tobytes() for one in after] == expected


REVISIONS = [
    example(
        f"d{n}", label, revision=revision, correction=f"d{n} {revision}", at=n % 3, features=features(n),
        guesses=[shown(n % 10), shown(model="everyone")],
    )
    for n in range(6)
    for revision, label in ((3, 1), (4, 2), (6, None if n % 2 else 3))
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(REVISIONS), again=st.lists(st.sampled_from(REVISIONS), max_size=5), kept=st.sampled_from([2, 4, KEPT])
)
def test_every_order_of_arrival_ends_in_the_same_answers(order, again, kept):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personal_model, "KEPT", kept)
        own, other = after([*order, *again]), after(REVISIONS)

    assert version(own) == version(other)
    for seed in range(6):
        assert said(own, seed).tolist() == said(other, seed).tolist()


def test_however_examples_were_gathered_into_steps_and_wherever_it_was_restarted_the_state_is_the_same():
    history = [example(f"d{n}", n % 4, correction=f"c{n}", player_id=f"p{n % 3}", features=features(n)) for n in range(75)]
    whole, restarted = MemoryCells(), MemoryCells()

    folded(PersonalModels(BASE), history, whole)
    for event in history:
        folded(PersonalModels(BASE), [event], restarted)

    assert restarted == whole


def test_many_players_are_not_all_held_in_memory(monkeypatch):
    monkeypatch.setattr(personal_model, "_LOADED", 40)
    cells = MemoryCells()
    own = after([example(f"d{n}", 1, correction=f"c{n}", player_id=f"p{n}") for n in range(100)], cells)

    for n in range(100):
        assert said(own, player=f"p{n}").argmax() == 1
        assert own.answer(0, f"nobody {n}", *like(), SHARED)[0] is SHARED

    players = own._partitions[0].players
    assert sum(1 + len(player.memory.rows) for player in players.values()) <= 40


def test_it_is_asked_between_steps_of_a_real_ledger(tmp_path):
    own, ledger = PersonalModels(BASE), Ledger(tmp_path / "0.sqlite")
    with ledger.step():
        list(own.open(ledger, 0))
    with ledger.step():
        list(own.apply(ledger, example(label=1), Origin(0, 0, 0)))
        list(own.settle(ledger, 0))
    own.close(0)
    with ledger.step():
        list(own.open(ledger, 0))

    assert said(own).argmax() == 1
    own.close(0)
    ledger.close()


def labelled(count: int, guesses: dict[str, int], player: str = "ada", first: int = 0) -> list[ExampleLabelled]:
    """Drawings of 7s; what each model said of all of them."""
    seen = [shown(label, model=model) for model, label in guesses.items()]
    return [
        example(f"{player} {n}", 7, correction=f"{player} {n}", player_id=player, at=n, guesses=seen, features=clear(7, n))
        for n in range(first, first + count)
    ]


def test_the_pick_goes_to_the_model_that_was_right_and_names_the_corrections_it_stands_on():
    own = after(labelled(40, {"everyone": 1, "river": 1, "xgboost": 7}))

    assert own.pick(0, "ada", ("everyone", "river", "xgboost")) == ("xgboost", 40)


def test_a_shadow_is_not_picked_for_what_nobody_saw():
    guesses = [shown(7, model="xgboost", shadow=True), shown(1, model="river")]
    own = after([example(f"d{n}", 7, correction=f"c{n}", guesses=guesses) for n in range(40)])

    belief = own._partitions[0].player("ada").memory.belief

    assert belief.n.get("xgboost", 0) == 0 < belief.n["river"]


def test_the_pick_stays_until_the_player_says_something():
    players = ["ada", *(f"ada {n}" for n in range(20))]
    history = [one for player in players for one in labelled(5, {"everyone": 7, "river": 1}, player=player)]
    own, cells = PersonalModels(BASE), MemoryCells()
    folded(own, history, cells)
    picked = [own.pick(0, player, ALL) for player in players]

    others = [labelled(50, {"everyone": 1, "river": 7, "yours": 7}, player=f"bob {n}") for n in range(10)]
    for offset, event in enumerate(one for several in others for one in several):
        list(own.apply(cells, event, Origin(0, offset, 0)))
        assert [own.pick(0, player, ALL) for player in players] == picked


def test_what_is_believed_of_a_player_outlives_a_restart():
    cells = MemoryCells()
    belief = after(labelled(26, {"river": 7, "xgboost": 3}), cells).player(0, "ada").memory.belief
    restarted = PersonalModels(BASE)
    list(restarted.open(cells, 0))

    assert belief is not None
    assert all((belief.n, belief.correct))
    assert restarted.player(0, "ada").memory.belief == belief


def test_before_their_first_correction_a_player_is_shown_what_all_players_found_right():
    newcomers = [f"newcomer {n}" for n in range(200)]
    players = [labelled(50, {"everyone": 1, "river": 7, "yours": 1}, player=f"bob {n}") for n in range(10)]
    own = after([one for several in players for one in several])

    picks = [own.pick(0, newcomer, ALL) for newcomer in newcomers]

    assert {corrections for _, corrections in picks} == {0}
    assert [model for model, _ in picks].count("river") > 190
    assert own._partitions[0].everybody.means.mean("xgboost") == START


def test_a_model_more_or_less_on_a_home_that_is_there_costs_nothing_of_what_was_learned(tmp_path: Path):
    path, log = tmp_path / "0.sqlite", LogBounds("c", {"examples.v1": 0}, {"examples.v1": 1000})
    seven, eight = {"river": 1, "xgboost": 7}, {"river": 1, "nearest-mean": 7, "xgboost": 7}
    history = [*labelled(30, seven), *labelled(30, eight, first=30), *labelled(30, {"river": 1}, first=60)]

    offset = 0
    for part in (history[:30], history[30:60], history[60:]):  # each by another product, that knows nothing of the others
        fold = PersonalModels(BASE)
        ledger = take_up(path, fold, 0, log)
        assert ledger.offset("examples.v1") == offset - 1, "it goes on where it was"
        records = [Record("examples.v1", 0, offset + n, b"ada", one.record_value(), 0) for n, one in enumerate(part)]
        advance(ledger, fold, 0, records)
        offset += len(part)
        player, means = fold.player(0, "ada"), fold._partitions[0].everybody.means
        if offset < 90:
            fold.close(0)
            ledger.close()

    at_once = after(history)
    assert player.memory.belief == at_once.player(0, "ada").memory.belief
    assert (means, player.version) == (at_once._partitions[0].everybody.means, at_once.player(0, "ada").version)
    newest = {"nearest-mean": 18, "river": 48, "xgboost": 18}
    assert {model: n / EIGHTHS for model, n in means.counts.n.items()} == newest
    assert {model: n / EIGHTHS for model, n in means.counts.right.items()} == {"nearest-mean": 18, "xgboost": 18}
    assert fold.pick(0, "ada", ("nearest-mean", "river"))[0] == "nearest-mean"
    ledger.close()


def test_what_is_kept_of_a_player_names_those_who_said_something_and_nobody_else():
    cells = MemoryCells()
    after([*labelled(8, {"river": 7, "abacus": 1}), *labelled(1, {"river": 7}, first=8)], cells)

    names = [json.loads(cells.get(f"rows/ada/{number}").partition(b"\n")[0]) for number in (0, 1)]
    assert names == [["abacus", "river"], ["river"]]


@pytest.mark.parametrize(
    "schema",
    [
        "personal 1 of ('everyone', 'xgboost')",
        f"personal 5, keeps 256, reads {READER}, cells 0123456789abcdef",
        re.sub("cells [0-9a-f]+", "cells 6eaebd31aed82944", PersonalModels(BASE).schema),
    ],
    ids=["before cells had names", "when all labels of all players counted", "before the shared model's scores were kept"],
)
def test_a_home_of_before_is_folded_again_once(tmp_path: Path, schema: str):
    path = tmp_path / "0.sqlite"
    fold = PersonalModels(BASE)
    old = Ledger(path)
    old.name(Identity(schema, "c"), {})
    with old.step():
        old.put("means", np.zeros(7).tobytes())
        old.move("examples.v1", 40)
    old.close()

    ledger = take_up(path, fold, 0, LogBounds("c", {"examples.v1": 0}, {"examples.v1": 100}))

    assert ledger.offset("examples.v1") == -1
    advance(ledger, fold, 0, [Record("examples.v1", 0, 0, b"ada", example().record_value(), 0)])
    assert ledger.offset("examples.v1") == 0
    ledger.close()
