"""What is trained: layers that split linear synapses from weight-free neurons, and stacks of them."""
