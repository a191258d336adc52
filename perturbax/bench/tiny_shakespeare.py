"""Tiny Shakespeare by character, 512,000 characters of training (the study apicaldust2026)."""

from typing import Any

from perturbax.bench.base import Benchmark, Measure, Published
from perturbax.experiment.config import Experiment

NATS = Measure("test loss, nats per character", digits=3)
PUBLIC = {
    "transformer, backpropagation": (2.394, ""),
    "transformer, node perturbation (Dust), K 64": (2.488, "the output error by 4 K more draws"),
    "transformer, learnt feedback as control variate (Apical Dust), K 64": (2.478, "the same"),
    "transformer, learnt feedback as control variate (Apical Dust), K 256": (2.473, "the same"),
}


def cross_entropy(result: Any, task: Any) -> dict[str, float]:
    """Return the mean cross-entropy of the test part, in nats per character.

    Arguments:
        result: of a run.
        task: its task; the run itself has judged its network.
    """
    return {NATS.name: result.summary["test"]["loss"]}


BENCHMARK = Benchmark(
    name="tiny-shakespeare",
    summary="say the next character of 40,000 lines of plays, after 512,000 characters of training",
    papers=("apicaldust2026",),
    needs="the text as a UTF-8 file: 1,115,394 characters of 65 kinds",
    split="cut by position, 90 % for training, 5 % that choose the network that is kept, 5 % for testing; "
    "1,000 updates read 8 pieces of 64 characters each",
    metric="mean cross-entropy of the next character over the test part, in nats",
    experiment=Experiment(
        task="text",
        cell="gru",
        units=256,
        steps=1000,
        batch=8,
        logs=10,
        task_options={"valid": 0.05, "test": 0.05},
    ),
    judge=cross_entropy,
    measures=(NATS,),
    published=tuple(
        Published(who, {NATS.name: value}, "apicaldust2026", note) for who, (value, note) in PUBLIC.items()
    ),
    rules=("node:samples=64", "mirror:error=measured:queries=64", "mirror", "bptt"),
    settings={"mirror": "lr=8e-3", "bptt": "lr=8e-3"},
)
