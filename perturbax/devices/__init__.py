"""Devices: networks that live outside this library, and are trained from forward passes and a score alone.

A device has four methods: `hello`, `write`, `run` and `bye`. docs/devices.md has their contract, and the
frames in which they travel between two processes.
"""

from perturbax.devices.abilities import Abilities, Weight
from perturbax.devices.checked import Checked, Costs
from perturbax.devices.driver import serve
from perturbax.devices.remote import Remote

__all__ = ["Abilities", "Checked", "Costs", "Remote", "Weight", "serve"]
