"""What the bench of peers has all of them do is what the product does, and their locks are whole."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from contracts.drawing import rasterize
from contracts.ports import Record
from streams.delivery import Delivery, UnsentRecord
from streams.embedding import EmbeddingNetwork
from streams.learner import Softmax
from streams.online_base import load_base
from tests.bench import peers
from tests.bench.peer_jobs import ours
from tests.bench.peer_jobs.job import Model, counted
from tests.histories import drawing

FOLDER = Path(peers.__file__).parent / "peer_jobs"


def test_peers_answer_what_river_answers_before_it_is_taught():
    event = drawing()
    embedding, base = EmbeddingNetwork(), load_base()
    row = np.ones(embedding.size + 1)
    row[:-1] = embedding.embed(rasterize(event.strokes)[None])[0]
    softmax = Softmax(embedding.size)
    softmax.weights = base.weights.astype(np.float64)
    scores = softmax.weights @ row

    said = Model().answer(event.model_dump(mode="json"))

    wanted = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    assert said["id"] == str(event.drawing_id)
    assert np.allclose(said["probabilities"], wanted, atol=1e-4)


async def test_our_answers_are_records_that_a_worker_can_send():
    sent: list[UnsentRecord] = []

    async def publish(records: Iterable[UnsentRecord]) -> None:
        sent.extend(records)

    event, acknowledged = drawing(), []
    record = Record("drawings.v1", 0, 0, None, event.record_value(), 0)
    await ours.Answering(publish).take([Delivery(record, lambda: acknowledged.append(record))])

    [(topic, key, value, partition)] = sent
    assert (topic, key, partition) == ("guesses.v1", event.player_id.encode(), None)
    assert json.loads(value)["id"] == str(event.drawing_id)
    assert acknowledged == [record]


def test_a_players_corrections_are_counted_from_one():
    correction = {"correction_id": str(uuid4()), "player_id": "p"}

    assert [counted(n, correction)["n"] for n in (0, 1)] == [1, 2]


@pytest.mark.parametrize("peer", sorted({peer.environment for peer in peers.PEERS.values() if peer.environment}))
def test_a_peers_lock_has_exact_versions_with_hashes_and_no_addresses(peer: str):
    lock = (FOLDER / f"{peer}.txt").read_text()
    wanted = {line.split("#")[0].strip() for line in (FOLDER / f"{peer}.in").read_text().splitlines()} - {""}

    pinned = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.M))
    blocks = re.split(r"^(?=[a-z0-9._-]+==)", lock, flags=re.M)[1:]
    assert wanted <= pinned.keys()
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock


def test_what_was_said_is_told_apart_from_what_was_not_and_from_what_was_said_twice():
    heard = peers.Heard({"a": ("p", 0.0), "b": ("p", 0.0), "c": ("q", 0.0)})
    heard.said.update(["a", "b", "b", "of another phase"])

    assert heard.missing == 1
