"""The papers the library builds on, by key: rules, cells and tasks name them, reports print those used."""

CITATIONS: dict[str, str] = {
    "ahmad2023": (
        "Ahmad N., Schrader E., van Gerven M. (2023). Constrained parameter inference as a principle for "
        "learning. Transactions on Machine Learning Research. arXiv:2203.13203."
    ),
    "akrout2019": (
        "Akrout M., Wilson C., Humphreys P., Lillicrap T., Tweed D. (2019). Deep learning without weight "
        "transport. Advances in Neural Information Processing Systems 32. arXiv:1904.05391."
    ),
    "alpaydin1998": (
        "Alpaydin E., Kaynak C. (1998). Optical recognition of handwritten digits. UCI Machine Learning "
        "Repository. doi:10.24432/C50P49."
    ),
    "apicaldust2026": (
        "saanviiyer (2026). Apical Dust: cortical feedback for a backprop-free learning rule. Post of 8 "
        "October 2026 on the author's site, /thinking/apical-dust/."
    ),
    "arjovsky2016": (
        "Arjovsky M., Shah A., Bengio Y. (2016). Unitary evolution recurrent neural networks. "
        "International Conference on Machine Learning (ICML). arXiv:1511.06464."
    ),
    "athalye2018": (
        "Athalye A., Carlini N., Wagner D. (2018). Obfuscated gradients give a false sense of security: "
        "circumventing defenses to adversarial examples. International Conference on Machine Learning "
        "(ICML). arXiv:1802.00420."
    ),
    "atiya2000": (
        "Atiya A. F., Parlos A. G. (2000). New results on recurrent network training: unifying the "
        "algorithms and accelerating convergence. IEEE Transactions on Neural Networks 11(3), 697-709."
    ),
    "bai2018": (
        "Bai S., Kolter J. Z., Koltun V. (2018). An empirical evaluation of generic convolutional and "
        "recurrent networks for sequence modeling. arXiv:1803.01271."
    ),
    "barto1983": (
        "Barto A. G., Sutton R. S., Anderson C. W. (1983). Neuronlike adaptive elements that can solve "
        "difficult learning control problems. IEEE Transactions on Systems, Man, and Cybernetics 13(5), "
        "834-846."
    ),
    "baydin2022": (
        "Baydin A. G., Pearlmutter B. A., Syme D., Wood F., Torr P. (2022). Gradients without "
        "backpropagation. arXiv:2202.08587."
    ),
    "bellec2018": (
        "Bellec G., Salaj D., Subramoney A., Legenstein R., Maass W. (2018). Long short-term memory and "
        "learning-to-learn in networks of spiking neurons. Advances in Neural Information Processing "
        "Systems 31. arXiv:1803.09574."
    ),
    "bellec2020": (
        "Bellec G., Scherr F., Subramoney A., Hajek E., Salaj D., Legenstein R., Maass W. (2020). A "
        "solution to the learning dilemma for recurrent networks of spiking neurons. Nature "
        "Communications 11:3625."
    ),
    "bird2021": (
        "Bird G., Polivoda M. E. (2021). Backpropagation through time for networks with long-term "
        "dependencies. arXiv:2103.15589."
    ),
    "bittar2022": (
        "Bittar A., Garner P. N. (2022). A surrogate gradient spiking baseline for speech command "
        "recognition. Frontiers in Neuroscience 16, 865897."
    ),
    "boyan2002": (
        "Boyan J. A. (2002). Technical update: least-squares temporal difference learning. Machine Learning "
        "49(2), 233-246."
    ),
    "caillon2025": (
        "Caillon P., Fagnou E., Allauzen A. (2025). Fast training of recurrent neural networks with "
        "stationary state feedbacks. arXiv:2503.23104."
    ),
    "cauwenberghs1993": (
        "Cauwenberghs G. (1993). A fast stochastic error-descent algorithm for supervised learning and "
        "optimization. Advances in Neural Information Processing Systems 5, 244-251."
    ),
    "cho2014": (
        "Cho K., van Merriënboer B., Gulcehre C., Bahdanau D., Bougares F., Schwenk H., Bengio Y. (2014). "
        "Learning phrase representations using RNN encoder-decoder for statistical machine translation. "
        "Conference on Empirical Methods in Natural Language Processing (EMNLP). arXiv:1406.1078."
    ),
    "cramer2022": (
        "Cramer B., Stradmann Y., Schemmel J., Zenke F. (2022). The Heidelberg spiking data sets for the "
        "systematic evaluation of spiking neural networks. IEEE Transactions on Neural Networks and "
        "Learning Systems 33(7), 2744-2757. arXiv:1910.07407."
    ),
    "daley2021": (
        "Daley B., Amato C. (2021). Improving the efficiency of off-policy reinforcement learning by "
        "accounting for past decisions. arXiv:2112.12281."
    ),
    "daley2023": (
        "Daley B., White M., Amato C., Machado M. C. (2023). Trajectory-aware eligibility traces for "
        "off-policy reinforcement learning. International Conference on Machine Learning (ICML). "
        "arXiv:2301.11321."
    ),
    "dalm2023": (
        "Dalm S., van Gerven M., Ahmad N. (2023). Effective learning with node perturbation in "
        "multi-layer neural networks. arXiv:2310.00965."
    ),
    "dalm2024": (
        "Dalm S., Offergeld J., Ahmad N., van Gerven M. (2024). Efficient deep learning with decorrelated "
        "backpropagation. arXiv:2405.02385."
    ),
    "dellaferrera2022": (
        "Dellaferrera G., Kreiman G. (2022). Error-driven input modulation: solving the credit assignment "
        "problem without a backward pass. International Conference on Machine Learning (ICML). "
        "arXiv:2201.11665."
    ),
    "dickinson1976": (
        "Dickinson R. P., Gelinas R. J. (1976). Sensitivity analysis of ordinary differential equation "
        "systems: a direct method. Journal of Computational Physics 21(2), 123-143."
    ),
    "elman1990": ("Elman J. L. (1990). Finding structure in time. Cognitive Science 14(2), 179-211."),
    "ernoult2019": (
        "Ernoult M., Grollier J., Querlioz D., Bengio Y., Scellier B. (2019). Updates of equilibrium prop "
        "match gradients of backprop through time in an RNN with static input. Advances in Neural "
        "Information Processing Systems 32. arXiv:1905.13633."
    ),
    "ernoult2020": (
        "Ernoult M., Grollier J., Querlioz D., Bengio Y., Scellier B. (2020). Equilibrium propagation with "
        "continual weight updates. arXiv:2005.04168."
    ),
    "feng2024": (
        "Feng L., Tung F., Ahmed M. O., Bengio Y., Hajimirsadeghi H. (2024). Were RNNs all we needed? "
        "arXiv:2410.01201."
    ),
    "fiete2006": (
        "Fiete I. R., Seung H. S. (2006). Gradient learning in spiking neural networks by dynamic "
        "perturbation of conductances. Physical Review Letters 97, 048104."
    ),
    "flower1992": (
        "Flower B., Jabri M. (1992). Summed weight neuron perturbation: an O(N) improvement over weight "
        "perturbation. Advances in Neural Information Processing Systems 5, 212-219."
    ),
    "garcia2024": (
        "García Fernández J., Keemink S., van Gerven M. (2024). Gradient-free training of recurrent "
        "neural networks using random perturbations. Frontiers in Neuroscience 18:1439155. "
        "arXiv:2405.08967."
    ),
    "garcia2024ou": (
        "García Fernández J., Ahmad N., van Gerven M. (2024). Ornstein-Uhlenbeck adaptation as a "
        "mechanism for learning in brains and machines. Entropy 26(12), 1125. arXiv:2410.13563."
    ),
    "gers2000": (
        "Gers F. A., Schmidhuber J., Cummins F. (2000). Learning to forget: continual prediction with "
        "LSTM. Neural Computation 12(10), 2451-2471."
    ),
    "goodfellow2015": (
        "Goodfellow I. J., Shlens J., Szegedy C. (2015). Explaining and harnessing adversarial examples. "
        "International Conference on Learning Representations (ICLR). arXiv:1412.6572."
    ),
    "greydanus2024": (
        "Greydanus S., Kobak D. (2024). Scaling down deep learning with MNIST-1D. International Conference "
        "on Machine Learning (ICML). arXiv:2011.14439."
    ),
    "hochreiter1997": (
        "Hochreiter S., Schmidhuber J. (1997). Long short-term memory. Neural Computation 9(8), 1735-1780."
    ),
    "hosseini2020": (
        "Hosseini M. S., Plataniotis K. N. (2020). AdaS: adaptive scheduling of stochastic gradients. "
        "arXiv:2006.06587."
    ),
    "jabri1992": (
        "Jabri M., Flower B. (1992). Weight perturbation: an optimal architecture and learning technique "
        "for analog VLSI feedforward and recurrent multilayer networks. IEEE Transactions on Neural "
        "Networks 3(1), 154-157."
    ),
    "jaeger2001": (
        'Jaeger H. (2001). The "echo state" approach to analysing and training recurrent neural networks. '
        "GMD Report 148, German National Research Center for Information Technology."
    ),
    "jaeger2007": (
        "Jaeger H., Lukoševičius M., Popovici D., Siewert U. (2007). Optimization and applications of "
        "echo state networks with leaky-integrator neurons. Neural Networks 20(3), 335-352."
    ),
    "jozefowicz2015": (
        "Jozefowicz R., Zaremba W., Sutskever I. (2015). An empirical exploration of recurrent network "
        "architectures. International Conference on Machine Learning (ICML), PMLR 37, 2342-2350."
    ),
    "kailath1968": (
        "Kailath T. (1968). An innovations approach to least-squares estimation, part I: linear filtering "
        "in additive white noise. IEEE Transactions on Automatic Control 13(6), 646-655."
    ),
    "kolen1994": (
        "Kolen J. F., Pollack J. B. (1994). Backpropagation without weight transport. IEEE International "
        "Conference on Neural Networks, 1375-1380."
    ),
    "laborieux2021": (
        "Laborieux A., Ernoult M., Scellier B., Bengio Y., Grollier J., Querlioz D. (2021). Scaling "
        "equilibrium propagation to deep ConvNets by drastically reducing its gradient estimator bias. "
        "Frontiers in Neuroscience 15:633674. arXiv:2006.03824."
    ),
    "laborieux2022": (
        "Laborieux A., Zenke F. (2022). Holomorphic equilibrium propagation computes exact gradients through "
        "finite size oscillations. Advances in Neural Information Processing Systems 35. arXiv:2209.00530."
    ),
    "lansdell2020": (
        "Lansdell B., Prakash P., Kording K. (2020). Learning to solve the credit assignment problem. "
        "International Conference on Learning Representations (ICLR). arXiv:1906.00889."
    ),
    "le2015": (
        "Le Q. V., Jaitly N., Hinton G. E. (2015). A simple way to initialize recurrent networks of "
        "rectified linear units. arXiv:1504.00941."
    ),
    "lecun1998": (
        "LeCun Y., Bottou L., Bengio Y., Haffner P. (1998). Gradient-based learning applied to document "
        "recognition. Proceedings of the IEEE 86(11), 2278-2324."
    ),
    "legenstein2010": (
        "Legenstein R., Chase S. M., Schwartz A. B., Maass W. (2010). A reward-modulated Hebbian learning "
        "rule can explain experimentally observed network reorganization in a brain control task. Journal "
        "of Neuroscience 30(25), 8400-8410."
    ),
    "li2023": (
        "Li O., Harrison J., Sohl-Dickstein J., Smith V., Metz L. (2023). Variance-reduced gradient "
        "estimation via noise-reuse in online evolution strategies. Advances in Neural Information "
        "Processing Systems 36. arXiv:2304.12180."
    ),
    "lillicrap2016": (
        "Lillicrap T., Cownden D., Tweed D., Akerman C. (2016). Random synaptic feedback weights support "
        "error backpropagation for deep learning. Nature Communications 7:13276."
    ),
    "lin2023": (
        "Lin S., Lin W., Wu W., Zhao F., Mo R., Zhang H. (2023). SegRNN: segment recurrent neural network "
        "for long-term time series forecasting. arXiv:2308.11200."
    ),
    "lin2024": (
        "Lin J., Bal M., Sengupta A. (2024). Scaling SNNs trained using equilibrium propagation to "
        "convolutional architectures. arXiv:2405.02546."
    ),
    "liu2024": (
        "Liu Y., Hu T., Zhang H., Wu H., Wang S., Ma L., Long M. (2024). iTransformer: inverted transformers "
        "are effective for time series forecasting. International Conference on Learning Representations "
        "(ICLR). arXiv:2310.06625."
    ),
    "lorenz1963": (
        "Lorenz E. N. (1963). Deterministic nonperiodic flow. Journal of the Atmospheric Sciences 20(2), "
        "130-141."
    ),
    "mackey1977": (
        "Mackey M. C., Glass L. (1977). Oscillation and chaos in physiological control systems. Science "
        "197, 287-289."
    ),
    "madry2018": (
        "Madry A., Makelov A., Schmidt L., Tsipras D., Vladu A. (2018). Towards deep learning models "
        "resistant to adversarial attacks. International Conference on Learning Representations (ICLR). "
        "arXiv:1706.06083."
    ),
    "manchev2020": (
        "Manchev N., Spratling M. (2020). Target propagation in recurrent neural networks. Journal of "
        "Machine Learning Research 21(7), 1-33."
    ),
    "martins2016": (
        "Martins A. F. T., Astudillo R. F. (2016). From softmax to sparsemax: a sparse model of attention "
        "and multi-label classification. International Conference on Machine Learning (ICML). "
        "arXiv:1602.02068."
    ),
    "martinsanchez2022": (
        "Martín-Sánchez G., Bohté S., Otte S. (2022). A taxonomy of recurrent learning rules. "
        "International Conference on Artificial Neural Networks (ICANN). arXiv:2207.11439."
    ),
    "mcculloch1943": (
        "McCulloch W. S., Pitts W. (1943). A logical calculus of the ideas immanent in nervous activity. "
        "Bulletin of Mathematical Biophysics 5, 115-133."
    ),
    "meng2023": (
        "Meng Q., Xiao M., Yan S., Wang Y., Lin Z., Luo Z.-Q. (2023). Towards memory- and time-efficient "
        "backpropagation for training spiking neural networks. IEEE International Conference on Computer "
        "Vision (ICCV). arXiv:2302.14311."
    ),
    "menick2021": (
        "Menick J., Elsen E., Evci U., Osindero S., Simonyan K., Graves A. (2021). Practical real time "
        "recurrent learning with a sparse approximation. International Conference on Learning "
        "Representations (ICLR). arXiv:2006.07232."
    ),
    "miconi2017": (
        "Miconi T. (2017). Biologically plausible learning in recurrent neural networks reproduces neural "
        "dynamics observed during cognitive tasks. eLife 6:e20899."
    ),
    "millidge2020": (
        "Millidge B., Tschantz A., Seth A. K., Buckley C. L. (2020). Activation relaxation: a local "
        "dynamical approximation to backpropagation in the brain. arXiv:2009.05359."
    ),
    "millidge2020scaling": (
        "Millidge B., Tschantz A., Seth A. K., Buckley C. L. (2020). Investigating the scalability and "
        "biological plausibility of the activation relaxation algorithm. arXiv:2010.06219."
    ),
    "millidge2022": (
        "Millidge B., Tschantz A., Buckley C. L. (2022). Predictive coding approximates backprop along "
        "arbitrary computation graphs. Neural Computation 34(6), 1329-1368. arXiv:2006.04182."
    ),
    "molano2022": (
        "Molano-Mazón M., Barbosa J., Pastor-Ciurana J., et al. (2022). NeuroGym: an open resource for "
        "developing and sharing neuroscience tasks. PsyArXiv. doi:10.31234/osf.io/aqc9n."
    ),
    "morcos2016": (
        "Morcos A. S., Harvey C. D. (2016). History-dependent variability in population dynamics during "
        "evidence accumulation in cortex. Nature Neuroscience 19(12), 1672-1681."
    ),
    "mujika2018": (
        "Mujika A., Meier F., Steger A. (2018). Approximating real-time recurrent learning with random "
        "Kronecker factors. Advances in Neural Information Processing Systems 31. arXiv:1805.10842."
    ),
    "munos2016": (
        "Munos R., Stepleton T., Harutyunyan A., Bellemare M. G. (2016). Safe and efficient off-policy "
        "reinforcement learning. Advances in Neural Information Processing Systems 29. arXiv:1606.02647."
    ),
    "murray2019": (
        "Murray J. M. (2019). Local online learning in recurrent networks with random feedback. eLife "
        "8:e43299."
    ),
    "nicola2017": (
        "Nicola W., Clopath C. (2017). Supervised learning in spiking neural networks with FORCE "
        "training. Nature Communications 8:2208."
    ),
    "oconnor2019": (
        "O'Connor P., Gavves E., Welling M. (2019). Training a spiking neural network with equilibrium "
        "propagation. Proceedings of the 22nd International Conference on Artificial Intelligence and "
        "Statistics (AISTATS), PMLR 89:1516-1523."
    ),
    "ororbia2019": (
        "Ororbia A. G., Mali A. (2019). Biologically motivated algorithms for propagating local target "
        "representations. AAAI Conference on Artificial Intelligence 33, 4651-4658. arXiv:1805.11703."
    ),
    "orvieto2023": (
        "Orvieto A., Smith S. L., Gu A., Fernando A., Gulcehre C., Pascanu R., De S. (2023). Resurrecting "
        "recurrent neural networks for long sequences. International Conference on Machine Learning "
        "(ICML). arXiv:2303.06349."
    ),
    "pedersen2024": (
        "Pedersen J.E., Abreu S., Jobst M., Lenz G., Fra V., Bauer F.C., Muir D.R., Zhou P., Vogginger B., "
        "Heckel K., Urgese G., Shankar S., Stewart T.C., Sheik S., Eshraghian J.K. (2024). Neuromorphic "
        "intermediate representation: a unified instruction set for interoperable brain-inspired computing. "
        "Nature Communications 15:8122."
    ),
    "ren2023": (
        "Ren M., Kornblith S., Liao R., Hinton G. (2023). Scaling forward gradient with local losses. "
        "International Conference on Learning Representations (ICLR). arXiv:2210.03310."
    ),
    "rosenbaum2022": (
        "Rosenbaum R. (2022). On the relationship between predictive coding and backpropagation. PLoS ONE "
        "17(3), e0266102. arXiv:2106.13082."
    ),
    "salimans2017": (
        "Salimans T., Ho J., Chen X., Sidor S., Sutskever I. (2017). Evolution strategies as a scalable "
        "alternative to reinforcement learning. arXiv:1703.03864."
    ),
    "sarkar2025": (
        "Sarkar B., Fellows M., Duque J. A., et al. (2025). Evolution strategies at the hyperscale. "
        "arXiv:2511.16652."
    ),
    "scellier2017": (
        "Scellier B., Bengio Y. (2017). Equilibrium propagation: bridging the gap between energy-based "
        "models and backpropagation. Frontiers in Computational Neuroscience 11:24. arXiv:1602.05179."
    ),
    "schulman2016": (
        "Schulman J., Moritz P., Levine S., Jordan M., Abbeel P. (2016). High-dimensional continuous control "
        "using generalized advantage estimation. International Conference on Learning Representations "
        "(ICLR). arXiv:1506.02438."
    ),
    "song2020": (
        "Song Y., Lukasiewicz T., Xu Z., Bogacz R. (2020). Can the brain do backpropagation? Exact "
        "implementation of backpropagation in predictive coding networks. Advances in Neural Information "
        "Processing Systems 33."
    ),
    "srinivasan2024": (
        "Srinivasan R., Mignacco F., Sorbaro M., Refinetti M., Cooper A., Kreiman G., Dellaferrera G. "
        "(2024). Forward learning with top-down feedback: empirical and analytical characterization. "
        "International Conference on Learning Representations (ICLR). arXiv:2302.05440."
    ),
    "summe2023": (
        "Summe T., Schaefer C. J. S., Joshi S. (2023). Estimating post-synaptic effects for online training "
        "of feed-forward SNNs. arXiv:2311.16151."
    ),
    "sussillo2013": (
        "Sussillo D., Barak O. (2013). Opening the black box: low-dimensional dynamics in "
        "high-dimensional recurrent neural networks. Neural Computation 25(3), 626-649."
    ),
    "sutskever2011": (
        "Sutskever I., Martens J., Hinton G. (2011). Generating text with recurrent neural networks. "
        "International Conference on Machine Learning (ICML), 1017-1024."
    ),
    "sutskever2013": (
        "Sutskever I. (2013). Training recurrent neural networks. PhD thesis, University of Toronto."
    ),
    "tallec2018": (
        "Tallec C., Ollivier Y. (2018). Unbiased online recurrent optimization. International Conference "
        "on Learning Representations (ICLR). arXiv:1702.05043."
    ),
    "towers2024": (
        "Towers M., Kwiatkowski A., Terry J., Balis J. U., De Cola G., Deleu T., et al. (2024). Gymnasium: a "
        "standard interface for reinforcement learning environments. arXiv:2407.17032."
    ),
    "vicol2021": (
        "Vicol P., Metz L., Sohl-Dickstein J. (2021). Unbiased gradient estimation in unrolled "
        "computation graphs with persistent evolution strategies. International Conference on Machine "
        "Learning (ICML). arXiv:2112.13835."
    ),
    "wang2021": (
        "Wang H., Qin C., Zhang Y., Fu Y. (2021). Neural pruning via growing regularization. International "
        "Conference on Learning Representations (ICLR). arXiv:2012.09243."
    ),
    "wang2024": (
        "Wang C., Dong X., Jiang J., Ji Z., Liu X., Wu S. (2024). BrainScale: enabling scalable online "
        "learning in spiking neural networks. bioRxiv 2024.09.24.614728."
    ),
    "werbos1990": (
        "Werbos P. J. (1990). Backpropagation through time: what it does and how to do it. Proceedings of "
        "the IEEE 78(10), 1550-1560."
    ),
    "whittington2017": (
        "Whittington J. C. R., Bogacz R. (2017). An approximation of the error backpropagation algorithm in "
        "a predictive coding network with local Hebbian synaptic plasticity. Neural Computation 29(5), "
        "1229-1262."
    ),
    "williams1989": (
        "Williams R. J., Zipser D. (1989). A learning algorithm for continually running fully recurrent "
        "neural networks. Neural Computation 1(2), 270-280."
    ),
    "williams1990": (
        "Williams R. J., Peng J. (1990). An efficient gradient-based algorithm for on-line training of "
        "recurrent network trajectories. Neural Computation 2(4), 490-501."
    ),
    "williams1992": (
        "Williams R. J. (1992). Simple statistical gradient-following algorithms for connectionist "
        "reinforcement learning. Machine Learning 8, 229-256."
    ),
    "xiao2022": (
        "Xiao M., Meng Q., Zhang Z., He D., Lin Z. (2022). Online training through time for spiking "
        "neural networks. Advances in Neural Information Processing Systems 35. arXiv:2210.04195."
    ),
    "yang2019": (
        "Yang G. R., Joglekar M. R., Song H. F., Newsome W. T., Wang X.-J. (2019). Task representations in "
        "neural networks trained to perform many cognitive tasks. Nature Neuroscience 22, 297-306. "
        "doi:10.1038/s41593-018-0310-2."
    ),
    "yang2020": (
        "Yang Y. (2020). Temporal surrogate back-propagation for spiking neural networks. arXiv:2011.09964."
    ),
    "yik2025": (
        "Yik J., Van den Berghe K., den Blanken D., et al. (2025). The neurobench framework for benchmarking "
        "neuromorphic computing algorithms and systems. Nature Communications 16, 1545. arXiv:2304.04640."
    ),
    "zeng2023": (
        "Zeng A., Chen M., Zhang L., Xu Q. (2023). Are transformers effective for time series forecasting? "
        "AAAI Conference on Artificial Intelligence. arXiv:2205.13504."
    ),
    "zhao2023": (
        "Zhao G., Wang T., Jin Y., Lang C., Li Y., Ling H. (2023). The cascaded forward algorithm for neural "
        "network training. arXiv:2303.09728."
    ),
    "zhou2021": (
        "Zhou H., Zhang S., Peng J., Zhang S., Li J., Xiong H., Zhang W. (2021). Informer: beyond "
        "efficient transformer for long sequence time-series forecasting. AAAI Conference on Artificial "
        "Intelligence. arXiv:2012.07436."
    ),
    "zucchet2023": (
        "Zucchet N., Meier R., Schug S., Mujika A., Sacramento J. (2023). Online learning of long-range "
        "dependencies. Advances in Neural Information Processing Systems 36. arXiv:2305.15947."
    ),
    "zuege2023": (
        "Züge P., Klos C., Memmesheimer R.-M. (2023). Weight versus node perturbation learning in "
        "temporally extended tasks: weight perturbation often performs similarly or better. Physical "
        "Review X 13, 021006."
    ),
}
