"""The `Forecaster` as an estimator of sktime, for its pipelines, tuning and evaluation.

Needs sktime, which is no dependency of this library: `pip install sktime`.
"""

from typing import Any, ClassVar

from sktime.forecasting.base import BaseForecaster  # pyright: ignore[reportMissingImports]

from perturbax.experiment.forecaster import Forecaster


class PerturbaxForecaster(BaseForecaster):
    """Forecasts of one or several series by a recurrent network that any rule of this library trains.

    Interface: sktime 1.x, BaseForecaster. Every column of X is taken as known ahead, as sktime has it.

    Parameters
    ----------
    rule : str, default="mirror"
        Name of a learning rule, see `perturbax list rules`.
    settings : dict, default=None
        Further settings of `perturbax.Forecaster` by name, such as {"cell": "gru", "units": 32, "seed": 1}.

    Examples
    --------
    >>> from sktime.datasets import load_airline
    >>> from perturbax.experiment.sktime_adapter import PerturbaxForecaster
    >>> forecaster = PerturbaxForecaster(rule="mirror", settings={"passes": 600, "units": 16})
    >>> forecaster.fit(load_airline(), fh=[1, 2, 3])  # doctest: +SKIP
    >>> forecaster.predict_interval(coverage=0.8)  # doctest: +SKIP
    """

    _tags: ClassVar[dict[str, Any]] = {
        "y_inner_mtype": "pd.DataFrame",
        "X_inner_mtype": "pd.DataFrame",
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": False,
        "capability:categorical_in_X": False,
        "capability:update": True,
        "requires-fh-in-fit": True,
        "authors": ["perturbax"],
        "python_dependencies": ["jax"],
    }

    def __init__(self, rule: str = "mirror", settings: dict[str, Any] | None = None):
        self.rule = rule
        self.settings = settings
        super().__init__()

    def _fit(self, y: Any, X: Any, fh: Any) -> "PerturbaxForecaster":
        """Train a network on y `(N, columns)`, to forecast the rows ahead that fh names."""
        if not fh.is_all_out_of_sample(self.cutoff):
            raise NotImplementedError("rows in the sample are not forecast: fh must lie behind the last row")
        rows = fh.to_relative(self.cutoff).to_numpy().astype(int).tolist()
        known = None if X is None else True
        self.forecaster_ = Forecaster(self.rule, horizon=rows, known=known, **(self.settings or {}))
        self.forecaster_.fit(y, X)
        return self

    def _predict(self, fh: Any, X: Any) -> Any:
        """Return forecasts as a DataFrame."""
        return self._with_index(self.forecaster_.predict(self._rows(fh), X), fh)

    def _predict_interval(self, fh: Any, X: Any, coverage: Any) -> Any:
        """Return intervals as a DataFrame with columns (variable, coverage, lower or upper)."""
        return self._with_index(self.forecaster_.predict_interval(self._rows(fh), X, coverage), fh)

    def _update(self, y: Any, X: Any = None, update_params: bool = True) -> "PerturbaxForecaster":
        """Take in rows behind those of fit; update_params: and train anew on all of them."""
        self.forecaster_.update(y, X, update_params)
        return self

    def _rows(self, fh: Any) -> list[int]:
        """Return the rows ahead that a horizon of sktime names."""
        return fh.to_relative(self.cutoff).to_numpy().astype(int).tolist()

    def _with_index(self, made: Any, fh: Any) -> Any:
        """Return forecasts with the index that sktime computes for them."""
        made.index = fh.to_absolute_index(self.cutoff)
        return made

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return settings for sktime's own tests: networks that train in no time."""
        tiny = {"units": 3, "steps": 2, "batch": 2, "window": 0, "logs": 1, "form": "difference", "lags": 0}
        return [{"rule": "bptt", "settings": tiny}, {"rule": "node", "settings": {**tiny, "cell": "gru"}}]
