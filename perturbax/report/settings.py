"""Settings as text: how a report names them, and which of them tell one run from another."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any


def flatten_settings(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names.

    Arguments:
        settings: by name; those of task, rule and cell in dicts of their own.
        prefix: what stands in front of the names.
    """
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= (
            flatten_settings(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return out


def flag_name(key: str) -> str:
    """Return a setting's name as on the command line: rule_options.sigma is rule.sigma there."""
    return key.replace("_options.", ".", 1)


def setting_text(value: Any) -> str:
    """Return a setting as a person would type it."""
    if value is None or value == {} or value == "":
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(setting_text, value))
    return (
        ", ".join(f"{k}={setting_text(v)}" for k, v in flatten_settings(value).items())
        if isinstance(value, dict)
        else str(value)
    )


def telling(rivals: Sequence[dict[str, Any]], longest: int) -> list[str] | None:
    """Return for each of some settings, flattened, what tells it from all others, such as `lr=0.01, units=8`.

    That is all in which they differ where it is short; else the fewest of these that are different for all.

    Arguments:
        rivals: the settings.
        longest: characters that a text may have.

    Returns None where no few of them do.
    """
    keys = [key for key in dict.fromkeys(k for r in rivals for k in r) if _differs(rivals, key)]
    chosen = set(keys) & {"cell", "rule"}  # whose own settings differ with them
    keys = [key for key in keys if key.partition("_options.")[0] not in chosen or key in chosen]
    fewer = (list(some) for size in (1, 2, 3) for some in combinations(keys, size))
    for some in [keys, *fewer]:
        texts = [
            ", ".join(f"{flag_name(key)}={setting_text(r[key])}" for key in some if key in r) for r in rivals
        ]
        if all(texts) and len(set(texts)) == len(texts) and max(map(len, texts)) <= longest:
            return texts
    return None


def _differs(rivals: Sequence[dict[str, Any]], key: str) -> bool:
    """Whether a setting is not the same everywhere."""
    return any(key not in r or r[key] != rivals[0].get(key) for r in rivals)
