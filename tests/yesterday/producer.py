"""Draws a one and says that it was a seven: ``python producer.py SERVERS PLAYER``; prints the ids."""

import json
import sys
from uuid import uuid4

from kafka import KafkaProducer
from shapes import CorrectionGiven, DrawingSubmitted


def main() -> None:
    servers, player = sys.argv[1:]
    drawing = DrawingSubmitted(
        drawing_id=uuid4(),
        player_id=player,
        strokes=[[[140.0, 40.0, 0.0], [140.0, 140.0, 80.0], [140.0, 240.0, 160.0]]],
        width=280,
        height=280,
        final=True,
    )
    correction = CorrectionGiven(correction_id=uuid4(), drawing_id=drawing.drawing_id, player_id=player, label=7)
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    for topic, event in (("drawings.v1", drawing), ("corrections.v1", correction)):
        producer.send(topic, key=player.encode(), value=event.model_dump_json().encode()).get(20)
    producer.close()
    print(json.dumps({"drawing_id": str(drawing.drawing_id), "correction_id": str(correction.correction_id)}))


if __name__ == "__main__":
    main()
