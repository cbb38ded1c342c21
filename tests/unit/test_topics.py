"""What stands in the way of making the topics, without a broker."""

import pytest
from kafka.errors import UnknownBrokerIdError

from contracts.settings import Settings
from producers import topics
from producers.connection import BrokerAbsent


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
