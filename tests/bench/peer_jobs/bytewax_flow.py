"""The jobs in Bytewax, after its documentation: a dataflow; one with ``stateful_map`` and recovery.

``python -m bytewax.recovery DIR 1``, then ``python -m bytewax.run tests.bench.peer_jobs.bytewax_flow -r DIR -s 1 -b 0``.
"""

import os

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow

from tests.bench.peer_jobs.job import ANSWERS, CORRECTIONS, COUNTS, DRAWINGS, KAFKA, Model, counted

JOB = os.environ["PEER_JOB"]
flow = Dataflow(JOB)
read = kop.input("read", flow, brokers=[KAFKA], topics=[DRAWINGS if JOB == "answer" else CORRECTIONS])
keyed = op.map("key", read.oks, lambda message: (message.key.decode(), orjson.loads(message.value)))

if JOB == "answer":
    model = Model()
    said = op.map_value("answer", keyed, model.answer)
else:

    def count(before: int | None, correction: dict) -> tuple[int, dict]:
        made = counted(before or 0, correction)
        return made["n"], made

    said = op.stateful_map("count", keyed, count)

written = op.map("write", said, lambda pair: KafkaSinkMessage(pair[0].encode(), orjson.dumps(pair[1])))
kop.output("out", written, brokers=[KAFKA], topic=ANSWERS if JOB == "answer" else COUNTS)
