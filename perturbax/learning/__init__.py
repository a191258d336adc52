"""How a rule becomes an estimate of the gradient. No rule, cell or task is named here.

Glossary:

    pre-activation a   what synapses hand to neurons, a = drive(z, r), linear in the weights
    z, r               presynaptic activity: input from the layer below, the layer's own output one step ago
    site               what one layer saw in one step: (z, r, a)
    score              output -> loss per example `(B,)`: the loss of a step as a rule may see it
    clean, noisy       a pass without, or with, injected noise xi of standard deviation sigma
    delta              loss of a noisy pass minus loss of the clean one, `(K, B)` for K samples
    signal             what a rule says each pre-activation should learn from, `(K, B, ...)` per layer
    estimate           what a rule returns for one step: loss, output, sites, delta, and signals or gradients
    credit             which later deltas a signal is multiplied with: same step, a window, all later ones
    state              what a rule keeps from one update to the next: learnt feedback, a running average
    carry              what a rule hands from step to step within a sequence: states of the network
    block              several steps whose signals are multiplied with presynaptic activity in one product
    score alone        all that a gradient-free rule is told: it cannot be differentiated
"""
