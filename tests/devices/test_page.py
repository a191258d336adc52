"""docs/devices.md: its blocks run, and its tables name all that there is."""

import dataclasses
import re
import shutil

import pages

from perturbax.devices import driver
from perturbax.devices.abilities import Abilities, Weight
from perturbax.devices.faults import Faults

PAGE = pages.ROOT / "docs" / "devices.md"


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copy(driver.__file__, tmp_path)
    names = pages.run_page(PAGE, tmp_path)
    said = capsys.readouterr().out
    for expected in re.findall(r"\bprint\(.*\)  # (.+)", PAGE.read_text()):
        assert expected in said
    assert names["device"].device.gone


def test_the_page_names_every_entry_and_fault():
    text = PAGE.read_text()
    for cls in (Abilities, Weight, Faults):
        missing = [f.name for f in dataclasses.fields(cls) if f"`{f.name}`" not in text]
        assert not missing
