"""The papers the library builds on; rules, cells and tasks name them by key, reports print those used."""

CITATIONS: dict[str, str] = {
    "ahmad2023": "Ahmad N., Schrader E., van Gerven M. (2023). Constrained parameter inference as a principle for "
    "learning. Transactions on Machine Learning Research. arXiv:2203.13203.",
    "arjovsky2016": "Arjovsky M., Shah A., Bengio Y. (2016). Unitary evolution recurrent neural networks. "
    "International Conference on Machine Learning (ICML). arXiv:1511.06464.",
    "bellec2020": "Bellec G., Scherr F., Subramoney A., Hajek E., Salaj D., Legenstein R., Maass W. (2020). A solution "
    "to the learning dilemma for recurrent networks of spiking neurons. Nature Communications 11:3625.",
    "cauwenberghs1993": "Cauwenberghs G. (1993). A fast stochastic error-descent algorithm for supervised learning and "
    "optimization. Advances in Neural Information Processing Systems 5, 244-251.",
    "cho2014": "Cho K., van Merriënboer B., Gulcehre C., Bahdanau D., Bougares F., Schwenk H., Bengio Y. (2014). "
    "Learning phrase representations using RNN encoder-decoder for statistical machine translation. Conference on "
    "Empirical Methods in Natural Language Processing (EMNLP). arXiv:1406.1078.",
    "dalm2023": "Dalm S., van Gerven M., Ahmad N. (2023). Effective learning with node perturbation in multi-layer "
    "neural networks. arXiv:2310.00965.",
    "elman1990": "Elman J. L. (1990). Finding structure in time. Cognitive Science 14(2), 179-211.",
    "fiete2006": "Fiete I. R., Seung H. S. (2006). Gradient learning in spiking neural networks by dynamic "
    "perturbation of conductances. Physical Review Letters 97, 048104.",
    "flower1992": "Flower B., Jabri M. (1992). Summed weight neuron perturbation: an O(N) improvement over weight "
    "perturbation. Advances in Neural Information Processing Systems 5, 212-219.",
    "garcia2024": "García Fernández J., Keemink S., van Gerven M. (2024). Gradient-free training of recurrent neural "
    "networks using random perturbations. Frontiers in Neuroscience 18:1439155. arXiv:2405.08967.",
    "hochreiter1997": "Hochreiter S., Schmidhuber J. (1997). Long short-term memory. Neural Computation 9(8), "
    "1735-1780.",
    "jabri1992": "Jabri M., Flower B. (1992). Weight perturbation: an optimal architecture and learning technique for "
    "analog VLSI feedforward and recurrent multilayer networks. IEEE Transactions on Neural Networks 3(1), 154-157.",
    "jaeger2001": 'Jaeger H. (2001). The "echo state" approach to analysing and training recurrent neural networks. '
    "GMD Report 148, German National Research Center for Information Technology.",
    "jaeger2007": "Jaeger H., Lukoševičius M., Popovici D., Siewert U. (2007). Optimization and applications of echo "
    "state networks with leaky-integrator neurons. Neural Networks 20(3), 335-352.",
    "kailath1968": "Kailath T. (1968). An innovations approach to least-squares estimation, part I: linear filtering "
    "in additive white noise. IEEE Transactions on Automatic Control 13(6), 646-655.",
    "mackey1977": "Mackey M. C., Glass L. (1977). Oscillation and chaos in physiological control systems. Science 197, "
    "287-289.",
    "sutskever2013": "Sutskever I. (2013). Training recurrent neural networks. PhD thesis, University of Toronto.",
    "werbos1990": "Werbos P. J. (1990). Backpropagation through time: what it does and how to do it. Proceedings of "
    "the IEEE 78(10), 1550-1560.",
    "williams1990": "Williams R. J., Peng J. (1990). An efficient gradient-based algorithm for on-line training of "
    "recurrent network trajectories. Neural Computation 2(4), 490-501.",
    "zhou2021": "Zhou H., Zhang S., Peng J., Zhang S., Li J., Xiong H., Zhang W. (2021). Informer: beyond efficient "
    "transformer for long sequence time-series forecasting. AAAI Conference on Artificial Intelligence. "
    "arXiv:2012.07436.",
    "zuege2023": "Züge P., Klos C., Memmesheimer R.-M. (2023). Weight versus node perturbation learning in temporally "
    "extended tasks: weight perturbation often performs similarly or better. Physical Review X 13, 021006.",
}
