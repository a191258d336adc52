"""Networks to and from NIR, the format in which the neuromorphic tools exchange spiking networks.

Pedersen et al. 2024, Neuromorphic intermediate representation, Nature Communications 15.
"""
