"""Files that no writer of NIR should have written: each ends in one line that names the file and the node."""

import json

import numpy as np
import pytest

import perturbax as px
from perturbax.errors import DataError

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")

ONE = np.ones(3)


def written(path):
    """A file of two populations, a convolution and a delay."""
    kernel = nir.Conv1d(3, np.ones((1, 1, 3), "f"), 1, 1, 1, 1, np.zeros(1, "f"))
    nodes = {
        "in": nir.Input(np.array([1, 3])),
        "conv": kernel,
        "lif": nir.LIF(tau=1e-3 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=ONE, v_reset=0 * ONE),
        "own": nir.Linear(np.eye(3)),
        "delay": nir.Delay(1e-4 * ONE),
        "w": nir.Affine(np.ones((2, 3)), np.zeros(2)),
        "out": nir.Output(np.array([2])),
    }
    edges = [
        ("in", "conv"),
        ("conv", "lif"),
        ("lif", "own"),
        ("own", "lif"),
        ("lif", "delay"),
        ("delay", "w"),
    ]
    graph = nir.NIRGraph(nodes, [*edges, ("w", "out")], metadata={"by": "others"}, type_check=False)
    nir.write(str(path), graph)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return written(tmp_path_factory.mktemp("nir") / "good.nir").read_bytes()


def replaced(node, entry, value, **options):
    """Write another value in place of one of a node."""

    def change(file):
        group = file[f"node/nodes/{node}"] if node else file["node"]
        if entry in group:
            del group[entry]
        if value is not None or options:
            group.create_dataset(entry, data=value, **options)

    return change


def linked(node, entry, link):
    def change(file):
        del file[f"node/nodes/{node}/{entry}"]
        file[f"node/nodes/{node}"][entry] = link

    return change


def external(file):
    del file["node/nodes/w/weight"]
    file["node/nodes/w"].create_dataset("weight", (2, 3), "f8", external=[("elsewhere.bin", 0, 48)])


def virtual(file):
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "weight", (2, 3))
    del file["node/nodes/w/weight"]
    file["node/nodes/w"].create_virtual_dataset("weight", layout)


def renamed(file):
    file.move("node", "graph")


def a_node_alone(file):
    file.move("node/nodes/lif", "lif")
    del file["node"]
    file.move("lif", "node")


def in_itself(file):
    file["node/nodes/lif"]["again"] = file["node/nodes/lif"]


def other_edges(*pairs):
    return replaced("", "edges", np.array(pairs, "S"))


HUGE = {"shape": (2**20, 2**20), "chunks": (16, 16), "dtype": "f8"}
ELSEWHERE = h5py.ExternalLink("/etc/elsewhere.h5", "/weight")
CASES = {
    "a link to another file": (
        linked("w", "weight", ELSEWHERE),
        "node 'w': 'weight' is a link to another file",
    ),
    "a link within": (
        linked("w", "weight", h5py.SoftLink("/node/x")),
        "node 'w': 'weight' is a link to '/node/x'",
    ),
    "values elsewhere": (external, "node 'w': 'weight' keeps its values in another file"),
    "virtual values": (virtual, "node 'w': 'weight' keeps its values in another file"),
    "huge": (
        replaced("w", "weight", None, **HUGE),
        "node 'w': 'weight' declares the shape (1048576, 1048576)",
    ),
    "huge input": (
        replaced("in", "shape", [1, 2**60]),
        "an example of shape (1, 1152921504606846976) has more than",
    ),
    "huge padding": (replaced("conv", "padding", 2**40), "node 'conv' cannot be read: an example of shape"),
    "huge delay": (replaced("delay", "delay", 1e9 * ONE), "node 'delay': a delay of 1e+13 steps is too long"),
    "a group in itself": (in_itself, "node 'lif' has more than 40 groups within groups"),
    "no graph": (renamed, "it has no group 'node'"),
    "a node": (a_node_alone, "holds a node of NIR (LIF), not a graph"),
    "no nodes": (replaced("", "nodes", 1.0), "the graph has no group 'nodes'"),
    "no edges": (replaced("", "edges", None), "the graph has no 'edges'"),
    "numbers for edges": (
        replaced("", "edges", np.ones((3, 2))),
        "the graph has no 'edges', which are pairs",
    ),
    "absent node": (
        other_edges(("in", "w"), ("w", "o")),
        "an edge leads from 'w' to 'o', but there is no node 'o'",
    ),
    "a cycle without state": (
        other_edges(
            ("in", "w"),
            ("w", "own"),
            ("own", "w"),
            ("w", "out"),
            ("in", "lif"),
            ("lif", "delay"),
            ("delay", "conv"),
            ("conv", "w"),
        ),
        "nodes 'own' and 'w' lead back to themselves without a population",
    ),
    "no type": (replaced("w", "type", None), "node 'w' has no 'type'"),
    "a number for a type": (replaced("w", "type", 3.0), "node 'w' has no 'type'"),
    "a dataset for a node": (replaced("", "nodes/w", 3.0), "node 'w' has no 'type'"),
    "unknown type": (
        replaced("w", "type", "Dense3d"),
        "node 'w' is a Dense3d, which no network here can have",
    ),
    "a type of the package": (
        replaced("w", "type", "NIRNode"),
        "node 'w' is a NIRNode, which no network here",
    ),
    "missing entry": (replaced("lif", "tau", None), "node 'lif' (LIF) has no 'tau'"),
    "unknown entry": (replaced("lif", "tau_2", ONE), "node 'lif' (LIF) cannot be read: "),
    "no shape": (replaced("in", "shape", None), "node 'in' (Input) has no 'shape'"),
    "a shape of nothing": (
        replaced("in", "shape", [0, 3]),
        "node 'in' cannot be read: an example has the shape",
    ),
    "NaN": (replaced("lif", "tau", np.nan * ONE), "node 'lif': tau is not finite everywhere"),
    "negative tau": (replaced("lif", "tau", -ONE), "node 'lif': tau must be above 0 s, and is -1 s"),
    "beyond float32": (
        replaced("w", "weight", np.full((2, 3), 1e300)),
        "node 'w': weight is not finite everywhere in",
    ),
    "r beyond float32": (
        replaced("lif", "r", 1e300 * ONE),
        "node 'lif': gain is not finite everywhere in float32",
    ),
    "complex": (
        replaced("w", "weight", np.ones((2, 3), complex)),
        "node 'w': 'weight' holds neither numbers nor text",
    ),
    "text for numbers": (replaced("lif", "r", "1"), "node 'lif' (LIF) cannot be read: "),
    "texts for numbers": (
        replaced("lif", "tau", np.array(["1"] * 3, "S")),
        "node 'lif': tau holds no numbers",
    ),
    "axes": (replaced("w", "weight", np.ones(6)), "node 'w'"),
    "wrong shape": (
        replaced("w", "weight", np.ones((2, 4))),
        "node 'w' has weights for 4 inputs and reads 3",
    ),
    "wrong bias": (replaced("w", "bias", np.ones(5)), "node 'w': bias has 5 values for 2 units"),
    "wrong feedback": (
        replaced("own", "weight", np.ones((2, 3))),
        "node 'lif' has 3 units and reads itself through",
    ),
    "groups": (replaced("conv", "groups", 3), "node 'conv' has 1 channels behind it, in 3 groups"),
    "no stride": (
        replaced("conv", "stride", 0),
        "node 'conv' cannot be read: it must hold whole numbers, 1 or more",
    ),
    "negative padding": (
        replaced("conv", "padding", -1),
        "node 'conv' cannot be read: it must hold whole numbers, 0",
    ),
    "negative delay": (replaced("delay", "delay", -ONE), "node 'delay': delay must be seconds, 0 or more"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_fault_ends_in_one_line_that_names_file_and_node(tmp_path, good, case):
    change, words = CASES[case]
    path = tmp_path / "net.nir"
    path.write_bytes(good)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError) as caught:
        px.from_nir(path)
    said = str(caught.value)
    assert words in said
    assert said.startswith(str(path))
    assert said.count(str(path)) == 1
    assert "\n" not in said


def test_files_that_are_cut_short_end_in_one_line(tmp_path, good):
    path = tmp_path / "net.nir"
    for share in np.linspace(0, 0.99, 12):
        path.write_bytes(good[: int(share * len(good))])
        with pytest.raises(DataError) as caught:
            px.from_nir(path)
        assert str(caught.value).startswith(
            f"{path} cannot be read as a graph of NIR: it is no HDF5 file, or cut"
        )
        assert "\n" not in str(caught.value)


def test_metadata_and_float64_of_others_change_nothing(tmp_path, good):
    path = tmp_path / "net.nir"
    path.write_bytes(good)
    net = px.from_nir(path)
    with h5py.File(path, "a") as file:
        file["node/metadata"].create_dataset("order", data=np.arange(3))
        file["node/metadata"].create_dataset("dt", data="a millisecond")
        for name, node in file["node/nodes"].items():
            node.create_group("metadata").create_dataset("perturbation", data=json.dumps([name]))
            node["metadata"].create_group("more").create_dataset("x", data=np.ones(3))
    again = px.from_nir(path)
    assert str(again) == str(net)
    assert {str(w.dtype) for w in (net.layers[0].below.K, net.layers[-1].W)} == {"float32"}
    with h5py.File(path, "a") as file:
        file["node/nodes/lif/metadata"].create_dataset("perturbax", data="[1]")
    with pytest.raises(DataError, match=r"net.nir: node 'lif' has metadata of perturbax that cannot be read"):
        px.from_nir(path)
    with h5py.File(path, "a") as file:
        del file["node/nodes/lif/metadata/perturbax"]
        file["node/nodes/lif/metadata"].create_dataset("perturbax", data='{"surrogate": "steep"}')
    with pytest.raises(DataError, match=r"net.nir: node 'lif': metadata of perturbax: "):
        px.from_nir(path)


def test_convolutions_whose_types_nir_infers_wrongly_are_read(tmp_path):
    """A kernel that is no square, and groups, of which nir.read makes other types and refuses them."""
    kernel = np.ones((4, 1, 3, 5), "f")
    conv = nir.Conv2d((6, 8), kernel, 1, 0, 1, 4, np.zeros(4, "f"))
    nodes = {"in": nir.Input(np.array([4, 6, 8])), "conv": conv, "out": nir.Output(np.array([4, 4, 4]))}
    graph = nir.NIRGraph(nodes, [("in", "conv"), ("conv", "out")], type_check=False)
    nir.write(str(tmp_path / "net.nir"), graph)
    assert px.from_nir(tmp_path / "net.nir").layers[0].n == 64
