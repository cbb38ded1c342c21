"""The broker cannot write any more while people play: they are told, nothing acknowledged is lost, and it goes on by itself."""

import asyncio
import resource

import orjson
import pytest

from contracts.settings import LIMITS
from deploy.local import kafka
from deploy.local.supervisor import running
from producers.simulation import simulate
from producers.simulation_options import SimulationOptions
from tests.audited import WITHOUT_ENDPOINTS, audited
from tests.conftest import fresh_settings
from tests.histories import named
from tests.serving import eventually, get, playing

"""The models that answer without a SageMaker."""


@pytest.mark.timeout(240)
async def test_a_broker_that_can_write_no_more_is_told_of_and_comes_back_when_there_is_room(tmp_path, monkeypatch):
    settings = fresh_settings(tmp_path).model_copy(update={**dict.fromkeys(LIMITS, 0), "log_level": "WARNING"})
    address = f"127.0.0.1:{settings.port}"
    with running(settings, ["kafka", "api", "router", "learning"]) as supervisor:
        one_word = {"drawings": 1, "players": 1, "speed": 0, "correct_probability": 1, "confirm_probability": 1}
        first = await simulate(SimulationOptions(url=f"http://{address}", patience_s=120, **one_word))
        assert first.whole, first.to_json()
        begun, enough = asyncio.Event(), asyncio.Event()
        options = SimulationOptions(url=f"http://{address}", players=3, drawings=100_000, speed=6, patience_s=90)
        people = asyncio.create_task(simulate(options, lambda done, _: begun.set() if done > 5 else None, enough))
        try:
            await asyncio.wait_for(begun.wait(), 60)
            monkeypatch.setattr(kafka, "LEAST_FREE", 1 << 62)  # as long as this stands, the disk is full for a new start
            resource.prlimit(supervisor.pid("kafka"), resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))  # and for this one

            def standing():
                return next(one for one in supervisor.standings if one.name == "kafka")

            def told_and_saved():
                drawing_id = str(named("meanwhile"))
                with playing(address) as player:
                    eventually(lambda: "DiskFull" in standing().note)
                    player.draw("meanwhile")
                    kinds = _until(player, "error", drawing_id)
                    assert kinds[-1]["code"] == "unavailable"
                    assert get(address, "/healthz").status_code == 503
                    assert "MB are left on the disk of" in standing().note
                    monkeypatch.undo()  # there is room again
                    _until(player, "saved", drawing_id)

            await asyncio.to_thread(told_and_saved)
        finally:
            enough.set()
            report = await people
        found = await audited(settings, report, wait_s=60, models=WITHOUT_ENDPOINTS)
    assert found.clean, found.model_dump_json(indent=2)
    assert report.seen.get("unfinished", 0) == 0, report.to_json()
    assert report.errors.get("unavailable", 0) > 0, "the players were not told"


def _until(player, kind, drawing_id):
    """The frames up to one of this kind on a drawing."""
    frames = []
    while not (frames and frames[-1]["type"] == kind and frames[-1].get("drawing_id") == drawing_id):
        frames.append(orjson.loads(player.socket.recv(60)))
    return frames
