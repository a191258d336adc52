"""Devices that are in use in this process: each is opened once, and closed when the process ends."""

import atexit
import contextlib
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from perturbax.devices.abilities import Abilities
from perturbax.devices.checked import Checked
from perturbax.devices.network import DeviceNetwork, as_written
from perturbax.devices.remote import Remote
from perturbax.errors import ArgumentError, DeviceError, PerturbaxError
from perturbax.network.network import Network
from perturbax.network.passes import forward

_OPEN: dict[Any, Checked] = {}
_GIVEN: set[str] = set()  # commands and addresses that the user has given this process, or trusts
_FIRST: "weakref.WeakKeyDictionary[Checked, Any]" = weakref.WeakKeyDictionary()
_EXACT: "weakref.WeakKeyDictionary[Checked, bool]" = weakref.WeakKeyDictionary()
TRIED = 0.01  # standard deviation of what is added to weights to see whether they are held


class FolderDevice(str):
    """The command or address of a device as a run folder names it, which may come from anybody.

    `opened` starts it only where the user trusts the folder, or has given this process the same.

    Arguments:
        device: the command or address.
        folder: the run folder, for errors.
    """

    folder: str

    def __new__(cls, device: str, folder: str) -> "FolderDevice":
        """Return the text, with the folder beside it."""
        made = super().__new__(cls, device)
        made.folder = folder
        return made


def check_device(device: Any) -> None:
    """Raise DeviceError for what is neither a command or address, nor an object with a device's methods."""
    if isinstance(device, str) and device.strip():
        return
    for verb in ("hello", "write", "run", "bye"):
        if not callable(getattr(device, verb, None)):
            raise DeviceError(
                "a device is a command, an address, or an object with the methods hello, write, run and bye; "
                f"got {device!r:.80}, without {verb}"
            )


def opened(device: Any, inputs: int, outputs: int, steps: int) -> Checked:
    """Return a device that is ready; one that this process has opened and that still answers stays as it is.

    Arguments:
        device: a command or address, or an object with a device's methods.
        inputs: values that go in at a step.
        outputs: values that are to come out of a step.
        steps: steps of a trial.

    Raises ArgumentError for a command of a run folder that nobody vouches for, DeviceError for a device that
    cannot be started, or of other sizes.
    """
    check_device(device)
    if isinstance(device, FolderDevice) and device not in _GIVEN:
        raise ArgumentError(
            f"{device.folder} was trained on the device {str(device)!r}: add --trust to start what the "
            "folder names (or name it again with --device; in Python device=...)"
        )
    key = (device if isinstance(device, str) else id(device), inputs, outputs, steps)
    found = _OPEN.get(key)
    if found is not None and not getattr(found.device, "gone", ""):
        _OPEN[key] = _OPEN.pop(key)  # the one that was asked for last comes last
        return found
    if isinstance(device, str):
        vouch_for(device)
    forget(lambda other: other[0] == key[0])  # the same device for other data, or one that has died
    _OPEN[key] = Checked(Remote(device) if isinstance(device, str) else device, inputs, outputs, steps)
    return _OPEN[key]


def outputs_of(net: Network, xs: Any) -> Any:
    """Return the outputs of a network over sequences, `(T, B, n_out)`: run here, or on its device.

    Arguments:
        net: the network; one of a device runs on the open device that has its weights.
        xs: inputs, `(T, B, n_in)`.

    Raises DeviceError where no such device is open.
    """
    if not isinstance(net, DeviceNetwork):
        return jax.jit(forward)(net, xs)
    for device in reversed(_OPEN.values()):
        if _has_weights_of(device, net):
            device.write(as_written(net))
            return outputs_now(device, xs)
    raise DeviceError("this network lives on a device that is not open here: run it there (px.devices)")


def check_has_weights_of(device: Checked, net: Network) -> None:
    """Raise DeviceError for a device that has other arrays of weights than a network.

    Arguments:
        device: the device.
        net: the network, of a device.
    """
    if isinstance(net, DeviceNetwork) and not _has_weights_of(device, net):
        own = ", ".join(f"{name} {array.shape}" for name, array in net.named().items())
        raise DeviceError(f"{device.can.name} has other weights than this network, which has {own}")


def check_same_weights(device: Checked, said: Mapping[str, Any], folder: str) -> None:
    """Raise DeviceError for a device whose weights are not those that a run was started with.

    Their grid and range may be others, as may be all else that it says: rules are checked by what it is now.

    Arguments:
        device: the device that is to go on.
        said: what the device said of itself when the run was started, as `Abilities.hello` has it.
        folder: the run folder, for errors.
    """
    now = {name: about.of_network for name, about in device.can.weights.items()}
    before = {name: about.of_network for name, about in Abilities.of(said).weights.items()}
    if list(now.items()) != list(before.items()):
        names = [name for name in {**before, **now} if now.get(name) != before.get(name)]
        about = f"{names[0]} {now.get(names[0])}, not {before.get(names[0])}" if names else "in another order"
        raise DeviceError(
            f"{device.can.name} has other weights than {folder} was started with ({about}): go on with that "
            "device, or start a new run"
        )


def _has_weights_of(device: Checked, net: DeviceNetwork) -> bool:
    """Return whether a device has arrays of the names and shapes of a network."""
    shapes = {name: array.shape for name, array in net.named().items()}
    return {name: about.shape for name, about in device.can.weights.items()} == shapes


def outputs_now(device: Checked, xs: Any) -> np.ndarray:
    """Return what a device puts out with the weights that it has, under the seed of judging, `(T, B, n_out)`.

    Arguments:
        device: the device.
        xs: inputs, `(T, B, n_in)`.
    """
    return device.run(np.asarray(xs), judging_seed(device))["outputs"]


def judging_seed(device: Checked) -> int | None:
    """Return the seed of a device's noise while it is judged, always the same; None where it takes none."""
    return 0 if device.can.seeded else None


def vouch_for(device: str) -> None:
    """Let a command or address be opened, named by a run folder or not: the user has given or trusts it."""
    _GIVEN.add(str(device))


def held_at_first(device: Checked) -> dict[str, Any] | None:
    """Return the weights that a device held when it was first asked; None where it cannot tell.

    Every run that starts with these starts alike, whatever was written in between.
    """
    if device not in _FIRST:
        _FIRST[device] = device.write({})
    return _FIRST[device]


def holds_what_is_asked(device: Checked) -> bool:
    """Return whether a device holds weights as it is asked to, to the bit; true where it cannot tell.

    Found by writing other weights once, and then those that it had.

    Arguments:
        device: the device.
    """
    if device not in _EXACT:
        first = held_at_first(device)
        _EXACT[device] = first is None or _holds(device, first)
    return _EXACT[device]


def _holds(device: Checked, first: dict[str, Any]) -> bool:
    """Write weights near the first ones, and these again: -> whether the former were held to the bit."""
    rng = np.random.default_rng(0)
    near = {}
    for name, array in first.items():
        near[name] = (array + TRIED * rng.standard_normal(array.shape)).astype(np.float32)
    held = device.write(near)
    device.write(first)
    return held is None or all(np.array_equal(near[name], held[name].astype(np.float32)) for name in near)


def forget(which: Callable[[Any], bool] = lambda key: True) -> None:
    """Say bye to devices that are open; which: whether that of a key is meant, by default all."""
    for key in [key for key in _OPEN if which(key)]:
        with contextlib.suppress(PerturbaxError, OSError):
            _OPEN.pop(key).bye()


atexit.register(forget)
