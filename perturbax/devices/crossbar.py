"""An analogue crossbar that is simulated by aihwkit: a tanh network whose synapses are two tiles.

    python -m perturbax.devices.crossbar --units 24

serves it over its pipes. It needs the packages aihwkit 1.1.0 and torch (`pip install 'perturbax[crossbar]'`),
and nothing of JAX: it can run in an environment of its own.
"""

import argparse
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perturbax.devices.serving import serve_or_say
from perturbax.errors import ArgumentError, DeviceError
from perturbax.plugins import import_optional

LEVELS = 63  # steps from 0 to the largest input of a row: 7 bits


class Crossbar:
    """A recurrent network of tanh units on two tiles of aihwkit, configured by TorchInferenceRPUConfig.

        z_t = (x_t, h_{t-1}, 1),   a_t = rec z_t,   h_t = tanh(a_t),   outputs_t = out (h_t, 1)

    The tiles compute as that package says of inference hardware: inputs in 7 bits of the largest of their
    row, outputs in 9 bits, and white noise that is proportional to the largest input (Rasch et al. 2021). The
    tap z is what the tile saw, rounded; a has noise and current in it. Weights `(post, pre)`: `rec`
    `(n, n_in + n + 1)` and `out` `(n_out, n + 1)`.

    Arguments:
        units: units, n.
        seed: of the weights that it starts with.
        noise: standard deviation of the noise of a tile's output, as a share of the row's largest input; None
            for what the package takes, 0.06.

    Raises ArgumentError for settings that cannot be used, and where a package is missing: it says what to
    install.
    """

    def __init__(self, units: int = 24, *, seed: int = 0, noise: float | None = None):
        if units < 1 or seed < 0 or not 0 <= (noise or 0) < float("inf"):
            raise ArgumentError(
                f"units must be 1 or more, seed and noise 0 or more: not {units}, {seed} and {noise}"
            )
        self.torch = import_optional("device crossbar", "torch", "torch")
        self.layers = import_optional("device crossbar", "aihwkit.nn", "aihwkit")
        self.configs = import_optional("device crossbar", "aihwkit.simulator.configs", "aihwkit")
        self.units, self.seed, self.noise = units, seed, noise
        self.tiles: dict[str, Any] = {}

    def hello(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the device is and can do; the first call says for how many inputs and outputs.

        Arguments:
            asked: `inputs` and `outputs`, numbers of values in a step.
        """
        n_in, n, n_out = int(asked["inputs"]), self.units, int(asked["outputs"])
        if not self.tiles:
            self.tiles = {"rec": self._tile(n_in + n + 1, n), "out": self._tile(n + 1, n_out)}
            rng = np.random.default_rng(self.seed)
            below = rng.normal(0, n_in**-0.5, (n, n_in))
            recurrent = rng.normal(0, 0.8 * n**-0.5, (n, n))
            above = rng.normal(0, 0.3 * n**-0.5, (n_out, n))
            rec = np.concatenate([below, recurrent, np.zeros((n, 1))], 1)
            self.write({"rec": rec, "out": np.concatenate([above, np.zeros((n_out, 1))], 1)})
        shapes = {"rec": [n, n_in + n + 1], "out": [n_out, n + 1]}
        weights = {
            name: {"shape": shape, "layer": name, "reads": "z", "order": "post-pre"}
            for name, shape in shapes.items()
        }
        return {
            "version": 1,
            "name": "crossbar",
            "inputs": n_in,
            "outputs": n_out,
            "weights": weights,
            "noise": "own" if self.noise != 0 else "none",
            "seeded": True,
            "currents": {"rec": [n], "out": [n_out]},
            "taps": {"rec": ["z", "a", "y"], "out": ["z", "a"]},
        }

    def write(self, weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Set the arrays of weights that are given; return all as the tiles hold them.

        Arguments:
            weights: arrays by name, `rec` and `out`; none at all to read back only.

        Raises DeviceError for another name.
        """
        for name, array in weights.items():
            if name not in self.tiles:
                raise DeviceError(f"the crossbar has no weights {name!r}, but rec, out")
            self.tiles[name].set_weights(self.torch.tensor(np.asarray(array, np.float32)))
        return {name: tile.get_weights()[0].numpy().copy() for name, tile in self.tiles.items()}

    def run(
        self,
        inputs: Any,
        seed: int | None = None,
        currents: Mapping[str, Any] | None = None,
        targets: Any = None,
        taps: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run all trials from rest: -> outputs `(T, B, n_out)`, and the taps asked for, `(T, B, ...)`.

        Arguments:
            inputs: `(T, B, n_in)`: T steps of B trials.
            seed: of the noise.
            currents: what is added to pre-activations of `rec` or `out`, `(T, B, ...)`.
            targets: not looked at.
            taps: what to return beside the outputs, such as `rec.z`.
        """
        if seed is not None:
            self.torch.manual_seed(seed)
        x = np.asarray(inputs, np.float32)  # (T, B, n_in)
        B = x.shape[1]
        h = np.zeros((B, self.units), np.float32)
        one = np.ones((B, 1), np.float32)
        found: dict[str, list[np.ndarray]] = {
            name: [] for name in ("rec.z", "rec.a", "rec.y", "out.z", "out.a")
        }
        for t in range(len(x)):
            z = np.concatenate([x[t], h, one], 1)  # (B, n_in + n + 1)
            a = self._through("rec", z, currents, t)  # (B, n)
            h = np.tanh(a)
            above = np.concatenate([h, one], 1)  # (B, n + 1)
            y = self._through("out", above, currents, t)  # (B, n_out)
            for name, array in zip(found, (_as_seen(z), a, h, _as_seen(above), y), strict=True):
                found[name].append(array)
        read = {tap: np.stack(found[tap]) for tap in taps}
        return {"outputs": np.stack(found["out.a"]), **read}

    def bye(self) -> None:
        """Do nothing: there is nothing to close."""

    def _tile(self, n_in: int, n: int) -> Any:
        """Return a tile without noise of its own weights, for inference."""
        config = self.configs.TorchInferenceRPUConfig()
        if self.noise is not None:
            config.forward.out_noise = self.noise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.layers.AnalogLinear(n_in, n, bias=False, rpu_config=config).eval()

    def _through(self, name: str, z: np.ndarray, currents: Mapping[str, Any] | None, t: int) -> np.ndarray:
        """Return the pre-activations that a tile makes of what it reads, current included."""
        with self.torch.no_grad():
            a = self.tiles[name](self.torch.tensor(z)).numpy()
        if currents and name in currents:
            a = a + np.asarray(currents[name][t], np.float32)
        return a


def _as_seen(z: np.ndarray) -> np.ndarray:
    """Return inputs `(B, n)` in steps of the largest of their row, as a tile rounds them."""
    largest = np.abs(z).max(-1, keepdims=True)
    step = np.where(largest > 0, largest, 1) / LEVELS
    return np.round(z / step) * step


def main(words: Sequence[str] | None = None) -> None:
    """Serve the crossbar that the arguments describe; ends the process with a line for wrong ones.

    Arguments:
        words: arguments of the command line; by default those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m perturbax.devices.crossbar", description="Serve a tanh network on tiles of aihwkit."
    )
    parser.add_argument("--units", type=int, default=24, help="units (24)")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights (0)")
    parser.add_argument("--noise", type=float, help="noise of a tile's output, as a share (0.06)")
    parser.add_argument("--at", help="unix:PATH, tcp:PORT or tcp:HOST:PORT to wait at; without it, pipes")
    given = parser.parse_args(words)
    serve_or_say("crossbar", lambda: Crossbar(given.units, seed=given.seed, noise=given.noise), given.at)


if __name__ == "__main__":
    main()
