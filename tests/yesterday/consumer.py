"""Waits for what is said of a drawing: ``python consumer.py SERVERS DRAWING GUESSES``; prints guesses and receipts.

It ignores types of events and fields that it does not know; a record that it cannot read it sets aside, and goes on.
"""

import json
import sys
import time
from collections import Counter
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from shapes import KNOWN, CorrectionReceipt, GuessMade

PATIENCE_S = 40.0


def main() -> None:
    servers, drawing_id, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    places = [TopicPartition(topic, number) for topic in KNOWN for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(places)
    consumer.seek_to_beginning()
    guesses: dict[str, int] = {}
    receipts: dict[str, str] = {}
    aside: Counter[str] = Counter()
    deadline = time.monotonic() + PATIENCE_S
    while (len(guesses) < most or not receipts) and time.monotonic() < deadline:
        for records in consumer.poll(200).values():
            for record in records:
                event = read(record.topic, record.value, aside)
                if event is None or str(event.drawing_id) != drawing_id:
                    continue
                if isinstance(event, GuessMade) and event.role != "shadow":
                    guesses[event.model] = event.label
                elif isinstance(event, CorrectionReceipt):
                    receipts[event.stage] = event.outcome
    consumer.close()
    print(json.dumps({"guesses": guesses, "receipts": receipts, "set_aside": aside}))


def read(topic: str, value: bytes | None, aside: Counter[str]) -> Any:
    """Return the event of a record; None if it is of a type that is not known, or cannot be read."""
    try:
        told = json.loads(value or b"")
        kind = KNOWN[topic].get(told["type"])
        return None if kind is None else kind.model_validate_json(value or b"")
    except (ValueError, KeyError, TypeError):
        aside[topic] += 1
        return None


if __name__ == "__main__":
    main()
