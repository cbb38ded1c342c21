"""Drift: what evidence is gathered of examples, and what is detected in it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from contracts.events import (
    DrawingEvidence,
    DriftDetected,
    Event,
    EvidenceGathered,
    ExamplesForgotten,
    GivenLabel,
    PlayerRestricted,
)
from producers.handwriting import handwriting
from streams.drift import REFERENCE, Drift
from streams.evidence import DIRECTIONS, NEWCOMERS, Evidence
from streams.online_base import load_base
from streams.trust import FIRST, judged
from tests.histories import READER, MemoryCells, example, features, folded, named, seconds, shown
from tests.writers import drawings as drawings_of

BASE = replace(load_base(), reader=READER)
WRITER = next(iter(handwriting()))


def gathered(history: Iterable[Event], cells: MemoryCells | None = None, step: int | None = None) -> list[EvidenceGathered]:
    said = folded(Evidence(BASE), history, cells, step=step)
    return [event for event in said if isinstance(event, EvidenceGathered)]


def drawings(said: Iterable[EvidenceGathered]) -> list[DrawingEvidence]:
    return [one for event in said for one in event.drawings]


# --- evidence


def test_a_labelled_drawing_says_how_each_model_did_as_shown_and_what_was_drawn():
    guesses = [shown(7), shown(1, model="xgboost"), shown(7, model="xgboost", shadow=True)]

    [one] = drawings(gathered([example(label=1, guesses=guesses)]))

    assert one.wrong == {"river": True, "xgboost": False}
    assert (one.label, one.ink, len(one.directions)) == (1, sum(features().raster) // 255, DIRECTIONS + 1)


def test_the_first_label_counts_and_no_later_one():
    labels = [GivenLabel(correction_id=named(f"c{n}"), label=n) for n in (7, 1)]
    late = example(label=1, revision=4, labels=labels)

    told = drawings(gathered([example(label=7, labels=labels[:1]), late]))

    assert [(one.label, one.wrong) for one in told] == [(7, {"river": False})]
    assert [one.wrong for one in drawings(gathered([late]))] == [{"river": False}], "the first, though it came with the second"


@pytest.mark.parametrize("quota", [(True, False), (False, True)])
def test_the_first_label_decides_whether_it_was_over_the_quota_also_if_it_came_with_the_second(quota):
    labels = [GivenLabel(correction_id=named(f"c{n}"), label=n, over_quota=over) for n, over in zip((7, 1), quota, strict=True)]
    first = example(label=7, labels=labels[:1], over_quota=quota[0])
    both = example(label=1, revision=4, labels=labels, over_quota=quota[1])

    assert drawings(gathered([both])) == drawings(gathered([first, both]))
    assert len(drawings(gathered([both]))) == (not quota[0])


def test_a_label_that_was_withdrawn_at_once_is_evidence_too_and_none_that_never_was():
    labels = [GivenLabel(correction_id=named("c1"), label=7)]

    assert [one.label for one in drawings(gathered([example(label=None, labels=labels)]))] == [7]
    assert gathered([example(label=None)]) == []


def test_a_guess_that_comes_after_the_label_is_told_then_and_nothing_is_told_twice():
    late = example(revision=4, guesses=[shown(7), shown(1, model="mxnet")])

    first, second = drawings(gathered([example(), late, example(revision=5, guesses=late.guesses)], step=1))

    assert (first.wrong, second.wrong) == ({"river": True}, {"mxnet": False})
    assert (second.label, second.ink, second.directions) == (None, None, [])


def test_features_that_come_later_are_told_then():
    first, second = drawings(gathered([example(features=None), example(revision=4)], step=1))

    assert (first.label, second.label, second.wrong) == (None, 1, {})


def test_features_of_another_reader_say_nothing_of_the_embedding():
    [one] = drawings(gathered([example(features=features(reader="raster-1/ffffffff"))]))

    assert (one.directions, one.label) == ([], 1)


def test_whoever_is_restricted_and_whatever_is_over_the_quota_is_no_evidence():
    restricted = [PlayerRestricted(player_id="ada", restriction=one) for one in ("quarantined", "none")]

    assert gathered([restricted[0], example()]) == []
    assert len(drawings(gathered([*restricted, example()]))) == 1
    assert gathered([example(over_quota=True)]) == []


def test_evidence_is_numbered_over_steps_and_restarts():
    cells, several = MemoryCells(), [example(f"d{n}") for n in range(6)]

    said = gathered(several[:2], cells) + gathered(several[2:], cells, step=2)

    assert [(event.number, len(event.drawings)) for event in said] == [(1, 2), (3, 2), (5, 2)]


def told_of(player: str, away: Iterable[int], cells: MemoryCells | None = None) -> list[DrawingEvidence]:
    """The evidence of a writer's clear drawings, with labels that are so far away from their true digits."""
    written, base = drawings_of(WRITER), load_base()
    rows = enumerate(base.basis.rows(written.embeddings))
    clear = [n for n, row in rows if judged(base.judge, row) == (written.labels[n], True)]
    given = [written.example(player, n, (int(written.labels[n]) + by) % 10) for n, by in zip(clear, away, strict=False)]
    return drawings([one for one in folded(Evidence(base), given, cells, step=1) if isinstance(one, EvidenceGathered)])


def test_all_newcomers_have_one_mark_and_a_player_who_is_known_has_another():
    ada, eve = (told_of(player, [0] * 9) for player in ("ada", "eve"))

    assert [one.mark for one in (*ada[: FIRST - 1], *eve[: FIRST - 1])] == [NEWCOMERS] * 2 * (FIRST - 1)
    assert len({one.mark for one in ada[FIRST - 1 :]} | {NEWCOMERS}) == 2
    assert len({ada[-1].mark, eve[-1].mark, NEWCOMERS}) == 3


def test_what_the_judge_cannot_tell_makes_nobody_known():
    assert {one.mark for one in drawings(gathered([example(f"d{n}") for n in range(30)], step=1))} == {NEWCOMERS}


def test_who_is_known_and_lies_is_a_hand_of_their_own_no_more_until_they_are_believed_again():
    told = told_of("ada", [*[0] * 14, *[1] * 3, *[0] * 40])

    marks = [one.mark != NEWCOMERS for one in told]
    assert marks[FIRST - 1 : 14] == [True] * (14 - FIRST + 1)
    assert marks[15:18] == [False] * 3
    assert marks[-1]


def test_who_is_forgotten_is_known_no_more():
    cells = MemoryCells()
    told_of("ada", [0] * 9, cells)
    told_of("eve", [0] * 9, cells)
    gone = ExamplesForgotten(forget_id=named("f"), player_id="ada", drawings=[], examples=[])

    folded(Evidence(load_base()), [gone], cells)

    assert [key for key in cells if key.startswith("hand/")] == ["hand/eve"]


def test_a_part_that_comes_later_has_the_mark_of_then_and_a_drawing_makes_its_player_known_once():
    cells = MemoryCells()
    told_of("ada", [0] * (FIRST - 1), cells)
    written, base = drawings_of(WRITER), load_base()
    again = written.example("ada", 0, revision=9, guesses=[shown(n % 10, model=model) for n, model in enumerate("abcdefg")])

    said = folded(Evidence(base), [again], cells)

    assert [one.mark for event in said if isinstance(event, EvidenceGathered) for one in event.drawings] == [NEWCOMERS]


# --- detection


@pytest.mark.parametrize(
    ("change", "told"), [({"number": 402}, "came after 400"), ({"source_partition": 4}, "partition 4, of 4")]
)
def test_evidence_that_does_not_follow_or_of_no_partition_is_refused(change: dict[str, int], told: str):
    with pytest.raises(ValueError, match=told):
        detected([CLEAN, BROKEN.model_copy(update=change)])


@pytest.mark.parametrize(("behind", "refused"), [(400, False), (399, True)])
def test_a_gap_is_taken_where_evidence_says_that_a_player_was_forgotten_behind_the_last_drawing(behind: int, refused: bool):
    jump = BROKEN.model_copy(update={"number": 1001, "behind": behind, "drawings": []})
    on, cells = BROKEN.model_copy(update={"number": 1001}), MemoryCells()

    if refused:
        with pytest.raises(ValueError, match="came after 400"):
            folded(Drift("s"), [CLEAN, jump], cells)
        return
    once, twice = folded(Drift("s"), [CLEAN, jump, on], cells), folded(Drift("s"), [CLEAN, jump, jump, on, jump, on])

    assert [event.type for event in once] == [event.type for event in twice] == ["DriftDetected"]
    assert cells["source/" + CLEAN.series + "/0"] == str(1000 + len(BROKEN.drawings)).encode()


def evidence(
    wrong: Sequence[bool], model: str = "river", first: int = 1, partition: int = 0, marks: int = 9
) -> EvidenceGathered:
    """A record of drawings on which a model was wrong or not."""
    several = [
        DrawingEvidence(
            mark=1 + number % marks, drawn_at=seconds(number), label=None, ink=None, directions=[], wrong={model: bool(one)}
        )
        for number, one in enumerate(wrong, first)
    ]
    return EvidenceGathered(series="s", source_partition=partition, number=first, drawings=several)


def split(whole: EvidenceGathered, size: int) -> list[EvidenceGathered]:
    """The same drawings in records of this size."""
    return [
        whole.model_copy(update={"number": whole.number + at, "drawings": whole.drawings[at : at + size]})
        for at in range(0, len(whole.drawings), size)
    ]


def detected(history: Iterable[Event], cells: MemoryCells | None = None, step: int | None = 1) -> list[DriftDetected]:
    return [event for event in folded(Drift("s"), history, cells, step=step) if isinstance(event, DriftDetected)]


CHANCE = np.random.default_rng(5)
CLEAN = evidence(CHANCE.random(400) < 0.05)
BROKEN = evidence(CHANCE.random(80) < 0.5, first=401)


@pytest.mark.parametrize(
    ("model", "kind"), [("river", "online-errors"), ("xgboost", "batch-errors"), ("yours", "online-errors")]
)
def test_a_model_that_errs_more_often_is_told_with_all_that_an_operator_asks(model, kind):
    history = [evidence([one.wrong["river"] for one in part.drawings], model, part.number) for part in (CLEAN, BROKEN)]

    [told] = detected(history)

    assert (told.kind, told.subject, told.what) == (kind, model, "wrong guesses")
    assert told.statistic >= told.threshold
    assert told.before < 0.1 < 0.3 < told.after
    assert 5 <= told.n <= 64
    assert (sum(told.by_partition), told.hands) == (told.n, 4), "of the nine, who were guessed wrong in five of ten drawings"
    assert told.drawn_at - told.began_at == seconds(told.n - 1) - seconds(0)
    assert told.at == MemoryCells.at


def test_nothing_is_told_of_what_is_as_it_was():
    assert detected([CLEAN]) == []


def test_a_record_that_comes_again_or_in_other_parts_changes_nothing():
    once, twice = MemoryCells(), MemoryCells()

    told = detected([CLEAN, BROKEN], once)

    assert [one.detection_id for one in detected([CLEAN, CLEAN, *split(BROKEN, 7), BROKEN], twice)] == [
        one.detection_id for one in told
    ]
    assert once == twice


@settings(max_examples=20, deadline=None)
@given(size=st.sampled_from([1, 7, 40]), step=st.sampled_from([1, 3, None]), data=st.data())
def test_what_is_detected_depends_on_the_log_alone_and_not_on_steps_or_restarts(size, step, data: DataObject):
    history: list[Event] = [one for part in (CLEAN, BROKEN) for one in split(part, size)]
    straight, cells = MemoryCells(), MemoryCells()
    cut = data.draw(st.integers(0, len(history)))

    told = detected(history, straight, step=None)
    again = detected(history[:cut], cells, step) + detected(history[cut:], cells, step)

    assert again == told
    assert cells == straight


def test_partitions_are_put_together_and_each_is_numbered_for_itself():
    wrong = [one.wrong["river"] for one in (*CLEAN.drawings, *BROKEN.drawings)]
    history = [evidence([one], first=1 + n // 4, partition=n % 4) for n, one in enumerate(wrong)]

    [told] = detected(history)

    assert (len(told.by_partition), sum(told.by_partition)) == (4, told.n)
    assert max(told.by_partition) - min(told.by_partition) <= 1


def drawn(
    n: int, seed: int, *, label: int | None = None, ink: float = 100, far: float = 0, first: int = 1, marks: int = 50
) -> EvidenceGathered:
    """Drawings by several players: digits, amounts of ink, and places along the directions, at random."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(10, size=n)
    if label is not None:
        labels = np.where(chance.random(n) < 0.4, label, labels)
    amounts = chance.normal(ink, 10, n) + 5 * labels
    where = chance.normal(0, 20, (n, DIRECTIONS + 1)) + far
    several = [
        DrawingEvidence(
            mark=1 + number % marks,
            drawn_at=seconds(0),
            label=int(labels[number]),
            ink=int(amounts[number]),
            directions=where[number].astype(int).tolist(),
            wrong={},
        )
        for number in range(n)
    ]
    return EvidenceGathered(series="s", source_partition=0, number=first, drawings=several)


USUAL = [drawn(300, 1), drawn(300, 2, first=301)]


def test_evidence_of_a_partition_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="partition 99, of 4"):
        detected([evidence([True], partition=99)])


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        ({"label": 7}, "class-mix", "drawings of a 7"),
        ({"ink": 120.0}, "ink", "drawings with much ink"),
        ({"ink": 80.0}, "ink", "drawings with little ink"),
        ({"far": 40.0}, "embedding", "drawings far"),
    ],
)
def test_what_is_drawn_is_watched_too(change, kind, what):
    assert detected(USUAL) == []

    told = detected([*USUAL, *split(drawn(150, 3, first=601, **change), 50)])

    assert {(one.kind, one.subject) for one in told} == {(kind, kind)}
    assert told[0].what.startswith(what)


def test_more_of_a_digit_with_much_ink_is_no_drift_of_the_ink():
    told = detected([*USUAL, drawn(150, 3, first=601, label=9)])

    assert {one.kind for one in told} == {"class-mix"}


def test_one_player_who_draws_all_alone_with_much_ink_for_a_while_is_no_drift_of_all_hands():
    """A sitting of one player among many; where there is no other player, it takes ten times as long."""
    lone = {"ink": 130.0, "marks": 1}

    assert detected([*USUAL, drawn(60, 3, first=601, **lone)]) == []
    assert {one.kind for one in detected([*USUAL, drawn(400, 3, first=601, **lone)])} == {"ink"}


def of_marks(*drawn: tuple[int, bool], first: int = 401) -> EvidenceGathered:
    """Drawings by the players with these marks, on which the model was wrong or not."""
    several = [
        DrawingEvidence(mark=mark, drawn_at=seconds(number), label=None, ink=None, directions=[], wrong={"river": wrong})
        for number, (mark, wrong) in enumerate(drawn, first)
    ]
    return EvidenceGathered(series="s", source_partition=0, number=first, drawings=several)


def test_all_newcomers_together_count_once_in_ten_drawings():
    assert detected([CLEAN, of_marks(*[(NEWCOMERS, True)] * 50)]) == []
    [told] = detected([CLEAN, of_marks(*[(NEWCOMERS, True)] * 150)])

    assert (told.hands, told.n <= 15) == (1, True)


def test_who_draws_beside_a_few_that_err_is_no_hand_of_the_change():
    """Two players are always guessed wrong; five others draw meanwhile as they did."""
    [told] = detected([CLEAN, of_marks(*[(1 + n % 7, n % 7 < 2) for n in range(80)])])

    assert told.hands <= 2
    [told] = detected([CLEAN, of_marks(*[(1 + n % 7, True) for n in range(80)])])
    assert told.hands > 2


def test_six_wrong_labels_of_three_guests_are_told_and_nothing_is_done():
    """They had frozen the model, or had it trained again, where a policy says so."""
    guests = [one for player in ("g1", "g2", "g3") for one in told_of(player, [1, 1])]
    wrong = [one.model_copy(update={"wrong": {"river": True}}) for one in guests]
    before = [one.model_copy(update={"mark": 1 + n % 9}) for n, one in enumerate(CLEAN.drawings)]
    history = [CLEAN.model_copy(update={"drawings": before})]
    history += [EvidenceGathered(series="s", source_partition=0, number=401, drawings=wrong * 40)]

    told = detected(history)

    assert {one.mark for one in guests} == {NEWCOMERS}
    assert {one.hands for one in told} == {1}


def test_evidence_of_another_series_is_passed_by_however_it_is_numbered():
    other = BROKEN.model_copy(update={"series": "evidence-1"})

    cells, clean = MemoryCells(), MemoryCells()
    assert detected([CLEAN, other], cells) == detected([CLEAN], clean) == []
    assert cells == clean


def test_what_is_kept_is_plain_json():
    cells = MemoryCells()
    detected([drawn(REFERENCE + 50, 1), evidence([True] * 20, first=REFERENCE + 51)], cells)

    assert {"subject/river", "subject/ink", "subject/embedding", "subject/class-mix"} <= cells.keys()
    assert all(json.loads(value) is not None for value in cells.values())
