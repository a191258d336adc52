"""Write the files beside this one: networks that other packages made, with inputs and the spikes they gave.

    python write.py snntorch          in an environment with snntorch==1.0.0 nir==1.0.8 nirtorch==2.6
    python write.py norse             norse==1.1.0, likewise
    python write.py spikingjelly      spikingjelly==2.0.0, likewise

each with torch==2.13.0. NAME.nir.gz is the network, NAME.npz has `xs` and `spikes`, `(T, n_in)` and `(T, n)`.
"""

import gzip
import sys
import tempfile
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

FOLDER, STEPS = Path(__file__).parent, 60


def vectors(*values: float, n: int) -> list[Any]:
    return [torch.full((n,), value) for value in values]


def save(name: str, graph: Any, xs: torch.Tensor, spikes: list[torch.Tensor]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nir.write(f"{folder}/net.nir", graph)
        content = Path(folder, "net.nir").read_bytes()
    (FOLDER / f"{name}.nir.gz").write_bytes(gzip.compress(content, mtime=0))  # mostly zeros
    found = torch.stack(spikes).detach().numpy().reshape(len(xs), -1)
    np.savez_compressed(FOLDER / f"{name}.npz", xs=xs.numpy().reshape(len(xs), -1), spikes=found > 0.5)
    print(name, int((found > 0.5).sum()), "spikes of", found.size)


def snntorch() -> None:
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    beta, threshold = vectors(0.8, 1.0, n=5)
    alpha = torch.full((5,), 0.6)
    common = {"threshold": threshold, "reset_mechanism": "zero", "init_hidden": True}
    neurons = {
        "snntorch-leaky": snn.Leaky(beta, **common),
        "snntorch-synaptic": snn.Synaptic(alpha, beta, **common, reset_delay=False),
    }
    xs = 2 * torch.randn(STEPS, 1, 3)
    for name, neuron in neurons.items():
        net = torch.nn.Sequential(torch.nn.Linear(3, 5), neuron)
        graph = export_to_nir(net, xs[0], ignore_dims=[0])
        neuron.reset_mem()
        save(name, graph, xs, [net(x) for x in xs])
    recurrent = snn.RLeaky(
        beta,
        linear_features=5,
        threshold=threshold,
        reset_mechanism="zero",
        init_hidden=True,
        reset_delay=False,
    )
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), recurrent)
    graph = export_to_nir(net, xs[0], ignore_dims=[0])
    recurrent.reset_mem()
    save("snntorch-rleaky", graph, xs, [net(x) for x in xs])


def norse() -> None:
    import norse.torch as norse_torch
    from norse.torch.functional.lif import LIFParameters
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.utils.export_nir import to_nir

    tau, leak, threshold = vectors(200.0, 0.0, 0.4, n=5)
    box = LIFBoxParameters(tau_mem_inv=tau, v_leak=leak, v_th=threshold, v_reset=leak)
    cuba = LIFParameters(tau_syn_inv=2 * tau, tau_mem_inv=tau, v_leak=leak, v_th=threshold, v_reset=leak)
    for name, neuron in (
        ("norse-lifbox", norse_torch.LIFBoxCell(box)),
        ("norse-lif", norse_torch.LIFCell(cuba)),
    ):
        net = norse_torch.SequentialState(torch.nn.Linear(3, 5), neuron)
        xs = 2 * torch.randn(STEPS, 1, 3)
        graph = to_nir(net, xs[0, 0])  # a sample with a batch becomes a shape that nir does not read
        state, spikes = None, []
        for x in xs:
            y, state = net(x, state)
            spikes.append(y)
        save(name, graph, xs, spikes)


def spikingjelly() -> None:
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    nets = {
        "spikingjelly-lif": torch.nn.Sequential(
            layer.Linear(3, 5), neuron.LIFNode(tau=4.0, decay_input=True, v_threshold=0.4, v_reset=0.0)
        ),
        "spikingjelly-cuba": torch.nn.Sequential(
            layer.Linear(3, 5, bias=False),
            neuron.CUBALIFNode(c_decay=0.6, v_decay=0.7, v_threshold=0.8, v_reset=0.1),
        ),
        "spikingjelly-image": torch.nn.Sequential(
            layer.Conv2d(1, 2, 3, stride=2, padding=1),
            neuron.IFNode(v_threshold=0.7, v_reset=0.0),
            layer.AvgPool2d(2, stride=1),
            layer.Flatten(),
            layer.Linear(8, 3),
            neuron.LIFNode(tau=2.0, decay_input=False, v_threshold=0.3, v_reset=0.0),
        ),
    }
    for name, net in nets.items():
        xs = torch.randn(STEPS, 1, 1, 5, 5) if name.endswith("image") else 2 * torch.randn(STEPS, 1, 3)
        graph = export_to_nir(net, xs[0])
        functional.reset_net(net)
        save(name, graph, xs, [net(x) for x in xs])


if __name__ == "__main__":
    torch.manual_seed(0)
    {"snntorch": snntorch, "norse": norse, "spikingjelly": spikingjelly}[sys.argv[1]]()
