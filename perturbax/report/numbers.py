"""Numbers as text: as many digits as they deserve, powers of ten without markup."""

import math

from perturbax.report.compare import Stat

DASH = "\u2013"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_METRICS = {
    "mse": "mean squared error",
    "mse_scaled": "scaled mse",
    "error_bits": "error bits",
    "mae": "MAE",
    "rmse": "RMSE",
    "smape": "sMAPE",
    "mase": "MASE",
}


def exponent(x: float) -> int:
    """Return the power of ten of a number's first digit; 0 for 0."""
    return math.floor(math.log10(abs(x))) if x else 0


def power(e: int) -> str:
    """Return ten to a whole power."""
    return f"10{str(e).translate(_SUPERSCRIPT)}"


def rounded(x: float, digits: int = 3) -> str:
    """Return a number with some significant digits; whole numbers of up to six digits keep all of theirs.

    Arguments:
        x: the number; a dash for nan.
        digits: how many significant digits.
    """
    if math.isnan(x):
        return DASH
    if math.isinf(x):
        return "∞" if x > 0 else "-∞"
    e = exponent(float(f"{x:.{digits - 1}e}"))
    if -4 <= e < 6:
        return f"{x:,.{max(digits - 1 - e, 0)}f}"
    return f"{x / 10.0**e:.{digits - 1}f}×{power(e)}"


def interval(stat: Stat, digits: int = 3) -> str:
    """Return a mean and its half width, down to the second digit of the half width or the third of the
    mean; a geometric mean with the ends of its interval; the value alone where there is only one.

    Arguments:
        stat: the mean over seeds, and its interval.
        digits: how many significant digits of the mean are sure to be there.
    """
    if not math.isfinite(stat.half):
        return rounded(stat.mean, digits)
    if stat.geometric:
        return f"{rounded(stat.mean, digits)} ({rounded(stat.low, 2)} to {rounded(stat.high, 2)})"
    if stat.half == 0:
        return f"{rounded(stat.mean, digits)} ± 0"
    e = exponent(stat.mean if stat.mean else stat.half)
    scale = e if not -4 <= e < 6 else 0
    mean, half = stat.mean / 10.0**scale, stat.half / 10.0**scale
    decimals = max(1 - exponent(half), digits - 1 - exponent(mean), 0)
    decimals = min(decimals, max(5 - exponent(mean), 0))
    text = f"{mean:,.{decimals}f} ± {half:,.{decimals}f}"
    return f"({text})×{power(scale)}" if scale else text


def short(x: float) -> str:
    """Return a number for an axis: few characters, thousands as k and M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:g}{letter}" if abs(x) < 1e15 else f"{x:.0e}"
    return f"{x:g}" if x == 0 or abs(x) >= 1e-3 else power_of(x)


def power_of(x: float) -> str:
    """Return a number for a logarithmic axis."""
    e = exponent(x)
    mantissa = x / 10.0**e
    return power(e) if abs(mantissa - 1) < 1e-6 else f"{mantissa:.3g}×{power(e)}"


def count(x: float) -> str:
    """Return a number of things."""
    return f"{round(x):,}" if math.isfinite(x) and abs(x) < 1e7 else rounded(x)


def memory(octets: float) -> str:
    """Return a size in memory; 0 where nothing was compiled that could be asked, as on a device: a dash."""
    if not math.isfinite(octets) or not octets:
        return DASH
    return f"{rounded(octets / 1e9)} GB" if octets >= 1e9 else f"{rounded(octets / 1e6)} MB"


def metric_name(metric: str, unit: str = "") -> str:
    """Return a metric in words, with its unit where it has one.

    Arguments:
        metric: its name in results.
        unit: of the target, for a mean squared error; empty for none.
    """
    name = _METRICS.get(metric, metric.replace("_", " "))
    return f"{name} ({unit}²)" if metric == "mse" and unit else name
