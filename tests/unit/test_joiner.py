"""The joiner: drawings, guesses and the player's corrections, in any order, to examples."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from lz4 import frame

from contracts.events import (
    MAX_CORRECTIONS,
    MAX_GUESSES,
    CorrectionProbed,
    CorrectionReceipt,
    DrawingPicked,
    DrawingSought,
    Event,
    ExampleLabelled,
    ExampleProbed,
    GuessMade,
    Outcome,
    PlayerForgotten,
    ReceiptProbed,
    StageForgot,
    decode,
)
from contracts.ports import Origin
from streams.joiner import Joiner
from streams.story import TOO_MANY, UNKNOWN, AnotherPlayersDrawing, Story, TooManyGuesses
from streams.story_cell import names
from streams.story_store import FORGET_AFTER, STORY
from tests.histories import (
    MemoryCells,
    answer,
    answered,
    correction,
    drawing,
    features,
    folded,
    forgotten,
    guess,
    missed,
    named,
    withdrawal,
)

WEEK = FORGET_AFTER.total_seconds()


def stories(cells: MemoryCells) -> dict[str, Story]:
    return {key: Story.of(cell) for key, cell in cells.items() if key.startswith(STORY)}


def examples(history: list[Event], step: int | None = 1) -> list[ExampleLabelled]:
    return [said for said in folded(Joiner(), history, step=step) if isinstance(said, ExampleLabelled)]


def superseded(history: list[Event]) -> list[UUID]:
    receipts = [said for said in folded(Joiner(), history) if isinstance(said, CorrectionReceipt)]
    assert all(receipt.outcome is Outcome.SUPERSEDED and receipt.models == {} for receipt in receipts)
    assert {receipt.stage for receipt in receipts} <= {"joiner"}
    return [receipt.correction_id for receipt in receipts]


def refused(history: list[Event], cells: MemoryCells | None = None) -> list[tuple[str, UUID, str]]:
    receipts = [said for said in folded(Joiner(), history, cells) if isinstance(said, CorrectionReceipt)]
    assert all(receipt.outcome is Outcome.REFUSED and receipt.models == {} for receipt in receipts)
    return [(receipt.player_id, receipt.correction_id, receipt.why) for receipt in receipts]


def test_a_correction_makes_an_example_of_the_drawing_and_the_guesses_shown():
    history = [drawing(asked=1, device="pen"), answer(label=7), answer(label=1, model="xgboost"), correction(label=1)]

    [example] = examples(history)

    assert (1, named("c1"), 1) == (example.label, example.correction_id, example.asked)
    assert [(shown.model, shown.label) for shown in example.guesses] == [("river", 7), ("xgboost", 1)]
    assert example.guesses[0].latency_ms == 8.0
    assert example.features == features()
    assert (example.drawn_at, example.device) == (history[0].at, "pen")


def test_a_drawing_without_a_correction_is_no_example():
    assert examples([drawing(), answer()]) == []


def test_a_late_guess_completes_the_example_with_a_higher_revision():
    first, second = examples([drawing(), correction(), answer()])

    assert (first.guesses, first.features) == ([], None)
    assert [shown.model for shown in second.guesses] == ["river"]
    assert second.features is not None
    assert second.revision > first.revision


def test_a_correction_that_comes_before_its_drawing_waits_for_it():
    [example] = examples([correction(label=4), answer(), drawing()])

    assert example.label == 4
    assert len(example.guesses) == 1


def test_the_last_correction_counts_and_the_one_before_gets_its_receipt():
    history = [drawing(), answer(), correction(label=1, correction="c1"), correction(label=2, correction="c2")]

    assert [example.label for example in examples(history)] == [1, 2]
    assert superseded(history) == [named("c1")]


def test_an_example_says_whether_its_latest_label_came_over_the_quota():
    labels = [correction(label=1, correction=f"c{n}", over_quota=over) for n, over in enumerate([False, True, False])]

    assert [example.over_quota for example in examples([drawing(), *labels])] == [False, True, False]


def test_a_correction_taken_back_takes_the_label_away():
    history = [drawing(), correction(label=1), withdrawal()]

    assert [example.label for example in examples(history)] == [1, None]
    assert superseded(history) == [named("c1")]


def test_taking_back_a_correction_that_was_replaced_changes_nothing():
    history = [
        drawing(),
        correction(label=1, correction="c1"),
        correction(label=2, correction="c2"),
        withdrawal(correction="c1"),
    ]

    assert [example.label for example in examples(history)] == [1, 2]
    assert superseded(history) == [named("c1")]


def test_taking_back_an_unknown_correction_takes_the_label_away():
    history = [drawing(), correction(label=1, correction="c1"), withdrawal(correction="c9")]

    assert [example.label for example in examples(history)] == [1, None]
    assert superseded(history) == [named("c1"), named("c9")]


def test_a_receipt_tells_what_was_taken_back_from_what_was_replaced():
    history = [
        drawing(),
        correction(label=1, correction="c1"),
        correction(label=2, correction="c2"),
        withdrawal(correction="c2"),
    ]
    receipts = [said for said in folded(Joiner(), history) if isinstance(said, CorrectionReceipt)]

    assert [(one.correction_id, one.why) for one in receipts] == [(named("c1"), ""), (named("c2"), "you have taken it back")]


def test_a_correction_that_was_taken_back_does_not_come_back_with_a_resend():
    history = [
        drawing(),
        correction(correction="c1"),
        withdrawal(correction="c1"),
        correction(correction="c1"),
        withdrawal(correction="c1"),
    ]

    assert [example.label for example in examples(history)] == [1, None]


def test_twice_is_once():
    once = [drawing(), answer(), answer(model="xgboost"), correction()]
    twice = [event for event in once for _ in range(2)] + once

    assert [example.model_dump(exclude={"at"}) for example in examples(twice)] == [
        example.model_dump(exclude={"at"}) for example in examples(once)
    ]


def test_of_the_revisions_that_only_add_a_guess_the_last_of_a_step_is_published():
    history = [
        drawing(),
        answer(),
        correction(label=1),
        answer(model="xgboost"),
        answer(model="mxnet"),
        correction(label=2, correction="c2"),
    ]

    several, in_one = examples(history), examples([*history, answer(model="kmeans"), answer(model="tensorflow")], step=None)

    assert [len(said.guesses) for said in several] == [1, 2, 3, 3]
    assert [(said.label, len(said.guesses)) for said in in_one] == [(1, 1), (2, 3), (2, 5)]


def test_an_example_carries_every_label_that_its_player_gave_in_order():
    history = [
        correction(label=1, correction="c1"),
        correction(label=2, correction="c2"),
        drawing(),
        withdrawal(correction="c2"),
    ]

    told = [[(given.correction_id, given.label) for given in said.labels] for said in examples(history)]

    assert told == [[(named("c1"), 1), (named("c2"), 2)]] * 2


def test_a_shadow_is_kept_beside_its_model_and_marked():
    history = [drawing(), answer(label=7, model="xgboost"), answer(label=1, model="xgboost", role="shadow"), correction()]

    [example] = examples([*history, answer(label=2, model="xgboost", role="shadow")])

    assert [(shown.label, shown.shadow) for shown in example.guesses] == [(7, False), (1, True)]


def test_a_canary_answers_in_the_place_of_its_champion():
    [example] = examples(
        [drawing(), answer(model="xgboost", role="canary", version="2"), answer(model="xgboost"), correction()]
    )

    assert [(shown.version, shown.shadow) for shown in example.guesses] == [("2", False)]


def test_a_missed_guess_is_no_part_of_the_story():
    nobody = answered([], drawing_id=named("d1"), player_id="ada", missed={"xgboost": "too slow"})
    cells = MemoryCells()

    [example] = examples([drawing(), missed(), nobody, correction()])
    folded(Joiner(), [answered([guess()], missed={"xgboost": "too slow"}), nobody], cells)

    assert example.guesses == []
    assert [part.missed for story in stories(cells).values() for part in story.parts] == [{}]
    assert examples([correction(), nobody, drawing(), nobody, answer(model="xgboost")])[-1].guesses[0].model == "xgboost"


def test_a_guess_as_it_is_shown_is_not_what_is_learned():
    assert [example.guesses for example in examples([drawing(), guess(), correction()])] == [[]]


def test_all_guesses_of_one_part_are_one_revision_and_a_later_part_adds_what_it_has():
    first = answered([guess(), guess(model="yours", version="own3+0")])
    second = answered([guess(label=1), guess(model="xgboost"), guess(model="xgboost", role="shadow")], at=3)

    told = examples([drawing(), correction(), first, second, first, second])

    assert [example.revision for example in told] == [2, 4, 6]
    assert [(shown.model, shown.label, shown.shadow) for shown in told[-1].guesses] == [
        ("river", 7, False),
        ("yours", 7, False),
        ("xgboost", 7, False),
        ("xgboost", 7, True),
    ]


def test_a_model_that_is_twice_in_one_part_counts_once():
    [example] = examples([drawing(), answered([guess(label=7), guess(label=1), guess(label=2, role="shadow")]), correction()])

    assert [(shown.label, shown.shadow) for shown in example.guesses] == [(7, False), (2, True)]


@pytest.mark.parametrize("step", [1, None])
@pytest.mark.parametrize(
    "late", [[answer(features=None)], [answer(model="mxnet"), answered([guess(model="xgboost"), guess()])]]
)
def test_features_may_come_before_any_guess_or_with_a_later_part(step, late):
    read = answered([], drawing_id=named("d1"), player_id="ada", features=features())

    before = examples([drawing(), correction(), read, *late], step)
    after = examples([drawing(), correction(), answer(model="mxnet"), answer()], step)

    assert before[-1].features == after[-1].features == features()
    assert before[-1].revision == 2 + len(before[-1].guesses)
    assert len({example.revision for example in before}) == len(before)
    assert [example.features for example in before[:-1]] == [None] * (len(before) - 1)


def test_an_example_has_no_features_while_no_online_model_has_answered():
    [without, example] = examples([drawing(), correction(), answered([guess(model="xgboost")], features=features())])
    [*_, last] = examples([drawing(), correction(), answered([guess(model="xgboost")], features=features()), answer()])

    assert (without.features, example.features, last.features) == (None, None, features())


def test_the_features_of_the_first_part_that_has_them_count_and_no_example_changes_without_a_higher_revision():
    again, other = answered([guess()], features=features(5)), answered([guess(model="mxnet")], features=features(5))

    told = examples([drawing(), correction(), answer(), again, other])
    without = examples([drawing(), correction(), answer(features=None), again, other])

    assert [(example.revision, example.features) for example in told] == [(2, None), (3, features()), (4, features())]
    assert [(example.revision, example.features) for example in without] == [(2, None), (3, None), (4, features(5))]


def test_more_guesses_than_there_are_models_are_no_part_of_the_story():
    many = [guess(model=f"m{n}") for n in range(MAX_GUESSES)]
    told = [drawing(), correction(), answered(many[:60]), answered(many[50:])]

    assert len(examples(told)[-1].guesses) == MAX_GUESSES
    with pytest.raises(TooManyGuesses):
        examples([*told, answer(model="one-more")])


def test_answers_of_another_player_are_refused_when_the_drawing_is_there():
    with pytest.raises(AnotherPlayersDrawing):
        examples([drawing(), answer(player="bob")])


def test_the_bytes_of_a_story_are_those_of_the_records_of_which_something_is_kept():
    cells, more = MemoryCells(), answered([guess(), guess(model="mxnet")])
    kept = [answer(), drawing(), correction()]

    others = [answer(player="bob"), correction(correction="c2", player="bob")]
    folded(Joiner(), [kept[0], kept[0], *others, more, more, *kept[1:], *kept], cells)

    [story] = stories(cells).values()
    assert [len(part.guesses) for part in story.parts] == [1, 1]
    assert [part.features is not None for part in story.parts] == [True, False]
    assert story.size == sum(len(event.record_value()) for event in (*kept, more))


def test_a_story_is_kept_event_by_event_and_read_again_as_it_was_written():
    cells, history = (
        MemoryCells(),
        [answer(), correction(), drawing(), answered([guess(model="mxnet")], at=3), correction(correction="c2")],
    )
    folded(Joiner(), [answer(player="bob"), *history], cells)

    [(key, story)] = stories(cells).items()
    head, _, events = cells[key].partition(b"\n")
    sizes = [len(history[n].record_value()) for n in (2, 0, 3, 1, 4)]
    told = json.loads(head)
    assert (told["drawing"], told["parts"], told["sizes"], sum(told["packed"])) == (True, 2, sizes, len(events))
    assert [len(story.parts), len(story.corrections)] == [2, 2]
    assert story.cell() == cells[key]
    with pytest.raises(ValueError, match="damaged"):
        Story.of(cells[key][:-1])


def test_an_event_is_kept_as_its_record_says_it_unless_what_is_kept_is_not_all_that_the_record_says():
    first = drawing()
    as_sent = first.record_value()[:-1] + b',"of a newer program":1}'

    def kept(event: Event, value: bytes) -> tuple[Event | None, bytes, bool]:
        cells, fold = MemoryCells(), Joiner()
        list(fold.open(cells, 0))
        list(fold.apply(cells, event, Origin(0, 0, len(value), value)))
        list(fold.settle(cells, 0))
        [(key, story)] = stories(cells).items()
        packed = cells[key].partition(b"\n")[2]
        return (story.drawing or story.parts[0]), frame.decompress(packed), names(cells[key], "ada")

    assert kept(first, as_sent) == (first, as_sent, True)
    earlier = drawing(at=-60)
    assert kept(earlier, as_sent) == (earlier, earlier.record_value(), True)  # its time was put right
    spaced = as_sent.replace(b'"player_id":', b'"player_id": ')
    assert kept(first, spaced) == (first, first.record_value(), True)  # who is forgotten is found in it
    twice = answered([guess(), guess()])
    [once, value, _] = kept(twice, twice.record_value())
    assert value == once.record_value() != twice.record_value()


CELLS = Path(__file__).parent / "story_cells"
"""The cell of one story, as programs have written it, from the oldest form to today's."""


def test_every_form_of_cell_that_was_ever_written_is_read_and_names_its_player():
    cells = MemoryCells()
    asked = drawing(asked=3, gold=True, picked=0.25, device="pen")
    answers = [answered([guess(), guess(model="mxnet")]), answered([guess(model="kmeans")], at=3)]
    given = [correction(), correction(correction="c2", label=3, at=5), withdrawal(correction="c2", at=6)]
    folded(Joiner(), [asked, *answers, *given], cells)
    [story] = stories(cells).values()
    written = {path.stem: path.read_bytes() for path in CELLS.iterdir()}

    assert {name: Story.of(cell) for name, cell in written.items()} == dict.fromkeys(("document", "zlib", "lz4"), story)
    assert {(names(cell, "ada"), names(cell, "bob")) for cell in written.values()} == {(True, False)}
    assert Story.of(written["zlib"]).cell() == written["zlib"]


@pytest.mark.parametrize("form", ["document", "zlib", "lz4"])
def test_a_cell_with_a_bit_that_has_turned_is_damaged_and_never_another_story(form):
    def told(read: Callable[[bytes], object], cell: bytes) -> object:
        try:
            return read(cell)
        except ValueError as wrong:
            return str(wrong).rpartition(": ")[2]

    cell = (CELLS / f"{form}.cell").read_bytes()
    events = len(cell.partition(b"\n")[0]) + 1 if cell.startswith(b"{") else 2
    as_written = Story.of(cell)

    for place in range(events, len(cell), 7):
        turned = bytearray(cell)
        turned[place] ^= 1 << place % 8
        assert told(Story.of, bytes(turned)) in ("the cell is damaged", as_written)  # the bit may say nothing of the content
        assert told(lambda broken: names(broken, "bob"), bytes(turned)) in ("the cell is damaged", False)


def test_a_cell_that_claims_a_huge_event_is_damaged_before_any_room_is_made_for_it():
    claimed = frame.compress_begin(frame.create_compression_context(), source_size=1 << 40, content_checksum=True)
    head = {"news": "2026-01-01T00:00:00Z", "drawing": True, "parts": 0, "sizes": [9], "packed": [len(claimed)]}

    with pytest.raises(ValueError, match="1099511627776 bytes: the cell is damaged"):
        Story.of(json.dumps(head).encode() + b"\n" + claimed)


def test_a_story_that_an_older_program_has_written_is_read_and_goes_on():
    cells, fold = MemoryCells(), Joiner()
    folded(fold, [drawing(), answer(), correction()], cells)
    [(key, story)] = stories(cells).items()
    whole = {
        "news": story.news.isoformat(),
        "drawing": json.loads(drawing().record_value()),
        "parts": [json.loads(answer().record_value())],
        "corrections": [json.loads(correction().record_value())],
        "drawing_bytes": len(drawing().record_value()),
        "part_bytes": [len(answer().record_value())],
        "correction_bytes": [len(correction().record_value())],
    }
    new = cells[key]
    cells[key] = zlib.compress(json.dumps(whole, separators=(",", ":")).encode(), 1)

    assert Story.of(cells[key]) == story
    assert (names(cells[key], "ada"), names(new, "ada"), names(new, "bob")) == (True, True, False)
    [example] = [
        one for one in folded(fold, [correction(correction="c2", label=3, at=5)], cells) if isinstance(one, ExampleLabelled)
    ]
    assert (example.label, example.revision, example.strokes) == (3, 4, drawing().strokes)
    [again] = stories(cells).values()
    assert cells[key].startswith(b"{")
    assert len(again.corrections) == 2


def test_an_example_is_valid_though_nothing_of_it_is_validated_twice():
    asked = drawing(asked=3, gold=True, picked=0.25, device="pen")
    [*_, example] = examples([asked, answered([guess(), guess(model="mxnet", role="shadow")]), correction()])

    assert decode("examples.v1", example.record_value()) == example
    assert type(example).model_validate(dict(example)) == example


def test_the_first_guess_of_a_model_counts_because_it_was_the_one_shown():
    [example] = examples([drawing(), answer(label=7), answer(label=1, version="mnist1+9"), correction()])

    assert [(shown.label, shown.version) for shown in example.guesses] == [(7, "mnist1+0")]


def test_previews_and_probes_are_no_part_of_it():
    history = [
        drawing(final=False),
        guess(final=False),
        drawing("d2", final=False, probe=True),
        correction(),
        correction("d2", correction="c2"),
    ]

    assert examples(history) == []


@pytest.mark.parametrize(
    "history",
    [
        [drawing(player="ada"), correction(player="bob")],
        [drawing(player="ada"), withdrawal(player="bob")],
        [correction(player="bob"), drawing(player="ada")],
    ],
)
def test_a_correction_of_another_players_drawing_is_refused_whichever_comes_first(history):
    assert refused(history) == [("bob", named("c1"), UNKNOWN)]
    assert examples(history) == []


def test_a_correction_of_a_drawing_that_is_not_on_the_log_is_refused_when_all_of_before_is_read():
    asked, cells = [said for said in folded(Joiner(), [correction()]) if isinstance(said, DrawingSought)], MemoryCells()

    assert [(sought.topic, sought.drawing_id, sought.player_id) for sought in asked] == [("drawings.v1", named("d1"), "ada")]
    assert refused([correction(), *asked], cells) == [("ada", named("c1"), UNKNOWN)]
    assert f"story/{named('d1')}" not in cells


def test_a_correction_whose_drawing_is_read_later_is_not_refused():
    [sought] = [said for said in folded(Joiner(), [correction()]) if isinstance(said, DrawingSought)]
    history = [correction(label=4), drawing(), sought, answer()]

    assert refused(history) == []
    assert [example.label for example in examples(history)] == [4, 4]
    assert [said for said in folded(Joiner(), [drawing(), correction()]) if isinstance(said, DrawingSought)] == []


def test_what_several_players_say_of_what_is_not_there_is_refused_to_each():
    corrections = [correction(), correction(player="bob", correction="c2")]
    asked = [said for said in folded(Joiner(), corrections) if isinstance(said, DrawingSought)]

    assert refused([*corrections, *asked]) == [("ada", named("c1"), UNKNOWN), ("bob", named("c2"), UNKNOWN)]


def test_nothing_is_looked_for_that_comes_in_the_same_step():
    assert [said for said in folded(Joiner(), [correction(), drawing()]) if isinstance(said, DrawingSought)] == []


def test_a_correction_that_was_refused_counts_when_it_is_given_again_with_its_drawing():
    [sought] = [said for said in folded(Joiner(), [correction()]) if isinstance(said, DrawingSought)]

    [example] = examples([correction(label=4), sought, drawing(), correction(label=4)])

    assert (example.label, example.revision) == (4, 2)


def test_a_state_that_is_folded_again_refuses_the_same_corrections_whatever_topic_is_read_first():
    corrections = [correction(), correction("never drawn", correction="c2")]
    straight, again = MemoryCells(), MemoryCells()
    [sought] = [said for said in folded(Joiner(), [drawing(), *corrections]) if isinstance(said, DrawingSought)]

    first = refused([drawing(), *corrections, sought], straight)
    [once_more] = [
        said for said in folded(Joiner(), [drawing(), sought, *corrections], again) if isinstance(said, DrawingSought)
    ]
    second = refused([once_more], again)

    assert first == second == [("ada", named("c2"), UNKNOWN)]
    assert straight[f"story/{named('d1')}"] == again[f"story/{named('d1')}"]


def test_who_sends_a_drawing_again_is_told_the_first_guesses_on_it_again():
    parts = [answer(label=7), answer(label=7, version="mnist1+9"), answer(label=1, model="xgboost")]
    history = [drawing(), *parts]

    said = [said for said in folded(Joiner(), [*history, drawing()]) if isinstance(said, GuessMade)]

    assert [(guess.model, guess.version, guess.label) for guess in said] == [("river", "mnist1+0", 7), ("xgboost", "base1", 1)]
    assert {guess.guess_id for guess in said} == {guess.guess_id for part in parts for guess in part.made()}
    assert {(guess.topic, guess.final, guess.features) for guess in said} == {("previews.v1", True, None)}


def test_a_probe_is_passed_on_and_leaves_nothing():
    cells = MemoryCells()

    [said] = folded(Joiner(), [CorrectionProbed(probe_id=named("p"), player_id="probe")], cells)

    assert (type(said), said.probe_id, said.player_id) == (ExampleProbed, named("p"), "probe")
    assert cells == {}


def test_a_probe_of_the_joiner_alone_is_answered_and_goes_no_further():
    cells = MemoryCells()

    [said] = folded(Joiner(), [CorrectionProbed(probe_id=named("p"), player_id="probe", only="joiner")], cells)

    assert (type(said), said.probe_id, said.player_id, said.stage) == (ReceiptProbed, named("p"), "probe", "joiner")
    assert cells == {}


def test_a_correction_of_another_players_drawing_has_no_effect_when_it_comes_first_either():
    history = [
        correction(label=9, player="bob", correction="b"),
        drawing(player="ada"),
        correction(label=1, player="ada", correction="a"),
    ]

    [example] = examples(history)

    assert (1, named("a")) == (example.label, example.correction_id)


def test_another_players_guess_is_no_part_of_the_drawing():
    [example] = examples([answer(label=9, player="bob"), answer(label=7), drawing(), correction()])

    assert [shown.label for shown in example.guesses] == [7]


def test_nobody_changes_their_mind_for_ever():
    history = [drawing(), *(correction(label=n % 10, correction=f"c{n}") for n in range(MAX_CORRECTIONS))]
    cells = MemoryCells()
    folded(Joiner(), history, cells)

    assert refused([correction(correction="one more")], cells) == [("ada", named("one more"), TOO_MANY)]
    assert refused([correction(correction="c3")], cells) == []


def test_a_restart_between_any_two_events_changes_nothing():
    history = [correction(), drawing(), answer(), withdrawal(), correction(label=3, correction="c2")]
    cells, whole = MemoryCells(), MemoryCells()

    restarted = [said for event in history for said in folded(Joiner(), [event], cells)]
    straight = folded(Joiner(), history, whole, step=1)

    assert [said.model_dump(exclude={"at"}) for said in restarted] == [said.model_dump(exclude={"at"}) for said in straight]
    assert cells == whole


# --- what chance picked ---------------------------------------------------------------------------------------------------


def picks(history: list[Event], step: int | None = 1) -> list[DrawingPicked]:
    return [said for said in folded(Joiner(), history, step=step) if isinstance(said, DrawingPicked)]


def test_a_picked_drawing_is_told_once_it_is_answered_whichever_comes_first():
    drawn, said = drawing(picked=0.2, gold=True, asked=7), answer()

    for history in ([drawn, said], [said, drawn]):
        [told] = picks(history)

        assert (told.asked, told.picked, told.revision) == (7, 0.2, 2)
        assert [(one.model, one.label) for one in told.guesses] == [("river", 7)]


def test_what_was_not_picked_or_has_no_answer_yet_is_not_told():
    assert picks([drawing(), answer()]) == []
    assert picks([drawing(picked=0.2)]) == []


def test_only_what_the_server_asked_for_is_known():
    [told] = picks([drawing(picked=0.2, asked=7), answer()])

    assert told.asked is None


def test_a_model_that_answers_late_is_told_with_the_others():
    late = answer(label=1, model="xgboost", at=0.4)

    assert [len(told.guesses) for told in picks([drawing(picked=0.2), answer(), late])] == [1, 2]
    assert [len(told.guesses) for told in picks([drawing(picked=0.2), answer(), late], step=None)] == [2]


def test_once_it_has_a_label_the_example_says_that_it_was_picked_and_nothing_else_is_written():
    late = answer(label=1, model="xgboost", at=0.4)
    history = [drawing(picked=0.2, gold=True, asked=7), correction(label=1), answer(), late, withdrawal()]

    assert picks(history) == []
    assert len(examples(history)[-1].guesses) == 2
    assert {(one.picked, one.gold) for one in examples(history)} == {(0.2, True)}


@pytest.mark.parametrize("step", [1, None])
@pytest.mark.parametrize("player", ["eve", 'e"v\\é\n1'])
def test_who_is_forgotten_leaves_no_story_though_the_log_has_lost_their_drawings(player, step):
    theirs = [drawing("d1", player=player), answer("d1", player=player), drawing("d2", player=player)]
    alone = [correction("never drawn", player=player), correction("d3", player=player), correction("d3", correction="c2")]
    others, left = [drawing("d4"), answer("d4"), correction("d5")], MemoryCells()
    folded(Joiner(), [*others, alone[-1]], left)
    cells = MemoryCells()

    said = folded(Joiner(), [*theirs, *others, *alone, forgotten(player, (), PlayerForgotten)], cells, step=step)

    assert stories(cells) == stories(left)
    assert [told.stage for told in said if isinstance(told, StageForgot)] == ["joiner"]
    assert [one.player_id for one in said if isinstance(one, DrawingSought) and one.player_id == player] == (
        [player, player] if step else []
    )
    again = cells.copy()
    folded(Joiner(), [forgotten(player, (), PlayerForgotten)], again)
    assert again == cells
