"""Whatever a stranger sends is answered by an error frame or ends the socket; it never raises."""

from uuid import UUID

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from api.folds.recent_drawings import RecentDrawings
from api.limits import Guest, Limits
from api.play.actions import Close, Publish, SendToSocket
from api.play.frames import ERROR_CODES, frame_of
from api.play.lobby import Lobby
from api.play.messages import MESSAGES
from api.play.seats import Seats
from api.play.session import Session
from contracts.events import DrawingSubmitted, decode
from contracts.settings import Settings
from tests.histories import BEGAN
from tests.serving import UNLIMITED

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
FIELDS = sorted({name for model in MESSAGES.values() for name in model.model_fields})
NEARLY = st.fixed_dictionaries(
    {"type": st.sampled_from(list(MESSAGES))},
    optional={name: JSON | st.uuids().map(str) | st.integers(0, 9) for name in FIELDS if name != "type"},
)


def conversation() -> Session:
    made = (lambda: str(UUID(int=7)), lambda: "BCDF", lambda: 0.75, 0.8, lambda: "BCDFGHJKLM")
    lobby = Lobby(RecentDrawings(frame_of), Seats("secret"), list, *made)
    session = Session(lobby, 0.0, Guest(Limits(Settings(**UNLIMITED)), "192.0.2.1"))
    session.receive('{"type":"join","name":"Ada","room":null,"seat":null}', 0.0, BEGAN)
    return session


def answered(session: Session, data: str | bytes) -> list[dict[str, object]]:
    """The frames that answer; the rest of the actions must be such as can be carried out."""
    actions = session.receive(data, 1.0, BEGAN)
    for action in actions:
        if isinstance(action, Publish):
            assert decode(action.event.topic, action.event.record_value()) == action.event
    assert any(isinstance(action, SendToSocket | Publish | Close) for action in actions)
    return [orjson.loads(action.text) for action in actions if isinstance(action, SendToSocket)]


@settings(deadline=None)
@given(data=st.binary(max_size=2000))
def test_any_bytes_are_an_error(data):
    assert [frame["code"] for frame in answered(conversation(), data)] == ["not_text"]


@settings(deadline=None)
@given(text=st.text(max_size=2000))
def test_any_text_is_an_error(text):
    [frame] = answered(conversation(), text)
    assert frame["type"] == "error"
    assert frame["code"] in ERROR_CODES


@settings(deadline=None)
@given(value=JSON)
def test_any_json_is_an_error(value):
    [frame] = answered(conversation(), orjson.dumps(value).decode())
    assert frame["code"] in ERROR_CODES


@settings(max_examples=200, deadline=None)
@given(message=NEARLY)
def test_anything_like_a_message_is_an_error_or_an_event(message):
    for frame in answered(conversation(), orjson.dumps(message).decode()):
        assert frame["type"] == "error"
        assert frame["code"] in ERROR_CODES


@settings(deadline=None)
@given(depth=st.integers(1, 1022), close=st.booleans())
def test_brackets_of_any_depth_are_an_error(depth, close):
    nested = "[" * depth + ("]" * depth if close else "")
    for text in (nested, f'{{"type":"draw","strokes":{nested}}}', f'{{"type":"draw","more":{nested}}}'):
        [frame] = answered(conversation(), text)
        assert frame["code"] in ERROR_CODES


@settings(deadline=None)
@given(
    drawing_id=st.uuids(),
    strokes=st.lists(
        st.lists(st.tuples(st.floats(-8192, 16384), st.floats(-8192, 16384)), min_size=1, max_size=5), min_size=1, max_size=5
    ),
    side=st.floats(0.1, 8192),
)
def test_every_legal_drawing_becomes_an_event_with_the_same_strokes(drawing_id: UUID, strokes, side):
    frame = {"type": "draw", "drawing_id": str(drawing_id), "strokes": strokes, "width": side, "height": side, "final": True}
    [action] = conversation().receive(orjson.dumps(frame).decode(), 1.0, BEGAN)

    assert isinstance(action, Publish)
    assert isinstance(action.event, DrawingSubmitted)
    assert action.event.strokes == [[list(point) for point in stroke] for stroke in strokes]
