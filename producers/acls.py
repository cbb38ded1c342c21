"""Derives the rights to topics from contracts/events.py, and gives them to a Kafka user for each kind of process (all ways).

On a cluster that denies what is not allowed, a process that was taken over can still write only its own topics: the router no
promotions, the API no guesses; only the operators' API, and the router when a version fails, write commands.
"""

from collections.abc import Iterator
from typing import Final

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import KafkaError

from contracts.events import PROCESSES, TOPICS, PlayerForgotten, writers
from contracts.settings import Settings
from producers.topics import open_admin

GROUPS: Final = {"router": "gamenight-router", "learning": "gamenight-learning"}
"""The consumer group of each kind of process; one without a group reads as a bystander."""
_TO_CUT: Final = {"trainer": frozenset({PlayerForgotten.topic})}
"""Topics that a process writes only while players are cut out of the log; else they are others'."""


class AclsRefused(RuntimeError):
    """The cluster does not allow us to change rights."""


def principal(part: str, prefix: str = "gamenight-") -> str:
    """Return Kafka's principal for a kind of process: ``User:`` and the user.

    >>> principal("router")
    'User:gamenight-router'
    """
    return f"User:{prefix}{part}"


def acls(prefix: str = "gamenight-", forgetting: bool = False) -> list[ACL]:
    """Return all rights of all kinds of process; ``forgetting``: with those to cut players out of the log, for the trainer."""
    return [
        ACL(principal(part, prefix), "*", operation, ACLPermissionType.ALLOW, pattern)
        for part in PROCESSES
        for operation, pattern in (*_rights(part), *(_rights_to_cut() if forgetting and part == "trainer" else ()))
    ]


def _rights(part: str) -> Iterator[tuple[ACLOperation, ResourcePattern]]:
    for topic in TOPICS:
        # Each part may read all topics: each process follows them all somewhere, and players' data is in all of them.
        for operation in (ACLOperation.READ, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS):
            yield operation, ResourcePattern(ResourceType.TOPIC, topic)
        if part in writers(topic) and topic not in _TO_CUT.get(part, ()):
            yield ACLOperation.WRITE, ResourcePattern(ResourceType.TOPIC, topic)
    if part in GROUPS:
        for operation in (ACLOperation.READ, ACLOperation.DESCRIBE):
            yield operation, ResourcePattern(ResourceType.GROUP, GROUPS[part])


def _rights_to_cut() -> Iterator[tuple[ACLOperation, ResourcePattern]]:
    """Yield what the trainer needs besides: it writes records without a value to every topic, and lets it be compacted."""
    for topic in TOPICS:
        if "trainer" not in writers(topic) or topic in _TO_CUT["trainer"]:
            yield ACLOperation.WRITE, ResourcePattern(ResourceType.TOPIC, topic)
        yield ACLOperation.ALTER_CONFIGS, ResourcePattern(ResourceType.TOPIC, topic)
    for group in GROUPS.values():
        yield ACLOperation.DESCRIBE, ResourcePattern(ResourceType.GROUP, group)


def give(settings: Settings, prefix: str = "gamenight-", forgetting: bool = False) -> list[str]:
    """Set the rights: give the missing ones, and remove those that are no longer wanted.

    Args:
        settings: Settings of a user who may alter the cluster's rights.
        prefix: The prefix of every user, before the name of the process.
        forgetting: Whether the trainer may cut players out of the log.

    Returns:
        The users, in the order of `PROCESSES`.

    Raises:
        AclsRefused: If the cluster has no authorizer, or does not let us.
    """
    wanted = acls(prefix, forgetting)
    ours = {principal(part, prefix) for part in PROCESSES}
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    admin = open_admin(settings)
    try:
        found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, anything))
        made = admin.create_acls([one for one in wanted if one not in found])
        if made["failed"]:
            raise AclsRefused(_why(settings, made["failed"][0].__name__))
        spare = [one for one in found if one.principal in ours and one not in wanted]
        if spare:
            admin.delete_acls(
                [ACLFilter(o.principal, o.host, o.operation, o.permission_type, o.resource_pattern) for o in spare]
            )
    except KafkaError as error:
        raise AclsRefused(_why(settings, error)) from error
    finally:
        admin.close()
    return [principal(part, prefix).removeprefix("User:") for part in PROCESSES]


def _why(settings: Settings, error: object) -> str:
    return (
        f"Kafka at {settings.bootstrap_servers} gives no rights ({error}): it needs authorizer.class.name, and we a user of"
        " super.users or with ALTER on the cluster"
    )
