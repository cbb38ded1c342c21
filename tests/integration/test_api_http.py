"""The API over HTTP with the real broker behind it: operators, health, pages and what machines read."""

from collections.abc import Iterator
from uuid import UUID

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from api.play import frames
from api.play.frames import _FromServer
from api.play.messages import MESSAGES
from contracts.events import EVENTS, TOPICS, ModelPromoted, RetrainModel, decode
from contracts.ports import Bus
from producers.bus import open_bus
from tests.answering import answering
from tests.roster import BATCH_MODELS, MODELS
from tests.serving import DEADLINE_S, eventually, get, opened, playing, serving


@pytest.fixture(scope="module")
def bus(kafka: str) -> Iterator[Bus]:
    opened_bus = open_bus(f"kafka://{kafka}")
    yield opened_bus
    opened_bus.close()


@pytest.fixture(scope="module")
def address(bus: Bus) -> Iterator[str]:
    with serving(bus) as here:
        yield here


# --- health --------------------------------------------------------------------------------------------------------------


def health(address: str) -> tuple[int, str, set[str]]:
    answer = get(address, "/healthz")
    return answer.status_code, answer.json()["status"], set(answer.json()["missing"])


def test_health_is_what_comes_back_over_the_broker(bus, address):
    for model in BATCH_MODELS:
        bus.publish(ModelPromoted(model=model, version="base1", title=model, endpoint="e", variant="base1")).result(DEADLINE_S)

    with answering(bus, *MODELS):
        eventually(lambda: health(address) == (200, "ok", set()))
    with answering(bus, *(set(MODELS) - {"xgboost"}), learning=()):
        eventually(lambda: health(address) == (200, "degraded", {"xgboost", "learning", "learning of yours"}))
    eventually(lambda: health(address) == (503, "unavailable", {"router", "learning", "learning of yours"}))


def test_players_never_see_a_probe(bus, address):
    with answering(bus, *MODELS), playing(address) as player:
        eventually(lambda: health(address)[0] == 200)
        player.fence()


# --- operators -----------------------------------------------------------------------------------------------------------


def retrain(address: str, body: object, token: str | None = "token") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return httpx.post(f"http://{address}/api/ops/retrain", json=body, headers=headers, timeout=DEADLINE_S, trust_env=False)


def test_an_operator_orders_a_rebuild_and_it_is_on_the_log_and_audited(bus, address):
    tail = bus.follow(["commands.v1"], "end")
    with capture_logs() as lines:
        answer = retrain(address, {"target": "xgboost", "reason": "new corrections"})

    assert answer.status_code == 202
    found: list[RetrainModel] = []
    eventually(lambda: found.extend(decode(r.topic, r.value) for r in tail.poll(0.2)) or found)
    assert [(c.command_id, c.target, c.reason, c.by) for c in found] == [
        (UUID(answer.json()["command_id"]), "xgboost", "new corrections", "house")
    ]
    [line] = [line for line in lines if line["event"] == "audit: RetrainModel"]
    assert (line["command_id"], line["by"], line["status"]) == (answer.json()["command_id"], "house", 202)
    tail.close()


def test_without_a_token_nothing_is_ordered(bus, address):
    tail = bus.follow(["commands.v1"], "end")
    with capture_logs() as lines:
        nobody, stranger = retrain(address, {"target": "xgboost"}, None), retrain(address, {"target": "xgboost"}, "another")

    assert (nobody.status_code, stranger.status_code) == (401, 403)
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in nobody.json()["detail"]
    assert len([line for line in lines if line["event"] == "audit: refused"]) == 2
    assert tail.poll(0.3) == []
    tail.close()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"target": "river"}, "there is xgboost"),
        ({"target": "XGBoost; rm -rf /"}, "there is xgboost"),
        ({"target": 7}, "target"),
        ({}, "target"),
        ({"target": "xgboost", "reason": "x" * 501}, "reason"),
        ({"target": "xgboost", "force": True}, "force"),
        ([], "dict"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_by_name(address, body, named):
    answer = retrain(address, body)
    assert answer.status_code == 422
    assert named in answer.text


# --- pages ---------------------------------------------------------------------------------------------------------------

PAGES = ["/", "/watch", "/docs", "/asyncapi"]


@pytest.mark.parametrize("path", [*PAGES, "/healthz", "/nothing", "/web/nothing.js"])
def test_every_answer_has_the_strict_policy(address, path):
    headers = get(address, path).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == f"'self' ws://{address} wss://{address}"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "cache-control" in headers
    assert "server" not in headers


def test_a_host_that_is_none_gets_no_say_in_the_policy(address):
    headers = get(address, "/", headers={"Host": "evil.example; script-src *"}).headers
    assert "evil" not in headers["content-security-policy"]


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline(address, path):
    answer = get(address, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for forbidden in ("https://", "http://", "//cdn", "<style", " style=", " onclick=", "<script>"):
        assert forbidden not in answer.text.replace("http://127.0.0.1", ""), forbidden


@pytest.mark.parametrize("path", ["/", "/watch", "/web/game/main.js"])
def test_a_page_that_has_not_changed_is_not_sent_again(address, path):
    first = get(address, path)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")

    again = get(address, path, headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/web/../api/app.py", "/web/%2e%2e/api/app.py", "/web/..%2fapi/app.py", "/web//etc/passwd"])
def test_nothing_but_the_pages_is_served(address, path):
    host, port = address.split(":")
    with httpx.Client(trust_env=False) as client:
        url = httpx.URL(scheme="http", host=host, port=int(port), raw_path=path.encode())
        assert client.get(url).status_code == 404


def test_every_route_is_in_the_openapi_document(address):
    api = get(address, "/openapi.json").json()
    assert {"/api/ops/retrain", "/healthz", "/api/models", "/api/scores", "/metrics"} <= set(api["paths"])


def test_every_event_and_topic_is_in_the_asyncapi_document_and_on_its_page(address):
    document, page = get(address, "/asyncapi.json").json(), get(address, "/asyncapi").text

    assert document["asyncapi"] == "3.0.0"
    for event in EVENTS:
        assert f"#/components/messages/{event.__name__}" in str(document["channels"][event.topic])
        assert event.__name__ in page
    assert set(TOPICS) | {"play"} <= set(document["channels"])
    to_players = {
        frame.__name__ for frame in vars(frames).values() if isinstance(frame, type) and issubclass(frame, _FromServer)
    }
    from_players = {message.__name__ for message in MESSAGES.values()}
    assert set(document["channels"]["play"]["messages"]) == from_players | to_players - {"_FromServer"}


def test_every_reference_of_the_asyncapi_document_leads_somewhere(address):
    document = get(address, "/asyncapi.json").json()

    def references(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (value for key, value in node.items() if key == "$ref")
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    found = list(references(document))
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_what_happens_is_counted_for_prometheus(bus, address):
    with answering(bus, "river"), playing(address) as player:
        player.draw("counted")
        assert {player.hear()["type"] for _ in range(3)} == {"room", "saved", "guess"}
        player.say("oops")
        player.next("error")
        text = get(address, "/metrics").text

    assert 'gamenight_sockets{path="/ws/play"} 1.0' in text
    assert 'gamenight_errors_total{code="not_json"}' in text
    assert 'gamenight_guess_seconds_count{model="river"}' in text
    assert "gamenight_saved_seconds_count" in text
    assert 'gamenight_bus_lag_seconds{topic="guesses.v1"}' in text


def test_anybody_may_ask_which_models_answer_and_how_well(bus, address):
    bus.publish(ModelPromoted(model="xgboost", version="base1", title="XGBoost", endpoint="e", variant="base1")).result(
        DEADLINE_S
    )

    eventually(lambda: "xgboost" in [model["model"] for model in get(address, "/api/models").json()])
    assert isinstance(get(address, "/api/scores").json(), dict)
    with opened(address, "/ws/watch") as watcher:
        assert "xgboost" in {model["model"] for model in orjson.loads(watcher.recv(DEADLINE_S))["models"]}
