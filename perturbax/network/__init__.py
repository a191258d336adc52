"""What is trained: layers that split linear synapses from weight-free neurons, and stacks of them."""

from perturbax.network.network import Network as Network
from perturbax.network.network import Site as Site
