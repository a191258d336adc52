"""What is said of an opened series: how it is encoded and why, for config.json and in sentences."""

from typing import Any

from perturbax.tasks.base import PARTS
from perturbax.tasks.opened_series import Source

FORMS_IN_WORDS = {
    "level": "the value itself",
    "difference": "the change from the present value",
    "seasonal": "the change from the same phase of the last season",
    "seasonal-difference": "the change from the present value plus that over the same rows a season ago",
    "linear": "what a linear forecast leaves",
    "combined": "what the mean of simple forecasts leaves",
}


def facts_of(source: Source) -> dict[str, Any]:
    """Return how the series is encoded, and what that was chosen from; source: the opened series."""
    encoding, combination = source.encoding, source.fitted.combination
    rows = {part: sum(end - first for first, end in source.record.parts[part]) for part in PARTS}
    facts: dict[str, Any] = {
        "form": encoding.form,
        "reading": encoding.reading,
        "season": encoding.season,
        "history": encoding.history,
        "horizons": list(encoding.horizons),
        "targets": list(encoding.targets),
        "inputs": len(encoding.inputs),
        "rows": rows,
        "outside": source.outside,
    }
    if encoding.form == "linear":
        facts |= {"base": encoding.base, "lags": max(encoding.lags)}
    if combination is not None:
        facts["validation"] = dict(combination.errors)
        facts["weights"] = dict(combination.shares)
    return facts


def notes_of(source: Source, season_is_named: bool) -> list[str]:
    """Return in sentences what the file holds, how the series is encoded and why, and what is unusual.

    The last are test values outside the range of training.

    Arguments:
        source: the opened series.
        season_is_named: whether the season is one that the user has named.
    """
    encoding, combination = source.encoding, source.fitted.combination
    form = f"form {encoding.form}: what is forecast is {FORMS_IN_WORDS[encoding.form]}"
    if combination is not None:
        ranked = sorted(combination.shares.items(), key=lambda kind_and_share: -kind_and_share[1])
        listed = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in ranked)
        form += f" (weighted by their validation errors: {listed})"
    said = [form]
    if encoding.season > 1:
        found = "" if season_is_named else ", found in the training rows"
        said.append(f"season: {encoding.season} rows{found}")
    for target, share in source.outside.items():
        if share > 0:
            said.append(
                f"{100 * share:.3g} % of the test values of {target} lie outside the range of its "
                "training values"
            )
    return [*source.about, *said]
