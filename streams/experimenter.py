"""Lets the experiments learn, in a thread of their own, and publishes what they have learned (way 2, LEARN).

The process that publishes the snapshots of the online model does it, unless that model's learning is frozen. It goes on from
the newest state of each experiment on models.v1, and reads lessons.v1 from there by a reader of its own, so that nothing ever
waits for an experiment. After each lesson the thread rests as long as that took, and in a rush nine times as long. What goes
wrong is logged, and begun again: it ends no process.

An experiment cannot unlearn. So when the log says that lessons are missing, since a player is forgotten, or count no more,
since an operator has restricted a player, those that have learned from the player begin anew (`streams.unlearning`). Strangers
can bring that about, so nobody sees it: what was published before goes on to answer until the new one has read as far, and they
begin anew once in `ANEW_S` at most.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import takewhile
from typing import Any, Final

import structlog

from contracts.catalog import Catalog
from contracts.events import (
    ExperimentLearned,
    LessonsForgotten,
    LessonsRestricted,
    LessonTaught,
    ModelPromoted,
    PlayersForgotten,
    generation,
    now,
)
from contracts.ports import Bus, Partition, Record
from contracts.records import read
from producers.proven import ProvenModels
from producers.whole_log import all_records
from streams.experiments import EXPERIMENTS, Apprentice, Experiment, package, promoted
from streams.online_base import Base, BaseRows, load_rows
from streams.online_model import SHARED, Answering, InForce
from streams.unlearning import Unlearning

_log = structlog.get_logger()
STAGE: Final = "experiments"
_MODELS: Final = ExperimentLearned.topic
_LESSONS: Final = LessonTaught.topic
_POLL_S: Final = 0.25
"""How long to wait for lessons; and, while none of the experiments answers, for more of them: each reading has its price."""
_ACKNOWLEDGED_S: Final = 10.0
_AGAIN_S: Final = 5.0
"""How long after a failure all is begun again."""
_GATHER_S: Final = 1.0
"""How long after a player is forgotten: more such events may follow."""
ANEW_S: Final = 30.0
"""How long from one time that experiments began anew to the next, at least."""
_AT_ONCE: Final = 16
"""How many lessons each experiment learns in turn."""
_RUSH_RESTS: Final = 9
"""How many times as long as a lesson took to rest in a rush."""
SETTLED_S: Final = 3.0
"""How long a process has other things to do at its start."""
SAID_S: Final = 0.5
"""How long from one state of an experiment to the next, at least; one that is promoted says each at once."""


class Experimenter:
    """The experiments as they are now, and what answers as the online model."""

    def __init__(
        self,
        base: Base,
        series: str,
        own: Callable[[], InForce],
        publishes: Callable[[], bool],
        experiments: Sequence[Experiment] = EXPERIMENTS,
        rows: Callable[[], BaseRows] = load_rows,
        settled_s: float = SETTLED_S,
        rest: Callable[[float], object] = time.sleep,
        hurried: Callable[[], bool] = lambda: False,
        proven: Callable[[], ProvenModels] = lambda: ProvenModels(None),
    ) -> None:
        """Build; nothing is read or imported before `follow`.

        Args:
            base: The base of the online model.
            series: The series of lessons that count.
            own: Returns the online model's own sums as they answer now.
            publishes: Returns whether this process publishes the online model now, and so lets the experiments learn.
            experiments: The experiments that there are.
            rows: Loads the drawings that they begin with.
            settled_s: How long after the start they begin.
            rest: Waits so many seconds.
            hurried: Returns whether so much comes that the rest of the process needs the processor.
            proven: Returns what says which records of models.v1 count, as it is read from its start.
        """
        self._base, self._series, self._own, self._publishes, self._hurried = base, series, own, publishes, hurried
        self._experiments = {one.name: one for one in experiments}
        self._rows = cache(rows)
        self._all_proven = proven
        self._proven = proven()
        self._settled_s, self._rest = settled_s, rest
        self._catalog = Catalog()
        self._ended: dict[str, ExperimentLearned] = {}
        """The states on the log of what is no experiment any more."""
        self._promoted: ExperimentLearned | None = None
        """The experiment that answers as the online model; None: none does, or the package river is not there yet."""
        self._river: Any = None
        self._here = False
        """Whether the experiments learn in this process."""
        self._anew = False
        """Whether they begin with nothing, whatever models.v1 says."""
        self._learning: dict[str, Apprentice] = {}
        self._gone = False
        """Whether this process has seen that a player is forgotten, or was restricted."""
        self._unlearning = Unlearning(series)
        self._until: dict[str, dict[int, int]] = {}
        """By the name of an experiment that began anew, up to where it must have read, by partition, before it is published."""
        self._anew_at = -math.inf
        """When experiments began anew last since a player is forgotten, on the monotonic clock."""
        self._since: Mapping[Partition, int] = {}
        """Where the reading of lessons began."""
        self._said: dict[str, tuple[tuple[str, int], float]] = {}
        """What was published last of each experiment, by its version and how many notices it had passed, and when."""
        self._settled_at = 0.0
        """When the start is over, on the monotonic clock."""
        self._stopping = threading.Event()

    def in_force(self) -> Answering:
        """Return what answers as the online model: the promoted experiment, or the model's own sums."""
        own, state = self._own(), self._promoted
        if state is None:
            return own
        experiment = self._experiments[generation(state.version)]
        return promoted(state, experiment, self._package(), own.newcomers, frozen=own.frozen)

    async def follow(self, connect: Callable[[], Bus]) -> None:
        """Follow models.v1, and let the experiments learn while that is up to this process, for ever."""
        try:
            await asyncio.to_thread(self._run, connect)
        finally:
            self._stopping.set()

    def _run(self, connect: Callable[[], Bus]) -> None:
        self._settled_at = time.monotonic() + self._settled_s
        while not self._stopping.is_set():
            try:
                bus = connect()
                try:
                    self._work(bus)
                finally:
                    bus.close()
            except PlayerGone:
                _log.info("a player's lessons count no more: experiments that have learned them begin anew")
                self._settled_at = max(self._settled_at, self._anew_at + ANEW_S)
                self._stopping.wait(_GATHER_S)
            except Exception:  # noqa: BLE001 no experiment ends a process
                _log.exception("experiments failed, they begin again", after_s=_AGAIN_S)
                self._stopping.wait(_AGAIN_S)

    def _work(self, bus: Bus) -> None:
        """Follow models.v1 from its start, and lessons.v1 while the experiments learn here."""
        self._catalog, self._here, self._learning = Catalog(), False, {}
        self._proven = self._all_proven()
        self._proven.begin(bus)
        tail = bus.follow([_MODELS], "start")
        try:
            while not self._stopping.is_set():
                records = tail.poll(_POLL_S)
                self._hear([record for record in records if record.topic == _MODELS])
                self._learn(bus, [record for record in records if record.topic == _LESSONS])
                publishes = self._publishes() and not self._own().frozen
                if publishes is self._here or not tail.caught_up() or time.monotonic() < self._settled_at:
                    if self._here and self._promoted is None:
                        self._stopping.wait(_POLL_S)
                    continue
                positions = {place: offset for place, offset in tail.positions().items() if place[0] == _MODELS}
                tail.close()
                topics = self._begin(bus) if publishes else self._leave()
                tail = bus.follow(topics, {**positions, **self._since})
        finally:
            tail.close()

    def _hear(self, records: Sequence[Record]) -> None:
        """Keep the newest state of each experiment, and which of them answers."""
        kinds = ExperimentLearned | PlayersForgotten | ModelPromoted
        heard = [(record, event) for record in records if isinstance(event := read(record, STAGE), kinds)]
        counting, unproven = self._proven.newest(heard)
        if self._proven.restores:  # what others have hidden on the log is published once more
            read_well = {record.offset for record, _ in heard}
            hiding = [record for record, _ in unproven] + [record for record in records if record.offset not in read_well]
            for record in hiding:
                self._said.pop((record.key or b"").decode(errors="replace").rpartition(f"{SHARED}/experiment/")[2], None)
        for _, event in counting:
            if isinstance(event, ExperimentLearned) and generation(event.version) not in self._experiments:
                self._ended[event.slot] = event
            elif not isinstance(event, ModelPromoted) or event.model == SHARED:
                self._catalog = self._catalog.apply(event)
        state = self._catalog.promoted(SHARED)
        settled = self._river is not None or time.monotonic() >= self._settled_at  # importing river takes two seconds
        if settled and state is not None and state.reader == self._base.reader:
            self._package()
            self._promoted = state
        else:
            self._promoted = None

    def _package(self) -> Any:
        if self._river is None:
            self._river = package()
        return self._river

    # --- learning

    def _begin(self, bus: Bus) -> Sequence[str]:
        """Take the experiments up from their newest states; return the topics to read."""
        river, rows = self._package(), self._rows()
        self._unlearning = Unlearning(self._series)
        if self._gone or self._catalog.forgotten:
            self._unlearning.read(partial(self._lessons, bus), STAGE)
        there = {} if self._anew else self._catalog.experiments.get(SHARED, {})
        known = {name: state for name, state in there.items() if not self._unlearning.is_about(state.offsets, state.numbers)}
        notice = self._unlearning.read_to
        self._until = {
            name: {partition: max(offset, notice.get(partition, -1)) for partition, offset in enumerate(state.offsets)}
            for name, state in there.items()
            if name not in known
        }
        self._anew_at = time.monotonic() if self._until else self._anew_at
        self._here, self._anew, self._learning = True, False, {}
        for name, experiment in self._experiments.items():
            try:
                one = Apprentice(experiment, river, self._base, rows, self._series, known.get(name))
                for place in range(len(rows.labels) if one.fresh else 0):
                    self._resting(partial(one.begin, place))
            except Exception:  # noqa: BLE001 a bad experiment stops no other
                _log.exception("experiment cannot begin", experiment=name)
            else:
                self._learning[name] = one
        for gone in self._ended.values():
            if not gone.ended:
                bus.publish(gone.model_copy(update={"ended": True, "at": now()})).result(_ACKNOWLEDGED_S)
        read_by = [one.offsets for one in self._learning.values()]
        partitions = set[int]().union(*read_by)
        self._since = {
            (_LESSONS, partition): 1 + min(offsets.get(partition, -1) for offsets in read_by) for partition in partitions
        }
        self._said = {name: ((known[name].version, 0), 0.0) for name, one in self._learning.items() if not one.fresh}
        _log.info("experiments learn here", taught={name: one.taught for name, one in self._learning.items()})
        return (_MODELS, _LESSONS)

    def _lessons(self, bus: Bus) -> Iterator[Record]:
        """Read the log of lessons, until the process ends."""
        yield from takewhile(lambda record: not self._stopping.is_set(), all_records(bus, [_LESSONS]))

    def _leave(self) -> Sequence[str]:
        """Stop learning: another process goes on. Return the topics to read."""
        self._here, self._learning, self._since = False, {}, {}
        _log.info("experiments learn elsewhere")
        return (_MODELS,)

    def _learn(self, bus: Bus, records: Sequence[Record]) -> None:
        """Let each experiment learn the lessons that came, the promoted one first, and publish what is due."""
        for record in records:
            if record.offset < self._since.get((_LESSONS, record.partition), 0):
                self._anew = True
                raise AnotherLog(f"lessons.v1 of partition {record.partition} ends before what the experiments have read")
            notice = self._unlearning.apply(record, STAGE)
            if notice is not None and any(notice.is_about(one.offsets, one.numbers) for one in self._learning.values()):
                self._gone = True
                raise PlayerGone
        promoted_now = "" if self._promoted is None else generation(self._promoted.version)
        names = sorted(self._learning, key=lambda name: name != promoted_now)
        lessons = [
            (event, record)
            for record in records
            if isinstance(event := read(record, STAGE), LessonTaught | LessonsForgotten | LessonsRestricted)
            and not (isinstance(event, LessonTaught) and self._unlearning.is_missing(event.number, record.partition))
        ]
        for first in range(0, max(1, len(lessons)), _AT_ONCE):
            for name in names:
                if (one := self._learning.get(name)) is None or self._stopping.is_set():
                    continue
                try:
                    for lesson, record in lessons[first : first + _AT_ONCE]:
                        self._apply(one, lesson, record)
                    self._say(bus, name, one, at_once=name == promoted_now)
                except ValueError:  # its weights are no numbers any more
                    _log.exception("experiment failed, it learns no more", experiment=name)
                    del self._learning[name]

    def _apply(self, one: Apprentice, lesson: LessonTaught | LessonsForgotten | LessonsRestricted, record: Record) -> None:
        if not isinstance(lesson, LessonTaught):
            one.pass_over(lesson, record.partition, record.offset)
            return
        try:
            held = self._unlearning.is_held(lesson)
            self._resting(partial(one.apply, lesson, record.partition, record.offset, held=held))
        except Exception as wrong:  # noqa: BLE001 one bad lesson stops nothing; `streams.lessons` has rejected it
            _log.debug("lesson not learned", experiment=one.experiment.name, error=str(wrong))

    def _resting(self, step: Callable[[], object]) -> None:
        """Do a step, and rest as long as it took: what else this process does has half of the time at least.

        In a rush, while none of the experiments answers, that has nine tenths: the lessons are learned later.
        """
        began = time.perf_counter()
        step()
        times = _RUSH_RESTS if self._promoted is None and self._hurried() else 1
        self._rest(min(times * (time.perf_counter() - began), _POLL_S))

    def _say(self, bus: Bus, name: str, one: Apprentice, *, at_once: bool) -> None:
        """Publish an experiment's state, if it is another and that is due."""
        before, at = self._said.get(name, (("", 0), 0.0))
        if not at_once and time.monotonic() - at < SAID_S:
            return
        if any(one.offsets.get(partition, -1) < offset for partition, offset in self._until.get(name, {}).items()):
            return
        if (one.version, one.passed) != before:
            bus.publish(one.state(now())).result(_ACKNOWLEDGED_S)
            self._said[name] = (one.version, one.passed), time.monotonic()


class AnotherLog(RuntimeError):
    """The lessons are not those that the experiments have read: all is begun again."""


class PlayerGone(Exception):
    """Lessons count no more that an experiment may have learned: each is taken up from a state without them."""
