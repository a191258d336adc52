"""Spiking Heidelberg Digits: which digit was spoken, from spikes (Cramer et al. 2022)."""

from perturbax.bench.base import Benchmark, Published
from perturbax.bench.mnist_1d import ACCURACY, accuracy
from perturbax.experiment.config import Experiment

LISTED = "as the list of results on the authors' site has it"
EQUAL = "trained offline with the same settings"
PUBLIC = (
    ("recurrent spiking network, data augmented, with noise", 83.2, "cramer2022", LISTED),
    ("recurrent spiking network with adaptation (surrogate gradients)", 94.6, "bittar2022", LISTED),
    ("feed-forward spiking network (BPTT)", 78.1, "summe2023", EQUAL),
    ("feed-forward spiking network, no BPTT (OTPE)", 75.2, "summe2023", EQUAL),
    ("feed-forward spiking network, no BPTT (OTTT, OSTL)", 70.5, "summe2023", EQUAL),
)

BENCHMARK = Benchmark(
    name="shd",
    summary="say which of ten digits was spoken, in English or German, from spikes of an artificial cochlea",
    papers=("cramer2022",),
    needs="a folder with shd_train.h5 and shd_test.h5",
    split="8,156 recordings, of which a tenth, drawn once, chooses the network that is kept; 2,264 for "
    "testing, some of them by two speakers who are in no other",
    metric="share of right classes, of 20, over the second half of the 100 frames of all test recordings",
    experiment=Experiment(task="shd", cell="alif", units=128, passes=9000, batch=32, logs=15),
    judge=accuracy,
    measures=(ACCURACY,),
    published=tuple(Published(who, {ACCURACY.name: value}, key, note) for who, value, key, note in PUBLIC),
    rules=("node", "e-prop", "bptt"),
)
