"""How far runs are, as lines of text that fit a terminal: what is known of them, the time left, the lines."""

import dataclasses
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from perturbax.cli.lines import broken
from perturbax.experiment.watch import Watcher

BAR = 24  # most columns of a bar; fewer than LEAST are not worth drawing
LEAST = 6


@dataclasses.dataclass
class Going:
    """Runs that go on now, those that advance in one program together.

    Attributes:
        name: what reports call them.
        seeds: their seeds; empty for work that has none.
        first: the number of the first of them among all runs, counted from 1.
        phase: compiling, training or judging.
        since: when they began, in seconds of the clock.
        done: steps made.
        total: steps in all; 0 while that is not known.
        loss: the latest validation loss; NaN for none.
        start: (steps made, time) when training began or went on.
    """

    name: str
    seeds: tuple[int, ...]
    first: int
    since: float
    phase: str = "compiling"
    done: int = 0
    total: int = 0
    loss: float = math.nan
    start: tuple[int, float] | None = None

    @property
    def count(self) -> int:
        """How many runs these are."""
        return max(1, len(self.seeds))

    @property
    def share(self) -> float:
        """The part of the steps that is done, from 0 to 1."""
        return self.done / self.total if self.total else 0.0

    def seconds_left(self, now: float) -> float:
        """Return the seconds that the steps left take at the speed so far; NaN before the first chunk."""
        if self.start is None or self.done <= self.start[0]:
            return math.nan
        speed = (self.done - self.start[0]) / max(now - self.start[1], 1e-9)
        return (self.total - self.done) / speed

    def seconds_in_all(self, now: float) -> float:
        """Return the seconds that these runs take from beginning to end; NaN before the first chunk."""
        return now - self.since + self.seconds_left(now)


class Board(Watcher):
    """What is known of runs that go on, one after the other or side by side. Any thread may tell it.

    There is one run, until `expect` says otherwise.

    Arguments:
        clock: the time in seconds.
        word: what the number is that is shown; None shows none.
        on_end: called when a run has ended, with its place (3 of 18; empty for a single run), the name of
            the runs, and the result.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        word: str = "valid",
        on_end: Callable[[str, str, Any], None] | None = None,
    ):
        self.total, self.workers, self.word = 1, 1, word
        self.begun = self.finished = 0
        self.note = "starting"  # what is done before the first run
        self.going: dict[tuple[str, tuple[int, ...]], Going] = {}
        self._clock, self._on_end, self._lock = clock, on_end, threading.RLock()
        self._noted = clock()
        self._seconds: list[float] = []  # that a finished run took, one number for each

    def expect(self, total: int, finished: int, workers: int = 1) -> None:
        """Say how many runs there are in all, how many were finished before, and how many go on at once.

        Arguments:
            total: runs in all.
            finished: those that were finished before.
            workers: processes that share the others.
        """
        with self._lock:
            self.total, self.workers = total, workers
            self.begun = self.finished = finished

    def compiling(self, name: str, seeds: Sequence[int]) -> None:
        """Runs begin.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        with self._lock:
            for key in self._overlapping(name, seeds):
                if key[1] != tuple(seeds):  # their process has died: they go on one by one, say
                    self.begun -= self.going.pop(key).count
            self._of(name, seeds)

    def advanced(
        self, name: str, seeds: Sequence[int], done: int, total: int, loss: float, valid_loss: float
    ) -> None:
        """A chunk was made.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
            done: training steps made so far.
            total: training steps in all.
            loss: mean training loss of the chunk.
            valid_loss: validation loss after it; NaN before the first.
        """
        with self._lock:
            one = self._of(name, seeds)
            one.phase, one.done, one.total = "training", done, total
            if one.start is None:
                one.start = done, self._clock()
            if not math.isnan(valid_loss):
                one.loss = valid_loss

    def warned(self, name: str, seed: int, said: str) -> None:
        """Print what there is to say of a run that goes on, on standard error.

        Arguments:
            name: what reports call the run.
            seed: its seed.
            said: what is said, behind the name of the run.
        """
        print(broken(f"perturbax: {name} seed {seed} {said}"), file=sys.stderr)

    def judging(self, name: str, seeds: Sequence[int]) -> None:
        """Runs are judged on test data.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        with self._lock:
            self._of(name, seeds).phase = "judging"

    def ended(self, name: str, result: Any) -> None:
        """A run has ended.

        Arguments:
            name: what reports call the run.
            result: its result.
        """
        seed = result.experiment.seed
        with self._lock:
            key = next((key for key in self.going if key[0] == name and seed in key[1]), None)
            if key is not None:
                one = self.going[key]
                self._seconds.append((self._clock() - one.since) / one.count)
                self.finished += 1
                if seed == key[1][-1]:
                    del self.going[key]
                    self.note = "going on" if self.finished < self.total else "all runs have ended"
                    self._noted = self._clock()
            place = f"{self.finished} of {self.total}" if self.total > 1 else ""
        if self._on_end:  # without the lock: what is printed waits for lines that are drawn, and these for it
            self._on_end(place, name, result)

    def lost(self, name: str, seeds: Sequence[int]) -> None:
        """Runs have ended without a result: the process that trained them did.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        with self._lock:
            for key in self._overlapping(name, seeds):
                del self.going[key]
            self.finished += len(seeds)

    def seconds_left(self) -> float:
        """Return the seconds until all runs are finished, as it looks now; NaN while nothing is known.

        Runs that have not begun take as long as those that are finished did on average, or else as those that
        go on seem to; they are shared among the workers.
        """
        with self._lock:
            now, going = self._clock(), list(self.going.values())
            known = self._seconds or [each for one in going if (each := _each(one, now)) == each]
            mean = sum(known) / len(known) if known else math.nan
            left = []
            for one in going:
                own = one.seconds_left(now)
                if math.isnan(own):
                    own = mean * one.count - (now - one.since)
                    own = own if math.isnan(own) else max(0.0, own)
                left.append(own)
            waiting = self.total - self.finished - sum(one.count for one in going)
            work = sum(left) + (mean * waiting if waiting > 0 else 0.0)
            at_once = min(self.workers, max(1, len(going)))  # a cluster may have fewer than were asked for
            return max([work / at_once, *left])

    def lines(self, width: int) -> list[str]:
        """Return what to show in that many columns: a line for all runs that go on, and one for the whole."""
        with self._lock:
            now, going = self._clock(), list(self.going.values())
            if not going:
                return [_cut(f"{self.note} {clock_time(now - self._noted)}", width)]
            left = self.seconds_left()
            time_left = "" if math.isnan(left) else f"{clock_time(left)} left"
            if len(going) == 1 and self.workers == 1:
                return [self._line(going[0], width, now, time_left)]
            own = [self._line(one, width, now, "") for one in going]
            counted = f"{self.finished} of {self.total} runs finished"
            share = (self.finished + sum(one.count * one.share for one in going)) / max(1, self.total)
            return [*own, _fitted([counted], share, [time_left], width)]

    def _line(self, one: Going, width: int, now: float, time_left: str) -> str:
        """Return the line of some runs that go on."""
        named = one.name
        if one.seeds:
            named += f" seed {one.seeds[0]}" if len(one.seeds) == 1 else f" seeds {_range(one.seeds)}"
        head = [named]
        if self.total > 1:
            last = one.first + one.count - 1
            runs = f"run {one.first}" if one.count == 1 else f"runs {one.first}-{last}"
            head.insert(0, f"{runs} of {self.total}")
        if one.phase == "compiling" or not one.total:
            return _fitted(head, None, [f"compiling {clock_time(now - one.since)}", time_left], width)
        if one.phase == "judging":
            return _fitted(head, None, ["judging on test data", time_left], width)
        loss = f"{self.word} {short(one.loss)}" if not math.isnan(one.loss) else ""
        return _fitted(head, one.share, [loss, time_left], width)

    def _overlapping(self, name: str, seeds: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
        """Return the keys of what goes on that has one of these seeds."""
        return [key for key in self.going if key[0] == name and set(key[1]) & set(seeds)]

    def _of(self, name: str, seeds: Sequence[int]) -> Going:
        """Return what is known of these runs, which begin now if nothing is."""
        key = name, tuple(seeds)
        if key not in self.going:
            self.going[key] = Going(name, tuple(seeds), self.begun + 1, self._clock())
            self.begun += self.going[key].count
        return self.going[key]


def clock_time(seconds: float) -> str:
    """Return seconds as 0:07, 12:34 or 1:02:03."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def short(number: float) -> str:
    """Return a number with three digits."""
    return f"{number:.3g}"


def _each(one: Going, now: float) -> float:
    """Return the seconds that one of these runs takes; NaN where that is not known."""
    return one.seconds_in_all(now) / one.count


def _range(seeds: tuple[int, ...]) -> str:
    """Return seeds as 0-2, or 0,2,5 where some between are missing."""
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))


def _fitted(head: list[str], share: float | None, tail: list[str], width: int) -> str:
    """Return a line of that many columns at most; the bar goes first, then the ends of the names.

    Arguments:
        head: place and name, from the left; the last is shortened where nothing else helps.
        share: the part that is done; None for no bar.
        tail: what follows the bar; empty words are left out.
        width: columns.
    """
    tail = [words for words in tail if words]
    if share is not None:
        tail.insert(0, f"{100 * share:3.0f}%")
    spare = width - len("  ".join([*head, *tail])) - 2
    if share is not None and spare >= LEAST:
        columns = min(BAR, spare)
        full = round(columns * share)
        tail.insert(0, "━" * full + "─" * (columns - full))
    if spare < -2:
        head = [*head[:-1], _cut(head[-1], max(1, len(head[-1]) + spare + 2))]
    return _cut("  ".join([*head, *tail]), width)


def _cut(text: str, width: int) -> str:
    """Return a text of that many columns at most; what is cut ends with a mark."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
