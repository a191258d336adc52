"""Time to draw a batch of each generated task: 16 sequences of about 100 steps, medians in one process.

python benchmarks/tasks.py
"""

import jax
import jax.random as jr
from harness import alternate, medians, table

from perturbax.tasks import TASKS
from perturbax.tasks.base import Task

BATCH = 16
# As near to 100 steps as the task's own phases allow.
LONG = {
    "mackey-glass": {"window": 100},
    "narma": {"window": 100},
    "lorenz": {"window": 100},
    "copy": {"length": 45, "delay": 10},
    "adding": {"length": 100},
    "delayed-xor": {"gap": 40, "delay": 57},
    "flip-flop": {"length": 100},
    "evidence": {"delay": 34},
    "pattern": {"length": 100},
}


def drawn(task: Task, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw a batch; the task is an argument, so that its series are data and not constants."""
    return task.sample(key, BATCH)


def main(repeats: int = 21) -> None:
    """Print one row per task."""
    key, sample = jr.key(0), jax.jit(drawn)
    tasks = {name: TASKS[name](**fields).open(None) for name, fields in LONG.items()}
    taken = alternate(
        {n: (lambda task=task: sample(task, key)) for n, task in tasks.items()}, repeats, at_least=0.01
    )
    rows = [
        [n, str(tasks[n].steps), str(sum(tasks[n].sizes)), f"{1e3 * s:.3f}"]
        for n, s in medians(taken).items()
    ]
    print(table(["task", "steps", "inputs + outputs", "ms per batch of 16"], rows))


if __name__ == "__main__":
    main()
