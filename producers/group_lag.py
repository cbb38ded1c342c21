"""Asks Kafka how far its consumer groups are behind (all ways)."""

from collections import defaultdict
from typing import Final

from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from contracts.settings import Settings
from producers.connection import BusError
from producers.topics import open_admin

OURS: Final = "gamenight-"
"""What the names of the product's own groups begin with."""


class LagUnknown(RuntimeError):
    """Kafka did not say how far its readers are; the message says why."""


def group_lag(settings: Settings, timeout_s: float = 1.0) -> dict[str, dict[str, int]]:
    """Return how many messages are not yet committed, by consumer group and topic, of the product's own groups.

    Raises:
        LagUnknown: If Kafka does not say.
    """
    try:
        admin = open_admin(settings, timeout_s=timeout_s)
    except (BusError, KafkaError) as error:
        raise LagUnknown(str(error)) from error
    try:
        groups = [group["group_id"] for group in admin.list_groups() if group["group_id"].startswith(OURS)]
        committed = admin.list_group_offsets(groups) if groups else {}
        places = {place for offsets in committed.values() for place in offsets}
        ends = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST)) if places else {}
    except KafkaError as error:
        raise LagUnknown(f"Kafka does not say how far its readers are ({error})") from error
    finally:
        admin.close()
    lag: dict[str, dict[str, int]] = {}
    for group, offsets in committed.items():
        behind: defaultdict[str, int] = defaultdict(int)
        for place, at in offsets.items():
            if at.offset >= 0 and place in ends:
                behind[place.topic] += max(0, ends[place].offset - at.offset)
        lag[group] = dict(sorted(behind.items()))
    return lag
