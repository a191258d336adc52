"""Registries and imports by name."""

import copy
import pickle

import pytest

import perturbax as px
from perturbax.errors import ArgumentError, UnknownName
from perturbax.plugins import Registry, import_object, import_optional


def example():
    return Registry("cell", {"tanh": px.cells.Tanh, "gru": px.cells.GRU})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gur", "unknown cell 'gur'; did you mean 'gru'?"),
        ("zzz", "unknown cell 'zzz'; choose from tanh, gru"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, words):
    with pytest.raises(UnknownName) as caught:
        example()[name]
    assert str(caught.value) == words
    assert isinstance(caught.value, KeyError | ArgumentError)


def test_a_registry_is_a_dictionary():
    found = example()
    assert found["tanh"] is px.cells.Tanh
    assert "tanh" in found
    assert "gur" not in found
    assert found.get("gur") is None
    assert found.get("gru") is px.cells.GRU
    assert list(found) == ["tanh", "gru"]
    assert dict(found) == {"tanh": px.cells.Tanh, "gru": px.cells.GRU}
    assert len(found) == 2


@pytest.mark.parametrize(
    "made",
    [
        lambda found: copy.copy(found),
        lambda found: copy.deepcopy(found),
        lambda found: found.copy(),
        lambda found: pickle.loads(pickle.dumps(found)),
        lambda found: found | {},
        lambda found: {} | found,
    ],
    ids=["copy", "deepcopy", "method", "pickle", "or", "ror"],
)
def test_copies_still_name_the_nearest(made):
    found = example()
    other = made(found)
    assert other == found
    assert other is not found
    with pytest.raises(UnknownName, match="unknown cell 'gur'; did you mean 'gru'"):
        other["gur"]


def test_merging_leaves_a_registry_as_it_is():
    found = example()
    more = found | {"lstm": px.cells.LSTM}
    assert list(more) == ["tanh", "gru", "lstm"]
    assert "lstm" not in found
    assert (more | {"tanh": px.cells.Leaky})["tanh"] is px.cells.Leaky
    assert ({"tanh": px.cells.Leaky} | more)["tanh"] is px.cells.Tanh
    more |= {"lru": px.cells.LRU}
    with pytest.raises(UnknownName, match="did you mean 'lru'"):
        more["lrru"]


def test_import_of_an_object(tmp_path, monkeypatch):
    (tmp_path / "module_for_plugins.py").write_text("answer = 42\nempty = None\n")
    (tmp_path / "broken_for_plugins.py").write_text("raise RuntimeError('first line\\nsecond line')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    assert import_object("rule", "module_for_plugins:answer") == 42
    for path, words in {
        "module_for_plugins:question": "module module_for_plugins has no 'question'",
        "no_such_module:Thing": "cannot import rule 'no_such_module:Thing': No module named 'no_such_module'",
        "broken_for_plugins:Thing": "cannot import rule 'broken_for_plugins:Thing': first line",
    }.items():
        with pytest.raises(ArgumentError) as caught:
            import_object("rule", path)
        assert str(caught.value) == words


def test_import_of_an_optional_package(tmp_path, monkeypatch):
    assert import_optional("task digits", "json", "json").dumps([1]) == "[1]"
    with pytest.raises(ArgumentError, match=r"task shd needs the package h9: pip install 'perturbax\[shd\]'"):
        import_optional("task shd", "no_such_package_h9", "h9")
    (tmp_path / "half_installed.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ArgumentError, match=r"task shd cannot import half \(No module named 'no_such_dep"):
        import_optional("task shd", "half_installed", "half")
