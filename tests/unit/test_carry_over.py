"""A code takes a player to another device: once, for minutes, in every process, and nobody learns it from the log."""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.folds.recent_drawings import RecentDrawings
from api.folds.seat_codes import SeatCodes
from api.limits import Guest, Limits
from api.play.carry_over import given_back
from api.play.frames import frame_of, memory_text
from api.play.game import seat_code
from api.play.lift import paired_lift
from api.play.lobby import Lobby
from api.play.messages import CODE_LENGTH, ROOM_LETTERS, Mistake, parse
from api.play.seats import SeatHolder, Seats
from api.play.session import MAX_ROOM
from contracts.events import MemoryAsked, MemoryTold, RememberedDrawing, ResetAsked, SeatClaimed, SeatOffered, mark_of
from contracts.settings import Settings
from tests.histories import BEGAN, named, seconds
from tests.serving import UNLIMITED
from tests.unit.test_play import Player

ROOMS = ("BBBB", "CCCC", "DDDD", "FFFF", "GGGG")


@dataclass
class Machine:
    """A process of the API, with a lobby of its own."""

    limits: Limits = field(default_factory=lambda: Limits(Settings(**UNLIMITED)))
    others: list[Player] = field(default_factory=list)
    lobby: Lobby = field(init=False)

    def __post_init__(self) -> None:
        rooms = iter(ROOMS)
        self.lobby = Lobby(
            RecentDrawings(frame_of), Seats("secret"), list, lambda: str(uuid4()), rooms.__next__, lambda: 0.75, 0.0, seat_code
        )

    def player(self, address: str = "192.0.2.1", at: float = 0) -> Player:
        player = Player(self.lobby, guest=Guest(self.limits, address))
        player.at = seconds(at)
        return player


def enter(player: Player, code: str, **fields: Any) -> list[dict[str, Any]]:
    return player.say({"type": "join", "name": "Ada", "room": None, "seat": None, "code": code} | fields)


def heard(event: SeatOffered | SeatClaimed, *machines: Machine, by: tuple[Player, ...] = ()) -> list[list[dict[str, Any]]]:
    """The event has come back from the log to these processes, and to these sockets of theirs."""
    for machine in machines:
        machine.lobby.codes.apply(event)
    return [player.carry_out(player.session.claimed(event, 0.0)) for player in by if isinstance(event, SeatClaimed)]


def offered(ada: Player, *machines: Machine) -> str:
    """Ada asks for a code, the broker has it, and all processes have read it."""
    ada.say({"type": "carry"})
    offer = ada.put[-1]
    [frame] = ada.kept(offer)
    heard(offer, *machines)
    assert (frame["type"], frame["valid_s"]) == ("code", 600)
    return str(frame["code"])


def invited(here: Machine, *others: Machine) -> tuple[Player, str]:
    """Ada plays in a process, and has a code for another device."""
    ada = here.player()
    ada.join()
    return ada, offered(ada, here, *others)


def test_another_device_plays_on_as_the_same_player_in_the_same_room_whichever_process_it_meets():
    here, there = Machine(), Machine()
    ada = here.player()
    joined = ada.join()
    code = offered(ada, here, there)

    phone = there.player()
    assert enter(phone, code) == [], "nobody is let in before the log says who was first"
    [[again, *_]] = heard(phone.put[-1], here, there, by=(phone,))

    assert (again["type"], again["player_id"], again["room"]) == ("joined", joined["player_id"], joined["room"])
    assert there.player().join(seat=again["seat"])["player_id"] == joined["player_id"], "and its seat is good from now on"


def test_a_code_may_be_typed_in_small_letters_with_spaces_and_hyphens():
    machine = Machine()
    _, code = invited(machine)

    phone = machine.player()
    enter(phone, f" {code[:5].lower()}-{code[5:].lower()} ")

    assert isinstance(phone.put[-1], SeatClaimed)


def test_a_socket_whose_code_is_looked_at_joins_as_nobody_else_meanwhile():
    machine = Machine()
    ada = machine.player()
    joined = ada.join()
    code = offered(ada, machine)
    phone = machine.player()
    enter(phone, code)

    [impatient] = phone.say({"type": "join", "name": "Bob"})
    [[let_in, *_]] = heard(phone.put[-1], machine, by=(phone,))

    assert (impatient["type"], impatient["code"]) == ("error", "already_joined")
    assert (let_in["type"], let_in["player_id"]) == ("joined", joined["player_id"])


def test_of_two_who_give_a_code_at_once_in_two_processes_the_first_on_the_log_has_the_seat():
    here, there = Machine(), Machine()
    _, code = invited(here, there)
    phone, thief = here.player(), there.player()
    enter(phone, code)
    enter(thief, code)

    first, second = thief.put[-1], phone.put[-1]
    [_, [let_in, *_]] = heard(first, here, there, by=(phone, thief))
    [[refused], nothing] = heard(second, here, there, by=(phone, thief))

    assert let_in["type"] == "joined"
    assert (refused["type"], refused["code"]) == ("error", "bad_code")
    assert nothing == []
    assert phone.session.player_id == ""


def test_a_code_works_once_and_the_second_is_told_so():
    machine = Machine()
    _, code = invited(machine)
    phone = machine.player()
    enter(phone, code)
    heard(phone.put[-1], machine, by=(phone,))
    heard(phone.put[-1], machine, by=(phone,))

    [refused] = enter(machine.player(), code)

    assert refused["code"] == "bad_code"
    assert "used already" in refused["message"]
    assert "ask for a new one" in refused["message"]


def test_a_code_makes_nobody_a_player_who_was_forgotten_meanwhile():
    here, there = Machine(), Machine()
    ada = here.player()
    joined = ada.join()
    code = offered(ada, here, there)
    phone = there.player()
    enter(phone, code)
    there.lobby.forgotten.add(mark_of(joined["player_id"]))

    [[refused]] = heard(phone.put[-1], there, by=(phone,))

    assert (refused["type"], refused["code"]) == ("error", "bad_seat")
    assert phone.session.player_id == ""


def full(machine: Machine, ada: Player) -> None:
    """Others come into Ada's room until it is full, after she has gone."""
    room, seat = ada.session.room, machine.lobby.seats.sign(SeatHolder(ada.session.player_id, ada.session.room))
    ada.carry_out(ada.session.leave())
    others = [machine.player() for _ in range(MAX_ROOM)]
    for other in others:
        other.join(room=room)
    assert machine.player().say({"type": "join", "name": "Ada", "seat": seat})[0]["code"] == "room_full"
    machine.others = others


@pytest.mark.parametrize("why", ["too_many", "room_full"])
def test_a_code_whose_seat_is_refused_is_good_for_another_try_and_for_one_only(why):
    machine = Machine(Limits(Settings(**UNLIMITED | {"sockets_per_player": 1})))
    ada = machine.player()
    player_id = ada.join()["player_id"]
    code = offered(ada, machine)
    if why == "room_full":
        full(machine, ada)
    phone = machine.player()
    enter(phone, code)
    claim = phone.put[-1]

    [[refused]] = heard(claim, machine, by=(phone,))
    back = phone.put[-1]
    heard(back, machine, by=(phone,))
    heard(claim, machine, by=(phone,))  # it comes twice

    assert (refused["code"], back.returned, back.claim_id) == (why, True, claim.claim_id)
    for gone in (ada, *machine.others):
        gone.carry_out(gone.session.leave())
    enter(phone, code)
    [[let_in, *_]] = heard(phone.put[-1], machine, by=(phone,))
    assert (let_in["type"], let_in["player_id"]) == ("joined", player_id)
    assert enter(machine.player(), code)[0]["code"] == "bad_code"


@pytest.mark.parametrize("order", ["claim first", "return first"])
def test_a_code_whose_socket_has_gone_before_it_was_let_in_is_good_for_another_try(order):
    here, there = Machine(), Machine()
    _, code = invited(here, there)
    phone = there.player()
    enter(phone, code)
    claim = phone.put[-1]
    phone.carry_out(phone.session.leave())
    back = phone.put[-1]

    for event in (claim, back) if order == "claim first" else (back, claim, back):
        assert heard(event, here, there, by=(phone,)) == [[]]

    tablet = here.player()
    enter(tablet, code)
    [[let_in, *_]] = heard(tablet.put[-1], here, there, by=(tablet,))
    assert let_in["type"] == "joined"


def test_a_socket_that_is_being_closed_is_let_in_no_more_and_gives_the_code_back():
    machine = Machine()
    _, code = invited(machine)
    phone = machine.player()
    enter(phone, code)
    claim = phone.put[-1]
    phone.session.closed = True

    assert heard(claim, machine, by=(phone,)) == [[]]
    phone.carry_out(phone.session.leave())

    assert (phone.put[-1].returned, phone.session.player_id) == (True, "")


def test_of_two_sockets_one_is_let_in_though_the_first_was_refused_and_nobody_after_it():
    machine = Machine(Limits(Settings(**UNLIMITED | {"sockets_per_player": 1})))
    ada, code = invited(machine)
    first, second = machine.player(), machine.player()
    enter(first, code)
    enter(second, code)
    claims = [first.put[-1], second.put[-1]]

    [[refused], _] = heard(claims[0], machine, by=(first, second))
    [_, [beaten]] = heard(claims[1], machine, by=(first, second))
    heard(first.put[-1], machine, by=(first, second))
    ada.carry_out(ada.session.leave())
    for player in (first, second):
        enter(player, code)
    answers = [heard(player.put[-1], machine, by=(first, second)) for player in (second, first)]

    assert (refused["code"], beaten["code"]) == ("too_many", "bad_code")
    assert [frame["type"] for told in answers for frames in told for frame in frames[:1]] == ["joined", "error"]


def test_a_claim_of_which_the_broker_may_know_is_given_back_and_its_failure_is_told_once():
    machine = Machine()
    _, code = invited(machine)
    phone = machine.player()
    enter(phone, code)
    claim = phone.put[-1]

    [lost] = phone.carry_out(phone.session.put_done(claim, "timed out"))
    back = phone.put[-1]

    assert (lost["code"], back.returned) == ("unavailable", True)
    assert phone.carry_out(phone.session.put_done(back, "timed out")) == []
    for event in (claim, back):
        assert heard(event, machine, by=(phone,)) == [[]]
    enter(phone, code)
    assert heard(phone.put[-1], machine, by=(phone,))[0][0]["type"] == "joined"


def test_a_claim_whose_acknowledgement_is_lost_after_the_log_has_brought_it_lets_nobody_else_in():
    machine = Machine()
    _, code = invited(machine)
    phone, thief = machine.player(), machine.player()
    enter(phone, code)
    claim = phone.put[-1]
    [[let_in, *_]] = heard(claim, machine, by=(phone,))
    before = len(phone.put)

    told = phone.carry_out(phone.session.put_done(claim, "delivery timed out"))

    assert let_in["type"] == "joined"
    assert (told, phone.put[before:]) == ([], []), "who has joined has lost nothing, and gives nothing back"
    [refused] = enter(thief, code)
    assert refused["code"] == "bad_code"


def test_an_old_code_and_a_replaced_one_and_an_invented_one_are_refused_with_a_clear_word():
    machine = Machine()
    ada = machine.player()
    ada.join()
    first = offered(ada, machine)
    second = offered(ada, machine)

    [replaced] = enter(machine.player(), first)
    [late] = enter(machine.player(at=601), second)
    [invented] = enter(machine.player(), "BCDFGHJKLM")

    assert [one["code"] for one in (replaced, late, invented)] == ["bad_code"] * 3
    assert "too old" in late["message"]
    assert "mistyped" in replaced["message"]
    assert "mistyped" in invented["message"]


def test_a_claim_that_comes_to_the_log_after_the_code_has_ended_gets_nothing():
    codes = SeatCodes()
    offer = SeatOffered(code_id="a" * 64, player_id="ada", room="BBBB", valid_s=600, at=BEGAN)
    late = SeatClaimed(code_id="a" * 64, claim_id=named("late"), at=BEGAN + timedelta(seconds=601))

    for event in (offer, late):
        codes.apply(event)

    assert codes.won(late) is None


@given(st.lists(st.sampled_from("oabc"), min_size=1, max_size=12))
def test_whatever_comes_twice_one_claim_has_the_seat_and_keeps_it(events):
    codes, won = SeatCodes(), set()
    offer = SeatOffered(code_id="a" * 64, player_id="ada", room="BBBB", valid_s=600, at=BEGAN)
    claims = {name: SeatClaimed(code_id="a" * 64, claim_id=named(name), at=BEGAN) for name in "abc"}

    for name in events:
        codes.apply(offer if name == "o" else claims[name])
        won |= {other for other, claim in claims.items() if codes.won(claim)}

    assert len(won) <= 1
    assert bool(won) == any(name != "o" for name in events[events.index("o") :]) if "o" in events else not won


@given(st.lists(st.sampled_from(["a", "b", "a gone", "b gone"]), max_size=14), st.sets(st.sampled_from("ab")))
def test_whatever_comes_twice_a_code_that_was_taken_is_never_taken_again(events, refused):
    """A seat is refused to some, who give it back; who is let in gives nothing back, and has it for good."""
    codes = SeatCodes()
    codes.apply(SeatOffered(code_id="a" * 64, player_id="ada", room="BBBB", valid_s=600, at=BEGAN))
    claims = {name: SeatClaimed(code_id="a" * 64, claim_id=named(name), at=BEGAN) for name in "ab"}
    taken: set[str] = set()

    for event in events:
        name, gone = event[0], event.endswith("gone")
        if gone and name not in refused:
            continue
        codes.apply(given_back(claims[name]) if gone else claims[name])
        if not gone and codes.won(claims[name]) and name not in refused:
            taken.add(name)
        for other in taken:
            assert codes.won(claims[other])
            assert "used already" in codes.refusal("a" * 64, BEGAN)
    assert len(taken) <= 1


def test_the_log_has_no_code_and_no_other_secret_makes_its_id():
    machine = Machine()
    ada, code = invited(machine)
    offer = ada.put[-1]

    assert code not in offer.record_value().decode()
    assert offer.code_id == Seats("secret").code_id(code) != Seats("another").code_id(code)


def test_who_tries_codes_is_held_back_and_nobody_at_another_address():
    machine = Machine(Limits(Settings(**UNLIMITED | {"code_tries_per_minute": 5})))
    answers = [enter(machine.player("203.0.113.9"), "BCDFGHJKLM")[0] for _ in range(8)]

    assert [one["code"] for one in answers] == ["bad_code"] * 5 + ["busy"] * 3
    assert "codes" in answers[-1]["message"]
    assert enter(machine.player("203.0.113.10"), "BCDFGHJKLM")[0]["code"] == "bad_code"


def test_a_code_is_of_many_letters_and_no_two_are_alike():
    codes = {seat_code() for _ in range(1000)}

    assert len(codes) == 1000
    assert all(len(code) == CODE_LENGTH and set(code) <= set(ROOM_LETTERS) for code in codes)
    assert math.log2(len(ROOM_LETTERS) ** CODE_LENGTH) > 43


@pytest.mark.parametrize("code", ["", "BCDF", "BCDFGHJKLA", "BCDFGHJKL0", "BCDFGHJKLMN", "\u0000" * 10, "ÉCDFGHJKLM"])
def test_what_is_no_code_is_refused_before_anybody_looks(code):
    with pytest.raises(Mistake) as wrong:
        parse(f'{{"type":"join","name":"Ada","code":{code!r}}}'.replace("'", '"').replace("\\x", "\\u00"))
    assert wrong.value.code == "invalid"


def test_a_seat_and_a_code_together_are_refused():
    machine = Machine()
    seat = machine.player().join()["seat"]

    [refused] = enter(machine.player(), "BCDFGHJKLM", seat=seat)

    assert refused["code"] == "invalid"


def test_a_socket_that_waits_for_its_claim_joins_nowhere_else_and_may_try_again_if_the_log_is_away():
    machine = Machine()
    _, code = invited(machine)
    phone = machine.player()
    enter(phone, code)

    [impatient] = enter(phone, code)
    [lost] = phone.carry_out(phone.session.put_done(phone.put[-1], "no broker"))
    enter(phone, code)

    assert (impatient["code"], lost["code"]) == ("already_joined", "unavailable")
    assert isinstance(phone.put[-1], SeatClaimed)


def test_a_code_whose_offer_is_not_on_the_log_is_not_shown():
    ada = Machine().player()
    ada.join()
    ada.say({"type": "carry"})

    [lost] = ada.carry_out(ada.session.put_done(ada.put[-1], "no broker"))

    assert (lost["type"], lost["code"]) == ("error", "unavailable")


# --- the card, the file, and the reset


def test_a_player_asks_for_their_own_card_and_only_a_file_is_for_one_socket_alone():
    ada = Machine().player()
    player_id = ada.join()["player_id"]

    ada.say({"type": "card"})
    ada.say({"type": "card", "whole": True})

    counts, whole = ada.put[-2:]
    assert isinstance(counts, MemoryAsked)
    assert isinstance(whole, MemoryAsked)
    assert (counts.player_id, counts.whole, whole.whole) == (player_id, False, True)
    assert not ada.session.own_model.wants(counts.request_id)
    assert ada.session.own_model.wants(whole.request_id)
    assert not ada.session.own_model.wants(whole.request_id), "it is told once"


def test_who_asks_too_often_is_told_to_wait():
    machine = Machine(Limits(Settings()))
    ada = machine.player()
    ada.join()

    answers = [ada.say({"type": "card", "whole": True}) for _ in range(3)]

    assert answers[:2] == [[], []]
    assert answers[2][0]["code"] == "too_fast"


def test_a_reset_is_put_on_the_log_and_one_that_the_log_does_not_take_is_told():
    ada = Machine().player(at=5)
    player_id = ada.join()["player_id"]

    ada.say({"type": "reset", "reset_id": str(named("r1"))})
    reset = ada.put[-1]

    assert reset == ResetAsked(reset_id=named("r1"), player_id=player_id, at=seconds(5))
    assert ada.kept(reset) == []
    [lost] = ada.carry_out(ada.session.put_done(reset, "no broker"))
    assert lost["code"] == "unavailable"


@pytest.mark.parametrize("kind", ["card", "carry", "reset"])
def test_nobody_asks_before_they_have_joined(kind):
    frame = {"type": kind} | ({"reset_id": str(named("r"))} if kind == "reset" else {})

    [refused] = Machine().player().say(frame)

    assert refused["code"] == "not_joined"


def remembers(**fields: Any) -> MemoryTold:
    given: dict[str, Any] = {"version": "own3+12", "lessons": 12, "most": 256, "size": 4000}
    given |= {"both": 12, "own_alone": 3, "shared_alone": 1}
    return MemoryTold(request_id=UUID(int=1), player_id="ada", at=BEGAN, **given | fields)


def test_the_frame_of_a_card_has_the_lift_with_its_interval():
    card = parsed(memory_text(remembers()))

    assert (card["type"], card["lessons"], card["version"]) == ("card", 12, "own3+12")
    assert card["lift"] == pytest.approx(2 / 12, abs=1e-4)
    assert card["low"] < 0 < card["lift"] < card["high"]
    assert parsed(memory_text(remembers(both=0, own_alone=0, shared_alone=0)))["lift"] is None


def test_the_frame_of_a_file_names_its_format_and_draws_each_drawing_for_people():
    raster = np.zeros((28, 28), np.uint8)
    raster[2, 3:6] = 1
    ink = np.packbits(raster).tobytes()
    drawing = RememberedDrawing(drawing_id=named("d1"), drawn_at=BEGAN, label=7, bits=ink, said={"river": 1, "yours": 7})

    file = parsed(memory_text(remembers(drawings=[drawing])))

    assert (file["type"], file["format"], file["version"]) == ("memory", "gamenight-memory-1", "own3+12")
    [one] = file["drawings"]
    assert (one["label"], one["said"]) == (7, {"river": 1, "yours": 7})
    assert one["raster"][2] == "...###" + "." * 22
    assert {len(line) for line in one["raster"]} == {28}
    assert len(one["raster"]) == 28


def parsed(text: str) -> dict[str, Any]:
    import orjson

    read: dict[str, Any] = orjson.loads(text)
    return read


@pytest.mark.parametrize(("n", "own", "shared"), [(20, 0.97, 0.95), (50, 0.97, 0.93), (250, 0.985, 0.965), (50, 0.6, 0.6)])
def test_the_interval_of_the_lift_holds_the_truth_nineteen_times_in_twenty(n, own, shared):
    rng, held = np.random.default_rng(20181103), 0
    for _ in range(2000):
        a, b = rng.random(n) < own, rng.random(n) < shared
        lift = paired_lift(n, int((a & ~b).sum()), int((b & ~a).sum()))
        assert lift is not None
        held += lift.low <= own - shared <= lift.high

    assert held / 2000 >= 0.94


@given(st.integers(1, 256), st.data())
def test_the_interval_holds_the_lift_and_stays_in_bounds(both, data):
    own = data.draw(st.integers(0, both))
    shared = data.draw(st.integers(0, both - own))

    lift = paired_lift(both, own, shared)

    assert lift is not None
    assert -1 <= lift.low <= lift.lift <= lift.high <= 1
