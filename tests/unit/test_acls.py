"""Who writes what: the table behind the cluster's rights says the same as the events' docstrings."""

import re

import pytest
from kafka.admin import ACLOperation, ResourceType

from contracts.events import _WRITERS, EVENTS, PROCESSES, TOPICS, Event, writers
from producers.acls import acls, principal

MEANT = {
    r"api\.\w+": {"api"},
    r"streams \(router\)|\brouter\b|personal fold": {"router"},
    r"\bjoiner\b|\bscorer\b|\blearner\b": {"learning"},
    r"\bonline model\b|\bevidence fold\b|\bdrift fold\b": {"learning"},
    r"streams\.fold_runner|streams\.worker": {"router", "learning"},
    r"trainers\.\w+|the trainer\b": {"trainer"},
    r"whoever could not": set(PROCESSES),
}
"""What docstrings say, and whose process that is."""


@pytest.mark.parametrize("event", EVENTS)
def test_the_writers_of_an_event_are_those_of_its_docstring(event: type[Event]) -> None:
    found = re.search(r"Written by (.*?)(?:[;,] (?:and )?read by|\. )", " ".join((event.__doc__ or "").split()))
    assert found, f"{event.__name__} says of nobody that they write it"
    said = {process for words, processes in MEANT.items() if re.search(words, found[1]) for process in processes}
    assert said == set(_WRITERS[event]), f"{event.__name__}: its docstring says {found[1]!r}"


def test_commands_are_given_by_the_operators_door_and_the_routers_distress_call_alone() -> None:
    assert writers("commands.v1") == {"api", "router", "trainer"}  # the trainer says how they ended


def test_no_part_may_write_what_it_does_not_write() -> None:
    may = {
        (one.principal, one.resource_pattern.resource_name)
        for one in acls()
        if one.operation == ACLOperation.WRITE and one.resource_pattern.resource_type == ResourceType.TOPIC
    }
    only_to_cut = {(principal("trainer"), "corrections.v1")}
    assert may == {(principal(part), topic) for topic in TOPICS for part in writers(topic)} - only_to_cut
    assert not {one.operation for one in acls()} & {
        ACLOperation.ALL,
        ACLOperation.ALTER,
        ACLOperation.CREATE,
        ACLOperation.DELETE,
    }


def test_the_trainer_alone_may_cut_players_out_and_only_when_that_is_asked_for() -> None:
    more = set(acls(forgetting=True)) - set(acls())

    assert {one.principal for one in more} == {principal("trainer")}
    assert {one.operation for one in more} == {ACLOperation.WRITE, ACLOperation.ALTER_CONFIGS, ACLOperation.DESCRIBE}
    named = {(one.operation, one.resource_pattern.resource_name) for one in acls(forgetting=True)}
    groups = {one.resource_pattern.resource_type for one in more if one.operation == ACLOperation.DESCRIBE}
    assert all((ACLOperation.WRITE, topic) in named and (ACLOperation.ALTER_CONFIGS, topic) in named for topic in TOPICS)
    assert groups == {ResourceType.GROUP}
