"""Answers of a device in this process: what is taken as it is, and what is refused in one line."""

import numpy as np
import pytest

from perturbax.devices import Checked
from perturbax.errors import DeviceError

INPUTS = np.ones((4, 8, 2), np.float32)  # (T, B, n_in)


class Answering:
    """A device of one array of weights that answers what it is given to answer."""

    def __init__(self, given=lambda a: {"outputs": a}, held=lambda w: w, **said):
        self.given, self.held, self.said = given, held, said

    def hello(self, asked):
        return {"version": 1, "inputs": 2, "outputs": 1, "weights": {"W": {"shape": [2, 1]}}} | self.said

    def write(self, weights):
        return self.held(weights)

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        assert not self.said.get("batch") or inputs.shape[1] <= self.said["batch"]
        return self.given(inputs.sum(-1, keepdims=True, dtype=np.float32))

    def bye(self):
        pass


@pytest.mark.parametrize(
    "made",
    [
        lambda a: a.astype(np.float16),
        lambda a: a.astype(np.longdouble),
        lambda a: a.astype(">f8"),
        lambda a: a.astype(">i2"),
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, 2)[:, :, ::2],
        lambda a: a[::-1][::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),  # cannot be written to
        lambda a: a.tolist(),
        lambda a: np.ma.masked_invalid(a),  # nothing of it is masked
    ],
)
def test_numbers_of_any_kind_and_order_are_taken(made):
    found = Checked(Answering(lambda a: {"outputs": made(a)}, batch=3), 2, 1, 4).run(INPUTS)["outputs"]
    assert np.array_equal(found, np.full((4, 8, 1), 2.0))
    assert found.dtype.isnative
    assert found.dtype.itemsize <= 8


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda a: {"outputs": a.astype(complex)}, "outputs is of complex64|complex128, not of real numbers"),
        (lambda a: {"outputs": a.astype(object)}, "outputs is of object, not of real numbers"),
        (lambda a: {"outputs": a.astype(str)}, "outputs is of <U.*, not of real numbers"),
        (lambda a: {"outputs": None}, "outputs is of object, not of real numbers"),
        (lambda a: {"outputs": np.float32(1)}, r"outputs has the shape \(\), not \(4, 8, 1\)"),
        (lambda a: {"outputs": np.ma.masked_equal(a, 2)}, "outputs with values that are masked"),
        (lambda a: {"outputs": a * np.inf}, r"outputs is inf at \[0, 0, 0\]"),
        (lambda a: {}, "leaves out outputs"),
        (lambda a: a, "must be a dictionary of arrays, not ndarray"),
        (lambda a: None, "must be a dictionary of arrays, not NoneType"),
    ],
)
def test_what_is_no_answer_to_run_is_refused(given, words):
    device = Checked(Answering(given), 2, 1, 4)
    with pytest.raises(DeviceError, match=words) as error:
        device.run(INPUTS)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (lambda weights: weights["W"], "from write must be a dictionary of arrays, not ndarray"),
        (lambda weights: ["W"], "from write must be a dictionary of arrays, not list"),
        (lambda weights: True, "from write must be a dictionary of arrays, not bool"),
        (lambda weights: {}, "answer to write: W is missing"),
        (lambda weights: {"W": weights["W"].T}, r"answer to write: W has the shape \(1, 2\)"),
        (lambda weights: weights | {"V": np.ones(1)}, "has no weights 'V', but W"),
    ],
)
def test_what_is_no_answer_to_write_is_refused(held, words):
    device = Checked(Answering(held=held), 2, 1, 4)
    with pytest.raises(DeviceError, match=words):
        device.write({"W": np.ones((2, 1))})
