"""What the benchmarks rest on: fair works, right ratios, and memory that a compiler can be held to."""

import json
import math

import cases
import harness
import jax
import jax.numpy as jnp
import jax.random as jr
import memory
import numpy as np
import pytest
import scaling
import slower

import perturbax as px


@pytest.mark.parametrize("cell", cases.CELLS)
def test_both_layouts_are_one_network(cell):
    """BPTT in the other layout of the weights is timed on the same function."""
    ours, turned = (cases.network(c, 8) for c in cases.CELLS[cell])
    xs = jr.normal(jr.key(0), (5, 3, cases.INPUTS))
    y = px.forward(ours, xs)
    np.testing.assert_allclose(px.forward(turned, xs), y, atol=1e-6)
    assert jnp.abs(y).max() > 0.1


def test_ratios_are_taken_round_by_round():
    """A slow round is slow for both, and does not count."""
    taken = {"ours": [1.0, 50.0, 1.2], "theirs": [2.0, 100.0, 2.0]}
    assert harness.ratios(taken, "theirs") == {"ours": 0.5, "theirs": 1.0}


def test_every_round_times_every_work():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "abc"}
    taken = harness.alternate(works, repeats=4)
    assert {name: len(times) for name, times in taken.items()} == {"a": 4, "b": 4, "c": 4}
    rounds = [
        calls[6 + 3 * i : 9 + 3 * i] for i in range(4)
    ]  # each is called twice before: warm, and to be counted
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)


def test_the_floor_takes_the_larger_of_arithmetic_and_reading():
    size = cases.Size(100, 1, 10)
    synapses = 100 * (100 + cases.INPUTS + cases.OUTPUTS)
    assert scaling.floor(size, 1, gemm=1.0, sweep=1e30) == 2 * synapses * 10 * 3
    assert scaling.floor(size, 1, gemm=1e30, sweep=1.0) == 4 * synapses * 11


def test_memory_does_not_grow_with_the_sequence(monkeypatch):
    """As the compiler plans it: flat but for T x B scalars; that of BPTT and of stored credit grows.

    Credit of the same step is in tests/network/test_layers_and_networks.py.
    """
    monkeypatch.delitem(memory.CREDITS, "same-step")
    found = {row["what"]: row["T 1000"] / row["T 100"] for row in memory.growth(quick=True)}
    flat = ("node, window 20", "node, replay", "node, window 20, online every 10")
    assert all(found[name] < 1.06 for name in flat), found
    assert found["BPTT"] > 5
    assert found["node, to-go"] > 5


def test_results_name_what_they_were_measured_with(tmp_path):
    harness.save(tmp_path / "new" / "found.json", {"part": [1, {"diverged": math.inf}]})
    at = tmp_path / "new" / f"found-{jax.default_backend()}.json"
    assert list(at.parent.iterdir()) == [at] == [harness.place(at)]  # a CPU and a GPU are kept apart
    written = json.loads(at.read_text(), parse_constant=pytest.fail)  # no Infinity, which JSON has not
    assert written["machine"]["jax"] == jax.__version__
    assert written["part"] == [1, {"diverged": None}]
    assert harness.on_what().startswith(f"on {jax.default_backend()}: {jax.device_count()} x ")


def test_the_spread_is_that_of_the_worst_program():
    steady, wild = [1.0, 1.0, 1.0, 9.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]
    assert harness.spread({"steady": steady}) == 0
    assert harness.spread({"steady": steady, "wild": wild}) == pytest.approx((4 - 2) / 2 / 3)


def test_what_became_slower_by_more_than_noise_is_said(tmp_path, capsys):
    """Times and ratios that rise, shares that fall; not what rounds scatter by, nor other machines."""
    row = {"size": "n 8", "ms": 10.0, "node / BPTT": 0.5, "share": 0.8, "spread": 0.01}
    calm, wild = [row], [row | {"size": "n 9", "spread": 0.2}]

    def files(**changed):
        for name, change in (("old", {}), ("new", changed)):
            rows = [one | change for one in calm + wild]
            content = {"machine": {"backend": "cpu", "jax": name}, "update": rows, "half": {"us": 3.0}}
            (tmp_path / name).write_text(json.dumps(content))
        return [str(tmp_path / "old"), str(tmp_path / "new")]

    assert slower.main(files(ms=10.9)) == 0
    assert capsys.readouterr().out == "jax old -> new\nslower: 0 of 7 numbers\nfaster: 0 of 7 numbers\n"
    assert slower.main(files(**{"ms": 8.0, "node / BPTT": 0.6, "share": 0.7})) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1:4] == [
        "slower: 2 of 7 numbers",
        "  update | n 8 | node / BPTT: 0.5 -> 0.6, 20% worse (noise 10%)",
        "  update | n 8 | share: 0.8 -> 0.7, 14% worse (noise 10%)",
    ]
    assert said[4:] == ["faster: 1 of 7 numbers", "  update | n 8 | ms: 10 -> 8, 20% better (noise 10%)"]
    assert slower.main([*files(ms=10.9), "--least", "0.05"]) == 1
    old, _ = files()
    (tmp_path / "gpu").write_text((tmp_path / "new").read_text().replace('"cpu"', '"gpu"'))
    (tmp_path / "toy").write_text((tmp_path / "new").read_text().replace('{"mach', '{"quick": true, "mach'))
    for other, words in (
        ("gpu", "backend cpu and gpu"),
        ("toy", "toy sizes"),
        (__file__, "not two"),
        ("no", "No"),
    ):
        with pytest.raises(SystemExit, match="2"):
            slower.main([old, str(tmp_path / other)])
        assert words in capsys.readouterr().err
