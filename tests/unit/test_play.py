"""The player's conversation without a network: frames in, actions out."""

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from api.folds.model_state import ModelState
from api.folds.recent_drawings import RecentDrawings
from api.limits import (
    FRAMES_A_DRAWING,
    LATE_S,
    MOST_STROKES,
    OF_A_CHANGE,
    OF_A_LATE,
    OF_A_PICK,
    OF_LESSONS,
    Guest,
    Limits,
    lasting,
)
from api.play import session
from api.play.actions import Close, LogRefusal, Publish, SendToRoom, SendToSocket, SessionAction
from api.play.frames import frame_of
from api.play.game import seat_code
from api.play.lobby import Lobby
from api.play.messages import MAX_FRAME, ROOM_LENGTH, ROOM_LETTERS
from api.play.questions import SECOND_THOUGHT_S
from api.play.seats import SeatHolder, Seats
from api.play.session import BYTES_A_FRAME, Session
from contracts.events import (
    MAX_CORRECTIONS,
    CorrectionGiven,
    CorrectionReceipt,
    CorrectionWithdrawn,
    DrawingSubmitted,
    ExampleLabelled,
    ForgetPlayer,
    Outcome,
    mark_of,
)
from contracts.settings import Settings
from streams.joiner import Joiner
from streams.trust import KEPT
from tests.histories import BEGAN, correction, drawing, features, folded, guess, lesson, named
from tests.histories import answered as answers
from tests.roster import MODELS
from tests.serving import UNLIMITED


@dataclass
class Player:
    """One socket, and what was sent to it and put on the bus because of it."""

    lobby: Lobby
    now: float = 1000.0
    at: datetime = BEGAN
    heard: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    put: list[Any] = field(default_factory=list)
    closed: Close | None = None
    guest: Guest = field(default_factory=lambda: Guest(Limits(Settings(**UNLIMITED)), "192.0.2.1"))

    def __post_init__(self) -> None:
        self.session = Session(self.lobby, self.now, self.guest)

    def say(self, message: Any) -> list[dict[str, Any]]:
        """Send a frame; returns what this socket hears at once."""
        data = message if isinstance(message, str | bytes) else orjson.dumps(message).decode()
        return self.carry_out(self.session.receive(data, self.now, self.at))

    def carry_out(self, actions: list[SessionAction]) -> list[dict[str, Any]]:
        before = len(self.heard)
        for action in actions:
            match action:
                case SendToSocket(text):
                    self.heard.append(orjson.loads(text))
                case SendToRoom(_, text):
                    self.told.append(orjson.loads(text))
                case Publish(event):
                    self.put.append(event)
                case Close():
                    self.closed = action
                case LogRefusal():
                    pass
        return self.heard[before:]

    def join(self, name: str = "Ada", room: str | None = None, seat: str | None = None) -> dict[str, Any]:
        [joined] = self.say({"type": "join", "name": name, "room": room, "seat": seat})
        return joined

    def draw(self, name: str = "d1", final: bool = True, **fields: Any) -> list[dict[str, Any]]:
        frame = {"strokes": [[[10, 10, 0], [10.5, 90, 16]]], "width": 300, "height": 200, "final": final, "asked": None}
        return self.say({"type": "draw", "drawing_id": str(named(name)), **(frame | fields)})

    def correct(self, name: str = "d1", label: int = 1, correction: str = "c1") -> list[dict[str, Any]]:
        return self.say(
            {"type": "correct", "drawing_id": str(named(name)), "correction_id": str(named(correction)), "label": label}
        )

    def kept(self, event: Any) -> list[dict[str, Any]]:
        """The broker has acknowledged an event."""
        return self.carry_out(self.session.put_done(event, None))

    def saved(self, name: str = "d1") -> None:
        """Draw, and have it acknowledged."""
        self.draw(name)
        self.kept(self.put[-1])


@pytest.fixture
def lobby() -> Lobby:
    models = [
        ModelState(model="river", version="mnist1+0", title="River", kind="online", hue=205, order=5, part="shown", lead=False)
    ]
    names = map("".join, itertools.product(ROOM_LETTERS[::-1], repeat=ROOM_LENGTH))
    each_twice = itertools.chain.from_iterable(zip(*itertools.tee(names), strict=True))
    return Lobby(
        RecentDrawings(frame_of),
        Seats("secret"),
        lambda: models,
        lambda: str(uuid4()),
        each_twice.__next__,
        lambda: 0.75,
        0.0,
        seat_code,
    )


@pytest.fixture
def ada(lobby: Lobby) -> Player:
    player = Player(lobby)
    player.join()
    return player


def errors(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["code"] for frame in frames if frame["type"] == "error"]


# --- join --------------------------------------------------------------------------------------------------------------


def test_who_joins_gets_a_player_id_a_seat_a_room_and_the_models(lobby):
    joined = Player(lobby).join("Ada")

    assert UUID(joined["player_id"])
    assert lobby.seats.read(joined["seat"]) == SeatHolder(joined["player_id"], joined["room"])
    assert len(joined["room"]) == 4
    assert joined["models"] == [
        {
            "model": "river",
            "version": "mnist1+0",
            "title": "River",
            "kind": "online",
            "hue": 205,
            "order": 5,
            "part": "shown",
            "lead": False,
            "resting": None,
            "unavailable": None,
            "frozen": None,
        }
    ]


def test_two_who_ask_for_no_room_get_different_ones(lobby):
    assert Player(lobby).join()["room"] != Player(lobby).join()["room"]


def test_a_seat_makes_a_new_socket_the_same_player_in_the_same_room(lobby):
    first = Player(lobby).join()

    again = Player(lobby).join(seat=first["seat"])

    assert (again["player_id"], again["room"]) == (first["player_id"], first["room"])


def test_a_seat_and_a_room_are_the_same_player_in_that_room(lobby):
    first = Player(lobby).join()

    again = Player(lobby).join(seat=first["seat"], room="kqzf")

    assert (again["player_id"], again["room"]) == (first["player_id"], "KQZF")


@pytest.mark.parametrize("seat", ["", "x", "WyJhIiwiYiJd.YQ.YQ", Seats("another secret").sign(SeatHolder("p", "KQZF"))])
def test_a_seat_that_is_not_ours_is_refused_and_joining_without_one_works_then(lobby, seat):
    player = Player(lobby)

    [error] = player.say({"type": "join", "name": "Ada", "room": None, "seat": seat})

    assert error["code"] == "bad_seat"
    assert "join with seat null" in error["message"]
    assert player.join()["type"] == "joined"


def test_a_seat_of_over_thirty_days_ago_is_refused(lobby, monkeypatch):
    seat = Player(lobby).join()["seat"]
    monkeypatch.setattr("api.play.seats.VALID_S", -1)

    assert errors(Player(lobby).say({"type": "join", "name": "Ada", "seat": seat})) == ["bad_seat"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 33, "a\nb", "a\x00", "\u202eada", "a\u2028b", 7, None])
def test_a_name_that_cannot_be_shown_is_refused(lobby, name):
    assert errors(Player(lobby).say({"type": "join", "name": name})) == ["invalid"]


@pytest.mark.parametrize("name", ["x" * 32, "Żółć", "李小龍", "👩‍🔬", " Ada "])
def test_a_name_that_can_be_shown_is_taken(lobby, name):
    player = Player(lobby)
    player.join(name)
    assert player.told[-1]["players"] == [name.strip()]


@pytest.mark.parametrize("room", ["", "AEIO", "KQZ", "KQZFF", "KQ1F", "К QZ"])
def test_a_room_that_could_not_have_been_given_is_refused(lobby, room):
    assert errors(Player(lobby).say({"type": "join", "name": "Ada", "room": room})) == ["invalid"]


def test_a_second_join_on_one_socket_is_refused(ada):
    assert errors(ada.say({"type": "join", "name": "Bob"})) == ["already_joined"]


def test_a_room_is_told_who_comes_and_who_goes(lobby):
    ada, bob = Player(lobby), Player(lobby)
    room = ada.join("Ada")["room"]
    bob.join("Bob", room)
    ada.carry_out(ada.session.leave())

    assert [frame["players"] for frame in ada.told] == [["Ada"], ["Bob"]]
    assert [frame["players"] for frame in bob.told] == [["Ada", "Bob"]]
    assert bob.session.leave() == []  # nobody is left to be told
    assert (lobby.players, lobby.rooms) == ({}, {})


def test_a_player_with_two_sockets_is_named_once_and_stays_until_both_are_gone(lobby):
    ada = Player(lobby)
    seat = ada.join()["seat"]
    twin = Player(lobby)
    twin.join(seat=seat)
    assert twin.told[-1]["players"] == ["Ada"]

    [tell] = ada.session.leave()

    assert orjson.loads(tell.text)["players"] == ["Ada"]


def test_a_full_room_takes_nobody_else(lobby, monkeypatch):
    monkeypatch.setattr(session, "MAX_ROOM", 2)
    seat = Player(lobby).join(room="KQZF")["seat"]
    Player(lobby).join(room="KQZF")

    assert errors(Player(lobby).say({"type": "join", "name": "Cy", "room": "KQZF"})) == ["room_full"]
    assert Player(lobby).join(seat=seat)["room"] == "KQZF"


# --- draw --------------------------------------------------------------------------------------------------------------


def test_a_finished_drawing_is_put_and_saved_only_when_it_is_acknowledged(ada):
    assert ada.draw("d1", asked=7, device="touch") == []
    [event] = ada.put

    assert isinstance(event, DrawingSubmitted)
    assert (event.drawing_id, event.player_id, event.room) == (named("d1"), ada.session.player_id, ada.session.room)
    assert (event.strokes, event.asked, event.final) == ([[[10, 10, 0], [10.5, 90, 16]]], 7, True)
    assert event.device == "touch"
    assert ada.kept(event) == [{"type": "saved", "drawing_id": str(named("d1"))}]


def test_the_same_drawing_again_is_acknowledged_again_and_changes_nothing(ada):
    ada.saved("d1")

    assert ada.draw("d1", strokes=[[[1, 1]]]) == [{"type": "saved", "drawing_id": str(named("d1"))}]
    assert len(ada.put) == 1


def test_the_same_drawing_again_before_the_acknowledgement_is_saved_once_it_comes(ada):
    ada.draw("d1")
    assert ada.draw("d1") == []
    assert len(ada.put) == 1
    assert [frame["type"] for frame in ada.kept(ada.put[0])] == ["saved"]


def test_the_same_drawing_again_brings_the_guesses_on_it_again(ada):
    ada.saved("d1")
    ada.lobby.recent.apply(guess("d1", 7, player=ada.session.player_id))

    assert [frame["type"] for frame in ada.draw("d1")] == ["saved", "guess"]


def test_a_drawing_that_another_process_had_before_a_restart_is_acknowledged_from_the_log(ada):
    ada.lobby.recent.apply(guess("d1", 7, player=ada.session.player_id))

    assert [frame["type"] for frame in ada.draw("d1")] == ["saved", "guess"]
    assert ada.put == []


def test_a_drawing_of_which_not_all_answers_are_known_is_put_again_once_in_a_while_so_that_they_are_told(ada):
    ada.lobby.recent.apply(guess("d1", 7, model="xgboost", player=ada.session.player_id))

    assert [frame["type"] for frame in ada.draw("d1") + ada.draw("d1")] == ["saved", "guess"] * 2
    assert [event.drawing_id for event in ada.put] == [named("d1")]
    assert ada.kept(ada.put[0]) == []
    assert ada.carry_out(ada.session.put_done(ada.put[0], "full")) == []

    ada.lobby.recent.apply(guess("d1", 7, player=ada.session.player_id))
    ada.now += 60
    assert [frame["model"] for frame in ada.draw("d1")[1:]] == ["xgboost", "river"]
    assert len(ada.put) == 1


def test_answers_that_are_kept_no_more_are_told_again_when_the_joiner_says_them(ada):
    recent = ada.lobby.recent
    ada.saved("d1")
    recent.apply(guess("d1", 7, player=ada.session.player_id))
    recent.drawing(named("d1")).forget_frames()
    ada.now += 60

    assert [frame["type"] for frame in ada.draw("d1")] == ["saved"]

    assert [type(event) for event in ada.put] == [DrawingSubmitted, DrawingSubmitted]
    assert recent.apply(guess("d1", 7, player=ada.session.player_id)) is not None


def test_a_drawing_that_could_not_be_kept_can_be_sent_again(ada):
    ada.draw("d1")
    [error] = ada.carry_out(ada.session.put_done(ada.put[0], "the buffer is full"))
    assert (error["code"], error["drawing_id"]) == ("unavailable", str(named("d1")))
    assert "send it again" in error["message"]

    ada.draw("d1")

    assert len(ada.put) == 2


def test_a_drawing_id_of_another_player_is_refused(ada):
    ada.saved("d1")
    eve = Player(ada.lobby)
    eve.join("Eve")

    assert errors(eve.draw("d1")) == ["taken"]
    assert errors(eve.draw("d1", final=False)) == ["taken"]
    assert eve.put == []


def test_previews_are_put_but_never_saved(ada):
    ada.draw("d1", final=False)

    assert [event.final for event in ada.put] == [False]
    assert ada.kept(ada.put[0]) == []


def test_only_the_newest_preview_waits_while_one_is_under_way(ada):
    for x in range(5):
        ada.draw("d1", final=False, strokes=[[[x, 1]]])
    assert [event.strokes for event in ada.put] == [[[[0, 1]]]]

    ada.kept(ada.put[0])
    assert [event.strokes for event in ada.put[1:]] == [[[[4, 1]]]]

    ada.kept(ada.put[1])
    ada.draw("d1", final=False, strokes=[[[9, 1]]])
    assert len(ada.put) == 3


def test_a_preview_is_dropped_when_the_finished_drawing_is_there(ada):
    ada.draw("d1", final=False)
    ada.draw("d1", final=False)
    ada.draw("d1")
    assert ada.draw("d1", final=False) == []

    ada.kept(ada.put[0])

    assert [event.final for event in ada.put] == [False, True]


def test_previews_go_on_after_one_could_not_be_put(ada):
    ada.draw("d1", final=False)
    assert ada.carry_out(ada.session.put_done(ada.put[0], "full")) == []
    ada.draw("d1", final=False)
    assert len(ada.put) == 2


def test_a_player_is_told_once_that_the_log_is_slow_and_still_gets_saved_when_it_comes(ada):
    ada.draw("d1")
    ada.now += session.SLOW_S + 0.1

    [error] = ada.carry_out(ada.session.tick(ada.now))

    assert (error["code"], error["drawing_id"]) == ("unavailable", str(named("d1")))
    assert ada.session.tick(ada.now + 60) == []
    assert [frame["type"] for frame in ada.kept(ada.put[0])] == ["saved"]


# --- correct, withdraw -------------------------------------------------------------------------------------------------


def test_a_correction_of_ones_own_drawing_is_put(ada):
    ada.saved("d1")

    assert ada.correct("d1", 4) == []

    event = ada.put[-1]
    assert isinstance(event, CorrectionGiven)
    assert (event.correction_id, event.drawing_id, event.label) == (named("c1"), named("d1"), 4)
    assert event.player_id == ada.session.player_id


def test_a_correction_again_is_not_put_again_and_brings_its_receipt_again(ada):
    ada.saved("d1")
    ada.correct("d1")
    assert ada.correct("d1") == []
    receipt = CorrectionReceipt(
        correction_id=named("c1"),
        drawing_id=named("d1"),
        player_id=ada.session.player_id,
        outcome=Outcome.LEARNED,
        models={},
    )
    assert ada.lobby.recent.apply(receipt) is not None

    [frame] = ada.correct("d1")

    assert (frame["type"], frame["correction_id"], frame["outcome"]) == ("receipt", str(named("c1")), "learned")
    assert len([event for event in ada.put if isinstance(event, CorrectionGiven)]) == 1


def test_a_correction_that_could_not_be_kept_can_be_sent_again(ada):
    ada.saved("d1")
    ada.correct("d1")
    [error] = ada.carry_out(ada.session.put_done(ada.put[-1], "full"))
    assert (error["code"], error["drawing_id"]) == ("unavailable", str(named("d1")))

    ada.correct("d1")

    assert len([event for event in ada.put if isinstance(event, CorrectionGiven)]) == 2


def test_a_withdrawal_is_put(ada):
    ada.saved("d1")
    ada.correct("d1")

    ada.say({"type": "withdraw", "drawing_id": str(named("d1")), "correction_id": str(named("c1"))})

    event = ada.put[-1]
    assert isinstance(event, CorrectionWithdrawn)
    assert (event.correction_id, event.drawing_id) == (named("c1"), named("d1"))


def test_a_correction_of_another_players_drawing_is_refused(ada):
    ada.saved("d1")
    eve = Player(ada.lobby)
    eve.join("Eve")

    [refused] = eve.correct("d1")

    assert (refused["code"], refused["drawing_id"]) == ("unknown_drawing", str(named("d1")))
    assert eve.put == []


def test_a_correction_of_a_drawing_that_is_not_known_here_is_put_for_the_joiner_to_judge(ada):
    assert ada.correct("of last week", 4) == []

    assert [(event.drawing_id, event.label) for event in ada.put] == [(named("of last week"), 4)]


def test_corrections_of_a_drawing_are_put_behind_it_once_it_is_kept(ada):
    ada.draw("d1")
    ada.correct("d1", 4)
    ada.say({"type": "withdraw", "drawing_id": str(named("d1")), "correction_id": str(named("c1"))})
    assert [type(event) for event in ada.put] == [DrawingSubmitted]

    ada.kept(ada.put[0])

    assert [type(event) for event in ada.put] == [DrawingSubmitted, CorrectionGiven, CorrectionWithdrawn]
    ada.correct("d1", 5, correction="c2")
    assert ada.put[-1].correction_id == named("c2")


def test_corrections_of_a_drawing_that_could_not_be_kept_can_be_sent_again_with_it(ada):
    ada.draw("d1")
    ada.correct("d1", 4)

    told = ada.carry_out(ada.session.put_done(ada.put[0], "full"))

    assert [(frame["code"], frame["drawing_id"]) for frame in told] == [("unavailable", str(named("d1")))] * 2
    ada.saved("d1")
    ada.correct("d1", 4)
    assert [type(event) for event in ada.put] == [DrawingSubmitted, DrawingSubmitted, CorrectionGiven]


def test_the_receipt_of_another_players_correction_is_not_told(ada):
    ada.saved("d1")
    ada.correct("d1", correction="c1")
    receipt = CorrectionReceipt(
        correction_id=named("c1"), drawing_id=named("d1"), player_id=ada.session.player_id, outcome="learned", models={}
    )
    ada.lobby.recent.apply(receipt)
    eve = Player(ada.lobby)
    eve.join("Eve")
    eve.saved("of eve")

    assert eve.correct("of eve", correction="c1") == []


# --- mistakes and abuse ------------------------------------------------------------------------------------------------

ID = str(uuid4())
DRAW: dict[str, Any] = {
    "type": "draw", "drawing_id": ID, "strokes": [[[1, 1]]], "width": 9, "height": 9, "final": True, "asked": None,
}  # fmt: skip
CORRECT: dict[str, Any] = {"type": "correct", "drawing_id": ID, "correction_id": ID, "label": 1}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00\x01", "not_text"),
        (b'{"type":"draw"}', "not_text"),
        ("", "not_json"),
        ("hello", "not_json"),
        ("NaN", "not_json"),
        ('{"type":"draw","width":Infinity}', "not_json"),
        ("[" * 20_000, "not_json"),
        ("[" * 20_000 + "]" * 20_000, "not_json"),
        ('{"a":' * 20_000, "not_json"),
        (r'{"type":"\ud800"}', "not_json"),
        ("[]", "not_json"),
        ("7", "not_json"),
        ("null", "not_json"),
        ("{}", "unknown_type"),
        ('{"type":null}', "unknown_type"),
        ('{"type":["draw"]}', "unknown_type"),
        ('{"type":"saved"}', "unknown_type"),
        ('{"type":"__class__"}', "unknown_type"),
        (DRAW | {"foo": 1}, "unknown_field"),
        (DRAW | {"player_id": "somebody else"}, "unknown_field"),
        (CORRECT | {"weight": 100}, "unknown_field"),
        ({**DRAW, "strokes": []}, "invalid"),
        ({**DRAW, "strokes": [[]]}, "invalid"),
        ({**DRAW, "strokes": [[[1]]]}, "invalid"),
        ({**DRAW, "strokes": [[[1, 2, 3, 4]]]}, "invalid"),
        ({**DRAW, "strokes": [[["1", 2]]]}, "invalid"),
        ({**DRAW, "strokes": [[[True, 2]]]}, "invalid"),
        ({**DRAW, "strokes": [[[None, 2]]]}, "invalid"),
        ({**DRAW, "strokes": [[[1e13, 2]]]}, "invalid"),
        ({**DRAW, "strokes": [[[1, -9000]]]}, "invalid"),
        ({**DRAW, "strokes": [[[1, 1]]] * 65}, "invalid"),
        ({**DRAW, "strokes": [[[1, 1]] * 2049] * 2}, "invalid"),
        ({**DRAW, "width": 0}, "invalid"),
        ({**DRAW, "width": 1e9}, "invalid"),
        ({**DRAW, "height": "9"}, "invalid"),
        ({**DRAW, "final": 1}, "invalid"),
        ({**DRAW, "asked": 10}, "invalid"),
        ({**DRAW, "device": "finger"}, "invalid"),
        ({**DRAW, "device": ["pen"]}, "invalid"),
        ({**DRAW, "device": "pen" * 9000}, "invalid"),
        ({**DRAW, "drawing_id": "1"}, "invalid"),
        ({**DRAW, "drawing_id": 1}, "invalid"),
        ({"type": "draw"}, "invalid"),
        ({**CORRECT, "label": 10}, "invalid"),
        ({**CORRECT, "label": -1}, "invalid"),
        ({**CORRECT, "label": 1.5}, "invalid"),
        ({**CORRECT, "label": "1"}, "invalid"),
        ({**CORRECT, "label": True}, "invalid"),
        ('{"type":"correct","drawing_id":"%s","correction_id":"%s","label":%s}' % (ID, ID, "9" * 400), "not_json"),  # noqa: UP031
        ('{"type":"correct","drawing_id":"%s","correction_id":"%s","label":%s}' % (ID, ID, "9" * 40), "invalid"),  # noqa: UP031
    ],
    ids=itertools.count(),
)
def test_a_mistake_is_answered_by_an_error_frame_and_the_socket_stays_open(ada, frame, code):
    [error] = ada.say(frame)

    assert (error["type"], error["code"]) == ("error", code)
    assert 0 < len(error["message"]) < 1000
    assert ada.put == []
    ada.draw("afterwards")
    assert len(ada.put) == 1


def test_an_unknown_field_is_named_and_so_are_the_known_ones(ada):
    [error] = ada.say(DRAW | {"colour": "red"})

    assert "'colour'" in error["message"]
    assert "drawing_id, strokes, width, height, final, asked" in error["message"]
    assert error["drawing_id"] == ID


def test_an_error_says_which_field_is_wrong(ada):
    [error] = ada.say({**CORRECT, "label": 12})
    assert error["message"] == "label: Input should be less than or equal to 9"


def test_many_wrong_fields_make_a_short_message(ada):
    [error] = ada.say({**DRAW, "strokes": [[["x"]] * 4000], **{f"field{i}" * 20: i for i in range(100)}})
    assert len(error["message"]) < 1000


def test_before_joining_nothing_else_is_taken(lobby):
    player = Player(lobby)

    assert errors(player.say(DRAW)) == ["not_joined"]
    assert errors(player.say(CORRECT)) == ["not_joined"]
    assert player.join()["type"] == "joined"


def test_a_socket_that_does_not_join_is_closed(lobby):
    player = Player(lobby)
    assert player.session.tick(player.now + session.JOIN_S - 1) == []

    player.carry_out(player.session.tick(player.now + session.JOIN_S + 1))

    assert player.closed is not None
    assert player.closed.code == 1008


def test_twenty_mistakes_within_ten_seconds_close_the_socket(ada):
    for _ in range(session.MISTAKES - 1):
        assert errors(ada.say("oops")) == ["not_json"]
    assert ada.closed is None

    assert errors(ada.say("oops")) == ["not_json"]

    assert ada.closed is not None
    assert (ada.closed.code, ada.closed.reason) == (1008, "20 errors within 10 s")
    assert ada.say("oops") == []


def test_twenty_mistakes_in_a_longer_time_do_not(ada):
    for _ in range(100):
        ada.now += 0.6
        ada.say("oops")
    assert ada.closed is None


def test_a_player_who_draws_as_fast_as_answers_come_is_never_too_fast(ada):
    for i in range(2000):
        ada.now += 1 / 200
        assert ada.draw(f"d{i}") == []


def test_a_flood_is_dropped_and_then_closed(ada):
    heard = list(itertools.chain.from_iterable(ada.draw(f"d{i}") for i in range(session.BURST + session.MISTAKES)))

    assert set(errors(heard)) == {"too_fast"}
    assert ada.closed is not None
    assert ada.closed.code == 1008
    assert len(ada.put) <= session.BURST


def test_large_frames_count_as_many(ada):
    large = "x" * (MAX_FRAME - 1)
    heard = list(itertools.chain.from_iterable(ada.say(large) for _ in range(session.BURST)))
    assert "too_fast" in errors(heard) or ada.closed is not None


def test_a_socket_that_is_gone_gets_nothing_more(ada):
    ada.session.leave()
    assert ada.say(DRAW) == []
    assert ada.session.tick(ada.now + 100) == []


# --- limits ------------------------------------------------------------------------------------------------------------


def guests(**given: Any) -> Limits:
    """Limits of which only those that are given are there."""
    return Limits(Settings(**(UNLIMITED | given)))


def test_an_address_that_draws_too_much_is_told_to_wait_and_its_sockets_stay_open(lobby):
    limits = guests(drawings_per_second=10)
    players = [Player(lobby, guest=Guest(limits, "192.0.2.1")) for _ in range(2)]
    for player in players:
        player.join()

    told = [errors(player.draw(f"{i}{player.session}")) for i in range(28) for player in players]

    assert told == [[]] * 10 + [["busy"]] * 46
    assert [player.closed for player in players] == [None] * 2
    players[0].now += 0.11
    assert players[0].draw("later") == []
    assert "try again in 0.1 s" in players[0].draw("too soon")[0]["message"]
    elsewhere = Player(lobby, guest=Guest(limits, "192.0.2.2"))
    elsewhere.join()
    assert elsewhere.draw("elsewhere") == []


def test_previews_leave_half_of_what_an_address_may_draw_at_once_to_finished_drawings(lobby):
    player = Player(lobby, guest=Guest(guests(drawings_per_second=10), "192.0.2.1"))
    player.join()

    previews = [errors(player.draw(f"preview {i}", final=False)) for i in range(8)]
    finished = [errors(player.draw(f"finished {i}")) for i in range(8)]

    assert previews == [[]] * 5 + [["busy"]] * 3
    assert finished == [[]] * 5 + [["busy"]] * 3
    player.now += 0.5
    assert errors(player.draw("too soon", final=False)) == ["busy"]
    player.now += 0.11
    assert errors(player.draw("later", final=False)) == []


def test_a_preview_of_any_size_can_be_sent_at_some_time(lobby):
    player = Player(lobby, guest=Guest(guests(drawings_per_second=2), "192.0.2.1"))
    player.join()
    large = [[[x % 280 + 0.125, 7.5] for x in range(900)]]
    assert len(orjson.dumps(large)) > BYTES_A_FRAME
    assert errors(player.draw("d", final=False, strokes=large)) == []


def test_a_player_that_draws_too_much_is_closed_whatever_sockets_it_uses(lobby):
    limits = guests(player_drawings_per_second=5)
    one = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    two = Player(lobby, guest=Guest(limits, "192.0.2.2"))
    seat = one.join()["seat"]
    two.join(seat=seat)

    told = [errors((one, two)[i % 2].draw(f"d{i}")) for i in range(6)]

    assert told == [[]] * 5 + [["too_fast"]]
    for i in range(20):
        one.draw(f"e{i}")
    assert one.closed is not None


def test_corrections_are_counted_by_player_and_by_address(lobby):
    limits = guests(corrections_per_minute=2)
    one, two = (Player(lobby, guest=Guest(limits, "192.0.2.1")) for _ in range(2))
    for player in (one, two):
        player.join(name="Ada")
        player.saved(f"d{id(player)}")

    assert [errors(one.correct(f"d{id(one)}", correction=f"c{i}")) for i in range(3)] == [[], [], ["too_fast"]]
    assert errors(two.correct(f"d{id(two)}", correction="other")) == []
    an_hour = 2 * 60
    for _ in range(an_hour):
        limits.corrections.take("192.0.2.1", two.now)
    assert errors(two.correct(f"d{id(two)}", correction="another")) == ["busy"]


def test_labels_beyond_what_all_models_learn_in_a_minute_are_marked_by_player_and_by_address(lobby):
    limits = guests(player_lessons_per_minute=2, lessons_per_minute=5)
    players = [Player(lobby, guest=Guest(limits, "192.0.2.1")) for _ in range(3)]
    elsewhere = Player(lobby, guest=Guest(limits, "192.0.2.2"))

    def over(player: Player, n: int) -> bool:
        name = f"d{id(player)}{n}"
        player.saved(name)
        assert errors(player.correct(name, correction=f"c{name}")) == []
        return player.put[-1].over_quota

    for player in (*players, elsewhere):
        player.join(name="Ada")

    assert [over(players[0], n) for n in range(3)] == [False, False, True]
    assert [over(players[1], n) for n in range(3)] == [False, False, True]
    assert [over(players[2], n) for n in range(2)] == [False, True], "the address has none left"
    assert not over(elsewhere, 0)
    for player in players:
        player.now += 60
    assert not over(players[2], 7)


def test_an_operators_players_have_no_quota(lobby):
    limits = guests(player_lessons_per_minute=1, lessons_per_minute=1)
    player = Player(lobby, guest=Guest(limits, "192.0.2.1", trusted=True))
    player.join(name="Ada")
    for n in range(3):
        player.saved(f"d{n}")
        player.correct(f"d{n}", correction=f"c{n}")
        assert not player.put[-1].over_quota


def test_who_sends_a_correction_again_after_a_reconnect_is_not_counted_again(lobby):
    player = Player(lobby, guest=Guest(guests(corrections_per_minute=2), "192.0.2.1"))
    player.join(name="Ada")
    player.saved("d1")

    assert [errors(player.correct("d1", correction=f"c{i}")) for i in (0, 1, 0, 1, 1)] == [[]] * 5
    assert errors(player.correct("d1", correction="c2")) == ["too_fast"]


def test_rooms_cannot_be_guessed(lobby):
    limits = guests(room_tries_per_minute=3)
    there = Player(lobby, guest=Guest(limits, "192.0.2.9"))
    room = there.join()["room"]
    seat = there.heard[0]["seat"]

    def tried(name: str | None, **fields: Any) -> dict[str, Any]:
        return Player(lobby, guest=Guest(limits, "192.0.2.1")).say(
            {"type": "join", "name": "Eve", "room": name, "seat": None} | fields
        )[0]

    assert tried(room)["type"] == "joined"
    assert [tried(name)["type"] for name in ("BBBB", "CCCC", "DDDD")] == ["joined"] * 3
    assert tried("FFFF")["code"] == "busy"
    assert tried(room)["code"] == "busy", "whether a room is there is still told"
    assert tried(None)["type"] == "joined"
    assert tried(room, seat=seat)["type"] == "joined", "a seat knows its own room"


def test_seats_are_counted_by_address_wrong_ones_too(lobby):
    limits = guests(joins_per_minute=3)
    tries = [Player(lobby, guest=Guest(limits, "192.0.2.1")) for _ in range(4)]

    told = [player.say({"type": "join", "name": "Eve", "room": None, "seat": "wrong"})[0]["code"] for player in tries]

    assert told == ["bad_seat"] * 3 + ["busy"]


def test_a_player_has_only_so_many_sockets(lobby):
    limits = guests(sockets_per_player=2)
    first = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    seat = first.join()["seat"]
    again = [Player(lobby, guest=Guest(limits, f"192.0.2.{i}")) for i in range(2)]

    told = [player.say({"type": "join", "name": "Ada", "room": None, "seat": seat})[0] for player in again]

    assert (told[0]["type"], told[1].get("code")) == ("joined", "too_many")
    first.session.leave()
    assert again[1].join(seat=seat)["type"] == "joined"


def test_an_address_that_sends_too_many_frames_loses_the_socket_before_they_are_read(lobby, monkeypatch):
    limits = guests(drawings_per_second=1)
    player = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    for _ in range(FRAMES_A_DRAWING):
        player.say("nothing")
    monkeypatch.setattr(session, "parse", lambda data: pytest.fail("it was read"))

    player.say("nothing")

    assert player.closed == Close(1008, "too many frames from your address")


def test_who_shows_the_operators_token_has_no_limits(lobby):
    limits = guests(joins_per_minute=1, drawings_per_second=1, player_drawings_per_second=1, room_tries_per_minute=1)
    player = Player(lobby, guest=Guest(limits, "192.0.2.1", trusted=True))
    player.join(room="BBBB")
    assert [player.draw(f"d{i}", final=False) for i in range(50)] == [[]] * 50


# --- what is kept for good


def answered(player: Player, name: str = "d1") -> None:
    """Draw, have it acknowledged, and have every model answer."""
    player.saved(name)
    for model in MODELS:
        told = guess(name, model=model, player=player.session.player_id)
        player.session._lobby.recent.apply(told)


LARGEST = [[[1e4, 1e4, 1e14]] * 64] * 64
"""Of a frame, written ``1e4``: so it has the most points, and JSON writes each at its longest."""


def test_the_largest_drawing_fits_into_a_frame_and_is_no_larger_than_is_charged(lobby):
    player = Player(lobby)
    player.join(name="Ada")
    strokes = orjson.dumps(LARGEST).decode().replace("10000.0", "1e4").replace("100000000000000.0", "1e14")
    frame = {"type": "draw", "drawing_id": str(named("d1")), "width": 300, "height": 200, "final": True, "asked": None}
    text = orjson.dumps(frame).decode()[:-1] + f', "strokes": {strokes}}}'

    assert player.say(text) == []

    assert 60_000 < len(text) <= 65_536
    assert 140_000 < len(player.put[-1].record_value()) <= MOST_STROKES


@pytest.mark.parametrize("corrections", [1, MAX_CORRECTIONS])
@pytest.mark.parametrize("points", [2, 4096])
def test_a_correction_is_charged_no_less_than_it_adds_to_what_is_kept_for_good(corrections, points):
    drawn = drawing(strokes=[[[123.456, 78.9, 160.0]] * points])
    said = [guess(model=model, features=features() if model == "river" else None) for model in MODELS]
    said = [one.model_copy(update={"probabilities": [0.123456] * 10}) for one in said]
    given = [correction(label=n % 10, correction=f"c{n}") for n in range(corrections)]

    joined = [one for one in folded(Joiner(), [drawn, answers(said), *given], step=1) if isinstance(one, ExampleLabelled)][-1]
    added = len(joined.record_value()) + 100
    lessons = OF_LESSONS if corrections == 1 else OF_A_CHANGE
    assert added < lasting(len(drawn.record_value()), corrections - 1, 0) - lessons < added + 6000


def test_a_correction_is_charged_no_less_than_all_the_lessons_that_it_may_change():
    size = len(lesson(series="sums-1 raster-1/59f0d8fc, trust 1 by 01234567", number=10**6).record_value()) + 100

    assert size * 2 <= OF_LESSONS
    assert size * 120 <= OF_A_LATE
    assert size * 2 * KEPT <= OF_A_CHANGE
    assert lasting(1000, 0, 0, late=True) - lasting(1000, 0, 0) == OF_A_LATE - OF_LESSONS


def test_corrections_of_large_drawings_are_counted_by_what_they_add_for_good(lobby):
    limits = guests(kept_mb_per_day=48)  # 2 MB an hour
    player = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    player.join(name="Ada")
    player.draw("large", strokes=[[[123.456, 78.9, n] for n in range(2000)]])
    player.kept(player.put[-1])
    for model in MODELS:
        player.session._lobby.recent.apply(guess("large", model=model, player=player.session.player_id))
    size = len(player.put[-1].record_value())

    told = [errors(player.correct("large", correction=f"c{n}")) for n in range(60)]

    taken = told.index(["busy"])
    assert taken == next(n for n in range(60) if sum(lasting(size, k, 0) for k in range(n + 1)) > 2e6)
    elsewhere = Player(lobby, guest=Guest(limits, "192.0.2.2"))
    elsewhere.join(name="Bob")
    answered(elsewhere, "small")
    assert errors(elsewhere.correct("small", correction="other")) == []


def test_a_label_that_comes_late_is_charged_for_all_that_may_be_taught_anew_by_it(lobby):
    limits = guests(kept_mb_per_day=24)  # 1 MB an hour
    player = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    player.join(name="Ada")
    for n in range(15):
        answered(player, f"d{n}")
    size = len(player.put[0].record_value())
    player.now += LATE_S + 1

    told = [errors(player.correct(f"d{n}", correction=f"c{n}")) for n in range(15)]

    assert told.index(["busy"]) == 1_000_000 // lasting(size, 0, 0, late=True)


def test_a_correction_of_a_drawing_that_is_not_known_is_charged_as_on_the_largest(lobby):
    limits = guests(kept_mb_per_day=24)  # 1 MB an hour
    player = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    player.join(name="Ada")

    told = [errors(player.correct(f"unknown{n}", correction=f"c{n}")) for n in range(10)]

    assert told.index(["busy"]) == 1_000_000 // lasting(None, 0, 0)


def test_a_correction_before_the_answers_is_charged_for_each_that_comes_after_it(lobby):
    limits = guests(kept_mb_per_day=6)  # 250 KB an hour
    player = Player(lobby, guest=Guest(limits, "192.0.2.1"))
    player.join(name="Ada")
    for n in range(40):
        player.draw(f"d{n}")

    told = [errors(player.correct(f"d{n}", correction=f"c{n}")) for n in range(40)]

    assert told.index(["busy"]) == 250_000 // lasting(len(player.put[0].record_value()), 0, len(["river"]))


def test_what_is_published_is_of_the_time_at_which_its_frame_came_however_long_it_is_held(ada):
    first, second, third = (BEGAN + timedelta(seconds=s) for s in (1, 2, 3))
    ada.at = first
    ada.draw("early", final=False)
    ada.draw("held", final=False)
    ada.at = second
    ada.kept(ada.put[0])
    ada.draw("d1")
    ada.correct("d1")
    ada.at = third
    ada.kept(ada.put[-1])

    assert [(event.type, event.at) for event in ada.put] == [
        ("DrawingSubmitted", first),
        ("DrawingSubmitted", first),
        ("DrawingSubmitted", second),
        ("CorrectionGiven", second),
    ]


# --- questions, and what chance picks ------------------------------------------------------------------------------------


@dataclass
class Chances:
    """Chance that a test decides: the numbers come one after the other, and then always the last."""

    several: list[float]

    def __call__(self) -> float:
        return self.several.pop(0) if len(self.several) > 1 else self.several[0]


def asked(lobby: Lobby, *chances: float, pick: float = 0.2, **fields: Any) -> Player:
    """A player whose page shows questions."""
    lobby.chance, lobby.pick = Chances(list(chances)), pick
    player = Player(lobby, **fields)
    player.say({"type": "join", "name": "Ada", "room": None, "seat": None, "questions": True})
    return player


def test_a_page_that_shows_questions_is_asked_for_a_digit_by_chance(lobby):
    assert asked(lobby, 0.79).heard[-1] == {"type": "question", "digit": 7}
    assert asked(lobby, 0.0).heard[-1] == {"type": "question", "digit": 0}


def test_a_page_that_does_not_is_asked_for_nothing_and_none_of_its_drawings_is_picked(ada):
    ada.session._lobby.chance, ada.session._lobby.pick = Chances([0.0]), 1.0

    assert ada.draw("d1", asked=0) == []
    assert (ada.put[-1].asked, ada.put[-1].gold, ada.put[-1].picked) == (0, False, None)
    assert errors(ada.say({"type": "another"})) == ["no_questions"]


def test_a_drawing_of_the_digit_that_was_asked_is_gold_and_the_next_question_follows(lobby):
    player = asked(lobby, 0.75, 0.9, 0.35)

    assert player.draw("d1", asked=7) == [{"type": "question", "digit": 3}]
    assert (player.put[-1].gold, player.put[-1].picked) == (True, None)


@pytest.mark.parametrize("said", [None, 3])
def test_what_a_browser_says_was_asked_makes_no_gold_and_the_question_stands(lobby, said):
    player = asked(lobby, 0.75)

    assert player.draw("d1", asked=said) == []
    assert not player.put[-1].gold
    assert player.draw("d2", asked=7) != []
    assert player.put[-1].gold


def test_a_preview_uses_no_question_up(lobby):
    player = asked(lobby, 0.75)

    assert player.draw("d1", final=False, asked=7) == []
    assert not player.put[-1].gold


def test_who_adds_a_stroke_draws_the_same_digit_again(lobby):
    player = asked(lobby, 0.75, 0.9, 0.35, 0.9)
    player.draw("d1", asked=7)

    assert player.draw("d2", asked=7) == []
    assert player.put[-1].gold


def test_of_one_question_the_last_drawing_takes_the_place_of_the_others_and_chance_decides_with_the_first(lobby):
    player = asked(lobby, 0.75, 0.1, 0.35, 0.9)
    for name in ("d1", "d2", "d3"):
        player.draw(name, asked=7)

    assert [put.gold for put in player.put] == [True] * 3
    assert [put.picked for put in player.put] == [0.2] * 3
    assert [put.instead_of for put in player.put] == [None, named("d1"), named("d2")]


def test_what_was_not_picked_is_not_picked_with_another_stroke(lobby):
    player = asked(lobby, 0.75, 0.9, 0.35, 0.1)
    for name in ("d1", "d2"):
        player.draw(name, asked=7)

    assert [(put.gold, put.picked, put.instead_of) for put in player.put] == [(True, None, None)] * 2


def test_a_drawing_that_could_not_be_kept_is_decided_once_and_takes_no_place_of_its_own(lobby):
    player = asked(lobby, 0.75, 0.1, 0.35, 0.9)
    player.draw("d1", asked=7)
    player.carry_out(player.session.put_done(player.put[-1], "no broker"))
    player.draw("d1", asked=7)

    assert [(put.gold, put.picked, put.instead_of) for put in player.put] == [(True, 0.2, None)] * 2


def test_the_question_before_is_over_after_some_seconds(lobby):
    player = asked(lobby, 0.75, 0.9, 0.35, 0.9)
    player.draw("d1", asked=7)
    player.now += SECOND_THOUGHT_S
    player.draw("d2", asked=7)

    assert [put.gold for put in player.put] == [True, False]


def test_no_digit_is_asked_for_twice_in_a_row(lobby):
    """Else a stroke that is added would answer the next question."""
    player = asked(lobby, 0.75, 0.9, 0.75, 0.9, 0.0)

    assert player.draw("d1", asked=7) == [{"type": "question", "digit": 6}]
    assert player.draw("d2", asked=6) == [{"type": "question", "digit": 0}]
    assert asked(lobby, 0.0, 0.9, 0.999).draw("d3", asked=0) == [{"type": "question", "digit": 9}]


def test_who_wants_another_question_draws_no_gold_until_the_next(lobby):
    """Else a script would ask until it likes the digit."""
    player = asked(lobby, 0.75, 0.25, 0.9, 0.35, 0.9)
    player.say({"type": "another"})

    assert player.draw("d1", asked=2) == [{"type": "question", "digit": 4}]
    player.draw("d2", asked=4)
    assert [put.gold for put in player.put] == [False, True]


def test_another_question_is_asked_for_and_the_first_is_over(lobby):
    player = asked(lobby, 0.75, 0.25)

    assert player.say({"type": "another"}) == [{"type": "question", "digit": 2}]
    player.draw("d1", asked=7)
    assert not player.put[-1].gold


def test_chance_picks_a_drawing_and_its_probability_is_kept_with_it(lobby):
    player = asked(lobby, 0.75, 0.19, 0.75, 0.2)
    for name, digit in (("d1", 7), ("d2", 6)):
        player.draw(name, asked=digit)

    assert [put.picked for put in player.put] == [0.2, None]


def test_the_player_is_asked_whether_the_guess_was_right_only_where_nobody_knows_the_digit(lobby):
    player = asked(lobby, 0.75, 0.0)

    assert [frame["type"] for frame in player.draw("d1", asked=7)] == ["question"]
    assert player.draw("d2", asked=None) == [{"type": "check", "drawing_id": str(named("d2"))}]
    assert (player.put[-1].gold, player.put[-1].picked) == (False, 0.2)


def test_a_drawing_that_is_sent_again_is_decided_once(lobby):
    player = asked(lobby, 0.75, 0.0)
    player.draw("d1", asked=None)
    player.kept(player.put[-1])

    assert "check" not in [frame["type"] for frame in player.draw("d1", asked=None)]
    assert [put.picked for put in player.put] in ([0.2], [0.2, None])


def test_no_address_has_more_picked_than_may_be_kept_for_good_of_it(lobby):
    limits = guests(kept_mb_per_day=24 * 10 * OF_A_PICK / 1e6)
    player = asked(lobby, 0.75, 0.0, guest=Guest(limits, "192.0.2.1"))
    for n in range(12):
        player.draw(f"d{n}")

    assert [put.picked for put in player.put] == [0.2] * 10 + [None] * 2


def test_no_player_and_no_address_has_more_picked_in_an_hour_than_a_person_who_plays(lobby):
    limits = guests(player_picks_per_hour=3, picks_per_hour=5)
    one, other = (asked(lobby, 0.75, 0.0, guest=Guest(limits, "192.0.2.1")) for _ in range(2))
    for player, name in ((one, "one"), (other, "other")):
        for n in range(5):
            player.draw(f"{name} {n}")
    one.now += 1200
    one.draw("later")

    assert [put.picked for put in one.put] == [0.2] * 3 + [None] * 2 + [0.2]
    assert [put.picked for put in other.put] == [0.2] * 2 + [None] * 3


def test_a_picked_drawing_is_charged_no_less_than_it_adds_for_good():
    said = [guess(model=model, features=features() if model == "river" else None) for model in MODELS]

    [picked] = folded(Joiner(), [drawing(picked=0.123456789, gold=True, asked=7), answers(said)])

    assert len(picked.record_value()) + 100 < OF_A_PICK


# --- forget ------------------------------------------------------------------------------------------------------------


def test_a_player_who_asks_to_be_forgotten_is_asked_for_once_and_again_if_the_log_did_not_take_it(lobby, ada):
    player_id = ada.session.player_id

    ada.say({"type": "forget"})
    ada.say({"type": "forget"})
    [asked] = [event for event in ada.put if isinstance(event, ForgetPlayer)]
    failed = ada.carry_out(ada.session.put_done(asked, "the log is away"))
    ada.say({"type": "forget"})

    assert (asked.player_id, asked.by) == (player_id, "the player")
    assert errors(failed) == ["unavailable"]
    assert len([event for event in ada.put if isinstance(event, ForgetPlayer)]) == 2


def test_a_player_who_is_not_forgotten_may_ask_again_and_nobody_hears_it_for_another(lobby, ada):
    ada.say({"type": "forget"})
    [asked] = [event for event in ada.put if isinstance(event, ForgetPlayer)]

    strangers, own, twice = (ada.session.own_model.stays(one) for one in (uuid4(), asked.command_id, asked.command_id))
    ada.say({"type": "forget"})

    assert (strangers, own, twice) == (False, True, False)
    assert len([event for event in ada.put if isinstance(event, ForgetPlayer)]) == 2


def test_an_address_cannot_have_everybody_wait_by_players_who_are_forgotten(lobby):
    told, guest = [], Guest(Limits(Settings(**UNLIMITED)), "192.0.2.1")
    for _ in range(40):
        player = Player(lobby, guest=guest)
        player.join()
        told += errors(player.say({"type": "forget"}))

    assert told == ["busy"] * 10


def test_nobody_is_forgotten_who_has_not_joined(lobby):
    assert errors(Player(lobby).say({"type": "forget"})) == ["not_joined"]


def test_a_seat_of_a_forgotten_player_makes_nobody_that_player_again(lobby):
    seat = Player(lobby).join()["seat"]
    lobby.forgotten.add(mark_of(lobby.seats.read(seat).player_id))
    player = Player(lobby)

    [error] = player.say({"type": "join", "name": "Ada", "room": None, "seat": seat})

    assert error["code"] == "bad_seat"
    assert "join with seat null" in error["message"]
    assert player.join()["player_id"] != lobby.seats.read(seat).player_id


def test_a_refusal_never_quotes_the_name_of_a_player(ada):
    [error] = ada.say({"type": "join", "name": "Adalbert", "room": None, "seat": None})

    assert error["code"] == "already_joined"
    assert "Ada" not in error["message"]
