"""A breaker opens after failures in a row, lets a probe through from time to time, and closes with the first that succeeds."""

import pytest

from streams.circuit_breaker import FAILURES, FIRST_S, LONGEST_S, CircuitBreaker


def test_it_opens_after_failures_in_a_row_and_a_success_between_starts_the_row_anew():
    breaker = CircuitBreaker()
    opened = [breaker.failed(0, "down") for _ in range(FAILURES - 1)]
    breaker.succeeded(0)
    opened += [breaker.failed(0, "down") for _ in range(FAILURES)]

    assert opened == [False] * (2 * FAILURES - 2) + [True]
    assert breaker.why == "down"


def test_one_silence_opens_it():
    breaker = CircuitBreaker()

    assert breaker.failed(0, "nothing", silent=True)
    assert breaker.open


def test_probes_come_at_growing_distances_up_to_a_longest():
    breaker, now, pauses = CircuitBreaker(), 0.0, []
    breaker.failed(now, "nothing", silent=True)
    for _ in range(6):
        pauses.append(breaker.until_probe(now))
        now += pauses[-1]
        assert breaker.until_probe(now) == 0
        assert not breaker.failed(now, "still nothing", silent=True), "it is open already"

    assert pauses == [FIRST_S, 0.5, 1.0, LONGEST_S, LONGEST_S, LONGEST_S]


def test_the_first_success_closes_it_and_says_how_long_it_was_open():
    breaker = CircuitBreaker()
    breaker.failed(10, "nothing", silent=True)

    assert breaker.succeeded(13) == pytest.approx(3)
    assert (breaker.open, breaker.why) == (False, "")
    assert breaker.succeeded(14) is None
