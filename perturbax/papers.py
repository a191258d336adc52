"""The papers the library builds on; rules, cells and tasks name them by key, reports print those used."""

CITATIONS: dict[str, str] = {
    "ahmad2023": "Ahmad N., Schrader E., van Gerven M. (2023). Constrained parameter inference as a principle for "
    "learning. Transactions on Machine Learning Research. arXiv:2203.13203.",
    "akrout2019": "Akrout M., Wilson C., Humphreys P., Lillicrap T., Tweed D. (2019). Deep learning without weight "
    "transport. Advances in Neural Information Processing Systems 32. arXiv:1904.05391.",
    "arjovsky2016": "Arjovsky M., Shah A., Bengio Y. (2016). Unitary evolution recurrent neural networks. "
    "International Conference on Machine Learning (ICML). arXiv:1511.06464.",
    "baydin2022": "Baydin A. G., Pearlmutter B. A., Syme D., Wood F., Torr P. (2022). Gradients without "
    "backpropagation. arXiv:2202.08587.",
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
    "garcia2024ou": "García Fernández J., Ahmad N., van Gerven M. (2024). Ornstein-Uhlenbeck adaptation as a mechanism "
    "for learning in brains and machines. Entropy 26(12), 1125. arXiv:2410.13563.",
    "gers2000": "Gers F. A., Schmidhuber J., Cummins F. (2000). Learning to forget: continual prediction with LSTM. "
    "Neural Computation 12(10), 2451-2471.",
    "hochreiter1997": "Hochreiter S., Schmidhuber J. (1997). Long short-term memory. Neural Computation 9(8), "
    "1735-1780.",
    "jabri1992": "Jabri M., Flower B. (1992). Weight perturbation: an optimal architecture and learning technique for "
    "analog VLSI feedforward and recurrent multilayer networks. IEEE Transactions on Neural Networks 3(1), 154-157.",
    "jaeger2001": 'Jaeger H. (2001). The "echo state" approach to analysing and training recurrent neural networks. '
    "GMD Report 148, German National Research Center for Information Technology.",
    "jaeger2007": "Jaeger H., Lukoševičius M., Popovici D., Siewert U. (2007). Optimization and applications of echo "
    "state networks with leaky-integrator neurons. Neural Networks 20(3), 335-352.",
    "jozefowicz2015": "Jozefowicz R., Zaremba W., Sutskever I. (2015). An empirical exploration of recurrent network "
    "architectures. International Conference on Machine Learning (ICML), PMLR 37, 2342-2350.",
    "kailath1968": "Kailath T. (1968). An innovations approach to least-squares estimation, part I: linear filtering "
    "in additive white noise. IEEE Transactions on Automatic Control 13(6), 646-655.",
    "lansdell2020": "Lansdell B., Prakash P., Kording K. (2020). Learning to solve the credit assignment problem. "
    "International Conference on Learning Representations (ICLR). arXiv:1906.00889.",
    "legenstein2010": "Legenstein R., Chase S. M., Schwartz A. B., Maass W. (2010). A reward-modulated Hebbian "
    "learning rule can explain experimentally observed network reorganization in a brain control task. Journal of "
    "Neuroscience 30(25), 8400-8410.",
    "li2023": "Li O., Harrison J., Sohl-Dickstein J., Smith V., Metz L. (2023). Variance-reduced gradient estimation "
    "via noise-reuse in online evolution strategies. Advances in Neural Information Processing Systems 36. "
    "arXiv:2304.12180.",
    "lillicrap2016": "Lillicrap T., Cownden D., Tweed D., Akerman C. (2016). Random synaptic feedback weights support "
    "error backpropagation for deep learning. Nature Communications 7:13276.",
    "mackey1977": "Mackey M. C., Glass L. (1977). Oscillation and chaos in physiological control systems. Science 197, "
    "287-289.",
    "miconi2017": "Miconi T. (2017). Biologically plausible learning in recurrent neural networks reproduces neural "
    "dynamics observed during cognitive tasks. eLife 6:e20899.",
    "ren2023": "Ren M., Kornblith S., Liao R., Hinton G. (2023). Scaling forward gradient with local losses. "
    "International Conference on Learning Representations (ICLR). arXiv:2210.03310.",
    "salimans2017": "Salimans T., Ho J., Chen X., Sidor S., Sutskever I. (2017). Evolution strategies as a scalable "
    "alternative to reinforcement learning. arXiv:1703.03864.",
    "sarkar2025": "Sarkar B., Fellows M., Duque J. A., et al. (2025). Evolution strategies at the hyperscale. "
    "arXiv:2511.16652.",
    "sutskever2013": "Sutskever I. (2013). Training recurrent neural networks. PhD thesis, University of Toronto.",
    "vicol2021": "Vicol P., Metz L., Sohl-Dickstein J. (2021). Unbiased gradient estimation in unrolled computation "
    "graphs with persistent evolution strategies. International Conference on Machine Learning (ICML). "
    "arXiv:2112.13835.",
    "werbos1990": "Werbos P. J. (1990). Backpropagation through time: what it does and how to do it. Proceedings of "
    "the IEEE 78(10), 1550-1560.",
    "williams1990": "Williams R. J., Peng J. (1990). An efficient gradient-based algorithm for on-line training of "
    "recurrent network trajectories. Neural Computation 2(4), 490-501.",
    "williams1992": "Williams R. J. (1992). Simple statistical gradient-following algorithms for connectionist "
    "reinforcement learning. Machine Learning 8, 229-256.",
    "zhou2021": "Zhou H., Zhang S., Peng J., Zhang S., Li J., Xiong H., Zhang W. (2021). Informer: beyond efficient "
    "transformer for long sequence time-series forecasting. AAAI Conference on Artificial Intelligence. "
    "arXiv:2012.07436.",
    "zuege2023": "Züge P., Klos C., Memmesheimer R.-M. (2023). Weight versus node perturbation learning in temporally "
    "extended tasks: weight perturbation often performs similarly or better. Physical Review X 13, 021006.",
}
