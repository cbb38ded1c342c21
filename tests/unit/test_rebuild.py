"""A rebuild that is taken up again: what was said of its version meanwhile counts."""

import json
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from contracts.events import (
    CancelTraining,
    CommandSettled,
    ModelPublished,
    PlayersForgotten,
    PromoteModel,
    RestrictionSet,
    RetrainModel,
    RollBackModel,
    TrainingAdvanced,
    decode,
    mark_of,
    now,
)
from contracts.roster import RosterError, facts
from contracts.settings import Settings
from producers.blobs import MemoryBlobs
from producers.bus import open_bus
from producers.price_file import read_prices
from producers.whole_log import all_records
from tests.endpoints import MemoryRegistry, MemoryServing
from tests.histories import promoted, published, seconds
from tests.roster import ROSTER
from trainers import cancelling, dataset_store, jobs, judging
from trainers.approval import Approvals
from trainers.compaction import Tidying
from trainers.dataset import Feedback, LabelledImages
from trainers.dataset_making import DatasetMaker
from trainers.dataset_store import Making
from trainers.endings import Cancelled, DatasetGone, NothingNew
from trainers.jobs import JobFailed, JobProgress
from trainers.model_log import ModelLog
from trainers.promote import Promoter
from trainers.rebuild import Rebuilder
from trainers.rebuild_progress import STILL, Teller
from trainers.registry import Registered
from trainers.serving import ServingFailed
from trainers.split import is_held_back
from trainers.starting import Starter, hyperparameters
from trainers.steering import Steering

STOPPED = JobProgress("Stopped", seconds=90.0)


class Shelf(MemoryRegistry):
    """A registry whose last version was made for a command."""

    def __init__(self, command: RetrainModel, *versions: ModelPublished) -> None:
        super().__init__(*versions)
        self._command = str(command.command_id)

    def versions(self, model: str) -> list[Registered]:
        *others, last = super().versions(model)
        return [*others, Registered(last.published, self._command)]


class Shop:
    """A trainer that finds a rebuild's version registered, and the rebuild not ended."""

    def __init__(self, *log: Any) -> None:
        self.command = RetrainModel(command_id=uuid4(), target="xgboost", by="ada")
        self.registry = Shelf(self.command, published("1", 1, arn="arn:1"), published("2", 2, arn="arn:2"))
        self.before = [published("1", 1, arn="arn:1"), promoted("1").model_copy(update={"at": seconds(1)}), *log]
        self.endpoints = MemoryServing()
        self.endpoints.variants = {"v1": 1.0}
        self.blobs = MemoryBlobs()
        self.bus = open_bus(f"memory://{uuid4()}")
        self.start()

    def start(self) -> None:
        """Begin as a trainer that knows what is on the log."""
        told = [decode(record.topic, record.value) for record in all_records(self.bus, ["models.v1", "commands.v1"])]
        self.model_log, bus = ModelLog(ROSTER, [*self.before, *told]), self.bus
        promoter = Promoter(bus, self.model_log, self.endpoints)  # type: ignore[arg-type]
        parts: tuple[Any, ...] = (self.model_log, self.endpoints, promoter, self.registry)
        approvals = Approvals(self.model_log, promoter, self.registry)  # type: ignore[arg-type]
        self.steering = Steering(self.model_log, promoter, approvals)
        self._rebuilder = Rebuilder(
            Settings(aws_services="local"), bus, self.blobs, lambda look: 0, *parts, approvals, lambda seconds: None
        )
        self._rebuilder._jobs = SimpleNamespace(find=lambda name: None)  # type: ignore[assignment]

    def feedback(self) -> tuple[list[Feedback], Making]:
        """What the rebuild would be made of, and where it is."""
        tell = Teller(self._rebuilder._bus, self.model_log, self.command, "2")
        return self._rebuilder._datasets.feedback(tell)

    def held(self, told: list[str]) -> AbstractContextManager[None]:
        """What a forgetting does with rebuilds."""
        return self._rebuilder.held(told.append)

    def resume(self) -> tuple[str, str, str]:
        """How the rebuild ended, why, and who answers."""
        self._rebuilder.carry_out(self.command)
        ended, champion = self.model_log.training("xgboost"), self.model_log.champion("xgboost")
        assert ended
        assert champion
        return ended.step, ended.message, champion.version


def test_a_version_that_was_registered_and_not_yet_promoted_is_promoted():
    assert Shop().resume() == ("done", "xgboost 2 answers: g", "2")


def dies(*told: Any) -> None:
    """End as a trainer does that is killed."""
    raise InterruptedError


@pytest.mark.parametrize(
    ("given", "decided"),
    [
        (RollBackModel(command_id=uuid4(), target="xgboost", by="ada"), "was rolled back to 1"),
        (PromoteModel(command_id=uuid4(), target="xgboost", version="1", by="ada"), "1 was promoted"),
    ],
)
def test_a_version_that_an_operator_has_gone_back_from_is_not_promoted_again_by_a_rebuild_that_is_resumed(
    given, decided, monkeypatch
):
    shop = Shop()
    with monkeypatch.context() as killed:
        killed.setattr(Teller, "end", dies)
        with pytest.raises(InterruptedError):
            shop.resume()
    shop.start()
    assert shop.model_log.champion("xgboost").version == "2"
    assert shop.steering.settle(given).outcome == "done"

    why = f"xgboost {decided} after 2 was made, so that one does not answer by itself: `gamenight promote xgboost 2`"
    assert shop.resume() == ("refused", f"{why} lets it answer all the same", "1")
    assert shop.endpoints.variants == {"v1": 1.0, "v2": 0.0}


@pytest.mark.parametrize("known", [[], [published("2", 2, arn="arn:2")]])
def test_a_version_that_was_rejected_in_the_registry_meanwhile_is_not_promoted(known):
    shop = Shop(*known)
    shop.registry.overrule("2", "Rejected", "no")
    assert shop.resume() == ("refused", "Rejected in the model registry: no; the gate had said: g", "1")


def test_a_version_that_failed_meanwhile_is_not_promoted_again_and_is_still_known_to_have_failed():
    shop = Shop(published("2", 2, arn="arn:2", failed="router: no answer"))
    assert shop.resume() == ("refused", "router: no answer", "1")
    assert shop.model_log.failed("xgboost") == {"2"}


def test_a_rebuild_whose_version_is_published_and_does_not_come_onto_the_endpoint_says_how_it_may_answer_later():
    shop = Shop()
    shop.endpoints.broken = {"v2"}
    with pytest.raises(ServingFailed) as wrong:
        shop.resume()
    shop._rebuilder.failed(shop.command, wrong.value)
    ended = shop.model_log.training("xgboost")
    assert ended
    assert (ended.step, ended.version, shop.model_log.champion("xgboost").version) == ("failed", "2", "1")
    assert ended.message.endswith("; it may answer all the same: `gamenight promote xgboost 2`")


def test_a_rebuild_takes_its_hyperparameters_from_the_image_and_rounds_that_are_set_replace_those():
    asked, given = Settings(seed=7), Settings(seed=7, training_rounds=4)
    boosted, network = ROSTER["xgboost"], ROSTER["tensorflow"]

    assert hyperparameters(boosted, asked) == {**boosted.hyperparameters, "seed": "7"}
    assert hyperparameters(boosted, given) == {**boosted.hyperparameters, "seed": "7", "rounds": "4"}
    assert hyperparameters(network, given) == {**network.hyperparameters, "seed": "7"}
    own = {"rounds": "9", "eta": "0.1"}
    assert hyperparameters(boosted, given, own) == {**boosted.hyperparameters, "seed": "7", "rounds": "9", "eta": "0.1"}


def test_drawings_of_banned_players_are_left_out_of_the_dataset_and_of_quarantined_ones_are_not(monkeypatch):
    shop = Shop(RestrictionSet(players={"eve": "banned", "bob": "quarantined"}))
    archived = [Feedback(n, f"d{n}", player, 1, 3, bytes(784)) for n, player in enumerate(["ada", "eve", "bob", "eve"])]
    monkeypatch.setattr("trainers.dataset.read_archive", lambda blobs: (archived, ["a key"]))

    examples, making = shop.feedback()

    assert ([example.player_id for example in examples], making.keys, making.excluded) == (
        ["ada", "bob"],
        ["a key"],
        {"banned": 2},
    )
    assert shop.model_log.training("xgboost").message == "examples of 1 players are left out: 2 banned"


@pytest.fixture
def gone_dataset() -> MemoryBlobs:
    """A bucket with what stays of a dataset that held drawings of a player who is forgotten."""
    blobs = MemoryBlobs()
    told = {"digest": "d1", "offsets": {}, "train": {"feedback": 2}, "players": {"bob": 1}, "forgotten": {"a mark": 1}}
    blobs.put("datasets/d1/manifest.json", json.dumps(told).encode())
    return blobs


def test_a_forgetting_waits_until_a_rebuild_has_published_what_it_made_of_the_drawings(monkeypatch):
    shop, reads, may_publish = Shop(), threading.Event(), threading.Event()
    told: list[str] = []
    seen: list[bool] = []
    registered = shop.registry.versions("xgboost")[-1]
    monkeypatch.setattr(shop.registry, "versions", lambda model: [])

    def made(*_: Any) -> Registered:
        reads.set()
        assert may_publish.wait(10)
        return registered

    def forget() -> None:
        with shop.held(told):
            seen.append("2" in shop.model_log.published("xgboost"))

    monkeypatch.setattr(Rebuilder, "_made", made)
    with ThreadPoolExecutor(2) as both:
        rebuilt = both.submit(shop.resume)
        assert reads.wait(10)
        forgotten = both.submit(forget)
        threading.Event().wait(0.3)
        before = list(seen)
        may_publish.set()
        forgotten.result(10)
        assert rebuilt.result(10)[2] == "2"

    assert (before, seen) == ([], [True])
    assert told == ["waits for a rebuild of xgboost"]


def test_a_forgetting_that_waits_for_a_rebuild_ends_when_the_trainer_stops(monkeypatch):
    shop = Shop()

    def stop(seconds: float) -> None:
        raise InterruptedError

    with shop.held([]):
        monkeypatch.setattr(shop._rebuilder, "_pause", stop)
        with pytest.raises(InterruptedError), shop.held([]):
            pytest.fail("two at once")


def test_a_rebuild_waits_until_a_player_is_forgotten(monkeypatch):
    shop = Shop()

    with ThreadPoolExecutor(1) as other:
        with shop.held([]):
            rebuilt = other.submit(shop.resume)
            threading.Event().wait(0.3)
            assert "2" not in shop.model_log.published("xgboost")
            assert shop.model_log.training("xgboost").message == "waits until a player is forgotten"
        assert rebuilt.result(10)[0] == "done"


def test_a_version_that_was_registered_and_whose_dataset_was_deleted_meanwhile_is_not_published(gone_dataset):
    shop = Shop()
    last = published("2", 2, arn="arn:2", lineage={"dataset_digest": "d1"})
    shop.registry = Shelf(shop.command, published("1", 1, arn="arn:1"), last)
    shop._rebuilder._registry, shop._rebuilder._blobs = shop.registry, gone_dataset

    with pytest.raises(DatasetGone, match="`gamenight retrain xgboost`"):
        shop.resume()

    assert "2" not in shop.model_log.published("xgboost")


def test_a_job_whose_dataset_was_deleted_while_the_trainer_was_away_is_followed_no_further(gone_dataset, monkeypatch):
    shop = Shop()
    monkeypatch.setattr(shop.registry, "versions", lambda model: [])
    shop._rebuilder._blobs = gone_dataset
    begun = SimpleNamespace(train="s3://gamenight/datasets/d1/train/")
    shop._rebuilder._jobs = SimpleNamespace(find=lambda name: begun, follow=lambda name: pytest.fail("it goes on"))

    with pytest.raises(DatasetGone, match="a player is forgotten"):
        shop.resume()


def test_drawings_of_a_forgotten_player_that_came_back_are_in_no_dataset(monkeypatch):
    shop = Shop(PlayersForgotten(marks=[mark_of("eve")]))
    archived = [Feedback(n, f"d{n}", player, 1, 3, bytes(784)) for n, player in enumerate(["ada", "eve"])]
    monkeypatch.setattr("trainers.dataset.read_archive", lambda blobs: (archived, ["a key"]))

    examples, making = shop.feedback()

    assert ([example.player_id for example in examples], making.excluded) == (["ada"], {})


class Desk:
    """A submitter and the jobs' service, as far as a rebuild that ends early asks them."""

    def __init__(self, shop: "Shop", monkeypatch: pytest.MonkeyPatch, submit: Any) -> None:
        self.told: list[str] = []
        self.job: jobs.JobProgress | None = None
        key = "examples/dt=2026-11-22/p1-000000000003-000000000008.h13.parquet"
        made = SimpleNamespace(digest="d1", train=[], holdout=[], feedback=0), Making(keys=[key])
        there = SimpleNamespace(train="train/", base="base/")
        maker = SimpleNamespace(assembled=lambda command, tell: made, stored=lambda made, making, command, seed: there)
        monkeypatch.setattr(shop.registry, "versions", lambda model: [])
        shop._rebuilder._starter._datasets = maker  # type: ignore[assignment]
        shop._rebuilder._jobs = SimpleNamespace(  # type: ignore[assignment]
            find=lambda name: self.job, stop=lambda name, pause: self.told.append("stopped")
        )
        submitter = SimpleNamespace(
            submit=submit, withdraw=lambda pause: self.told.append("answered"), close=lambda: self.told.append("closed")
        )
        monkeypatch.setattr("trainers.jobs.Submitter", lambda settings: submitter)


class Started(Exception):
    """The training job has begun, and nothing follows."""


def started(shop: "Shop", monkeypatch: pytest.MonkeyPatch, *examples: Feedback) -> jobs.JobRequest:
    """Begin a rebuild of MNIST, of three images, and some examples; return the job that it asks for."""
    asked = list[jobs.JobRequest]()

    def submit(request: jobs.JobRequest, pause: Any) -> None:
        asked.append(request)
        raise Started

    maker = shop._rebuilder._starter._datasets
    Desk(shop, monkeypatch, submit)
    shop._rebuilder._starter._datasets = maker
    mnist = LabelledImages(np.zeros((3, 784), np.uint8), np.array([1, 2, 3], np.uint8), np.ones(3, np.float32))
    monkeypatch.setattr("trainers.dataset.read_mnist", lambda part: mnist)
    monkeypatch.setattr("trainers.dataset.read_archive", lambda blobs: (list(examples), []))
    with pytest.raises(Started):
        shop.resume()
    return asked[0]


def test_the_seed_that_a_version_is_trained_with_is_that_of_its_dataset_and_lineage(monkeypatch):
    shop = Shop()
    shop.command = shop.command.model_copy(update={"hyperparameters": {"seed": "5"}})

    asked = started(shop, monkeypatch)

    [dataset] = shop.model_log.datasets().values()
    manifest = dataset_store.read_manifest(shop.blobs, dataset.digest)
    assert (asked.hyperparameters["seed"], dataset.seed, manifest["seed"]) == ("5", 5, 5)
    assert judging.made_of(shop._rebuilder._settings, "xgboost", "d1", asked.hyperparameters)["seed"] == "5"


def test_new_people_are_those_who_were_not_in_the_last_dataset_of_players_whatever_was_made_of_mnist_alone_since(monkeypatch):
    shop, new = Shop(), list[int]()
    trained = (f"player-{n}" for n in range(100) if not is_held_back(f"player-{n}", Settings().held_back))
    drawn = [Feedback(n, f"d{n}", player, 1, 3, bytes([n]) * 784) for n, player in zip(range(22), trained, strict=False)]
    for base, n in ((False, 20), (False, 21), (True, 0), (False, 22)):
        shop.command = shop.command.model_copy(update={"command_id": uuid4(), "base": base})
        before = set(shop.model_log.datasets())
        started(shop, monkeypatch, *drawn[:n])
        new += [made.new_people for digest, made in shop.model_log.datasets().items() if digest not in before]
    assert new == [20, 1, 0, 1]


def test_the_dataset_of_a_rebuild_at_work_is_kept_however_old_it_is_also_after_a_restart(monkeypatch):
    """It is an older one when nothing but the code has changed since."""
    shop, tidied = Shop(), list[threading.Thread]()
    with monkeypatch.context() as days_ago:
        days_ago.setattr("trainers.dataset_store.now", lambda: now() - timedelta(days=9))
        started(shop, days_ago)
    shop._rebuilder.failed(shop.command, Started())
    [old] = shop.model_log.datasets().values()
    shop.bus.publish(old.model_copy(update={"digest": "ab" * 32, "at": now()})).result()
    shop.start()

    def tidy() -> None:
        Tidying(Settings(archive_days=1), shop.blobs, shop.model_log, shop.model_log.apply, lambda: None)()

    def stored(*told: Any) -> Any:
        there = store(*told)
        tidied.append(threading.Thread(target=tidy))
        tidied[0].start()
        tidied[0].join(0.3)
        return there

    store = DatasetMaker.stored
    monkeypatch.setattr(DatasetMaker, "stored", stored)
    shop.command = shop.command.model_copy(update={"command_id": uuid4()})
    shop.model_log.apply(shop.command)
    shop.bus.publish(shop.command).result()
    started(shop, monkeypatch)
    tidied[0].join(10)
    assert not dataset_store.is_gone(shop.blobs, old.digest), "it was not yet told which one it is"
    tidy()
    shop.start()
    tidy()
    Teller(shop.bus, shop.model_log, shop.command, "2").step("queued", "goes on where the trainer before was")
    tidy()
    assert not dataset_store.is_gone(shop.blobs, old.digest)

    shop._rebuilder.failed(shop.command, Started())
    tidy()
    assert dataset_store.is_gone(shop.blobs, old.digest)


def cancelling_command(shop: "Shop") -> CancelTraining:
    """A command to cancel the shop's rebuild, which is on the log."""
    command = CancelTraining(command_id=uuid4(), target="xgboost", training_id=shop.command.command_id, by="bob")
    shop.model_log.apply(command)
    return command


def cancel(shop: "Shop") -> None:
    command = cancelling_command(shop)
    shop.model_log.apply(CommandSettled(command_id=command.command_id, target="xgboost", outcome="done", message="taken"))


def test_a_job_that_is_being_created_when_it_is_cancelled_is_there_before_it_is_stopped(monkeypatch):
    shop = Shop()

    def submit(request: Any, pause: Any) -> None:
        cancel(shop)
        pause(0)

    desk = Desk(shop, monkeypatch, submit)

    assert shop.resume() == ("cancelled", "cancelled by bob", "1")
    assert desk.told == ["answered", "closed", "stopped"]


@pytest.mark.parametrize(("asks", "status"), [("", -15), ("signal.signal(signal.SIGTERM, signal.SIG_IGN);", 7)])
def test_a_submitter_that_is_not_wanted_any_more_ends_at_once_unless_it_asks_already(asks: str, status: int) -> None:
    program = f"import signal, sys; {asks} print('here', flush=True); sys.stdin.read(); sys.exit(7)"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"here\n"
    submitter = jobs.Submitter.__new__(jobs.Submitter)
    submitter._process = process  # type: ignore[assignment]

    submitter.withdraw(lambda seconds: process.stdin.close())  # type: ignore[union-attr]

    assert process.returncode == status
    submitter.close()


def test_a_rebuild_in_which_nothing_is_new_tells_how_far_it_has_read(monkeypatch):
    shop = Shop()
    Desk(shop, monkeypatch, lambda request, pause: pytest.fail("it is trained"))
    monkeypatch.setattr("trainers.judging.nothing_new", lambda made, known: "nothing is new")

    assert shop.resume()[:2] == ("refused", "refused: nothing is new")

    told = shop.model_log.training("xgboost")
    assert told
    assert told.offsets[:3] == [0, 9, 0]


def billed(shop: "Shop") -> tuple[str, float | None, Decimal | None]:
    """How a rebuild ended, and what is billed of it."""
    ended = shop.model_log.training("xgboost")
    assert ended
    return ended.step, ended.seconds, ended.cost


def test_a_rebuild_that_ends_without_a_version_tells_what_its_jobs_cost(monkeypatch):
    """It cost nothing in `gamenight costs`, however long it had trained."""
    shop = Shop()
    desk = Desk(shop, monkeypatch, lambda request, pause: cancel(shop) or pause(0))
    shop.resume()
    assert (billed(shop), desk.told[-1]) == (("cancelled", None, None), "stopped"), "it had no job"

    shop = Shop()
    desk = Desk(shop, monkeypatch, lambda request, pause: cancel(shop) or setattr(desk, "job", STOPPED) or pause(0))
    shop.resume()
    assert billed(shop) == ("cancelled", 90.0, Decimal("0.002875"))

    shop = Shop()
    Desk(shop, monkeypatch, None).job = STOPPED
    shop._rebuilder.failed(shop.command, JobFailed("it broke"))
    assert billed(shop) == ("failed", 90.0, Decimal("0.002875"))


def test_a_grid_that_brought_nothing_new_costs_what_its_tries_did(monkeypatch):
    shop = Shop()
    Desk(shop, monkeypatch, lambda request, pause: pytest.fail("it is trained"))
    shop.command = shop.command.model_copy(update={"grid": {"eta": ["0.1", "0.3"]}})
    monkeypatch.setattr(Starter, "begin", refused)
    monkeypatch.setattr(shop._rebuilder._starter._tunings, "billed", lambda name: 1800.04)

    shop.resume()

    assert billed(shop) == ("refused", 1800.0, Decimal("0.057500"))


def test_a_version_that_is_there_tells_its_cost_itself_and_who_does_not_know_a_cost_says_none(monkeypatch):
    made = published("2", 2, arn="arn:2")
    shop = Shop()
    Desk(shop, monkeypatch, None).job = STOPPED
    shop.model_log.apply(made.model_copy(update={"lineage": made.lineage | {"command": str(shop.command.command_id)}}))
    shop._rebuilder.failed(shop.command, ServingFailed("it does not come up"))
    assert billed(shop) == ("failed", None, None)

    def silent(name: str) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    shop = Shop()
    shop._rebuilder._jobs = SimpleNamespace(find=silent)  # type: ignore[assignment]
    shop._rebuilder.failed(shop.command, JobFailed("SageMaker is away"))
    assert billed(shop) == ("failed", None, None)


def refused(*_: object) -> None:
    raise NothingNew("nothing is new", [])


def test_a_job_that_is_stopped_is_waited_for_so_that_it_is_known_what_is_billed():
    statuses, waited = iter(["InProgress", "Stopping", "Stopped"]), list[float]()
    found = jobs.Jobs(Settings(aws_services="local"), lambda seconds: None)
    found._sagemaker = SimpleNamespace(stop_training_job=lambda **_: None)
    found.find = lambda name: jobs.JobProgress(next(statuses))  # type: ignore[method-assign]

    found.stop("a job", waited.append)

    assert len(waited) == 2


def test_other_packages_in_an_image_are_something_new(monkeypatch):
    settings = Settings()
    made = judging.made_of(settings, "xgboost", "d1", {})
    older = {name: told for name, told in made.items() if name != "image_version"}
    assert judging.nothing_new(made, {"1": published("1", lineage=made)})
    assert judging.nothing_new(made, {"1": published("1", lineage=older)}) is None, "nobody knows what it ran with"
    monkeypatch.setattr("trainers.dataset_store.image_version", lambda folder: "other packages")
    assert judging.nothing_new(judging.made_of(settings, "xgboost", "d1", {}), {"1": published("1", lineage=made)}) is None


def test_a_rebuild_that_waits_for_a_forgetting_can_be_cancelled(monkeypatch):
    shop = Shop()
    monkeypatch.setattr("trainers.jobs.POLL_S", 0.05)
    shop._rebuilder._jobs = SimpleNamespace(stop=lambda name, pause: None, find=lambda name: None)  # type: ignore[assignment]
    with ThreadPoolExecutor(1) as other, shop.held([]):
        rebuilt = other.submit(shop.resume)
        threading.Event().wait(0.2)
        cancel(shop)
        assert rebuilt.result(5)[0] == "cancelled"


def test_a_rebuild_that_is_said_to_stop_promotes_nothing_although_it_came_that_far_meanwhile(monkeypatch):
    shop, outcome = Shop(), cancelling.outcome
    shop._rebuilder._jobs = SimpleNamespace(stop=lambda name, pause: STOPPED, find=lambda name: STOPPED)  # type: ignore[assignment]
    shop.model_log.apply(shop.command)
    with ThreadPoolExecutor(1) as other:
        rebuilt = list[Future[tuple[str, str, str]]]()

        def late(*told: Any) -> Any:
            rebuilt.append(other.submit(shop.resume))
            wait(rebuilt, 0.5)
            return outcome(*told)

        monkeypatch.setattr(cancelling, "outcome", late)
        told = shop.steering.settle(cancelling_command(shop))
        assert (told.outcome, told.message) == (
            "done",
            "the rebuild of xgboost will stop where it is, and its training job with it",
        )
        assert rebuilt[0].result(10) == ("cancelled", "cancelled by bob", "1")


def test_a_rebuild_that_begins_to_promote_is_not_said_to_stop(monkeypatch):
    shop, step, promote = Shop(), Teller.step, Promoter.promote
    shop.model_log.apply(shop.command)
    with ThreadPoolExecutor(1) as other:
        told = list[Future[CommandSettled]]()

        def late(self: Teller, name: str, message: str) -> None:
            if name == "endpoint":
                told.append(other.submit(shop.steering.settle, cancelling_command(shop)))
                wait(told, 0.5)
            step(self, name, message)

        def promoted_after(self: Promoter, *given: Any, **named: Any) -> Any:
            wait(told, 10)
            return promote(self, *given, **named)

        monkeypatch.setattr(Teller, "step", late)
        monkeypatch.setattr(Promoter, "promote", promoted_after)
        assert shop.resume() == ("done", "xgboost 2 answers: g", "2")
        settled = told[0].result(10)
    assert (settled.outcome, settled.message) == (
        "refused",
        "its version is being promoted: `gamenight rollback xgboost` takes that back",
    )


def test_a_rebuild_is_cancelled_while_its_version_is_judged(monkeypatch):
    shop, deleted = Shop(), list[str]()
    Desk(shop, monkeypatch, lambda request, pause: None)
    shop.blobs.put("data/manifest.json", json.dumps({"digest": "d1", "offsets": {}, "train": {"feedback": 0}}).encode())
    shop.blobs.put("model.tar.gz", b"a model")
    done = jobs.JobProgress("Completed", train="s3://b/data/train/", artifact="s3://b/model.tar.gz")
    monkeypatch.setattr(Rebuilder, "_trained", lambda self, name, tell: done)

    def judge(self: Any, candidate: Any, champion: Any, tries: int, least: Any, tell: Any, before: Any) -> None:
        cancel(shop)
        try:
            tell(0.5)
        finally:
            deleted.append("the endpoint")

    monkeypatch.setattr("trainers.judging.Judge.judge", judge)

    assert shop.resume()[0] == "cancelled"
    assert deleted == ["the endpoint"]
    assert shop.endpoints.discarded == ["gamenight-xgboost-judge"], "if the trainer had died, it would be there still"


@pytest.mark.parametrize("older", [False, True])
def test_a_job_that_was_begun_with_other_settings_says_itself_what_its_version_was_made_of_and_cost(older, monkeypatch):
    shop, judged, asked = Shop(), list[ModelPublished](), list[jobs.JobRequest]()
    Desk(shop, monkeypatch, lambda request, pause: asked.append(request))
    told = {"digest": "d1", "offsets": {}, "train": {"feedback": 0}, "code": "0.1+old", "images": {"xgboost": "image-old"}}
    shop.blobs.put("data/manifest.json", json.dumps(told).encode())
    shop.blobs.put("model.tar.gz", b"a model")
    done = jobs._progress(
        {
            "TrainingJobStatus": "Completed",
            "InputDataConfig": [
                {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "s3://b/data/train/"}}},
            ],
            "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
            "HyperParameters": {"seed": "7001", "eta": "0.1"},
            "BillableTimeInSeconds": 3600,
            "AlgorithmSpecification": {"TrainingImage": "an older registry/gamenight-xgboost:1"},
            "ResourceConfig": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2},
            "Environment": {} if older else {"CODE_VERSION": "0.2+begun", "IMAGE_VERSION": "image-begun"},
        },
        [],
        1.0,
    )
    monkeypatch.setattr(shop._rebuilder._jobs, "follow", lambda name: iter([done]), raising=False)

    def judge(self: Any, candidate: ModelPublished, *others: Any) -> None:
        judged.append(candidate)
        raise InterruptedError

    monkeypatch.setattr("trainers.judging.Judge.judge", judge)
    with pytest.raises(InterruptedError):
        shop.resume()

    lineage, metrics = judged[0].lineage, judged[0].metrics
    assert {name: lineage[name] for name in ("seed", "image", "image_version", "code", "instance_type")} == {
        "seed": "7001",
        "image": "an older registry/gamenight-xgboost:1",
        "image_version": "image-old" if older else "image-begun",
        "code": "0.1+old" if older else "0.2+begun",
        "instance_type": "ml.c5.xlarge",
    }
    price = read_prices(shop._rebuilder._settings).training("ml.c5.xlarge", 2, 3600.0)
    assert (metrics["training_cost_usd"], metrics["training_instances"]) == (float(price), 2.0)
    assert shop._rebuilder._settings.training_instance != "ml.c5.xlarge"
    image_version = dataset_store.image_version(shop._rebuilder._settings.image_folders()["xgboost"])
    assert asked[0].environment == {"CODE_VERSION": dataset_store.code_version(), "IMAGE_VERSION": image_version}


def told_messages(shop: "Shop") -> list[str]:
    """Every message on models.v1 of the shop's rebuild."""
    records = all_records(shop._rebuilder._bus, ["models.v1"])
    events = [decode(record.topic, record.value) for record in records]
    return [event.message for event in events if isinstance(event, TrainingAdvanced)]


def test_a_rebuild_that_waits_for_the_sdk_tells_now_and_then_that_it_is_still_at_work(monkeypatch):
    shop, clock = Shop(), [100.0]
    monkeypatch.setattr("trainers.rebuild_progress.time.monotonic", lambda: clock[0])

    def submit(request: Any, pause: Any) -> None:
        for _ in range(120):
            clock[0] += 0.1
            pause(0.1)
        cancel(shop)
        pause(0.1)

    Desk(shop, monkeypatch, submit)
    assert shop.resume()[0] == "cancelled"

    told, waits = told_messages(shop), "0 drawings, 0 of them players'; 0 held back"
    assert told[1:-1] == [waits, f"{waits}, {STILL} 5 s", f"{waits}, {STILL} 10 s"]
    clock[0] += 100
    with pytest.raises(Cancelled):
        shop._rebuilder._go_on(0)
    assert told_messages(shop) == told, "a rebuild that has ended is not at work"


def test_a_rebuild_that_is_still_at_it_tells_neither_a_cost_nor_a_time_of_before(monkeypatch):
    shop, clock = Shop(), [100.0]
    monkeypatch.setattr("trainers.rebuild_progress.time.monotonic", lambda: clock[0])
    teller = Teller(shop._rebuilder._bus, shop.model_log, shop.command, "2")

    teller.onward("training", 0.5, "Training, round 20/40, about 20 s left, $0.0003 so far", ["a line"])
    clock[0] += 6
    teller.still()

    assert told_messages(shop)[1:] == [f"Training, round 20/40, {STILL} 6 s"]


def test_a_rebuild_whose_version_comes_onto_its_endpoint_tells_that_it_is_still_at_work(monkeypatch):
    shop, clock, serve = Shop(), [100.0], MemoryServing.serve
    monkeypatch.setattr("trainers.rebuild_progress.time.monotonic", lambda: clock[0])

    def served(*told: Any, **only: bool) -> None:
        clock[0] += 6
        serve(shop.endpoints, *told, **only)

    monkeypatch.setattr(shop.endpoints, "serve", served)
    assert shop.resume()[0] == "done"

    starts = "the endpoint takes the new version; the old one answers meanwhile"
    assert told_messages(shop)[1:-1] == [starts, f"{starts}, {STILL} 6 s"]


@pytest.mark.parametrize(("wanted", "can", "used"), [(1, 4, 1), (2, 4, 2), (8, 4, 4), (8, 1, 1)])
def test_a_job_runs_on_as_many_instances_as_are_wanted_and_its_image_can_use(wanted: int, can: int, used: int):
    shop = Shop()
    starter = shop._rebuilder._starter
    starter._settings = Settings(training_instances=wanted)
    entry = replace(ROSTER["xgboost"], instances=can)
    starter._model_log = SimpleNamespace(roster={"xgboost": entry})  # type: ignore[assignment]
    plan = SimpleNamespace(there=SimpleNamespace(train="t", base="b"), hyperparameters={}, parent="")

    assert starter._job(shop.command, "job", plan).instances == used  # type: ignore[arg-type]


def test_an_image_says_on_how_many_instances_it_can_train():
    told = {"title": "Mine", "about": "It guesses."}

    assert [facts("mine", json.dumps(told | more).encode()).instances for more in ({}, {"instances": 4})] == [1, 4]
    with pytest.raises(RosterError, match="instances"):
        facts("mine", json.dumps(told | {"instances": 0}).encode())
