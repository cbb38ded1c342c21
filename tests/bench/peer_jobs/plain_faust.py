"""The jobs in plain Faust, after its documentation: an agent; a table and ``processing_guarantee="exactly_once"``."""

import os

import faust

from tests.bench.peer_jobs.job import ANSWERS, CORRECTIONS, COUNTS, DRAWINGS, KAFKA, STATE, Model, counted

JOB = os.environ["PEER_JOB"]
app = faust.App(
    f"peer-faust-{JOB}",
    broker=f"kafka://{KAFKA}",
    datadir=str(STATE),
    topic_partitions=4,
    consumer_auto_offset_reset="earliest",
    processing_guarantee="exactly_once" if JOB == "fold" else "at_least_once",
)

if JOB == "answer":
    drawings = app.topic(DRAWINGS, value_serializer="json")
    answers = app.topic(ANSWERS, value_serializer="json")
    model = Model()

    @app.agent(drawings)
    async def answer(stream):
        async for drawing in stream:
            await answers.send(key=drawing["player_id"], value=model.answer(drawing))

else:
    corrections = app.topic(CORRECTIONS, value_serializer="json")
    counts_topic = app.topic(COUNTS, value_serializer="json")
    counts = app.Table("counts", default=int)

    @app.agent(corrections)
    async def fold(stream):
        async for correction in stream:
            said = counted(counts[correction["player_id"]], correction)
            counts[correction["player_id"]] = said["n"]
            await counts_topic.send(key=correction["player_id"], value=said)


if __name__ == "__main__":
    app.main()
