"""What a report says as plain text: how runs stand against the baselines, warnings, and the table."""

from pathlib import Path

from perturbax.report.compare import sections
from perturbax.report.read import Run
from perturbax.report.words import in_words, outcome, plain, table, warnings


def run(rule, seed, loss, *, losses=(1.0, 0.5), status="finished", **baselines):
    """A run as it is read from its folder; baselines and losses as numbers."""
    experiment = {"task": "copy", "rule": rule, "seed": seed, "cell": "tanh", "units": [4], "lr": 0.1}
    metrics = [{"step": 10.0 * i, "valid_loss": x} for i, x in enumerate(losses, 1)]
    result = {
        "status": status,
        "test": {"loss": loss},
        "baselines": {name: {"loss": x} for name, x in baselines.items()},
    }
    return Run(Path(f"runs/{rule}-s{seed}"), {"experiment": experiment}, metrics, result, None)


def one(*runs):
    (section,) = sections(runs)
    return section


def said(*runs):
    section = one(*runs)
    return [outcome(section, variant) for variant in section.variants]


def test_a_run_beats_all_baselines_or_does_not_beat_some_by_name():
    assert said(run("node", 0, 0.1, constant=0.3, reservoir=0.2)) == [
        "node beats all baselines: its test loss is 0.100, that of the best of them, its own untrained "
        "reservoir with a solved readout, 0.200."
    ]
    assert said(run("node", 0, 0.25, constant=0.3, reservoir=0.2)) == [
        "node does not beat its own untrained reservoir with a solved readout (0.200): its test loss is "
        "0.250."
    ]
    assert said(run("node", 0, 0.4, mean=0.3, persistence=0.35, linear=0.2)) == [
        "node does not beat linear (0.200), mean (0.300) or persistence (0.350): its test loss is 0.400."
    ]
    assert "does not beat mean" in said(run("node", 0, 0.29999, mean=0.3))[0]  # equal but for the last digits
    assert said(run("node", 0, 0.4)) == ["node has a test loss of 0.400; this task has no baselines."]
    assert said(run("node", 0, None, mean=0.3)) == ["node has no result on test data."]
    assert said(run("node", 0, 0.1, mean=0.3), run("node", 1, 0.3, mean=0.3))[0].startswith(
        "node beats all baselines: its test loss is 0.200,"
    )


def test_a_loss_that_ended_above_its_start_is_warned_of():
    risen = one(run("node", 0, 0.1, losses=(0.5, 0.2, 0.75)), run("node", 1, 0.1, losses=(0.5, 0.2)))
    assert warnings(risen) == [
        "node: the validation loss ended above its start with seed 0 (0.750; 0.500 at step 10): a lower "
        "learning rate (--lr) may help."
    ]
    for losses in ((), (1.0,), (0.5, 0.5), (0.5, 0.501), (0.5, 0.7, 0.4), (None, 0.4, 0.4), (-1.0, -2.0)):
        assert not warnings(one(run("node", 0, 0.1, losses=losses))), losses
    assert warnings(one(run("node", 0, 0.1, losses=(-2.0, -1.0))))


def test_the_table_has_all_results_the_best_first():
    runs = [run("node", seed, 0.1, mean=0.3, linear=0.2) for seed in (0, 1)]
    lost = run("bptt", 0, None, status="diverged", mean=0.3, linear=0.2)
    rows = table(one(*runs, run("frozen", 0, 0.25, mean=0.3, linear=0.2), lost))
    assert [(row.name, row.stand) for row in rows] == [
        ("node", "beats all baselines"),
        ("linear", "baseline"),
        ("frozen", "does not beat linear"),
        ("mean", "baseline"),
        ("bptt", "diverged"),
    ]
    half = table(one(*runs, run("node", 2, None, status="diverged", mean=0.3, linear=0.2)))
    assert half[0].stand == "beats all baselines (2 of 3 seeds)"
    assert rows[0].result == "0.100 ± 0"
    assert [row.trained for row in rows] == [True, False, True, False, True]


def test_words_have_no_markup():
    assert plain('<b class="rule">node</b> &lt; 3 &amp; a<wbr>b') == "node < 3 & ab"
    words = in_words(one(run("node", 0, 0.1, mean=0.3)))
    assert "node" in words
    assert "<" not in words
