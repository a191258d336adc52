"""One update on 1 and 2 devices, measured; and on 8 to 1,024, counted.

    JAX_NUM_CPU_DEVICES=2 python benchmarks/shares.py --out benchmarks/results/shares.json
    python benchmarks/shares.py --counted                         # the model alone

Counted is arithmetic and bytes. An update of W weights over T steps takes, on each of N devices,

    rows split       2 W T B / N x passes         passes: clean, K noisy and the outer products; of BPTT 3
    samples split    2 W T B x (2 + K / N)        the clean pass and the outer products are on every device
    all of them      2 (N - 1) / N x 4 (W + 1) bytes sent, a ring, for the one mean of loss and gradient

and evolution sends its 4 P bytes of losses alone where rows are split, but multiplies its noise out (2 W P r)
everywhere. Time is arithmetic over `RATE`, bytes over `BANDWIDTH`, and 2 log2(N) messages of `LATENCY` each,
one after the other. Noise, data and the optimiser, which all devices repeat, are left out.
"""

import argparse
import math
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cases
import jax
import jax.random as jr
from cases import INPUTS, OUTPUTS, Size
from harness import alternate, on_what, ratios, save, spread, table

import perturbax as px
from perturbax.cells import Tanh

RATE, BANDWIDTH, LATENCY = 1e13, 1e11, 1e-5  # of a device: float32 operations and bytes a second, seconds
DEVICES = (1, 8, 64, 256, 1024)
MIDDLE = Size(256, 64, 50)
MEASURED: dict[str, tuple[Any, Size]] = {
    "node, K 1": (px.rules.Node(), MIDDLE),
    "node, K 16": (px.rules.Node(samples=16), MIDDLE),
    "node, K 16, B 1 (samples split)": (px.rules.Node(samples=16), Size(1000, 1, 50)),
    "weight, K 16": (px.rules.Weight(samples=16), MIDDLE),
    "evolution, 32 members": (px.rules.Evolution(population=32), MIDDLE),
    "bptt": (px.rules.BPTT(), MIDDLE),
}


MEASURES = ["update", "size", "ms of work on 1", "work on 2", "times as fast", "spread", "bytes exchanged"]


class Work(NamedTuple):
    """What is counted.

    Attributes:
        name: of the update.
        size: units, batch, steps.
        split: what is split: rows or samples.
        passes: passes that are split.
        everywhere: passes that every device makes as well.
        whole: other arithmetic of every device.
        sends: numbers that devices exchange.
    """

    name: str
    size: Size
    split: str
    passes: float
    everywhere: float
    whole: float
    sends: float


def weights_of(n: int) -> int:
    """Return the weights of one recurrent layer with its readout."""
    return n * (INPUTS + n + 1) + (n + 1) * OUTPUTS


LARGE, ALONE = Size(1024, 1024, 64), Size(1024, 1, 64)
W = weights_of(LARGE.n)
COUNTED = (
    Work("node, K 1", LARGE, "rows", 3, 0, 0, W + 1),
    Work("node, K 256", LARGE, "rows", 258, 0, 0, W + 1),
    Work("node, K 4096, B 1", ALONE, "samples", 4096, 2, 0, W + 1),
    Work("evolution, 4096 members", LARGE, "rows", 4096, 0, 2 * W * 2048, 4096),
    Work("bptt", LARGE, "rows", 3, 0, 0, W + 1),
)


def counted(work: Work, n: int) -> dict[str, float]:
    """Return operations and bytes of one of n devices, and the seconds they take in the model."""
    one_pass = 2 * weights_of(work.size.n) * work.size.T * work.size.B
    operations = one_pass * (work.passes / n + work.everywhere) + work.whole
    sent = 2 * (n - 1) / n * 4 * work.sends
    seconds = operations / RATE + sent / BANDWIDTH + 2 * math.log2(n) * LATENCY
    return {"operations": operations, "bytes": sent, "seconds": seconds}


def update(rule: Any, size: Size, mesh: int | None) -> tuple[Callable[[], Any], str]:
    """Return (a program: one estimate, the text of what was compiled for it)."""
    net, (xs, ys) = cases.network(Tanh, size.n), cases.data(size)
    init, estimate = px.learner(rule, cases.mse, mesh)
    given = init(net, xs[0], jr.key(2)), net, xs, ys, jr.key(3)
    run = jax.jit(estimate).lower(*given).compile()
    if mesh is not None:  # where an update of a loop leaves them
        given = jax.device_put(given, run.input_shardings[0])
    return lambda: run(*given), str(run.as_text())


def exchanged(text: str) -> int:
    """Return the bytes of float32 that a program exchanges, without those within its loops."""
    total = 0
    for line in text.splitlines():
        found = re.search(r"= (.*?) (all-reduce|all-gather)\(", line)
        if found:
            shapes = re.findall(r"f32\[([\d,]*)\]", found[1])
            total += 4 * sum(math.prod(int(d) for d in dims.split(",") if d) for dims in shapes)
    return total


def work(programs: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the seconds of processor time of one call of each, medians over rounds in which they alternate.

    That of all devices of a CPU together: what else runs on the machine makes it no larger, unlike time.
    """
    taken: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for seconds, program in zip(taken, programs, strict=True):
            began = time.process_time()
            jax.block_until_ready(program())
            seconds.append(time.process_time() - began)
    return [statistics.median(seconds) for seconds in taken]


def main() -> None:
    """Print tables in Markdown, and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--counted", action="store_true", help="the model alone")
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    found: dict[str, Any] = {"measured": {}, "counted": {}}
    if not given.counted:
        print(f"{on_what()}\n")
        rows = []
        for name, (rule, size) in MEASURED.items():
            one, two = update(rule, size, None), update(rule, size, 2)
            taken = alternate({"1": one[0], "2": two[0]}, given.repeats, at_least=0.3)
            faster, sent = 1 / ratios(taken, "1")["2"], exchanged(two[1])
            alone, together = work((one[0], two[0]), given.repeats)
            numbers = f"{1e3 * alone:.1f}", f"{together / alone:.2f}", f"{faster:.2f}", f"{spread(taken):.2f}"
            rows.append([name, str(size), *numbers, f"{sent:,}"])
            found["measured"][name] = {"seconds": taken, "times_as_fast": faster, "bytes": sent}
            found["measured"][name] |= {"processor_seconds": [alone, together]}
        print(table(MEASURES, rows), "\n")
    rows = []
    for case in COUNTED:
        by_number = {n: counted(case, n) for n in DEVICES}
        alone = by_number[1]["seconds"]
        faster = [f"{alone / by_number[n]['seconds']:.3g}" for n in DEVICES[1:]]
        most = by_number[DEVICES[-1]]["bytes"]
        rows.append([case.name, case.split, f"{1e3 * alone:.3g}", f"{most / 1e6:.3g}", *faster])
        found["counted"][case.name] = by_number
    heads = ["update", "split", "ms on 1", "MB sent", *(f"{n} devices" for n in DEVICES[1:])]
    print(table(heads, rows))
    save(given.out, found | {"rate": RATE, "bandwidth": BANDWIDTH, "latency": LATENCY})


if __name__ == "__main__":
    main()
