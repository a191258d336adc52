"""Files that other packages wrote give the spikes that those packages gave."""

import gzip
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import perturbax as px

pytest.importorskip("nir", reason="an optional package: pip install nir")

DATA = Path(__file__).parent / "data"
FILES = sorted(path.name.removesuffix(".nir.gz") for path in DATA.glob("*.nir.gz"))


def test_there_is_a_file_of_every_package():
    assert {name.split("-")[0] for name in FILES} == {"snntorch", "norse", "spikingjelly"}


@pytest.mark.parametrize("name", FILES)
def test_files_of_others_give_their_spikes(tmp_path, name):
    (tmp_path / "net.nir").write_bytes(gzip.decompress((DATA / f"{name}.nir.gz").read_bytes()))
    net = px.from_nir(tmp_path / "net.nir", written_by=name.split("-")[0])
    recorded = np.load(DATA / f"{name}.npz")
    outputs = px.forward(net, jnp.asarray(recorded["xs"])[:, None])[:, 0]  # (T, n)
    np.testing.assert_array_equal(outputs > 0.5, recorded["spikes"])
    assert 0.05 < recorded["spikes"].mean() < 0.5
