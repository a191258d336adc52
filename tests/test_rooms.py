"""Who may import whom: rooms import downwards only, and only registries and `build` name a plug-in."""

import ast
from pathlib import Path

import perturbax as px

ROOT = Path(px.__file__).parent
FLOORS = (
    ("atomic", "errors", "fields", "moved", "papers", "plugins"),
    ("network",),
    ("learning",),
    ("cells", "rules", "tasks"),
    ("loop",),
    ("exchange",),
    ("devices",),
    ("jobs",),
    ("experiment",),
    ("analysis",),
    ("report",),
    ("study", "bench"),
    ("cli",),
    ("__init__", "__main__"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
GROUPS = {"rules": px.RULES, "cells": px.CELLS, "tasks": px.TASKS}
CLASSES = [(room, cls) for room, group in GROUPS.items() for cls in group.values()]
PLUGINS = {cls.__module__ for _, cls in CLASSES} | {f"perturbax.{r}.{cls.__name__}" for r, cls in CLASSES}
NAMES_PLUGINS = (
    "perturbax.devices.simulated",  # is made of a cell that is named to it
    "perturbax.cells.spiking",  # brings the leaky readout that belongs above it
    "perturbax.cells.stack",  # puts a readout on top
    "perturbax.experiment.build",
    "perturbax.experiment.resolve",
    "perturbax.rules.feedback.guided",  # wraps the two rules that guide it
)


def imports():
    """Every (file, what it imports from perturbax), also within functions."""
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{name} imports relative to itself"
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            yield from ((name, other) for other in found if other.split(".")[0] == "perturbax")


def test_rooms_import_downwards_only():
    wrong = set()
    for name, other in imports():
        room, of = name.split(".")[1], other.split(".")[1]
        inside = of == room or of not in FLOOR  # such as perturbax.__version__
        on_one_floor = FLOOR.get(of) == FLOOR[room] == 0
        forbidden = room == "tasks" and of in ("learning", "network")
        if forbidden or not (inside or on_one_floor or FLOOR[of] < FLOOR[room]):
            wrong.add((name, other))
    assert not wrong


def test_only_registries_and_build_name_a_plug_in():
    wrong = set()
    for name, other in imports():
        plugin = next((place for place in (other, other.rpartition(".")[0]) if place in PLUGINS), None)
        if plugin and not name.endswith("__init__") and name not in NAMES_PLUGINS:
            wrong.add((name, plugin))
    assert not wrong
