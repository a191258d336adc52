"""Hourly weather, as in the Informer benchmark."""

from typing import Any, ClassVar

from perturbax.fields import setting
from perturbax.tasks.fromfile import FromFile
from perturbax.tasks.shipped_credit import for_node_rules

INPUTS = (
    "Visibility",
    "DryBulbFarenheit",
    "WetBulbFarenheit",
    "DewPointFarenheit",
    "RelativeHumidity",
    "WindSpeed",
    "WindDirection",
    "StationPressure",
    "Altimeter",
)
DECOR = {"decorrelate": "hidden+input"}  # the nine readings are correlated
ONLINE = {
    "mode": "online",
    "every": 10,
    "credit": "window",
    "window": 10,
    "discount": 0.9,
    "lr": 5e-4,
    **DECOR,
}
TO_GO = {"credit": "to-go", "discount": 0.9, **DECOR}


class Weather(FromFile):
    """Air temperature in degrees Fahrenheit, `horizon` hours ahead, from nine hourly readings of one station.

        y_t = DryBulbFarenheit_{t + horizon}

    The file is WTH.csv of the Informer benchmark (Zhou et al. 2021): 35,064 hours of 2010-2013, from the
    local climatological data of NOAA. Unlike Garcia Fernandez et al. 2024, the test rows take no part in the
    scaling, and validation and test are a whole year each: one season says little about another.

    Attributes:
        target: name of the column to forecast.
        inputs: names of the columns to read, separated by commas.
    """

    target: str = setting("DryBulbFarenheit")
    inputs: str = setting(",".join(INPUTS))
    horizon: int | str = setting(24)
    valid: float = setting(0.25)
    test: float = setting(0.25)
    summary: ClassVar[str] = "forecast the air temperature from nine hourly readings (--data WTH.csv)"
    papers: ClassVar[tuple[str, ...]] = ("zhou2021", "garcia2024")
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 1e-3}
    cell_settings: ClassVar[dict[str, dict[str, Any]]] = {c: {"gain": 0.6} for c in ("tanh", "leaky", "gru")}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules(ONLINE, TO_GO),
        "feedback": ({"discount": 0.9, "gate": False, "lr": 2e-3},),
        "mirror": (DECOR,),
        "bptt": (DECOR,),
    }
