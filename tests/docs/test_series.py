"""The script over public series: files as users have them, the bar that rules are held to, and its tables."""

import csv
import math

import pytest
import series


def of_seeds(*mses, status="finished", form="linear"):
    """Results of one rule, one for each seed."""
    measures = {"mase": 1.0, "smape": 5.0}
    simple = {"mean": 9.0, "persistence": 4.0, "linear": 2.0, "combined": 1.8}
    return [
        {
            "status": status,
            "test": {"mse": mse, **measures},
            "baselines": {name: {"mse": value, **measures} for name, value in simple.items()},
            "coverage": {"80": 0.8, "95": 0.9},
            "valid_mse": mse / 2,
            "valid_base": 2.0,
            "form": form,
        }
        for mse in mses
    ]


def test_the_best_simple_forecast_is_the_bar():
    baselines = of_seeds(1.0)[0]["baselines"]
    assert series.bar_of(baselines) == ("linear", 2.0)
    baselines |= {"seasonal naive": {"mse": 1.5}, "mean": {"mse": 0.1}, "reservoir": {"mse": 0.1}}
    assert series.bar_of(baselines) == ("seasonal naive", 1.5)


def test_the_judgement_names_what_is_worse_by_more_than_a_tenth():
    found = {
        "one": {"auto": {"bptt": of_seeds(1.0, 1.9, 9.0), "node": of_seeds(2.1, 2.1, 2.1)}, "level": {}},
        "two": {"auto": {"bptt": of_seeds(2.3, 2.3, 1.0), "node": of_seeds(2.0, 2.0, 2.0)}},
    }
    said = series.judgement(found)
    assert "| `bptt` | **0.950** | 1.150 | 1 of 2 | 1.150 |" in said
    assert "| `combined` | **0.900** | **0.900** | 2 of 2 | 0.900 |" in said
    assert "| `node` | 1.050 | 1.000 | 0 of 2 | 1.050 |" in said
    assert said.endswith("by more than 10 %: `bptt` on two.")
    del found["two"]["auto"]["bptt"]
    assert "No rule ends worse" in series.judgement(found)
    assert series.judgement({"one": {"level": {"bptt": of_seeds(1.0)}}}) == ""


def test_most_runs_diverged_is_infinite():
    assert series.middle(of_seeds(1.0, 2.0, 3.0), "test", "mse") == 2
    assert (
        series.middle(of_seeds(1.0, 2.0) + of_seeds(3.0, 3.0, 3.0, status="diverged"), "test", "mse")
        == math.inf
    )


def test_tables_have_a_row_for_each_forecast():
    found = {"auto": {"bptt": of_seeds(1.0)}, "level": {"bptt": of_seeds(4.0, form="level")}}
    lines = series.table_of_series("co2", series.SIX["co2"], found).splitlines()
    assert lines[0] == "### co2: weekly CO2 at Mauna Loa, ppm, 13 rows ahead"
    assert [line.split("|")[2].strip() for line in lines[4:10]] == [
        "mean",
        "persistence",
        "linear",
        "combined",
        "`bptt`",
        "`bptt`",
    ]
    assert [line.split("|")[1].strip() for line in lines[8:10]] == ["auto: linear", "level"]
    assert "| one | 80.0 | 90.0 |" in series.coverages({"one": found})
    assert "| auto | bptt | 0.250 | 0.500 | 0.250, 0.500 |" in series.tuning({"one": found})


def test_none_of_the_six_tunes():
    assert not set(series.SIX) & set(series.OTHERS)
    files = [public.file for public in (*series.SIX.values(), *series.OTHERS.values())]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, public in (series.SIX | series.OTHERS).items()
        if public.package not in ("", "perturbax")
    ],
)
def test_files_of_the_packages_have_dates_and_the_target(name, tmp_path):
    public = (series.SIX | series.OTHERS)[name]
    pytest.importorskip(public.package, reason="files of the extra bench")
    path = series.data_of(name, public, tmp_path, None)
    with path.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) >= 100
    assert public.target in rows[0]
    time = next(head for head in rows[0] if head.lower() in ("date", "month", "year"))
    assert len({row[time] for row in rows}) == len(rows)
