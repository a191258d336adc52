"""Settings that several tasks ship for rules whose noise is paired with later losses (see docs/tuning.md)."""

from typing import Any

ONLINE_WINDOW = {"mode": "online", "every": 10, "credit": "window", "window": 20, "discount": 0.95}
TO_GO = {"credit": "to-go", "discount": 0.9}


def for_node_rules(*settings: dict[str, Any]) -> dict[str, tuple[dict[str, Any], ...]]:
    """Return the `rule_settings` of `node`, and of the two rules that ship what was found for it.

    Arguments:
        settings: those of `rule_settings`: the first entry, or the first of the mode that the user asks for.
    """
    return dict.fromkeys(("node", "activity", "innovation"), settings)
