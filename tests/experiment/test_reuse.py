"""One compile for runs that differ in seed, learning rate or discount, with the numbers of fresh ones."""

import jax
import numpy as np
import pytest

import perturbax as px
from perturbax.experiment import reuse
from perturbax.experiment.build import build

TINY = {"task": "probe-lag1", "rule": "node", "units": 2, "batch": 2, "steps": 4, "logs": 2}
TINY |= {"rule__credit": "to-go", "rule__discount": 0.9}


@pytest.fixture
def compilations():
    """The names of programs that are compiled from here on."""
    seen = []

    def listen(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


def test_the_second_run_compiles_nothing_and_has_the_numbers_of_a_fresh_one(compilations):
    reuse.forget()
    px.run(**TINY)
    changed = {**TINY, "seed": 3, "lr": 2e-3, "rule__discount": 0.5}
    assert compilations
    compilations.clear()
    second = px.run(**changed)
    assert not compilations
    assert second.summary["compile_seconds"] == 0
    reuse.forget()
    fresh = px.run(**changed)
    assert compilations
    assert fresh.experiment == second.experiment
    for a, b in zip(fresh.metrics, second.metrics, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }
    assert fresh.summary["test"] == second.summary["test"]
    assert fresh.summary["baselines"] == second.summary["baselines"]
    for a, b in zip(jax.tree.leaves(fresh.net), jax.tree.leaves(second.net), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_few_programs_are_kept_and_none_for_another_run():
    reuse.forget()
    made = []
    for batch in range(1, reuse.MOST + 3):
        e = px.Experiment(task="probe-now", rule="frozen", units=2, steps=2, batch=batch)
        parts = build(e)
        made.append(reuse.compiled_for(parts))
        assert reuse.compiled_for(parts)._programs is made[-1]._programs
    assert len(reuse._KEPT) == reuse.MOST
    assert len({id(compiled._programs) for compiled in made}) == len(made)
    with jax.enable_x64(True):
        assert reuse.compiled_for(build(e))._programs is not made[-1]._programs


def test_a_task_given_as_an_object_has_its_own_program():
    """Its settings are in no field of the experiment; a program of other settings would refuse its data."""
    tasks = [px.tasks.MackeyGlass(tau=tau, length=900, window=20).open(None) for tau in (17, 17, 20)]
    e = px.Experiment(task="mackey-glass", rule="frozen", units=2, steps=2, batch=1)
    same, again, other = (reuse._key(build(e, task)) for task in tasks)
    assert same == again
    assert same != other
