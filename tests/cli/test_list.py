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
