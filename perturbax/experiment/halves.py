"""A training step in two halves with scalars between them, and the host that keeps a run and answers.

A host is asked for the scalars of some samples of an update. It is told what came of the updates since its
last answer, makes these itself, and runs the passes of its samples:

    question    update, its samples, results of the updates before; or the state of the run
    answer      check value of its weights, loss, scalars of its samples
    result      who was present, one bit per sample, and the scalars of those
"""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import typed_fields
from perturbax.experiment.resolve import resolve
from perturbax.experiment.train_step import Hyperparameters, Setup, State, applied, drawn, start
from perturbax.jobs.hosts import NOT_OPEN
from perturbax.jobs.perform import Tell
from perturbax.learning.scalars import in_halves
from perturbax.network.arrays import from_named_arrays, to_named_arrays
from perturbax.network.network import Network
from perturbax.tasks.base import Task

QUESTION = struct.Struct("<QIII")
ANSWER = struct.Struct("<Id")


class Question(NamedTuple):
    """What a host is asked.

    Attributes:
        step: updates made before the one that is asked about.
        first: the first of its samples.
        end: the one behind its last sample.
        results: of the updates since its last answer, one behind the other.
        state: that of the run instead, as `packed` returns it; else empty.
    """

    step: int
    first: int
    end: int
    results: bytes = b""
    state: bytes = b""

    def to_bytes(self) -> bytes:
        """Return it as bytes."""
        head = QUESTION.pack(self.step, self.first, self.end, len(self.results))
        return head + self.results + self.state

    @classmethod
    def of(cls, data: bytes) -> "Question":
        """Return it from bytes."""
        step, first, end, length = QUESTION.unpack_from(data)
        behind = QUESTION.size + length
        return cls(step, first, end, data[QUESTION.size : behind], data[behind:])


class Answer(NamedTuple):
    """What a host answers.

    Attributes:
        check: check value of its weights before the update.
        loss: mean loss of its passes without noise, or of all where there are none.
        scalars: of its samples, `(m, ...)`.
    """

    check: int
    loss: float
    scalars: np.ndarray

    def to_bytes(self) -> bytes:
        """Return it as bytes."""
        return ANSWER.pack(self.check, self.loss) + self.scalars.tobytes()

    @classmethod
    def of(cls, data: bytes, like: jax.ShapeDtypeStruct) -> "Answer":
        """Return it from bytes; like: the scalars of all samples, `(K, ...)`."""
        check, loss = ANSWER.unpack_from(data)
        scalars = np.frombuffer(data, like.dtype, offset=ANSWER.size).reshape(-1, *like.shape[1:])
        return cls(check, loss, scalars)


def result_of(every: np.ndarray, present: np.ndarray) -> bytes:
    """Return the result of an update as bytes.

    Arguments:
        every: scalars of all samples, `(K, ...)`.
        present: which of them are there, `(K,)`.
    """
    return np.packbits(present).tobytes() + every[present].tobytes()


def results_of(data: bytes, like: jax.ShapeDtypeStruct) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (every, present) of results that are bytes one behind the other; scalars that are missing are 0.

    Arguments:
        data: the bytes.
        like: the scalars of all samples, `(K, ...)`.
    """
    (K, *rest), place = like.shape, 0
    while place < len(data):
        bits = np.frombuffer(data, np.uint8, -(-K // 8), place)
        present = np.unpackbits(bits, count=K).astype(bool)
        every = np.zeros(like.shape, like.dtype)
        there = np.frombuffer(data, like.dtype, every[present].size, place + bits.size)
        every[present] = there.reshape(-1, *rest)
        yield every, present
        place += bits.size + there.nbytes


class Halves:
    """The two halves of the training steps of a run, compiled.

        loss, scalars = halves.measure(task, state, which)            # which (m,); scalars (m, ...)
        state = halves.update(task, state, every, present)            # every (K, ...), present (K,)

    They take and return states without the best network so far (`moving`).

    Attributes:
        like: shape and dtype of the scalars of all samples, `(K, ...)`.
        shapes: those of the state.

    Arguments:
        parts: the parts of the run.

    Raises ArgumentError for a rule whose update needs more than scalars, and for online learning.
    """

    def __init__(self, parts: Parts):
        setup = parts.setup
        if setup.mode == "online":
            raise ArgumentError("hosts exchange scalars once per sequence: leave mode online out")
        K = setup.rule.samples_in_all()
        self.measure = jax.jit(partial(_measure, setup, K))
        self.update = jax.jit(partial(_update, setup, K))
        self.shapes: State = moving(jax.eval_shape(partial(start, setup), parts.experiment.seed))
        self.like: jax.ShapeDtypeStruct = jax.eval_shape(
            self.measure, setup.task, self.shapes, jax.ShapeDtypeStruct((K,), int)
        )[1]

    @property
    def samples(self) -> int:
        """The number of samples in all, K."""
        return self.like.shape[0]


def _measure(setup: Setup, K: int, task: Task, state: State, which: Array) -> tuple[Array, Array]:
    """Return (loss, scalars) of some samples."""
    setup = setup.at(state.hyperparameters)
    measure, _ = in_halves(setup.rule, task.loss, K)
    net, xs, ys, key = drawn(setup, task, state)
    return measure(net, xs, ys, key, which)


def _update(setup: Setup, K: int, task: Task, state: State, every: Array, present: Array) -> State:
    """Return the state after an update."""
    setup = setup.at(state.hyperparameters)
    _, estimate = in_halves(setup.rule, task.loss, K)
    net, xs, _, key = drawn(setup, task, state)
    training = applied(setup, state.learner, net, estimate(net, xs, key, every, present))
    return state._replace(learner=training, step=state.step + 1)


def moving(state: State) -> State:
    """Return a state without the best network so far, which no update needs."""
    return state._replace(best=None, best_loss=None, best_step=None)


def packed(state: State) -> bytes:
    """Return a state as bytes, without hyperparameters, which follow from the settings."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = to_named_arrays(moving(state)._replace(hyperparameters=None))
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(halves: Halves, data: bytes, hyperparameters: Hyperparameters) -> State:
    """Return a state from bytes.

    Arguments:
        halves: those of the run.
        data: what `packed` returned.
        hyperparameters: those of the run.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    found = from_named_arrays(halves.shapes._replace(hyperparameters=None), arrays, "the state that was sent")
    own = jax.tree.map(lambda x: jnp.asarray(x, float), tuple(hyperparameters))
    return found._replace(hyperparameters=Hyperparameters(*own))


def check_of(net: Network) -> int:
    """Return a check value of the weights of a network: the same for the same bits (CRC-32)."""
    check = 0
    for array in to_named_arrays(net).values():
        check = zlib.crc32(array.tobytes(), check)
    return check


class Host:
    """Keeps a run and answers for it.

    Arguments:
        settings: the fields of its experiment, and the digest of its data.

    Raises DataError where the data are others here.
    """

    def __init__(self, settings: dict[str, Any]):
        parts = build(resolve(Experiment(**typed_fields(settings["experiment"]))))
        if parts.task.digest() != settings["data"]:
            raise DataError(f"the data of task {parts.experiment.task} are others there")
        self._setup, self._halves = parts.setup, Halves(parts)
        self._state: State | None = None

    def answer(self, question: bytes) -> bytes:
        """Return the answer to a question; an empty one where what it builds on is not known here."""
        asked, task = Question.of(question), self._setup.task
        if asked.state:
            self._state = unpacked(self._halves, asked.state, self._setup.hyperparameters)
        state = self._state
        if state is None:
            return NOT_OPEN
        for every, present in results_of(asked.results, self._halves.like):
            state = self._halves.update(task, state, every, present)
        self._state = state
        if int(state.step) != asked.step:
            return NOT_OPEN
        loss, scalars = self._halves.measure(task, state, np.arange(asked.first, asked.end))
        return Answer(check_of(state.learner.net), float(loss), np.asarray(scalars)).to_bytes()


_HELD: dict[str, Host] = {}  # the host of this process, by the name of its run


def open_host(settings: dict[str, Any], tell: Tell) -> None:
    """Open the host of this process, instead of the one before: what a job does.

    Arguments:
        settings: those of `Host`, and the name of the run.
        tell: is told nothing.
    """
    del tell
    _HELD.clear()
    _HELD[settings["run"]] = Host(settings)


def answer(run: str, question: bytes) -> bytes:
    """Return the answer of the host of this process; an empty one where it keeps no such run.

    Arguments:
        run: the name of the run.
        question: what is asked.
    """
    return _HELD[run].answer(question) if run in _HELD else NOT_OPEN
