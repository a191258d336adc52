"""What the benchmarks rest on: fair works, right ratios, and memory that a compiler can be held to."""

import cases
import harness
import jax
import jax.numpy as jnp
import jax.random as jr
import memory
import numpy as np
import pytest
import scaling

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
    harness.save(tmp_path / "found.json", {"part": [1]})
    text = (tmp_path / "found.json").read_text()
    assert f'"jax": "{jax.__version__}"' in text
