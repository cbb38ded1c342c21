"""The jobs in Quix Streams, after its documentation: a dataframe; with state and ``processing_guarantee="exactly-once"``."""

import sys

from quixstreams import Application, State

from tests.bench.peer_jobs.job import ANSWERS, CORRECTIONS, COUNTS, DRAWINGS, KAFKA, STATE, Model, counted

JOB = sys.argv[1]
COMMIT_S = 0.1
"""The seconds between commits. Output that is published exactly once can be read only then: by default after 5 s."""


def application() -> Application:
    guarantee = {"processing_guarantee": "exactly-once", "commit_interval": COMMIT_S} if JOB == "fold" else {}
    return Application(
        broker_address=KAFKA,
        consumer_group=f"peer-quix-{JOB}",
        auto_offset_reset="earliest",
        state_dir=STATE,
        loglevel="WARNING",
        **guarantee,
    )


def main() -> None:
    app = application()
    if JOB == "answer":
        model = Model()
        frames = app.dataframe(app.topic(DRAWINGS, value_deserializer="json"))
        frames = frames.apply(model.answer).to_topic(app.topic(ANSWERS, value_serializer="json"))
    else:

        def count(correction: dict, state: State) -> dict:
            said = counted(state.get("n", 0), correction)
            state.set("n", said["n"])
            return said

        frames = app.dataframe(app.topic(CORRECTIONS, value_deserializer="json"))
        frames = frames.apply(count, stateful=True).to_topic(app.topic(COUNTS, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
