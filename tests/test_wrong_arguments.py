"""What the public names say of arguments of another kind: one sentence, at the line that gives them.

All in one process without the checks of types that tests add, so that each meets the library's own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WRONG = {
    "px.learner('node', mse)": "'node' is a name: px.RULES['node']() makes a rule of it",
    "px.value_and_estimate(px.rules.Node, mse)": "Node is a class: Node() makes a rule of it",
    "px.learner(mse, px.rules.Node())": "function is no learning rule: derive it from px.StepRule",
    "px.online('node', mse, sgd)": "'node' is a name",
    "px.learner(px.rules.Node(), 'mse')": "loss must be a function (y, target) -> (B,)",
    "px.value_and_estimate(px.rules.Node(), None)": "one number per example; got NoneType",
    "px.online(px.rules.Node(), 'mse', sgd)": "loss must be a function",
    "px.online(px.rules.Node(), mse, 'sgd')": "optimiser must be an optax transformation",
    "px.online(px.rules.Node(), mse, sgd, every=0)": "every must be a whole number of at least 1, not 0",
    "px.RULES[3]": "unknown rule '3'; choose from",
    "px.rules.Node(sigmaa=1.0)": "unknown setting of Node 'sigmaa'; did you mean 'sigma'?",
    "px.rules.Node(sigma='a')": "sigma must be a number, not 'a'",
    "px.rules.Node(sigma=None)": "sigma must be a number, not None",
    "px.rules.Node(samples=1.5)": "samples must be a whole number, not 1.5",
    "px.rules.Node(samples=True)": "samples must be a whole number, not True",
    "px.tasks.Copy(dely=3)": "unknown setting of Copy 'dely'; did you mean 'delay'?",
    "px.tasks.Copy(fresh=3)": "fresh must be true or false, not 3",
    "px.cells.Tanh(1, 2, key=key, gian=1)": "unknown setting of Tanh 'gian'; did you mean 'gain'?",
    "px.cells.GRU(1, 2, key=key, gain='1')": "gain must be a number, not '1'",
    "px.cells.GRU(1, 2.0, key=key)": "the number of units or inputs must be a whole number, not 2.0",
    "px.cells.Tanh(1, '2', key=key)": "the number of units or inputs must be a whole number, not '2'",
    "px.cells.LSTM(1, 2, key=0)": "key must be one key, as jax.random.key(0) makes it; got int",
    "px.cells.LIF(1, 2, key=jax.random.split(key))": "key must be one key",
    "px.Network(px.cells.Readout(1, 2, key=key))": "layers must be a tuple of layers",
    "px.run('copy')": "a run is described by px.Experiment",
    "px.run({'task': 'copy'})": "got dict",
    "px.run(3)": "a run is described by px.Experiment",
    "px.run(task=3)": "task must be a name",
    "px.run(out=3)": "out must be the path of a folder or file, not 3",
    "px.load(3)": "folder must be the path of a folder or file, not 3",
    "px.resume(3)": "folder must be the path of a folder or file, not 3",
    "px.compare(3)": "rules must be names of rules",
    "px.compare('node', seeds='2')": "seeds must be a whole number of at least 1, not '2'",
    "px.tune(seeds='2')": "seeds must be a whole number, not '2'",
    "px.tune(over=3)": "over must hold settings and their candidates",
    "px.compare('node', workers='2')": "workers must be a whole number of at least 1, not '2'",
    "px.tune(over={'lr': 3})": "over must hold a list of candidates for lr, not 3",
    "px.predict(3, 'x.csv')": "run must be the path of a folder or file, not 3",
    "px.report(3)": "folders must be the path of a folder or file, not 3",
    "px.Experiment(tsk='copy')": "unknown setting of Experiment 'tsk'; did you mean 'task'?",
    "px.tasks.Copy().held_out('vald')": "unknown part 'vald'; did you mean 'valid'?",
    "px.tasks.Adding().held_out('train')": "unknown part 'train'; choose from valid, test",
    "px.tasks.Copy().sample(0, 3)": "key must be one key, as jax.random.key(0) makes it; got int",
    "px.tasks.Copy().sample(key, 0)": "batch must be a whole number of at least 1, not 0",
    "forecast().sample(0, 3)": "key must be one key, as jax.random.key(0) makes it; got int",
    "forecast().stream(key, 0, 2.5)": "batch must be a whole number of at least 1, not 2.5",
    "forecast().held_out('vald')": "unknown part 'vald'; did you mean 'valid'?",
    "px.Credit(form='x')": "unknown form of credit 'x'; choose from held, replay, trace, summed",
    "run(steps='a')": "steps must be a whole number, not 'a'",
    "run(steps=1.5)": "steps must be a whole number, not 1.5",
    "run(seed=None)": "seed must be a whole number, not None",
    "run(lr='fast')": "lr must be a number, not 'fast'",
    "run(residual='yes')": "residual must be true or false, not 'yes'",
    "run(optimiser=3)": "optimiser must be a name, not 3",
    "run(data=3)": "data must be the path of a file or folder, not 3",
    "run(task=px.tasks.Copy)": "task must be a name, as text, or module:Class",
    "run(rule=px.rules.Node())": "its settings go into rule_options; got Node",
    "run(cell_options='gain')": "cell_options must hold names and values, not 'gain'",
}
"""Expressions, and what the PerturbaxError that each raises says."""

RIGHT = (
    "px.rules.Node(sigma=np.float32(0.5), samples=np.int64(2)).samples == 2",
    "px.rules.Node(sigma=jnp.asarray(0.5)).sigma == 0.5",
    "px.cells.Tanh(np.int64(1), np.int64(2), key=jax.random.PRNGKey(0), gain=1).W.shape == (1, 2)",
)
"""What is like a number is one, as before."""

CODE = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
import perturbax as px

key, sgd = jax.random.key(0), optax.sgd(0.1)
def mse(y, target):
    return jnp.mean((y - target) ** 2, -1)
def run(**fields):
    return px.run(px.Experiment(**fields))
def forecast():
    return px.tasks.MackeyGlass().open(None)
said = {}
for text in json.loads(sys.argv[1]):
    try:
        said[text] = repr(bool(eval(text)))
    except px.PerturbaxError as error:
        said[text] = str(error)
    except Exception as error:
        said[text] = f"raw {type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    asked = json.dumps([*WRONG, *RIGHT])
    command = [sys.executable, "-c", CODE, asked]
    root = Path(__file__).parent.parent
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    return json.loads(found.stdout)


@pytest.mark.parametrize("text", WRONG)
def test_arguments_of_another_kind_are_refused_in_a_sentence(said, text):
    assert WRONG[text] in said[text]
    assert not said[text].startswith("raw ")
    assert "\n" not in said[text]


@pytest.mark.parametrize("text", RIGHT)
def test_what_is_like_a_number_is_taken(said, text):
    assert said[text] == "True"
