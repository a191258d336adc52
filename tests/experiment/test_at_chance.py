"""A run that has learnt nothing in a fifth of its steps says so once, and what to try; others say nothing."""

import json

import pytest

import perturbax as px
from perturbax.experiment.at_chance import advice, at_chance, chance_loss, looked_at
from perturbax.experiment.resolve import resolve
from perturbax.experiment.watch import Watcher
from perturbax.report import write_report


class Ears(Watcher):
    def __init__(self):
        self.heard = []

    def warned(self, name, seed, said):
        self.heard.append((name, seed, said))


def lines(*losses, every=10):
    return [{"step": every * (i + 1), "valid_loss": loss} for i, loss in enumerate(losses)]


def test_it_is_looked_at_once_when_a_fifth_is_made():
    assert looked_at(lines(1, 1), 200) == []  # 20 of 200
    assert len(looked_at(lines(1, 1, 1, 1, 1), 200)) == 4
    assert len(looked_at(lines(1, 1, 1, 1, 1), 149)) == 3  # the first line behind it
    assert looked_at(lines(1, every=100), 100) == []  # a run of one line has ended
    assert looked_at(lines(1, 1, 1, 1), 90) == []  # too short to be judged


def test_what_is_at_chance():
    e = resolve(px.Experiment(task="text", rule="node", steps=100))
    facts = px.RULES["node"].facts
    assert chance_loss({"linear": {"loss": 0.1}, "mean": {"loss": 2.0}, "zero": {"loss": 3.0}}) == 2.0
    assert chance_loss({"persistence": {"loss": 0.1}}) is None
    found = at_chance(lines(2.5, 2.2, 0.1), e, facts, 2.0)
    assert (found.step, found.valid_loss) == (20, 2.2)  # a fifth of 100: what comes later does not count
    assert "validation loss 2.2 at step 20, 2 for" in found.sentence()
    assert at_chance(lines(1.8, 9), e, facts, 2.0) is None
    assert at_chance(lines(2.5, 2.5), e, facts, None) is None
    assert at_chance([{"step": 20, "valid_loss": None}], e, facts, 2.0) is None


def test_advice_fits_the_run():
    def said(rule, **settings):
        e = resolve(px.Experiment(task="text", rule=rule, **settings))
        return advice(e, px.RULES[rule](**e.rule_options).described())

    assert "--rule.credit to-go" in said("node")
    assert "--rule mirror --rule.error measured" in said("node")
    assert "mirror" not in said("node", cell="lif")
    assert "--rule.credit window" in said("node", mode="online", rule_options={"credit": "same-step"})
    assert "credit" not in said("node", rule_options={"credit": "to-go"})
    assert said("mirror") == "other learning rates (perturbax tune --task text --rule mirror ...)"


def test_a_run_says_so_to_its_watcher_in_its_result_and_in_the_report(tmp_path):
    ears = Ears()
    e = {"task": "adding", "task__length": 6, "units": (3,), "batch": 4, "logs": 10, "steps": 100}
    result = px.run(**e, lr=1e-9, rule="bptt", out=tmp_path / "run", report=ears)
    ((name, seed, said),) = ears.heard
    assert (name, seed) == ("bptt", 0)
    assert said.startswith("is still at chance after a fifth of its steps")
    kept = json.loads((tmp_path / "run" / "result.json").read_text())["at_chance"]
    assert kept == pytest.approx(result.summary["at_chance"])
    assert kept["step"] == 20
    assert kept["advice"].startswith("other learning rates")
    page = write_report([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert "was at chance after a fifth of its steps (seed 0;" in page
