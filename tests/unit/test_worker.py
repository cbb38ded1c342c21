"""What a process of the stream layer refuses before it connects, and the name that it joins by."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from api.folds import implausible
from contracts.settings import Settings
from deploy import audit
from streams.app import ROLES
from streams.delivery import Delivery
from streams.worker import Worker, member_name
from tests.histories import Quiet


def test_a_fold_of_topics_that_cannot_meet_on_one_worker_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"quiet.*drawings\.v1, metrics\.v1"):
        Worker(Settings(home=tmp_path), "test").fold(Quiet("drawings.v1", "metrics.v1"))


def test_what_a_taker_reads_no_fold_of_the_same_process_may(tmp_path: Path):
    class Nobody:
        async def take(self, gathered: Sequence[Delivery]) -> None:
            """Take nothing."""

    shared = Worker(Settings(home=tmp_path), "test")
    shared.hand(["drawings.v1"], Nobody())
    shared.fold(Quiet("examples.v1"))

    with pytest.raises(ValueError, match=r"drawings\.v1 to two"):
        shared.fold(Quiet("drawings.v1"))
    with pytest.raises(ValueError, match=r"examples\.v1 to two"):
        shared.hand(["examples.v1"], Nobody())


def test_processes_of_a_role_have_names_of_their_own_and_a_dead_ones_is_given_again(tmp_path: Path):
    first, second = member_name(tmp_path, "router"), member_name(tmp_path, "router")
    first.lock.close()  # as the death of a process does

    third = member_name(tmp_path, "router")

    assert first.name == third.name != second.name
    second.lock.close()
    third.lock.close()


def test_the_folds_of_the_product_are_those_that_the_api_believes_and_the_audit_makes_anew(tmp_path: Path):
    """A fold that the API does not know is taken for somebody's invention when it says how far it is."""
    settings = Settings(home=tmp_path)
    groups = {runner.fold.name: f"gamenight-{role}" for role, made in ROLES.items() for runner in made(settings)._folds}

    assert set(groups) == set(implausible.FOLDS)
    assert groups.items() >= audit.FOLDS.items()
