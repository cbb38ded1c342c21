"""A new version must show that it works, and one that answered long before needs to no more."""

from datetime import timedelta

from streams.circuit_breaker import FAILURES
from streams.trial import FIRST_CALLS, NEW_FOR, Trial
from tests.histories import BEGAN


def test_a_new_version_that_fails_so_often_in_a_row_is_taken_out():
    trial = Trial(BEGAN)
    failed = [trial.failed("2", BEGAN, silent=False) for _ in range(FAILURES - 1)]
    trial.answered("2")
    failed += [trial.failed("2", BEGAN, silent=False) for _ in range(FAILURES)]

    assert failed == [False] * (2 * FAILURES - 2) + [True]


def test_one_silence_is_enough():
    assert Trial(BEGAN).failed("2", BEGAN, silent=True)


def test_a_version_that_has_answered_so_often_works():
    trial = Trial(BEGAN)
    for _ in range(FIRST_CALLS - 1):
        trial.answered("2")
    assert trial.failed("2", BEGAN, silent=True)
    trial.answered("2")

    assert not trial.failed("2", BEGAN, silent=True)


def test_a_restart_is_no_trial_of_a_version_of_long_before():
    assert not Trial(BEGAN).failed("2", BEGAN - NEW_FOR, silent=True)
    assert Trial(BEGAN).failed("2", BEGAN - NEW_FOR + timedelta(seconds=1), silent=True)


def test_the_next_version_begins_anew():
    trial = Trial(BEGAN)
    for _ in range(FIRST_CALLS):
        trial.answered("2")

    assert trial.failed("3", BEGAN, silent=True)
    assert [trial.failed("2", BEGAN, silent=False) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
