"""A simulated device: a network of any of our cells behind the four methods of a device, with faults.

    python -m perturbax.devices.simulated --cell tanh --units 16 --bits 6 --ambient 0.05

serves one over its pipes; `--help` has all settings.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.cells import CELLS
from perturbax.cells.stack import stack
from perturbax.devices.abilities import Abilities
from perturbax.devices.driver import LIMIT, Signs, in_turn
from perturbax.devices.faults import Faults, some_of
from perturbax.devices.memory import Memory
from perturbax.devices.products import repeats_of, weights_of
from perturbax.devices.simulated_pass import TAPS, Rest, place_of, run_compiled, run_settings
from perturbax.errors import ArgumentError, DeviceError
from perturbax.fields import whole
from perturbax.network.arrays import from_named_arrays, to_named_arrays
from perturbax.network.layer import join, split, weights
from perturbax.network.network import Network

SEEDS = 2**31  # seeds lie below, as those of runs do


class Simulated:
    """A device that is simulated here: a network of one of our cells and its readout, with faults.

    Its layers are called `layers[0]`, `layers[1]`, ...; its arrays of weights as in files of weights,
    `layers[0].W`. All layers take currents, and have the taps z, r, a and y. It has the four methods that
    docs/devices.md describes. Without faults a run is the forward pass of that network, bit for bit.

    Arguments:
        cell: name of the cell of the hidden layers.
        units: units of each hidden layer.
        seed: of the weights that it starts with: those of a run of this seed in process. Its faults are drawn
            from it, too.
        options: settings of the cell.
        faults: settings of `Faults`.
        net: a network to take instead; cell, units and options are not looked at.

    Raises ArgumentError for a network with what a device cannot have (decorrelating matrices, residual sums,
    normalisation), and for settings that cannot be used.
    """

    def __init__(
        self,
        cell: str = "tanh",
        units: Sequence[int] = (16,),
        *,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        faults: Faults | None = None,
        net: Network | None = None,
    ):
        self.cell, self.units, self.seed, self.options = CELLS[cell], tuple(units), seed, dict(options or {})
        self.faults = faults or Faults()
        whole("seed", seed, 0)
        if seed >= SEEDS:
            raise ArgumentError(f"seed must be below {SEEDS}, not {seed}")
        for n in self.units:
            whole("units", n)
        if net is None:
            self._check_size((1, 1))
        self.name = f"simulated {cell}" if net is None else "simulated"
        self.net: Network | None = None
        self.memory: Memory | None = None
        self.runs = 0
        if net is not None:
            self._start(_plain(net))

    def hello(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the device is and can do; the first call says for how many inputs and outputs.

        Arguments:
            asked: `inputs` and `outputs`, numbers of values in a step.
        """
        sizes = int(asked["inputs"]), int(asked["outputs"])
        if self.net is None:
            self._check_size(sizes)
            key = jr.split(jr.PRNGKey(self.seed), 3)[0]  # as a run of this seed starts
            self._start(self._made(sizes, key))
        return self._abilities(sizes[0]).hello()

    def write(self, weights: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Set the arrays of weights that are given; return all weights as they are held now.

        Arguments:
            weights: arrays by name; none at all to read back only.

        Raises DeviceError for a name or shape that the device does not have.
        """
        memory = self._started()[1]
        memory.write(weights)
        return memory.read()

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
            seed: of the noise; without one, every run has other noise.
            currents: what is added to pre-activations, by layer, `(T, B, ...)`.
            targets: not looked at.
            taps: what to return beside the outputs, such as `layers[0].z`.

        Raises DeviceError for a layer or tap that the device does not have.
        """
        net, memory = self._started()
        names = [layer_name(i) for i in range(len(net.layers))]
        self._check_layers(names, currents)
        some, rest = split(net)
        in_force = from_named_arrays(some, memory.in_force(), self.name)
        dtype = jnp.result_type(*jax.tree.leaves(some))
        xs = jnp.asarray(inputs, dtype)  # (T, B, n_in)
        added = [None if currents is None else currents.get(name) for name in names]
        added = [None if current is None else np.asarray(current, dtype) for current in added]
        wanted = tuple(place_of(self.name, names, tap) for tap in taps)
        outputs, read = run_compiled(
            join(in_force, rest), xs, added, self._stuck(memory.age), self._key(seed), self.faults, wanted
        )
        self.runs += 1
        memory.age += xs.shape[0] * xs.shape[1]
        found = {tap: np.asarray(array) for tap, array in zip(taps, read, strict=True)}
        return {"outputs": np.asarray(outputs), **found}

    def write_and_run(
        self,
        weights: Mapping[str, Any],
        inputs: Any,
        rows: Sequence[Sequence[Any]],
        middle: str | None = None,
        seed: int | None = None,
        currents: Mapping[str, Any] | None = None,
        targets: Any = None,
        taps: Sequence[str] = (),
    ) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
        """Write settings of weights and run rows of trials on each; without faults in one program.

        Arguments and what is returned: as in `driver.write_and_run`.

        Raises DeviceError as `write` and `run` do.
        """
        net, memory = self._started()
        if not (self._plain_methods and memory.exact and memory.takes_as_they_are(weights)):
            return in_turn(self, weights, inputs, rows, middle, seed, currents, targets, taps)
        names = [layer_name(i) for i in range(len(net.layers))]
        self._check_layers(names, currents)
        wanted = tuple(place_of(self.name, names, tap) for tap in taps)
        settings = weights or {name: array[None] for name, array in memory.in_force().items()}
        some = [settings[name] for name in memory.names]
        own = [(currents or {}).get(name) for name in names]
        shapes = tuple(current.shape if isinstance(current, Signs) else None for current in own)
        outputs, read = run_settings(
            some,
            self._fixed,
            np.asarray(inputs, some[0].dtype),
            [(c.bits, np.float32(c.size)) if isinstance(c, Signs) else c for c in own],
            shapes=shapes,
            rest=self._rest,
            rows=tuple((int(k), float(factor)) for k, factor in rows),
            middle=middle,
            taps=wanted,
        )
        if weights:
            memory.write({name: array[-1] for name, array in weights.items()})
        self.runs += len(some[0])
        memory.age += outputs.shape[0] * outputs.shape[1]
        found = {tap: np.asarray(array) for tap, array in zip(taps, read, strict=True)}
        return weights, {"outputs": np.asarray(outputs), **found}

    def bye(self) -> None:
        """Do nothing: there is nothing to close."""

    @property
    def _plain_methods(self) -> bool:
        """Whether write and run are those of this class, so that one program may do what they do."""
        return (type(self).write, type(self).run) == (Simulated.write, Simulated.run)

    def _check_layers(self, names: Sequence[str], currents: Mapping[str, Any] | None) -> None:
        """Raise DeviceError for currents of a layer that is not there."""
        for layer in currents or {}:
            if layer not in names:
                raise DeviceError(f"{self.name} has no layer {layer!r}, but {', '.join(names)}")

    def _made(self, sizes: tuple[int, int], key: Array) -> Network:
        """Return the device's own network for so many inputs and outputs."""
        return Network(stack(self.cell, sizes, self.units, key, **self.options))

    def _check_size(self, sizes: tuple[int, int]) -> None:
        """Refuse settings of which no network can be made, and more weights than a frame takes."""
        key = jax.ShapeDtypeStruct((2,), jnp.uint32)
        made = eqx.filter_eval_shape(lambda key: weights(self._made(sizes, key)), key)
        values = sum(math.prod(w.shape) for w in jax.tree.leaves(made))
        if 4 * values > LIMIT:
            units = ",".join(map(str, self.units))
            raise ArgumentError(
                f"units {units} make {values} weights, more than a frame of {LIMIT} bytes takes"
            )

    def _start(self, net: Network) -> None:
        """Take a network as the device's own, and write its weights."""
        self.net = net
        self._rest, self._fixed = Rest.of(net)
        layers = [layer_name(i) for i in range(len(net.layers))]
        some = to_named_arrays(weights(net))
        of_layers = {name: next(layer for layer in layers if name.startswith(layer + ".")) for name in some}
        self.memory = Memory(some, of_layers, self.faults, self.seed, self.name)
        rng = np.random.default_rng((self.seed, 1))
        self.stuck_units = [some_of(rng, layer.width, self.faults.stuck) for layer in net.layers[:-1]]

    def _started(self) -> tuple[Network, Memory]:
        """Return network and memory; DeviceError before the first hello, which says the sizes."""
        if self.net is None or self.memory is None:
            raise DeviceError(f"{self.name} does not know its sizes yet: say hello first")
        return self.net, self.memory

    def _stuck(self, age: int) -> list[np.ndarray | None]:
        """Return which outputs of each layer are stuck by now, or None for layers where none ever is."""
        late = age >= self.faults.stuck_after
        hidden = [units & late if units.any() else None for units in self.stuck_units]
        return [*hidden, None]

    def _key(self, seed: int | None) -> Array:
        """Return the key of the noise of a run."""
        if self.faults.noise == "none":
            return jr.PRNGKey(0)
        if seed is not None:
            return jr.PRNGKey(seed)
        return jr.fold_in(jr.PRNGKey(self.seed), self.runs)

    def _abilities(self, inputs: int) -> Abilities:
        """Return what hello says."""
        net, memory = self._started()
        dtype = jnp.result_type(*jax.tree.leaves(weights(net)))
        sites = net.sites_like(jax.ShapeDtypeStruct((1, inputs), dtype))
        names = [layer_name(i) for i in range(len(net.layers))]
        found = {}
        for i, layer in enumerate(net.layers):
            found |= weights_of(names[i], layer, sites[i].z.shape[-1], sites[i].r.shape[-1], self.faults)
        return Abilities(
            name=self.name,
            inputs=inputs,
            outputs=net.layers[-1].width,
            weights=found,
            noise=self.faults.noise,
            seeded=True,
            currents={name: site.a.shape[1:] for name, site in zip(names, sites, strict=True)},
            taps=dict.fromkeys(names, TAPS),
            drifts=bool(self.faults.drift),
            repeats={} if self.faults.delay or self.faults.input_bits else repeats_of(net, names, sites),
        )


def layer_name(i: int) -> str:
    """Return what layer i is called."""
    return f"layers[{i}]"


def _plain(net: Network) -> Network:
    """Return the network; ArgumentError for one with more between its layers than wires."""
    if net.residual or net.normalise or net.reads or any(D is not None for D in net.decor):
        raise ArgumentError(
            "a simulated device is a stack of layers alone: no graph, decorrelation, residual sums or "
            "normalisation"
        )
    return net


if __name__ == "__main__":
    from perturbax.devices.command import main

    main()
