"""Lets labels, time and drift begin rebuilds on a real game: ``python -m tests.bench.training triggers``.

Of each it tells what was seen; it ends with an error where a rebuild comes too early, twice, beside another or not at all.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.events import DriftDetected, DriftHandled, RetrainModel
from contracts.rebuilds import Rebuild
from tests.bench.rebuilding_game import MODEL, RebuildingGame, rebuilding_game, until

LABELS: Final = 60
EVERY_S: Final = 40.0
COOLDOWN_S: Final = 20.0
QUIET_S: Final = 20.0
"""How long it is looked at a game in which nothing is new."""


def commands(game: RebuildingGame, trigger: str) -> list[RetrainModel]:
    """Return the rebuilds that were begun by a trigger."""
    return [one for one in list(game.heard.events) if isinstance(one, RetrainModel) and one.trigger == trigger]


def next_of(game: RebuildingGame, trigger: str, before: int) -> RetrainModel:
    """Wait until a trigger has begun one more rebuild than before."""
    return until(f"a rebuild by {trigger}", lambda: commands(game, trigger)[before:])[0]


def ended_at(game: RebuildingGame, command: UUID) -> datetime:
    """Wait for the end of a rebuild; return when it was."""
    return game.end(command).at


def seen(game: RebuildingGame, command: RetrainModel) -> str:
    """Return what became of a rebuild."""
    ended = game.end(command.command_id)
    return f"{command.reason}; {ended.step} after {(ended.at - command.at).total_seconds():.0f} s"


def one_at_a_time(game: RebuildingGame) -> str:
    """Check that no rebuild has begun before the one before it had ended."""
    spans = []
    for one in game.heard.model_log.rebuilds():
        steps = game.heard.steps(one.command_id)
        spans.append((steps[0].at, steps[-1].at))
    spans.sort()
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans)), spans
    return f"{len(spans)} rebuilds, each begun after the one before had ended"


def by_labels_and_time() -> Iterator[str]:
    """Labels, then by hand meanwhile, then labels again in the cooldown, then time, then nothing new."""
    with rebuilding_game(
        retrain_after_labels=LABELS, retrain_every_hours=EVERY_S / 3600, retrain_cooldown_s=COOLDOWN_S
    ) as game:
        by_count = next_of(game, "count", 0)
        until("it is begun", lambda: game.heard.steps(by_count.command_id))
        by_hand = game.retrain(hyperparameters={"seed": "5"})
        waits: list[Rebuild] = until(
            "the queue", lambda: [one for one in game.heard.model_log.rebuilds() if one.command_id == by_hand]
        )
        assert (waits[0].state, waits[0].position) == ("queued", 1), waits
        yield f"count: {seen(game, by_count)}; one that is asked for by hand meanwhile is number 1 in the queue"
        ended = ended_at(game, by_hand)
        game.play(4, LABELS + 20)
        known = len(commands(game, "count"))
        again = next_of(game, "count", known) if known < 2 else commands(game, "count")[-1]
        rested = (again.at - ended).total_seconds()
        yield f"count again: {seen(game, again)}; {rested:.0f} s after the end of the last, cooldown {COOLDOWN_S:.0f} s"
        assert rested >= COOLDOWN_S
        ended, times = ended_at(game, again.command_id), len(commands(game, "time"))
        game.play(1, 5)
        by_time = next_of(game, "time", times)
        waited = (by_time.at - ended).total_seconds()
        yield f"time: {seen(game, by_time)}; {waited:.0f} s after the end of the last, every {EVERY_S:.0f} s"
        assert waited >= EVERY_S
        last, n = ended_at(game, by_time.command_id), len(game.heard.model_log.rebuilds())
        until("quiet", lambda: datetime.now(last.tzinfo) - last > timedelta(seconds=EVERY_S + QUIET_S))
        assert len(game.heard.model_log.rebuilds()) == n
        yield f"nothing new: none in the {EVERY_S + QUIET_S:.0f} s after the last"
        yield one_at_a_time(game)


def by_drift() -> Iterator[str]:
    """A worse version answers, so the model errs more often."""
    with rebuilding_game() as game:
        assert game.end(game.retrain()).step == "done"
        policy = game.command("drift-policy", actions={"batch-errors": "retrain"}, cooldown_s=600, least_hands=1)
        until("the policy", lambda: game.outcome(policy) == "done")
        before = len(commands(game, "drift"))
        playing = threading.Thread(target=game.play, args=(12, 1800), daemon=True)
        playing.start()
        n = game.labelled()
        until("400 labels", lambda: game.labelled() - n >= 400)
        game.back_to("1")
        worse, at = time.monotonic(), game.labelled()
        command = next_of(game, "drift", before)
        labels, took = game.labelled() - at, time.monotonic() - worse
        [detected] = [one for one in list(game.heard.events) if isinstance(one, DriftDetected) and one.subject == MODEL][-1:]
        yield (
            f"drift: version 1 answers, {took:.0f} s and {labels} labels later: {detected.subject} {detected.kind},"
            f" {detected.before:.0%} wrong before, {detected.after:.0%} now; {seen(game, command)}"
        )
        playing.join()
        handled = [one for one in list(game.heard.events) if isinstance(one, DriftHandled)]
        told = [f"{one.subject}: {one.action} {one.outcome}" for one in handled]
        yield f"drift was handled {len(handled)} times ({', '.join(told)}); rebuilds by drift: {len(commands(game, 'drift'))}"
        yield one_at_a_time(game)


def triggers() -> Iterator[str]:
    """What begins rebuilds by itself: labels, time, drift."""
    yield from by_labels_and_time()
    yield from by_drift()
