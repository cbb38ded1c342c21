"""Collects all cases, and runs them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.hostile.addresses import addresses
from tests.hostile.client import Case, Doors
from tests.hostile.heads import heads, slow
from tests.hostile.requests import bodies, methods, predictions, tokens
from tests.hostile.services import services
from tests.hostile.sockets import mistakes, sockets


def cases() -> list[Case]:
    """Return all cases, the longest first."""
    parts = (slow, mistakes, methods, tokens, bodies, predictions, heads, sockets, addresses, services)
    every = [one for part in parts for one in part()]
    names = [one.name for one in every]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return sorted(every, key=lambda one: not patient(one))


def patient(one: Case) -> bool:
    """Say whether a case waits for seconds until a time limit ends it."""
    return any(word in one.name for word in ("waits", "does not join", "a header a second", "nobody reads"))


def battery(doors: Doors, told: Callable[[Case, str], None], turn: int = 0, at_once: int = 4) -> None:
    """Run all cases.

    Args:
        doors: The addresses of the game and of the services beside it.
        told: Called, from several threads, with the outcome of each case.
        turn: The number of this run: each run uses other addresses.
        at_once: How many cases run at once, besides those that wait.
    """
    every = cases()

    def run(number: int, one: Case) -> None:
        try:
            outcome = one.act(doors, f"127.{8 + turn}.{number // 250}.{number % 250 + 1}")
        except Exception as failure:  # noqa: BLE001 - any failure is reported as this case's outcome
            outcome = f"{type(failure).__name__}: {failure}"
        told(one, outcome)

    with ThreadPoolExecutor(sum(map(patient, every))) as waiting, ThreadPoolExecutor(at_once) as others:
        futures = [(waiting if patient(one) else others).submit(run, number, one) for number, one in enumerate(every)]
        for future in futures:
            future.result()
