"""What a device says of itself, where it could do harm here: names at the terminal, and sizes."""

import numpy as np
import pytest

from perturbax.devices.abilities import Abilities
from perturbax.errors import DeviceError


def said(**changes):
    """Abilities of a device of one array of weights, with changes."""
    whole = {"version": 1, "inputs": 2, "outputs": 1, "weights": {"W": {"shape": [2, 1]}}}
    return Abilities.of(whole | changes)


def test_what_cannot_be_printed_does_not_reach_the_terminal():
    assert said(name="a\nb\x1b[31mc").name == "a b [31mc"
    for entry, found in (
        ("weights", {"W\x1b[2J": {"shape": [2, 1]}}),
        ("currents", {"out\n": [1]}),
        ("taps", {"\r": ["z"]}),
    ):
        with pytest.raises(DeviceError, match=f"{entry} cannot have the name") as error:
            said(**{entry: found})
        assert str(error.value).isprintable()


def test_weights_larger_than_a_frame_are_refused_before_they_are_drawn():
    for name in ("out\n", "", 3):
        with pytest.raises(DeviceError, match="must be the name of a layer or null"):
            said(weights={"W": {"shape": [2, 1], "layer": name}})
    with pytest.raises(DeviceError, match="more than a frame"):
        said(weights={"W": {"shape": [10**9, 10**9]}})
    with pytest.raises(DeviceError, match="more than a frame"):
        said(weights={name: {"shape": [2**13, 2**12]} for name in "abc"})  # each of them would fit
    assert said(weights={"a": {"shape": [2**13, 2**12]}}).weights["a"].shape == (2**13, 2**12)


def test_taps_that_repeat_others_are_taps_of_their_shape():
    layers = {
        "weights": {
            "U": {"shape": [3, 3], "layer": "h", "reads": "r"},
            "V": {"shape": [3, 1], "layer": "out", "reads": "z"},
            "W": {"shape": [2, 3], "layer": "h", "reads": "z"},
        },
        "taps": {"h": ["z", "r", "y"], "out": ["z"]},
    }
    assert said(**layers, repeats={"h.r": "out.z"}).repeats == {"h.r": "out.z"}
    assert said(**layers, repeats={"h.r": "h.y"}).tap_shape("h", "y") == (3,)
    for wrong, sentence in (
        ({"h.r": "h.z"}, r"repeats.h.r names h.z \(2,\), of another shape than \(3,\)"),
        ({"h.r": "out.a"}, "must be z or r of a layer"),
        ({"h.r": ["out.z"]}, "must be z or r of a layer"),
        ({"h.r": "h.r"}, "must be z or r of a layer"),
        ({"out.r": "h.z"}, "must be z or r of a layer"),
        ({"h.y": "out.z"}, "must be z or r of a layer"),
    ):
        with pytest.raises(DeviceError, match=sentence):
            said(**layers, repeats=wrong)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wieghts": {}}, "hello has the unknown entry 'wieghts'; did you mean 'weights'"),
        ({"seedd": True}, "did you mean 'seeded'"),
        ({"zzz": 1}, "unknown entry 'zzz'; choose from version"),
        ({"weights": {"W": {"shape": [2, 1], "ordr": "post-pre"}}}, "weights.W has the .* mean 'order'"),
        ({"weights": {"W": {"shape": [2, 1], "stpe": 0.1}}}, "did you mean 'step'"),
        (
            {"weights": {"W": {"shape": [2, 1], "low": -1, "high": 1, "step": 3}}},
            "weights.W.step must fit into the range, -1.0 to 1.0",
        ),
        ({"currents": {"ou": [1]}}, "currents names a layer that no weights name: .* did you mean 'out'"),
        ({"taps": {"hidden": ["z"]}}, "taps names a layer .* unknown layer 'hidden'; choose from out"),
        ({"weights": {"W": {"shape": [2, 1]}}, "taps": {"out": ["z"]}}, "say layer of each array"),
        ({"taps": {"out": [["z"]]}}, "must be z or r or a or y, not"),
        ({"noise": ["own"]}, "noise must be none or own or unknown"),
        ({"accepts": "scales"}, "accepts must be a list of words"),
        ({"accepts": [1]}, "accepts must be a list of words"),
        ({"version": True}, "speaks version True of the protocol"),
        ({"version": 1.0}, "speaks version 1.0 of the protocol"),
        ({"version": "1"}, "speaks version '1' of the protocol"),
        ({"version": 2}, "must say version 1, which is what it was asked for"),
    ],
)
def test_what_hello_says_wrongly_is_named(changes, words):
    one = {"weights": {"W": {"shape": [2, 1], "layer": "out", "reads": "z"}}}
    with pytest.raises(DeviceError, match=words) as error:
        said(**(one | changes))
    assert "\n" not in str(error.value)


def test_a_device_may_say_more_of_itself_under_names_of_its_own():
    weights = {"W": {"shape": [2, 1], "x-tile": 3}}
    plain = said(weights={"W": {"shape": [2, 1]}})
    assert (
        said(weights=weights, accepts=["scales", "a word of later versions"], **{"x-serial": "7f"}) == plain
    )
    assert Abilities.of(plain.hello()) == plain


def test_numbers_and_arrays_of_numpy_are_read_like_others():
    weights = {"W": {"shape": np.array([2, 1]), "step": np.float32(0.5)}}
    can = said(weights=weights, seeded=np.bool_(True), batch=np.int64(4))
    assert can.weights["W"].shape == (2, 1)
    assert can.seeded is True
    assert (type(can.batch), can.batch) == (int, 4)
