"""`list`: every rule, cell and task is named."""

import pytest

import perturbax as px
from perturbax.cli import main


@pytest.mark.parametrize("what", ["rules", "cells", "tasks"])
def test_list_names_everything(capsys, what):
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    for name in {"rules": px.RULES, "cells": px.CELLS, "tasks": px.TASKS}[what]:
        assert name in out


def test_list_says_what_tasks_are_about(capsys):
    assert main(["list", "tasks"]) == 0
    out = capsys.readouterr().out
    for cls in px.TASKS.values():
        assert cls.summary[:30] in out
