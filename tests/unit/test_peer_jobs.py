"""What the bench of peers has all of them do is what the product does, and their locks are whole."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from contracts.drawing import rasterize
from contracts.ports import Record
from streams.additive import Solved, Sums
from streams.delivery import Delivery, UnsentRecord
from streams.embedding import EmbeddingNetwork
from streams.online_base import load_base
from tests.bench import peers
from tests.bench.peer_jobs import ours
from tests.bench.peer_jobs.job import Model, counted
from tests.conftest import ROOT
from tests.histories import drawing

FOLDER = Path(peers.__file__).parent / "peer_jobs"


def test_peers_answer_what_river_answers_before_it_is_taught_but_without_its_projections():
    event, base = drawing(), load_base()
    whole = base.basis.rows(EmbeddingNetwork().embed(rasterize(event.strokes)[None]))
    mine = np.r_[: base.basis.size, base.basis.width - 1]
    river = Solved(Sums(base.sums.products[np.ix_(mine, mine)], base.sums.labelled[mine]))

    said = Model().answer(event.model_dump(mode="json"))

    assert said["id"] == str(event.drawing_id)
    assert np.allclose(said["probabilities"], river.probabilities(whole[:, mine])[0], atol=1e-6)


def test_peers_know_a_one_from_a_seven():
    one, seven = drawing(strokes=[[[50, 10], [50, 90]]]), drawing(strokes=[[[20, 10], [80, 10], [40, 90]]])

    said = [Model().answer(event.model_dump(mode="json"))["probabilities"] for event in (one, seven)]

    assert np.argmax(said, axis=1).tolist() == [1, 7]


def test_the_job_of_peers_needs_no_river_and_no_scipy():
    blocked = "import sys; sys.modules.update(dict.fromkeys(('river', 'scipy', 'faust', 'streams.additive')))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{blocked}; import tests.bench.peer_jobs.job as job; job.Model()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr


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
