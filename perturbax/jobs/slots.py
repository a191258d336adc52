"""Which process does which job: one that has compiled a program goes on with jobs of that group."""

from collections.abc import Collection, Sequence
from typing import TypeVar

from perturbax.jobs.job import Job


class Slot:
    """A process that does one job at a time.

    Attributes:
        job: the job; None where it is free.
        group: that of its last job, whose program it has compiled.
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self.group = ""


OneSlot = TypeVar("OneSlot", bound=Slot)


def choose(ready: Sequence[Job], slots: Collection[OneSlot]) -> tuple[OneSlot, Job] | None:
    """Return a process that is free and the job for it: of its own group, or else of a group that no process
    works on, or else of the one with most jobs; None if none is free.

    Arguments:
        ready: jobs that can be done now.
        slots: the processes.
    """
    free = [slot for slot in slots if slot.job is None]
    if not free or not ready:
        return None
    groups = [job.group for job in ready]
    for slot in free:
        if slot.group in groups:
            return slot, ready[groups.index(slot.group)]
    busy = {slot.group for slot in slots if slot.job is not None}
    untouched = [group for group in groups if group not in busy]
    group = untouched[0] if untouched else max(groups, key=groups.count)
    return free[0], ready[groups.index(group)]
