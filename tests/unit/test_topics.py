"""What stands in the way of making the topics, without a broker."""

from typing import Any

import pytest
from kafka.admin import ConfigResource
from kafka.errors import UnknownBrokerIdError

from contracts.events import TOPICS
from contracts.settings import Settings
from producers import topics
from producers.connection import BrokerAbsent
from producers.topics import TopicsDiffer, check_topics


def test_a_cluster_whose_controller_is_not_up_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[Settings] = []

    def create(settings: Settings) -> None:
        times.append(settings)
        if len(times) < 3:
            raise UnknownBrokerIdError(3)

    monkeypatch.setattr(topics, "_create", create)

    topics.create_topics(Settings())

    assert len(times) == 3


def test_a_controller_that_stays_away_is_an_absent_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(settings: Settings) -> None:
        raise UnknownBrokerIdError(3)

    monkeypatch.setattr(topics, "_create", create)
    monkeypatch.setattr(topics, "CONTROLLER_S", 0.1)

    with pytest.raises(BrokerAbsent, match="controller is not among its brokers"):
        topics.create_topics(Settings())


class Brokers:
    """Brokers with every topic as the contracts say but for some settings; these may be changed, or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, brokers: int, outcome: str, **given: str) -> None:
        self.brokers, self.outcome = brokers, outcome
        in_sync = {"min.insync.replicas": "2" if brokers > 2 else "1"}
        self.configs = {name: spec.configs(Settings().log_bytes) | in_sync for name, spec in TOPICS.items()}
        for name, stamps in given.items():
            self.configs[name.replace("_", ".")]["message.timestamp.type"] = stamps
        monkeypatch.setattr(topics, "open_admin", lambda settings: self)

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": list(range(self.brokers))}

    def describe_topics(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "partitions": [{"replica_nodes": [*range(min(3, self.brokers))]}] * spec.partitions}
            for name, spec in TOPICS.items()
        ]

    def describe_configs(self, asked: list[ConfigResource], config_filter: str) -> dict[str, Any]:
        return {"topic": {one.name: {key: {"value": self.configs[one.name][key]} for key in one.configs} for one in asked}}

    def alter_configs(self, asked: list[ConfigResource]) -> dict[str, Any]:
        for one in asked if self.outcome == "OK" else ():
            self.configs[one.name] |= one.configs
        return {"topic": {one.name: self.outcome for one in asked}}

    def close(self) -> None:
        """Nothing was opened."""


OUTSIDE = Settings(kafka_bootstrap_servers="kafka.example:9092")
TO_DO = (
    "the broker must stamp these records, since their time says which of them had to be signed: let an administrator run"
    " `gamenight topics`, or set message.timestamp.type to LogAppendTime"
)


@pytest.mark.parametrize("brokers", [1, 3])
@pytest.mark.parametrize("name", ["commands.v1", "drift.v1"])
def test_nobody_starts_where_a_writer_stamps_what_must_be_signed(
    brokers: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = Brokers(monkeypatch, brokers, "OK", **{name.replace(".", "_"): "CreateTime"})
    with pytest.raises(TopicsDiffer) as wrong:
        check_topics(OUTSIDE)
    assert str(wrong.value) == f"{name} (message.timestamp.type=CreateTime); {TO_DO}"

    kafka.outcome = "PolicyViolationError"
    with pytest.raises(TopicsDiffer) as wrong:
        topics.create_topics(OUTSIDE)
    why = f"message.timestamp.type=CreateTime, and it may not be changed: {kafka.outcome}"
    assert str(wrong.value) == f"{name} ({why}); {TO_DO}"

    kafka.outcome = "OK"
    topics.create_topics(OUTSIDE)
    check_topics(OUTSIDE)


def test_whose_time_records_have_that_nobody_signs_keeps_nobody_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    Brokers(monkeypatch, 1, "PolicyViolationError", drawings_v1="CreateTime")
    topics.create_topics(OUTSIDE)
    check_topics(OUTSIDE)
