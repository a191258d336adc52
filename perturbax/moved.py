"""Names of version 0.1.0 under their old paths.

For one release `from perturbax.layer import Layer` gives the class of `perturbax.network.layer`, with a
DeprecationWarning that names the new place. An old module is made when it is first imported, and imports a
new one when it is first asked for a name: what nobody uses costs nothing.
"""

import difflib
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

MODULES = {
    "auto": ("experiment.auto",),
    "backprop": ("learning.autodiff",),
    "build": ("experiment.build",),
    "catalog": ("experiment.options",),
    "cells.synapses": ("cells.base",),
    "commands": ("experiment.variants", "cli.progress"),
    "compiled": ("experiment.program",),
    "credit": ("learning.credit", "learning.estimate"),
    "diagnose_command": ("cli.diagnose", "analysis.along_training"),
    "diagnosis": ("analysis.group", "analysis.diagnosis"),
    "files": ("atomic",),
    "gradient": (
        "learning.sequence",
        "learning.blocks",
        "learning.estimate",
        "network.passes",
        "network.decorrelation",
    ),
    "imports": ("plugins",),
    "influence": ("learning.jacobian",),
    "layer": ("network.layer", "fields"),
    "loop": ("experiment.train_step",),
    "machine": ("experiment.machine",),
    "moments": ("analysis.moments",),
    "noise": ("learning.noise",),
    "optimiser": ("experiment.optimiser",),
    "pairs": (),
    "perturbation": ("rules.perturbation.base", "rules.perturbation.node_base"),
    "reservoir": ("experiment.reservoir",),
    "rule": ("learning.rule", "learning.estimator", "learning.facts"),
    "rules.activity": ("rules.perturbation.activity",),
    "rules.common": ("rules.perturbation.helpers",),
    "rules.drtrl": ("rules.rtrl.d_rtrl",),
    "rules.dsf": ("rules.backprop.dsf",),
    "rules.eprop": ("rules.rtrl.e_prop", "rules.rtrl.random_feedback"),
    "rules.forward": ("rules.perturbation.forward_gradient",),
    "rules.guess": ("rules.feedback.base",),
    "rules.guided": ("rules.feedback.guided",),
    "rules.innovation": ("rules.perturbation.innovation",),
    "rules.iterative": ("rules.perturbation.iterative",),
    "rules.kfrtrl": ("rules.rtrl.kf_rtrl",),
    "rules.local": ("rules.rtrl.eligibility",),
    "rules.lowrank": ("rules.evolution.low_rank",),
    "rules.lra": ("rules.backprop.lra",),
    "rules.mirror": ("rules.feedback.mirror",),
    "rules.morder": ("rules.rtrl.m_order",),
    "rules.node": ("rules.perturbation.node",),
    "rules.nres": ("rules.evolution.nres",),
    "rules.onestep": ("rules.backprop.one_step", "rules.backprop.frozen"),
    "rules.ou": ("rules.perturbation.ornstein_uhlenbeck",),
    "rules.pes": ("rules.evolution.pes", "rules.evolution.base"),
    "rules.published": ("rules.perturbation.published",),
    "rules.reward": ("rules.perturbation.reward",),
    "rules.rflo": ("rules.rtrl.rflo",),
    "rules.sltt": ("rules.backprop.sltt", "rules.backprop.ottt"),
    "rules.snap": ("rules.rtrl.snap",),
    "rules.truncated": ("rules.backprop.truncated",),
    "rules.uoro": ("rules.rtrl.uoro", "rules.rtrl.rank_one"),
    "rules.weight": ("rules.perturbation.weight",),
    "rules.whole": ("rules.rtrl.influence",),
    "saved": ("experiment.result",),
    "seeds": ("experiment.seeds",),
    "store": ("experiment.run_folder",),
    "streaming": ("learning.online",),
    "study.claims": (),
    "study.command": ("cli.reproduce",),
    "study.workers": ("cli.reproduce",),
    "task": ("tasks.base",),
    "tasks.checks": ("fields",),
    "tasks.idx": ("tasks.files.idx",),
    "tasks.newdata": ("experiment.predict",),
    "tasks.npz": ("tasks.files.npz",),
    "tasks.table": ("tasks.files.csv_table",),
    "taxonomy": ("analysis.taxonomy",),
    "taxonomy_command": ("cli.taxonomy", "analysis.family"),
    "train": ("experiment.run",),
    "tune": ("experiment.search", "experiment.grid", "cli.tune"),
    "unitwise": ("learning.traces",),
}
"""Modules of 0.1.0 that are no more, and those that have their names now, searched in this order."""

NAMES = {
    "train.Report": "experiment.watch.Report",
    "auto.shares": "experiment.auto.curvature_shares",
    "build.KNOWN": "experiment.resolve.KNOWN",
    "build.Pace": "experiment.train_step.Hyperparameters",
    "build.check_seed": "experiment.resolve.check_seed",
    "build.fill_in": "experiment.resolve.resolve",
    "build.passes_per_step": "experiment.resolve.passes_per_step",
    "build.stacked": "cells.stack.stack",
    "cells.spiking.above": "cells.spiking.heaviside",
    "cells.synapses.STARTS": "cells.base.INITS",
    "cli.COMMANDS": "cli.main.COMMANDS",
    "cli.KINDS": "experiment.config.KINDS",
    "cli.Parser": "cli.arguments.Parser",
    "commands.KINDS": "experiment.config.KINDS",
    "credit.Pairing": "learning.credit.HeldPairing",
    "credit.Trace": "learning.credit.TracePairing",
    "credit.nothing": "learning.estimate.no_gradient",
    "credit.pairing": "learning.credit.pairing_of",
    "diagnose_command.BATCH": "analysis.along_training.DIAGNOSED_STEP",
    "diagnose_command.OWN": "cli.diagnose.BESIDE_RUN",
    "diagnosis.Average": "analysis.group.AveragedEstimate",
    "diagnosis.meter": "analysis.diagnosis.compile_diagnosis",
    "errors.one_of": "fields.one_of",
    "errors.positive": "fields.positive",
    "gradient.Learner": "learning.estimator.Learner",
    "gradient.Seen": "learning.sequence.BlockResult",
    "gradient.improve": "learning.sequence.apply_estimate",
    "gradient.keys_of": "learning.blocks.step_keys",
    "gradient.scorer": "learning.sequence.visible_loss",
    "gradient.streamed": "learning.sequence.over_sequence",
    "gradient.turn": "learning.blocks.steps_per_turn",
    "gradient.walk": "learning.sequence.run_block",
    "imports.imported": "plugins.import_object",
    "imports.optional": "plugins.import_optional",
    "influence.each": "learning.jacobian.per_example",
    "layer.advanced": "network.layer.advance_batch",
    "layer.named": "network.layer.layer_label",
    "layer.pulled": "network.layer.pull_back",
    "loop.Learner": "experiment.train_step.Training",
    "loop.judged": "experiment.train_step.evaluate_compiled",
    "moments.reach": "analysis.moments.samples_needed",
    "perturbation.NodePerturbation": "rules.perturbation.node_base.NodeRule",
    "perturbation.resolved": "rules.perturbation.helpers.check_resolution",
    "report.compare.Variant": "report.compare.VariantRuns",
    "report.compare.flat": "report.settings.flatten_settings",
    "report.compare.settings": "report.compare.variant_settings",
    "report.cosines.looks": "report.cosines.group_looks",
    "report.diagnosis.bias": "report.diagnosis.bias_text",
    "report.diagnosis.number": "report.diagnosis.number_or_dash",
    "report.diagnosis.place": "report.diagnosis.point_label",
    "report.diagnosis.reach": "report.diagnosis.cost_text",
    "report.diagnosis.rows": "report.diagnosis.table_lines",
    "report.diagnosis.whole": "report.diagnosis.count_or_dash",
    "report.read.number": "report.read.as_number",
    "report.read.strings": "report.read.as_strings",
    "report.read.table": "report.read.as_dict",
    "report.tables.flag": "report.settings.flag_name",
    "report.tables.results": "report.tables.results_table",
    "report.tables.setting": "report.settings.setting_text",
    "report.tables.words": "report.lead.information_phrase",
    "rule.WholeSequence": "learning.rule.SequenceRule",
    "rule.check": "learning.rule.check_derivatives",
    "rules.backprop.BPTT": "rules.backprop.bptt.BPTT",
    "rules.common.Average": "rules.perturbation.helpers.RunningAverage",
    "rules.common.drawn": "rules.perturbation.helpers.draw_once",
    "rules.common.node_noise": "rules.perturbation.helpers.node_noise_shapes",
    "rules.common.rated": "fields.in_range",
    "rules.common.shifted": "rules.perturbation.helpers.shift_weights",
    "rules.common.weight_noise": "rules.perturbation.helpers.weight_noise_shapes",
    "rules.eprop.Sent": "rules.rtrl.random_feedback.FeedbackWeights",
    "rules.eprop.Taught": "rules.rtrl.random_feedback.RandomFeedback",
    "rules.evolution.Evolution": "rules.evolution.evolution.Evolution",
    "rules.evolution.SHAPINGS": "rules.evolution.evolution.SHAPINGS",
    "rules.evolution.shape": "rules.evolution.evolution.shape_losses",
    "rules.feedback.FITS": "rules.feedback.feedback.FITS",
    "rules.feedback.Feedback": "rules.feedback.feedback.Feedback",
    "rules.feedback.Known": "rules.feedback.feedback.Known",
    "rules.guess.Guess": "rules.feedback.base.LearntFeedback",
    "rules.guess.Seen": "rules.feedback.base.Observed",
    "rules.guess.gains": "rules.feedback.probe.measured_gains",
    "rules.guess.spoken": "rules.feedback.probe.outputs_of_rows",
    "rules.guess.through": "rules.feedback.probe.through_gains",
    "rules.guess.worth": "rules.feedback.probe.pulled_back",
    "rules.local.Local": "rules.rtrl.eligibility.EligibilityRule",
    "rules.local.width": "rules.rtrl.eligibility.units_of_weights",
    "rules.lowrank.reads": "rules.evolution.low_rank.matrix_inputs",
    "rules.lowrank.shift": "rules.evolution.low_rank.shifted_layer",
    "rules.onestep.one_step": "rules.backprop.base.differentiate_step",
    "rules.published.SGD": "rules.perturbation.published.PLAIN_SGD",
    "rules.rtrl.ForwardSensitivity": "rules.rtrl.rtrl.ForwardSensitivity",
    "rules.rtrl.RTRL": "rules.rtrl.rtrl.RTRL",
    "rules.rtrl.Reached": "rules.rtrl.rtrl.Reached",
    "rules.sltt.leaks": "rules.backprop.base.membrane_leaks",
    "rules.uoro.norm": "rules.rtrl.rank_one.norm_per_example",
    "rules.uoro.rows": "rules.rtrl.rank_one.scale_examples",
    "rules.weight.WeightPerturbation": "rules.perturbation.weight_base.WeightRule",
    "rules.whole.Dense": "rules.rtrl.influence.FullInfluence",
    "store.Tree": "network.arrays.Tree",
    "store.fill": "network.arrays.from_named_arrays",
    "store.named": "network.arrays.to_named_arrays",
    "store.plain": "experiment.run_folder.to_json",
    "store.rewind": "experiment.run_folder.drop_metrics_after",
    "study.command.run": "cli.reproduce.work_through",
    "study.extras.SAME": "study.protocol.FAIR_RUN",
    "study.findings.PLAIN": "study.protocol.PUBLIC_CELL",
    "study.page.costs": "study.page.costs_table",
    "study.page.table": "study.page.markdown_table",
    "study.results.gap": "study.results.generalisation_gap",
    "study.results.halfway": "study.results.halfway_loss",
    "study.results.plain": "study.results.base_label",
    "study.results.reached": "study.results.spent_until",
    "study.work.work": "study.work.complete_study",
    "task.drawn": "tasks.base.draw_batch",
    "task.measured": "tasks.base.measure",
    "tasks.neurogym.ABREAST": "tasks.neurogym.ENVIRONMENTS",
    "tasks.text.PARTS": "tasks.arguments.PARTS",
    "taxonomy.Place": "analysis.taxonomy.Taxonomy",
    "taxonomy.Work": "analysis.taxonomy.CompiledRule",
    "taxonomy.compiled": "analysis.taxonomy.compile_rule",
    "taxonomy.measured": "analysis.taxonomy.measure_rules",
    "taxonomy.place": "analysis.taxonomy.taxonomy_of",
    "taxonomy.seconds": "analysis.taxonomy.median_seconds",
}
"""Names of 0.1.0 that are called otherwise now, or that left a module which is still there."""


GONE = {
    "build.make_network": "perturbax.experiment.build.Architecture.network",
    "commands.compare_command": 'perturbax.cli.main(["compare", ...])',
    "commands.list_command": 'perturbax.cli.main(["list", ...])',
    "commands.predict_command": 'perturbax.cli.main(["predict", ...])',
    "commands.report_command": 'perturbax.cli.main(["report", ...])',
    "commands.run_command": 'perturbax.cli.main(["run", ...])',
    "diagnose_command.diagnose_command": 'perturbax.cli.main(["diagnose", ...])',
    "optimiser.make_optimiser": "perturbax.experiment.optimiser.OptimiserSettings.optimiser",
    "optimiser.make_rate": "perturbax.experiment.optimiser.OptimiserSettings.rate",
    "pairs.refusal": "benchmarks/compatibility.py",
    "pairs.tiny": "benchmarks/compatibility.py",
    "study.claims.claim": "perturbax.atomic.alone_in",
    "study.workers.beside": "perturbax.jobs.job.run_jobs",
    "study.workers.bind": "perturbax.jobs.perform.own_threads",
    "study.command.reproduce_command": 'perturbax.cli.main(["reproduce", ...])',
    "taxonomy_command.taxonomy_command": 'perturbax.cli.main(["taxonomy", ...])',
    "tasks.fromfile.Opened": "perturbax.tasks.base.Task",
    "tasks.idx.BYTES": "perturbax.tasks.files.idx.read_idx, which reads every type",
    "tasks.newdata.Labels": "perturbax.experiment.predict.open_for_forecasts",
    "tasks.newdata.decode": "perturbax.experiment.predict.open_for_forecasts",
    "tasks.newdata.encode": "perturbax.experiment.predict.open_for_forecasts",
    "tasks.shd.SECONDS": "perturbax.tasks.shd.Shd, which has a setting seconds",
    "tune.tune_command": 'perturbax.cli.main(["tune", ...])',
    "gradient.raised": "perturbax.learning.sequence.visible_loss",
}
"""Names of 0.1.0 that stand for nothing now, and what does their work."""


def old_names(package: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module that is still there, for names and modules that have left it.

    Arguments:
        package: the full name of the module, its `__name__`.
    """

    def get(name: str) -> Any:
        module = f"{package}.{name}"
        if module.removeprefix("perturbax.") in MODULES:
            return importlib.import_module(module)
        return _moved(package, name)

    return get


def install() -> None:
    """Let Python find the modules of `MODULES` under their old names, after all that really exist."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())


class Finder(MetaPathFinder):
    """Finds modules of 0.1.0 that are no more."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make the module under an old name; None for any other."""
        root, _, old = fullname.partition(".")
        return ModuleSpec(fullname, _OldModule()) if root == "perturbax" and old in MODULES else None


class _OldModule(Loader):
    """Makes a module without content, which looks up its names in the new places."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module; `perturbax.noise` becomes the new module, as `px.noise` is public and stays."""
        old = module.__name__.removeprefix("perturbax.")
        if old == "noise":
            new = importlib.import_module(f"perturbax.{MODULES[old][0]}")
            _warn(module.__name__, new.__name__, stacklevel=3)
            sys.modules[module.__name__] = new
            return
        module.__doc__ = f"Old names of what lies in {', '.join('perturbax.' + new for new in MODULES[old])}."
        module.__dict__["__getattr__"] = old_names(module.__name__)
        if old in importlib.import_module("perturbax").__all__:
            module.__class__ = _FunctionToo


class _FunctionToo(ModuleType):
    """An old module whose name a public function has now, `px.tune`: calling it calls that function.

    Python makes a module an attribute of its package, which hides the function from whoever imported both.
    """

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Call the public function."""
        package, _, name = self.__name__.rpartition(".")
        return importlib.import_module(package).__getattr__(name)(*args, **settings)


def _moved(module: str, name: str) -> Any:
    """Return what an old name stands for, and warn; AttributeError where it stands for nothing."""
    old = module.removeprefix("perturbax.")
    places = [f"{new}.{name}" for new in MODULES.get(old, ())]
    if renamed := NAMES.get(f"{old}.{name}"):
        places = [renamed]
    for place in [] if name.startswith("_") else places:
        home, _, own = place.rpartition(".")
        found = importlib.import_module(f"perturbax.{home}")
        if own in vars(found):
            value = vars(found)[own]
            _warn(f"{module}.{name}", f"{_home(value, found.__name__)}.{own}", stacklevel=4)
            return value
    if f"{old}.{name}" in GONE:
        raise AttributeError(f"{module}.{name} is gone: use {GONE[f'{old}.{name}']}")
    raise AttributeError(f"module {module!r} has no attribute {name!r}{_nearest(module, name)}")


def _nearest(module: str, name: str) -> str:
    """Return `; did you mean ...?` with the public name of a module that is nearest, or nothing."""
    if name.startswith("_"):
        return ""
    known = [known for known in dir(sys.modules[module]) if not known.startswith("_")]
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _home(value: Any, found_in: str) -> str:
    """Return the module that defines a class or function; for other values the one that it was found in."""
    defined = isinstance(value, type | FunctionType) and value.__module__.startswith("perturbax.")
    return value.__module__ if defined else found_in


def _warn(old: str, new: str, stacklevel: int) -> None:
    """Warn of an old name."""
    message = f"{old} is now {new}; the old name will go with the next release"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
