"""One address shows Prometheus what every process counts; rules and dashboard use what is really there, and no more."""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, get_args
from uuid import uuid4

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.folds.command_status import CommandStatus
from api.folds.model_board import ModelBoard
from api.folds.process_board import MOST, ProcessBoard
from api.folds.traffic import BOUNDS_MS, Traffic
from api.metrics import Metrics
from api.ops.exported import VERSIONS, Exported
from api.relay import LIVE, SCORES, STATE
from contracts.events import (
    CandidateSet,
    CommandSettled,
    DriftKind,
    GateVerdict,
    ModelPublished,
    ProcessMeasured,
    RolloutStep,
    ScoresCounted,
    TrainingAdvanced,
)
from contracts.ports import EndpointDown, EndpointSilent
from contracts.settings import Settings
from producers.bus import open_bus
from producers.process_metrics import ProcessMetrics
from streams.app import ROLES
from streams.stage_metrics import OUTCOMES, EndpointCalls, StageMetrics
from tests.histories import guess, missed, named
from tests.roster import ROSTER
from tests.serving import eventually, get, serving
from trainers.model_log import ModelLog
from trainers.trainer_metrics import tell_metrics

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "gamenight.json"
NOON: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)
_GROWN: Final = re.compile(r"\b(?:increase|rate|delta)\((\w+)(\{[^}]*\})?\[")
_NAME: Final = re.compile(r"\bgamenight_[a-z0-9_]+")


def measured(tmp_path: Path) -> list[ProcessMeasured]:
    """What each process of the game tells, by its own code."""
    told = []
    for build in ROLES.values():
        worker = build(Settings(home=tmp_path))
        told.append(worker.metrics.told())
    bus = open_bus(f"memory://{uuid4()}")
    tail = bus.follow(["metrics.v1"], "start")

    def stop(_: float) -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        tell_metrics(Settings(home=tmp_path), bus, ModelLog(ROSTER), stop)
    [record] = tail.poll(1.0)
    told.append(ProcessMeasured.model_validate_json(record.value or b""))
    return told


def shown(
    board: ModelBoard | None = None,
    traffic: Traffic | None = None,
    processes: ProcessBoard | None = None,
    at: datetime = NOON,
    metrics: Metrics | None = None,
) -> dict[str, Metric]:
    """What Prometheus reads, by the name of the family."""
    metrics = metrics or Metrics()
    own = ProcessMetrics("api", "api-a", Path())
    parts = board or ModelBoard(ROSTER), traffic or Traffic(), processes or ProcessBoard(), CommandStatus()
    metrics.registry.register(Exported(*parts, lambda: own.told().model_copy(update={"at": at}), lambda: at))
    return {family.name: family for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())}


def values(family: Metric, suffix: str = "") -> dict[tuple[str, ...], float]:
    return {tuple(point.labels.values()): point.value for point in family.samples if point.name == family.name + suffix}


def counted(family: Metric) -> dict[tuple[str, ...], float]:
    """What a counter has counted: its series at 0 are there as well, see the test of the alerts' series."""
    return {key: count for key, count in values(family, "_total").items() if count}


def expressions() -> Iterator[str]:
    """Every expression of the rules and of the dashboard."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def points_of(family: Metric) -> set[str]:
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
    return {family.name + ending for ending in endings}


def test_rules_and_dashboard_name_what_is_exported_and_nothing_else(tmp_path: Path) -> None:
    processes = ProcessBoard()
    for told in measured(tmp_path):
        processes.apply(told.model_copy(update={"at": NOON}))
    there = {name for family in shown(processes=processes).values() for name in points_of(family)}
    used = {name for expression in expressions() for name in _NAME.findall(expression)}
    tried = set(_NAME.findall((RULES.parent / "tests.yml").read_text()))

    assert used - there == set(), "are used, and not exported"
    assert tried - there == set(), "are in the tests of the rules, and not exported"
    assert len(used) > 35


def increases() -> Iterator[tuple[str, dict[str, str]]]:
    """Every series of which a rule reads how much it has grown: its name, and the labels that the rule asks for."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            for name, labels in _GROWN.findall(rule["expr"]):
                yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels))


def test_what_a_rule_reads_the_growth_of_is_exported_before_the_first_event(tmp_path: Path) -> None:
    """A series that begins at 1 has no increase: the first failed rebuild after each start of the API paged nobody."""
    bus = open_bus(f"memory://{uuid4()}")
    for told in measured(tmp_path):
        bus.publish(told).result()
    with serving(bus) as address:
        eventually(lambda: 'process="learning"' in get(address, "/metrics").text)
        families = list(text_string_to_metric_families(get(address, "/metrics").text))
    there: dict[str, list[dict[str, str]]] = {}
    for point in (point for family in families for point in family.samples):
        there.setdefault(point.name, []).append(point.labels)
    read = list(increases())

    assert len(read) >= 8
    for name, labels in read:
        if name == "gamenight_endpoint_calls_total":
            continue  # which endpoints there are is known by the first call; the rule is about a share of many
        found = [one for one in there.get(name, []) if one.items() >= labels.items()]
        assert found, f"{name} {labels} is not there before the first event"
        if models := {one["model"] for one in found if "model" in one}:
            assert models >= set(ROSTER.batch), name
    drift = {(one["kind"], one["subject"]) for one in there["gamenight_drift_detections"]}
    assert drift == {("batch-errors", model) for model in ROSTER.batch} | {
        ("online-errors", "river"), ("online-errors", "yours"), ("online-errors", "everyone"),
        ("class-mix", "class-mix"), ("ink", "ink"), ("embedding", "embedding"),
    }  # fmt: skip
    assert {kind for kind, _ in drift} == set(get_args(DriftKind))
    senders = {one["process"] for one in there["gamenight_records_sent_total"] if one["topic"] == "rejected.v1"}
    assert senders == {"router", "learning"}
    assert {one["topic"] for one in there["gamenight_records_rejected_total"]} == {*LIVE, *STATE, *SCORES}


def test_every_rule_says_what_to_do_and_has_a_case_that_fires() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    cases = (RULES.parent / "tests.yml").read_text()
    for rule in group["rules"]:
        assert rule["annotations"]["summary"], rule["alert"]
        assert len(rule["annotations"]["runbook"]) > 40, rule["alert"]
        assert re.search(rf"\b{rule['alert']}\b", cases), f"{rule['alert']} has no case in tests.yml"


def promtool(*arguments: str | Path) -> str:
    """What Prometheus's own tool says, if it says that all is well."""
    tool = shutil.which("promtool")
    assert tool, "no promtool: it is in Debian's package prometheus (.ci/run takes it out of that)"
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_itself_reads_the_configuration_and_the_rules_and_every_alert_fires_when_it_should() -> None:
    assert "16 rules found" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "tests.yml")


def test_prometheus_can_read_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def test_the_dashboard_is_read_by_the_source_that_is_provisioned() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]

    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_a_process_that_falls_silent_is_down_its_numbers_go_and_one_never_heard_is_missed() -> None:
    processes = ProcessBoard()
    processes.apply(ProcessMeasured(process="router", instance="router-0", began=NOON, at=NOON, families=[]))

    up = values(shown(processes=processes, at=NOON + timedelta(seconds=15))["gamenight_process_up"])
    assert {(process, member): value for member, process, value in ((*key, up[key]) for key in up)} == {
        ("router", "router-0"): 1, ("learning", "none"): 0, ("trainer", "none"): 0, ("api", "api-a"): 1,
    }  # fmt: skip
    late = shown(processes=processes, at=NOON + timedelta(seconds=16))
    assert values(late["gamenight_process_up"])["router-0", "router"] == 0
    assert not [key for key in values(late["gamenight_process_start_time_seconds"]) if "router" in key]
    forgotten = values(shown(processes=processes, at=NOON + timedelta(hours=1, seconds=1))["gamenight_process_up"])
    assert ("none", "router") in forgotten


def test_an_older_telling_and_one_that_comes_twice_change_nothing_and_processes_are_bounded() -> None:
    processes = ProcessBoard()
    new = ProcessMeasured(process="router", instance="r", began=NOON, at=NOON, families=[])
    for one in (new, new, new.model_copy(update={"at": NOON - timedelta(seconds=5)})):
        processes.apply(one)
    assert processes.alive(NOON) == [new]
    for n in range(MOST + 5):
        processes.apply(new.model_copy(update={"instance": f"r{n}", "at": NOON + timedelta(seconds=n / 100)}))
    assert len(list(processes.standings(NOON))) == MOST + 3  # and the three kinds that were not heard of


def test_a_process_whose_clock_was_set_back_is_believed_and_is_down_when_it_is() -> None:
    """It stood still for an hour, and was up for as long though it had died."""
    processes = ProcessBoard()
    told = ProcessMeasured(process="router", instance="r", began=NOON, at=NOON, families=[])
    processes.apply(told.model_copy(update={"at": NOON + timedelta(hours=1)}))
    processes.apply(told)

    assert processes.alive(NOON) == [told]
    assert ("router", "r", False) in processes.standings(NOON + timedelta(seconds=16))


def test_what_a_stage_takes_is_counted_by_step_with_what_waits() -> None:
    process = ProcessMetrics("learning", "l", Path())
    stages = StageMetrics(process.registry)
    stepped = stages.stage("joiner", lambda: 7)
    stepped(3, 0.002)
    stepped(2, 0.2)
    stages.sent.of["examples.v1"] += 4
    families = {one.metric: one.points for one in process.told().families}

    assert [(p.suffix, p.amount) for p in families["gamenight_records_taken"]] == [("_total", 5.0)]
    assert [p.amount for p in families["gamenight_waiting_records"]] == [7.0]
    assert [(p.tags, p.amount) for p in families["gamenight_records_sent"]] == [
        ({"topic": "rejected.v1"}, 0.0), ({"topic": "examples.v1"}, 4.0),
    ]  # fmt: skip
    steps = {p.tags.get("le", p.suffix): p.amount for p in families["gamenight_step_seconds"]}
    assert (steps["0.003"], steps["0.3"], steps["+Inf"], steps["_count"]) == (1, 2, 2, 2)
    assert families["gamenight_process_resident_memory_bytes"][0].amount > 1e6
    assert families["gamenight_disk_size_bytes"][0].amount > families["gamenight_disk_free_bytes"][0].amount > 0


@pytest.mark.parametrize(
    ("raised", "outcome"), [(None, "answered"), (EndpointSilent("s"), "silent"), (EndpointDown("d"), "failed")]
)
def test_a_call_to_an_endpoint_is_counted_by_its_outcome(raised: Exception | None, outcome: str) -> None:
    process = ProcessMetrics("router", "r", Path())
    calls = EndpointCalls(process.registry)
    with contextlib.suppress(EndpointDown), calls.call("gamenight-kmeans"):
        if raised:
            raise raised
    families = {one.metric: one.points for one in process.told().families}

    calls_told = [p for p in families["gamenight_endpoint_calls"] if p.suffix == "_total"]
    assert {p.tags["outcome"] for p in calls_told} == set(OUTCOMES), "the next failure is to be an increase"
    [call] = [p for p in calls_told if p.amount]
    assert (call.tags, call.amount) == ({"endpoint": "gamenight-kmeans", "outcome": outcome}, 1.0)


def test_what_comes_off_the_bus_is_counted_by_model_hop_and_outcome() -> None:
    board, traffic = counting()
    command = uuid4()
    done = TrainingAdvanced(model="kmeans", version="1", command_id=command, step="done", fraction=1.0)
    published = ModelPublished(model="kmeans", version="1", title="K", digest="d", artifact="a", gate="", approved=False,
                               lineage={"training_job": "j"}, metrics={"training_cost_usd": 0.0029})  # fmt: skip
    settled = CommandSettled(command_id=named("c"), target="kmeans", outcome="refused", message="")
    guesses = guess("a", model="kmeans"), guess("b", model="kmeans", role="shadow"), guess("c", model="kmeans", final=False)
    ended = done, done, published, published, settled, settled, done.model_copy(update={"step": "gate"})
    for event in (*guesses, missed("d", model="kmeans"), *ended):
        traffic.apply(event)
        board.apply(event)
    families = shown(traffic=traffic)

    assert values(families["gamenight_guesses"], "_total") == {
        ("finished", "kmeans"): 1, ("shadow", "kmeans"): 1, ("preview", "kmeans"): 1,
    }  # fmt: skip
    assert values(families["gamenight_misses"], "_total") == {("late", "kmeans"): 1}
    assert counted(families["gamenight_trainings"]) == {("kmeans", "done"): 1}
    assert counted(families["gamenight_gate_verdicts"]) == {("kmeans", "refused"): 1}
    assert counted(families["gamenight_training_dollars"]) == {("kmeans",): 0.0029}
    assert values(families["gamenight_commands_settled"], "_total") == {("refused",): 1}
    counts = values(families["gamenight_hop_seconds"], "_count")
    assert counts == {(hop, "kmeans"): 1 for hop in ("bus_in", "read", "wait", "model")}
    assert values(families["gamenight_hop_seconds"], "_sum")["model", "kmeans"] == 0.0025
    buckets = {p.labels["le"]: p.value for p in families["gamenight_hop_seconds"].samples
               if p.name.endswith("_bucket") and p.labels["hop"] == "model"}  # fmt: skip
    assert (buckets["0.002"], buckets["0.005"], len(buckets)) == (0, 1, len(BOUNDS_MS) + 1)


def counting() -> tuple[ModelBoard, Traffic]:
    """A board, and traffic that looks at it, as in the API: traffic has each event first."""
    board = ModelBoard(ROSTER)
    return board, Traffic(lambda model, version: board.catalog.published.get(model, {}).get(version))


@pytest.mark.parametrize("verdict", get_args(GateVerdict))
def test_a_version_that_was_known_before_a_start_is_not_counted_again_when_it_is_amended(verdict: str) -> None:
    """After each start of the API a canary's next look counted verdict, cost and steps anew, some as the failure of now."""
    step = RolloutStep(step="rolled-back", at=NOON, champion="1", why="")
    told: dict[str, Any] = {"model": "kmeans", "version": "2", "title": "K", "digest": "d", "artifact": "a", "gate": "",
                            "lineage": {"training_job": "j"}, "metrics": {"training_cost_usd": 0.5}, "at": NOON,
                            "verdict": verdict, "approved": verdict == "promoted"}  # fmt: skip
    board, traffic = counting()
    traffic.apply(ModelPublished(**told, rollout=[step]))
    board.apply(ModelPublished(**told, rollout=[step]))
    traffic.apply(ModelPublished(**told, rollout=[step], failed="it answers no more"))
    bus = open_bus(f"memory://{uuid4()}")
    bus.publish(ModelPublished(**told, rollout=[step])).result()
    with serving(bus) as address:
        bus.publish(ModelPublished(**told | {"approved": not told["approved"]}, rollout=[step])).result()
        bus.publish(TrainingAdvanced(model="kmeans", version="3", command_id=named("c"), step="done", fraction=1.0)).result()
        ended = 'gamenight_trainings_total{model="kmeans",outcome="done"} 1.0'
        eventually(lambda: ended in get(address, "/metrics").text)
        after = {family.name: family for family in text_string_to_metric_families(get(address, "/metrics").text)}

    families = shown(board, traffic)
    assert counted(families["gamenight_gate_verdicts"]) == {("kmeans", verdict): 1}
    assert counted(families["gamenight_training_dollars"]) == {("kmeans",): 0.5}
    assert counted(families["gamenight_rollout_steps"]) == {("kmeans", "rolled-back"): 1}
    for name in ("gamenight_gate_verdicts", "gamenight_training_dollars", "gamenight_rollout_steps"):
        assert counted(after[name]) == {}, f"{name} was counted again"


def test_what_a_rebuild_cost_that_ended_without_a_version_is_counted_once() -> None:
    _, traffic = counting()
    failed = TrainingAdvanced(model="kmeans", version="2", command_id=named("c"), step="failed", fraction=1.0, seconds=90.0,
                              cost=Decimal("0.25"))  # fmt: skip
    for event in (failed, failed, failed.model_copy(update={"command_id": named("d"), "cost": None})):
        traffic.apply(event)

    assert counted(shown(traffic=traffic)["gamenight_training_dollars"]) == {("kmeans",): 0.25}


def test_a_canary_shows_its_share_and_each_step_that_the_policy_takes_once() -> None:
    board, traffic = counting()
    known: dict[str, Any] = {"model": "kmeans", "version": "2", "title": "K", "digest": "d", "artifact": "a", "gate": "",
                             "lineage": {}, "metrics": {}}  # fmt: skip
    steps = [
        RolloutStep(step=step, at=NOON + timedelta(hours=n), champion="1", share=share, why="")
        for n, (step, share) in enumerate([("share", 0.05), ("share", 0.25), ("rolled-back", 0.0)])
    ]
    board.apply(ModelPublished(**known, rollout=steps[:1], at=NOON))  # the first step was taken before this process began
    for n in (2, 3, 3):  # each event has all steps so far, and the time at which the version was made
        traffic.apply(event := ModelPublished(**known, rollout=steps[:n], at=NOON))
        board.apply(event)
    traffic.apply(ModelPublished(**known, rollout=steps, at=NOON, failed="it answers no more"))
    board.apply(CandidateSet(model="kmeans", version="2", role="canary", share=0.25))
    board.apply(CandidateSet(model="kmeans", version="3", role="shadow", place=1))
    board.apply(CandidateSet(model="xgboost", version="4", role="none"))
    families = shown(board, traffic)

    assert counted(families["gamenight_rollout_steps"]) == {("kmeans", "share"): 1, ("kmeans", "rolled-back"): 1}
    assert values(families["gamenight_candidate_share_ratio"]) == {
        ("kmeans", "canary", "2"): 0.25,
        ("kmeans", "shadow", "3"): 0.0,
    }


def test_strangers_names_make_no_series() -> None:
    traffic, board, processes = Traffic(), ModelBoard(ROSTER), ProcessBoard()
    for n in range(50):
        traffic.apply(guess(f"d{n}", model="kmeans", hops={f"hop{n}": 1.0}))
        confusion = [0] * 100
        confusion[0] = n + 1
        board.apply(ScoresCounted(model="kmeans", version=f"v{n}", window=None, source=0, n=n + 1, correct=n + 1,
                                  confusion=confusion, latency=[n + 1] + [0] * 11))  # fmt: skip
    false: dict[str, Any] = {"suffix": "", "tags": {}, "amount": 1.0}
    processes.apply(
        ProcessMeasured.model_validate(
            {"process": "router", "instance": "r", "began": NOON, "at": NOON,
             "families": [{"metric": "up", "what": "", "counts": "gauge", "points": [false]}]}
        )
    )  # fmt: skip
    families = shown(board, traffic, processes)

    assert values(families["gamenight_hop_seconds"], "_count") == {}
    scored = values(families["gamenight_scored"], "_total")
    assert len(scored) == VERSIONS
    assert ("kmeans", "v49") in scored
    assert not families["up"].samples if "up" in families else True


def test_metrics_are_at_one_address_with_health_lag_and_all_processes() -> None:
    bus = open_bus(f"memory://{uuid4()}")
    told = ProcessMetrics("learning", "learning-0", Path())
    bus.publish(told.told()).result()
    with serving(bus) as address:
        eventually(lambda: "learning-0" in get(address, "/metrics").text)
        text = get(address, "/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}

    assert {key[1] for key, up in values(families["gamenight_process_up"]).items() if up} == {"api", "learning"}
    assert families["gamenight_process_cpu_seconds"].samples
