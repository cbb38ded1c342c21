"""What all players together say of the models: by trust, within bounds, and as if nobody else had ever been there."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import Event, ExampleLabelled, ExamplesForgotten, PlayerRestricted
from contracts.ports import Origin
from streams import all_players, player_outcomes
from streams.additive import EIGHTHS
from streams.all_players import MOST, WINDOW, Means
from streams.blend import PRIOR, RATE, blend_weights
from streams.learner import Learner
from streams.personal_model import PersonalModels
from streams.player_outcomes import BLEND_SPREAD, LEAD_SPREAD, NEWEST, ModelCounts
from streams.trust import FIRST
from tests.histories import MemoryCells, example, features, folded, forgotten, in_force, shown
from tests.judged import BASE, clear_one

ARMS = ("everyone", "kmeans", "xgboost", "yours")
HOUR_S = 3600


def seen(*right: str, label: int, arms: Sequence[str] = ARMS) -> list:
    """What each model was shown to say of a drawing of this label: these were right."""
    return [shown(label if model in right else (label + 5) % 10, model=model) for model in arms]


def honest(player: str, count: int, first: int = 0, at: float = 0) -> list[ExampleLabelled]:
    """True labels of clear drawings, that k-means gets wrong each eighth time."""
    out = []
    for n in range(first, first + count):
        right = ("everyone", "xgboost", "yours") if n % 8 == 3 else ARMS
        given = {"player_id": player, "at": at + n, "guesses": seen(*right, label=n % 10)}
        out.append(named(player, n, clear_one(n, n % 10, **given)))
    return out


def named(player: str, n: int, one: ExampleLabelled) -> ExampleLabelled:
    """The example with ids of its player's own."""
    ids = example(f"{player} {n}", correction=f"{player} said {n}")
    return one.model_copy(update={"drawing_id": ids.drawing_id, "correction_id": ids.correction_id})


def siding(player: str, count: int, first: int = 0, *, clear: bool = True, **fields: object) -> list[ExampleLabelled]:
    """Wrong labels with which k-means alone agrees."""
    out = []
    for n in range(first, first + count):
        given = {"player_id": player, "at": n, "guesses": seen("kmeans", label=n % 10), **fields}
        one = clear_one(n, n % 10, right=False, **given) if clear else example(label=n % 10, features=features(n), **given)
        out.append(named(player, n, one))
    return out


def kept(history: Sequence[Event], cells: MemoryCells | None = None) -> MemoryCells:
    cells = MemoryCells() if cells is None else cells
    folded(PersonalModels(BASE), history, cells)
    return cells


def together(cells: MemoryCells) -> dict[str, bytes]:
    """The cells of all players together."""
    return {key: value for key, value in cells.items() if key.startswith("hour")}


def means(history: Sequence[Event]) -> Means:
    own = PersonalModels(BASE)
    folded(own, history)
    return own._partitions[0].everybody.means


def restricted(player: str, restriction: str = "banned") -> PlayerRestricted:
    return PlayerRestricted(player_id=player, restriction=restriction)


MANY = [one for player in range(8) for one in honest(f"honest {player}", 50)]
"""Four hundred honest labels."""


def test_one_guest_whatever_they_say_moves_nothing():
    """One with 75 labels made k-means weigh 100 %, after 400 honest ones."""
    before = together(kept(MANY))

    assert together(kept([*MANY, *siding("guest", 75)])) == before
    assert together(kept([*MANY, *siding("guest", 200, clear=False)])) == before


def test_twenty_newcomers_with_fifty_labels_each_move_nothing_even_on_a_new_home():
    crowd = [one for n in range(20) for one in siding(f"guest {n}", 50, clear=n % 2 == 0)]

    own = PersonalModels(BASE)
    folded(own, crowd)

    assert own.blend_weights(0) == PersonalModels(BASE).blend_weights(0)
    assert own._partitions[0].everybody.means.shares == {}, "nor who is shown first"


def test_from_the_first_evidence_on_a_players_labels_count_as_their_lessons_do():
    counts = [means(honest("ada", count)).counts for count in (FIRST - 1, FIRST, FIRST + 2)]

    assert [one.drawings for one in counts] == [0, FIRST, FIRST + 2]
    assert counts[1].n == dict.fromkeys(ARMS, FIRST * EIGHTHS)
    assert counts[1].right["yours"] == FIRST * EIGHTHS > counts[1].right["kmeans"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_counts_is_what_is_taught_and_as_much_of_it(data):
    """The weights are those of the learner, which is another process: whoever it trusts is trusted here."""
    history: list[Event] = [
        named(
            "ada",
            n,
            clear_one(
                n,
                data.draw(st.sampled_from([n % 10, n % 10, n % 10, None])),
                right=data.draw(st.integers(0, 5)) > 0,
                over_quota=data.draw(st.integers(0, 7)) == 0,
                features=features(n) if data.draw(st.integers(0, 3)) == 0 else clear_one(n, n % 10).features,
                guesses=seen("yours", label=n % 10, arms=("yours",)),
                revision=data.draw(st.integers(1, 5)),
            ),
        )
        for n in data.draw(st.lists(st.integers(0, 30), max_size=40))
    ]
    if data.draw(st.integers(0, 4)) == 0:
        history.insert(data.draw(st.integers(0, len(history))), restricted("ada"))

    lessons = in_force(folded(Learner(BASE), history)).values()

    assert means(history).counts.n.get("yours", 0) == sum(round(8 * one.weight) for one in lessons if not one.newcomer)


def test_a_player_who_is_half_believed_counts_half():
    history = [named("ada", n, clear_one(n, n % 10, right=n % 6 > 0, guesses=seen(*ARMS, label=n % 10))) for n in range(24)]

    lessons = in_force(folded(Learner(BASE), history)).values()

    counts = means(history).counts
    assert {one.weight for one in lessons} == {0.5}
    assert counts.n == dict.fromkeys(ARMS, len(lessons) * EIGHTHS // 2)
    assert counts.drawings == len(lessons) > 0


def apart(models: ModelCounts, right: str, one: str, other: str) -> float:
    """By how many guesses one model is ahead of another."""
    counts = getattr(models, right)
    return (counts.get(one, 0) - counts.get(other, 0)) / EIGHTHS


@pytest.mark.parametrize("count", [10, 48, 75, 200])
def test_a_player_whom_all_trust_moves_two_models_apart_by_three_guesses_at_most(count):
    """True labels, of drawings that all but k-means get wrong: as if somebody had looked for them."""
    labels = [label.model_copy(update={"guesses": seen("kmeans", label=label.label)}) for label in honest("eve", count)]

    moved = means(labels).counts

    assert moved.drawings == min(count, NEWEST)
    for right, spread in (("right_blend", BLEND_SPREAD), ("right", LEAD_SPREAD)):
        assert min(count, NEWEST) / spread - 1 <= apart(moved, right, "kmeans", "yours") <= NEWEST / spread
    first, then = (blend_weights(means(history)) for history in (MANY, [*MANY, *labels]))
    assert then.of("kmeans") / then.of("yours") < math.exp(RATE * 5) * first.of("kmeans") / first.of("yours") < 1e-4
    alone = blend_weights(Means(moved))
    assert alone.of("kmeans") / alone.of("yours") < math.exp(RATE * NEWEST / BLEND_SPREAD) / PRIOR["yours"]


def test_the_newest_drawings_of_a_player_count_and_the_bound_is_not_a_models_own():
    """What all models get wrong moves none of them; and what is past is past."""
    wrong = [one.model_copy(update={"guesses": seen(label=one.label)}) for one in honest("ada", NEWEST)]

    moved = means(wrong).counts
    assert (moved.n["yours"], moved.right, moved.right_blend) == (NEWEST * EIGHTHS, {}, {})
    later = means([*wrong, *honest("ada", NEWEST, first=NEWEST)]).counts
    assert later.right["yours"] == NEWEST * EIGHTHS


def test_everyone_is_no_voice_so_it_is_not_what_others_are_measured_by():
    labels = [one.model_copy(update={"guesses": seen("everyone", label=one.label)}) for one in honest("ada", NEWEST)]

    assert means(labels).counts.right == {"everyone": NEWEST * EIGHTHS}


def test_a_label_that_came_over_the_quota_does_not_count():
    over = [one.model_copy(update={"over_quota": True}) for one in honest("ada", 20, first=20)]

    assert means([*honest("ada", 20), *over]).counts.drawings == 20


def test_a_player_who_is_no_longer_believed_takes_back_all_that_they_said():
    good = honest("ada", 30)

    assert together(kept([*MANY, *good, *siding("ada", 30, first=30)])) == together(kept(MANY))


@pytest.mark.parametrize("restriction", ["quarantined", "banned"])
def test_a_restriction_takes_out_what_a_player_said_and_a_pardon_puts_it_back(restriction):
    eve, cells = honest("eve", 60, at=HOUR_S), MemoryCells()

    kept([*MANY, *eve, restricted("eve", restriction)], cells)
    assert together(cells) == together(kept(MANY)) != together(kept([*MANY, *eve]))

    pardon = restricted("eve", "none")
    pardoned = [*MANY, *eve[:30], restricted("eve", restriction), *eve[30:], pardon, pardon]
    assert kept(pardoned) == kept([*MANY, *eve])
    assert kept([restricted("nobody", restriction), restricted("nobody", "none")]) == kept([])


def test_a_player_who_is_forgotten_leaves_nothing_whatever_came_before():
    eve, gone = honest("eve", 60, at=HOUR_S), forgotten("eve", [], ExamplesForgotten)

    assert kept([*MANY, *eve, gone, gone]) == kept(MANY)
    assert kept([*MANY, restricted("eve"), *eve, gone]) == kept(MANY)
    assert kept([*eve, gone, *eve]) == kept(eve)


def test_a_label_that_is_changed_or_withdrawn_leaves_what_would_be_there_without_it():
    history = honest("ada", 20)
    last = history[-1]
    changed = last.model_copy(update={"revision": 4, "label": (last.label + 1) % 10})  # type: ignore[operator]
    withdrawn, back = (last.model_copy(update={"revision": n, "label": label}) for n, label in ((5, None), (6, last.label)))

    assert together(kept([*history, changed, withdrawn])) == together(kept(history[:-1]))
    assert together(kept([*history, changed, withdrawn, back])) == together(kept(history))
    assert together(kept([*history, changed])) == together(kept([*history[:-1], changed])) != together(kept(history))


PLAYERS = ("ada", "bob", "eve")


@st.composite
def lanes(draw: st.DrawFn) -> list[list[Event]]:
    """What some players do, each in their own order: label, change labels, withdraw them, and be restricted and pardoned."""
    out = []
    for player in PLAYERS:
        lane: list[Event] = list(honest(player, draw(st.integers(0, 9)), at=draw(st.sampled_from([0, HOUR_S - 4, 5 * HOUR_S]))))
        for n in draw(st.lists(st.integers(0, 8), max_size=4)):
            labels = [one for one in lane if isinstance(one, ExampleLabelled)]
            if labels:
                one = labels[n % len(labels)]
                label = draw(st.sampled_from([None, one.label, 7]))
                lane.append(one.model_copy(update={"revision": draw(st.integers(2, 6)), "label": label}))
        for kind in draw(st.lists(st.sampled_from(["quarantined", "banned", "none"]), max_size=2)):
            lane.insert(draw(st.integers(0, len(lane))), restricted(player, kind))
        out.append(lane)
    return out


@settings(max_examples=60, deadline=None)
@given(told=lanes(), data=st.data())
def test_every_interleaving_of_the_players_ends_in_the_same_bytes_wherever_it_is_restarted_and_twice_is_once(told, data):
    places = data.draw(st.permutations([lane for lane, events in enumerate(told) for _ in events]))
    waiting, arrived, cells = [iter(lane) for lane in told], list[Event](), MemoryCells()
    for lane in places:
        one = next(waiting[lane])
        arrived += [one] * data.draw(st.sampled_from([1, 1, 2]))

    for offset, event in enumerate(arrived):
        if data.draw(st.booleans()) or not offset:  # a process that has just begun
            own = PersonalModels(BASE)
            list(own.open(cells, 0))
        list(own.apply(cells, event, Origin(0, offset, 0)))
        list(own.settle(cells, 0))

    straight = kept([event for lane in told for event in lane])
    assert cells == straight


@settings(max_examples=40, deadline=None)
@given(told=lanes())
def test_what_is_left_of_those_who_are_restricted_is_nothing(told):
    last = [[one.restriction for one in lane if isinstance(one, PlayerRestricted)][-1:] for lane in told]
    stay = [lane for lane, kind in zip(told, last, strict=True) if kind in ([], ["none"])]

    assert together(kept([one for lane in told for one in lane])) == together(kept([one for lane in stay for one in lane]))


def test_those_who_played_last_count_so_that_a_model_that_was_rebuilt_is_known_as_it_is_now():
    enough = -(-WINDOW // NEWEST)
    first = [one for n in range(enough) for one in honest(f"once {n}", NEWEST)]
    before = [one.model_copy(update={"guesses": seen("yours", label=one.label)}) for one in first]
    now = [one for n in range(enough) for one in honest(f"now {n}", NEWEST, at=3 * HOUR_S)]

    assert blend_weights(means(before)).of("kmeans") < 1e-4
    assert means([*before, *now[: 4 * NEWEST]]).counts.drawings == (enough + 4) * NEWEST, "too little is known of now alone"
    assert means([*before, *now]).counts == means(now).counts
    assert means(now).known("yours") == MOST
    assert blend_weights(means([*now, *before])) == blend_weights(means(now)), "whatever comes late"


def test_a_player_who_has_more_rows_than_are_held_is_held_alone_and_read_once(monkeypatch):
    """Each of their labels took the router a tenth of a second, in which all rows were read anew."""
    monkeypatch.setattr(all_players, "_LOADED", 8)
    read = []
    monkeypatch.setattr(all_players, "read", lambda cells, player: read.append(player) or player_outcomes.read(cells, player))

    folded(PersonalModels(BASE), honest("ada", 20), MemoryCells())

    assert read == ["ada"]


def test_players_whose_rows_do_not_fit_into_memory_together_are_read_anew(monkeypatch):
    monkeypatch.setattr(all_players, "_LOADED", 30)
    history = [one for pair in zip(honest("ada", 40), honest("bob", 40), strict=True) for one in pair]

    cells = MemoryCells()
    own = PersonalModels(BASE)
    folded(own, history, cells)

    assert len(own._partitions[0].everybody._players) <= 1
    monkeypatch.undo()
    assert cells == kept(history)


def test_damaged_cells_are_named():
    cells = kept(honest("ada", 40))
    cells.drop("outcomes/ada/1")

    with pytest.raises(LookupError, match="player ada has 32 outcomes instead of 40"):
        player_outcomes.read(cells, "ada")
