"""Runs over hosts that exchange scalars alone: their numbers, whoever dies, is late, differs, or joins."""

import copy
import dataclasses
import json
import sys
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from many_devices import difference, numbers

import perturbax as px
from perturbax.cli import main
from perturbax.errors import ArgumentError, HostsError
from perturbax.experiment import by_scalars, halves
from perturbax.experiment.build import build
from perturbax.experiment.halves import Halves, Host, Question, check_of
from perturbax.experiment.program import Compiled
from perturbax.experiment.run import train
from perturbax.experiment.train_step import applied, drawn
from perturbax.experiment.variants import with_settings
from perturbax.experiment.watch import Watcher
from perturbax.jobs.hosts import Heard, Hosts
from perturbax.learning.scalars import BySample, in_halves
from perturbax.network.layer import weights

K = 4
TINY = {"task": "probe-lag1", "units": 3, "batch": 8, "steps": 9, "logs": 3, "lr": 0.03}
NODE = TINY | {"rule": "node", "rule__samples": K, "rule__credit": "to-go"}
RULES = {
    "weight": {"rule": "weight", "rule__samples": K},
    "evolution": {"rule": "evolution", "rule__population": 2 * K, "rule__shaping": "none"},
}


class InProcess(Hosts):
    """Hosts of this process, and what happens to them: update -> [(what, host)], before they are asked."""

    def __init__(self, names, happens, settings):
        self.names, self.happens = set(names), {step: list(what) for step, what in happens.items()}
        self.hosts, self.late, self.answers = {}, {}, deque()
        self.questions, self.said, self.states = [], [], 0
        self.first = Host(settings)  # compiled once for all

    def there(self):
        return set(self.names)

    def ask(self, host, question, opening):
        asked = Question.of(question)
        for what, whom in self.happens.pop(asked.step, ()):
            getattr(self, what)(whom)
        self.states += bool(asked.state)
        self.questions.append(question)
        if host not in self.names:
            return
        if opening:
            self.hosts[host] = copy.copy(self.first)
            self.hosts[host]._state = None
        said = Heard(host, self.hosts[host].answer(question))
        self.said.append(said.answer)
        self.late[host].append(said) if host in self.late else self.answers.append(said)

    def heard(self, timeout):
        return self.answers.popleft() if self.answers else None

    def close(self):
        self.names.clear()

    def die(self, name):
        self.names.discard(name)

    def join(self, name):
        self.names.add(name)

    def hang(self, name):
        self.late[name] = []

    def wake(self, name):
        self.answers.extend(self.late.pop(name))

    def err(self, name):
        self.answers.append(Heard(name, None, "RuntimeError: no memory"))
        self.late[name] = []

    def drift(self, name):
        """Change the last bit of one weight, as another backend might."""
        host = self.hosts[name]
        W = host._state.learner.net.layers[0].W
        other = W.at[0, 0].set(jnp.nextafter(W[0, 0], jnp.inf))
        net = jax.tree.map(lambda leaf: other if leaf is W else leaf, host._state.learner.net)
        host._state = host._state._replace(learner=host._state.learner._replace(net=net))


COMPILED = {}


def compiled_once(parts):
    """The halves of a run, compiled once for all tests."""
    key = json.dumps(parts.experiment.to_dict()), jax.config.read("jax_enable_x64")
    if key not in COMPILED:
        COMPILED[key] = Halves(parts)
    return COMPILED[key]


@pytest.fixture
def over_hosts(monkeypatch):
    """A function of (names of hosts, settings, what happens) that runs over them: -> (result, hosts)."""
    for name in ("LATE", "LEAST", "PATIENCE"):
        monkeypatch.setattr(by_scalars, name, 0.0)
    for module in (by_scalars, halves):
        monkeypatch.setattr(module, "Halves", compiled_once)

    def run(names, settings, happens=None, call=px.run):
        made = []

        def workers_at(place, computing, job, answering):
            made.append(InProcess(names, happens or {}, job.settings))
            return made[0]

        monkeypatch.setattr(by_scalars, "workers_at", workers_at)
        return call(**settings, scalars="tcp://there:8786"), made[0]

    return run


def started(settings):
    """The parts of a run."""
    return build(with_settings(None, settings))


@pytest.fixture(scope="module")
def one():
    """An ordinary run, but that the noise of every sample is drawn from a key of its own."""
    with jax.enable_x64(True):
        parts = started(NODE)
        rule = px.rules.Node(**parts.experiment.rule_options)
        by_sample = dataclasses.replace(rule, noise=BySample(rule.noise, jnp.arange(K)))
        return train(Compiled(parts.with_rule(by_sample)), [0], None, None, Watcher())[0]


def test_nobody_missing_has_the_numbers_of_one_process_and_bytes_are_counted(x64, over_hosts, one):
    result, hosts = over_hosts("ab", NODE)
    assert difference(numbers(one), numbers(result)) < 1e-10
    assert [line["samples_heard"] for line in result.metrics] == [1.0] * 3
    assert hosts.states == 2  # each was sent the state once, and scalars alone from then on
    counted = sum(map(len, hosts.questions)) + sum(map(len, hosts.said))
    assert result.metrics[-1]["bytes_exchanged"] == result.summary["bytes_exchanged"] == counted
    like = hosts.first._halves.like
    assert (like.shape[0], like.dtype) == (K, jnp.float64)
    each = 8 * like.size // K  # T x B differences of losses
    assert {len(question) for question in hosts.questions[2:]} == {20 + 1 + K * each}
    assert {len(answer) for answer in hosts.said} == {12 + K // 2 * each}


@pytest.mark.parametrize("rule", RULES)
def test_a_sample_of_the_other_rules_sends_one_number(rule):
    assert Halves(started(TINY | RULES[rule])).like.shape == (K,)


MISSING = {  # update -> present, where samples are missing
    1: (1, 0, 1, 1),  # b has died
    2: (1, 0, 0, 1),  # and c is late
    3: (1, 1, 0, 1),  # divided anew among a, c and d
    4: (1, 1, 0, 1),
    5: (1, 1, 0, 1),
    7: (1, 1, 0, 1),  # divided anew among four; d has other weights
}
HAPPENS = {
    1: [("die", "b")],
    2: [("hang", "c")],
    4: [("join", "e")],
    5: [("wake", "c")],
    7: [("drift", "d")],
}
SAID = """\
after 2 updates: host b is gone; its samples are left out until another host takes them
after 3 updates: host c was missing in 1 of the last 3 updates
after 6 updates: host c was missing in 3 of the last 3 updates
after 6 updates: host e has joined
after 7 updates: host d has other weights than this process: left out, and sent these
after 9 updates: host d was missing in 1 of the last 3 updates
"""


def test_hosts_that_die_are_late_differ_or_join_leave_the_mean_of_the_others(x64, over_hosts, capsys):
    seen = []
    on_log = {"on_log": lambda step, metrics, network: seen.append(network)}
    result, hosts = over_hosts("abcd", NODE | on_log, HAPPENS)
    assert capsys.readouterr().err.replace("perturbax: ", "") == SAID
    assert [line["samples_heard"] for line in result.metrics] == pytest.approx([9 / 12, 9 / 12, 11 / 12])

    parts = started(NODE)
    setup, task = parts.setup, parts.task
    measure, estimate = in_halves(parts.rule, task.loss, K)

    @jax.jit
    def update(state, present):
        setup_now = setup.at(state.hyperparameters)
        net, xs, ys, key = drawn(setup_now, task, state)
        _, every = measure(net, xs, ys, key, jnp.arange(K))
        grads = estimate(net, xs, key, every, present)
        return state._replace(learner=applied(setup_now, state.learner, net, grads), step=state.step + 1)

    state = Compiled(parts).start(0)
    for step in range(8):
        state = update(state, np.array(MISSING.get(step, (1,) * K), float))
    held = {
        name: hosts.hosts[name]._state.learner.net for name in "acde"
    }  # each has made the updates it missed
    assert all(difference(weights(state.learner.net), weights(net)) < 1e-11 for net in held.values())
    assert len({check_of(net) for net in held.values()}) == 1
    last = update(state, np.ones(K)).learner.net
    assert difference(weights(last), weights(seen[-1])) < 1e-11


def test_without_any_host_a_run_ends_and_goes_on_with_others(x64, over_hosts, one, tmp_path):
    lost = NODE | {"out": tmp_path / "lost"}
    with pytest.raises(HostsError, match="no host was there for 0 seconds"):
        over_hosts("ab", lost, {4: [("die", "a"), ("die", "b")]})
    with pytest.raises(ArgumentError, match="name hosts again"):
        px.resume(tmp_path / "lost")
    result, hosts = over_hosts("abc", {"folder": tmp_path / "lost"}, call=px.resume)
    assert Question.of(hosts.questions[0]).step == 3
    assert difference(numbers(one), numbers(result)) < 1e-10
    assert px.load(tmp_path / "lost").summary["status"] == "finished"


def test_a_host_that_fails_or_always_differs_is_left_out_for_good(x64, over_hosts, capsys):
    happens = {1: [("err", "a")], 2: [("drift", "b")], 3: [("drift", "b")]}
    with pytest.raises(HostsError, match="no host is left: it computes other weights than this process"):
        over_hosts("ab", NODE, happens)
    assert "after 1 updates: host a is left out: RuntimeError: no memory\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule": "activity"}, "Activity needs more than scalars"),
        ({"rule": "node", "rule__samples": 2}, "3 hosts cannot share 2 samples"),
        ({"rule": "node", "mode": "online"}, "leave mode online out"),
        ({"rule": "node", "scalars": "local:0"}, "are local:N"),
        ({"rule": "node", "scalars": "slurm"}, "are local:N"),
        ({"rule": "node", "rule__samples": 3}, r"perturbax\[cluster\]"),
    ],
)
def test_what_hosts_cannot_do_is_refused_in_one_sentence(monkeypatch, settings, said):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ArgumentError, match=said):
        px.run(**{**TINY, "scalars": "local:3", **settings})


def test_places_are_looked_at_before_anything_starts(capsys):
    for words, said in ((["there"], "are local:N"), (["local:2", "--devices", "2"], "not both")):
        assert main(["run", "--out", "runs/never", "--scalars", *words]) == 2
        assert said in capsys.readouterr().err
