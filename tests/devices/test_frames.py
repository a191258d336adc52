"""Frames: what numpy writes and reads, and 200 malformed ones, each an error of one line on both sides."""

import ast
import contextlib
import io
import json
import pickle
import socket
import struct
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from perturbax.devices import driver
from perturbax.devices.remote import Remote
from perturbax.errors import DeviceError

LIMIT = 2**18
CASES = 200
ARRAYS = {
    "matrix": np.arange(12.0).reshape(3, 4),
    "turned": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "scalar": np.float32(3),
    "none": np.zeros((0, 3)),
    "switches": np.array([True, False]),
    "layers[0].W": np.arange(3, dtype=">i4"),
}


def text(said):
    return np.frombuffer(json.dumps(said).encode(), np.uint8)


def joined(said, arrays=None):
    return b"".join(driver.pack(said, arrays))


def npz(members):
    """A zip archive of these bytes by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


HELLO = {"_.npy": npy(text({"op": "hello"}))}


def test_numpy_reads_what_is_sent():
    frame = joined({"op": "run"}, ARRAYS)
    assert struct.unpack("<Q", frame[:8]) == (len(frame) - 8,)
    with np.load(io.BytesIO(frame[8:]), allow_pickle=False) as found:
        assert json.loads(found["_"].tobytes()) == {"op": "run"}
        for name, array in ARRAYS.items():
            assert np.array_equal(found[name], array)
            assert found[name].shape == np.shape(array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(save):
    file = io.BytesIO()
    save(file, _=text({"op": "run"}), **ARRAYS)
    said, found = driver.unpack(file.getvalue())
    assert said == {"op": "run"}
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype.isnative
        assert found[name].flags.writeable


def test_what_cannot_be_sent_is_said():
    with pytest.raises(driver.FrameError, match="'x' is of object, not of real numbers"):
        driver.pack({}, {"x": [None]})
    with pytest.raises(driver.FrameError, match="'x' has values that are masked"):
        driver.pack({}, {"x": np.ma.masked_equal([1, 2], 2)})
    with pytest.raises(driver.FrameError, match="longer than the limit of 100 bytes"):
        driver.pack({}, {"x": np.zeros(100)}, limit=100)


def test_checksums_may_be_left_out_and_are_looked_at_where_they_are_there():
    for said in ({"op": "run"}, {"op": "run", "seed": 123456}):  # of one layout, which is made once
        bare, summed = (b"".join(driver.pack(said, ARRAYS, summed=summed)) for summed in (False, True))
        assert len(bare) == len(summed)
        assert sum(one != other for one, other in zip(bare, summed, strict=True)) <= 8 * (1 + len(ARRAYS))
        found_said, found = driver.unpack(bytearray(bare[8:]))
        assert found_said == said
        assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())
    for frame, damage in ((bare, False), (summed, True)):
        changed = bytearray(frame[8:])
        changed[changed.index(np.float64(7).tobytes())] ^= 1
        with (
            pytest.raises(driver.FrameError, match="another checksum") if damage else contextlib.nullcontext()
        ):
            driver.unpack(changed)
    question = b"".join(driver.pack({"op": "write", "unsummed": True}, {"W": np.ones(3, np.float32)}))
    answer = b"".join(driver._answered(Sums(), memoryview(question[8:]), LIMIT)[1])
    assert answer == b"".join(driver.pack({"held": True}, {"W": np.ones(3, np.float32)}, summed=False))


def test_the_driver_needs_numpy_alone():
    tree = ast.parse(Path(driver.__file__).read_text(), feature_version=(3, 8))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name
        for node in imported
        for name in [alias.name for alias in node.names] + [getattr(node, "module", "")]
    }
    assert "numpy" in names
    assert not [name for name in names if name.startswith(("perturbax", "jax"))]


# --- malformed frames


def truncated(rng):
    frame = joined({"op": "hello"}, ARRAYS)
    return frame[: rng.integers(1, len(frame))]


def cut_inside(rng):
    """The right length, of an archive that was cut."""
    payload = joined({"op": "hello"}, ARRAYS)[8:]
    return with_length(payload[: rng.integers(0, len(payload))])


def oversized(rng):
    return struct.pack("<Q", int(rng.integers(LIMIT + 1, 2**63))) + b"PK"


def bomb(rng):
    """Small when packed, above the limit when unpacked; what the header says of it may be a lie."""
    size = int(rng.integers(LIMIT, 30 * LIMIT))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_.npy", HELLO["_.npy"])
        archive.writestr("x.npy", npy(np.zeros(size, np.uint8)))
    payload = packed.getvalue()
    if rng.random() < 0.5:
        payload = payload.replace(struct.pack("<I", size + 128), struct.pack("<I", 100))
    return with_length(payload)


def pickled(rng):
    content = [np.array([None, 1]), np.array(["a"]), np.array([b"a"]), np.array([1j]), np.array([1], "M8[s]")]
    return with_length(npz({**HELLO, "x.npy": npy(content[rng.integers(len(content))])}))


def raw_pickle(rng):
    return with_length(npz({**HELLO, "x.npy": pickle.dumps(list(range(rng.integers(1, 50))))}))


def structured(rng):
    kinds = [[("a", "f4")], [("a", "f4", (2, 2))], "f4,i8", "V8", "U3", "S3", "m8[s]", "c8", "O"]
    return with_length(npz({**HELLO, "x.npy": npy(np.zeros(2, kinds[rng.integers(len(kinds))]))}))


def false_shape(rng):
    shapes = ["(4,)", "(-3,)", "(3, (3,))", "((3,),)", "[3]", "(1,) * 3", "(99999999999999999999,)", "(3.0,)"]
    shapes += ["(0, 4294967296, 4294967296, 4294967296)", "(1, 1, 1, 1, 1, 1, 1, 1, 1, 3)", "", "(" * 200]
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {rng.choice(shapes)}, }}"
    return with_length(npz({**HELLO, "x.npy": header(head) + b"\0" * 12}))


def false_dtype(rng):
    kinds = ["<f1", "<f3", "|O", "<c8", "|V4", "<U1", "b8", "f16", "__import__('os')", "<f4'+'", "\\x00f4"]
    head = f"{{'descr': '{rng.choice(kinds)}', 'fortran_order': False, 'shape': (3,), }}"
    return with_length(npz({**HELLO, "x.npy": header(head) + b"\0" * 12}))


def false_json(rng):
    said = [
        b"",
        b"[]",
        b"3",
        b"{",
        b"\xff",
        b"[" * 5000,
        b'{"op": ' * 2000,
        b"9" * 5000,
        b'{"op": "jump"}',
        b"{}",
    ]
    return with_length(npz({"_.npy": npy(np.frombuffer(said[rng.integers(len(said))], np.uint8))}))


def no_object(rng):
    wrong = [np.zeros(3), np.zeros((2, 2), np.uint8), np.array('{"op": "hello"}'), np.float32(1)]
    return with_length(npz({"_.npy": npy(wrong[rng.integers(len(wrong))])}))


def noise(rng):
    return with_length(rng.bytes(int(rng.integers(0, 400))))


def many(rng):
    return with_length(npz({**HELLO, **{f"{i}.npy": b"" for i in range(driver.MEMBERS)}}))


def twice(rng):
    payload = npz({**HELLO, "xa.npy": npy(np.zeros(2)), "xb.npy": npy(np.zeros(2))})
    return with_length(payload.replace(b"xb.npy", b"xa.npy"))


def method(rng):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA][rng.integers(2)]) as archive:
        archive.writestr("_.npy", HELLO["_.npy"])
    return with_length(file.getvalue())


def flipped_numbers(rng):
    """A number changed on the way: the checksum tells."""
    payload = bytearray(npz({**HELLO, "x.npy": npy(np.arange(50.0))}))
    payload[payload.index(np.arange(1, 50.0).tobytes()) + rng.integers(300)] ^= 1 << rng.integers(8)
    return with_length(bytes(payload))


def with_length(payload):
    return struct.pack("<Q", len(payload)) + payload


def header(words):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(words) + 1) + words.encode() + b"\n"


KINDS = (
    truncated,
    cut_inside,
    oversized,
    bomb,
    pickled,
    raw_pickle,
    structured,
    false_shape,
    false_dtype,
    false_json,
    no_object,
    noise,
    many,
    twice,
    method,
    flipped_numbers,
)


def malformed():
    """Frames, each with the name of its kind."""
    rng = np.random.default_rng(0)
    for i in range(CASES):
        make = KINDS[i % len(KINDS)]
        yield make.__name__, make(rng)


class Nothing:
    """A device that is never asked anything it could answer."""

    def hello(self, asked):
        return {"name": "nothing"}


def served(frames):
    """What a device answers to bytes, as frames."""
    source, sink = io.BytesIO(frames), io.BytesIO()
    driver._serve_one(Nothing(), source.readinto, sink.writelines, LIMIT)
    sink.seek(0)
    answers = []
    while (payload := driver.read_frame(sink.readinto)) is not None:
        answers.append(driver.unpack(payload)[0])
    return answers


def test_200_malformed_frames_are_errors_of_one_line_and_the_device_goes_on():
    good = joined({"op": "hello"})
    served(good)
    tracemalloc.start()
    for kind, frame in malformed():
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        answers = served(frame + good)
        peak = tracemalloc.get_traced_memory()[1] - before
        assert list(answers[0]) == ["error"], kind
        assert 5 < len(answers[0]["error"]) < 600, kind
        assert "\n" not in answers[0]["error"], kind
        assert peak < 8 * LIMIT, (kind, peak)
        lost = kind in ("truncated", "oversized")  # nobody knows where the next frame begins
        assert lost or answers[1:] == [{"accepts": driver.ACCEPTS, "name": "nothing"}], kind
    tracemalloc.stop()


def test_200_malformed_answers_are_errors_of_one_line_for_the_trainer(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "device"))
    listener.listen(1)
    cases = list(malformed())

    def answer():
        for _, frame in cases:
            trainer = listener.accept()[0]
            with trainer:
                driver.read_frame(trainer.recv_into)
                trainer.sendall(frame)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    for kind, frame in cases:
        remote = Remote(f"unix:{tmp_path}/device", timeout=5, limit=LIMIT)
        if kind == "false_json" and (b'{"op": "jump"}' in frame or b"{}" in frame):
            remote.hello({})  # an object it is
        else:
            with pytest.raises(DeviceError) as caught:
                remote.hello({})
            assert "within 5 seconds" not in str(caught.value), kind
            assert "\n" not in str(caught.value), kind
        remote.bye()
    thread.join(5)
    listener.close()


def test_random_changes_are_errors_or_frames():
    rng = np.random.default_rng(1)
    payload = joined({"op": "hello"}, ARRAYS)[8:]
    for _ in range(300):
        changed = bytearray(payload)
        for place in rng.integers(len(payload), size=rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        with contextlib.suppress(driver.FrameError):
            driver.unpack(bytes(changed), LIMIT)


class Sums:
    """A device that returns what it was sent: outputs are weight + input + current."""

    def __init__(self):
        self.W, self.asked = np.zeros(1, np.float32), []

    def write(self, weights):
        self.W = np.minimum(weights["W"], 2)
        return {"W": self.W}

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        self.asked.append((inputs.shape, seed, targets))
        z = inputs + (currents["h"] if currents else 0)
        return {"outputs": self.W + z, "h.z": z}


def test_settings_of_weights_and_rows_of_trials_go_over_in_one_frame():
    device, inputs = Sums(), np.arange(6, dtype=np.float32).reshape(3, 2, 1)
    bits = np.packbits(np.array([1, 0, 0, 1, 1, 1]))
    signs = driver.Signs(bits, 0.5, (3, 1, 2, 1))
    block = 0.5 * np.array([1, -1, -1, 1, 1, 1]).reshape(3, 2, 1)
    np.testing.assert_array_equal(np.asarray(signs)[:, 0], block)
    assert np.asarray(signs).dtype == np.float32
    said = {"rows": [[0, 1.0], [0, -1.0]], "taps": ["h.z"], "middle": "mean", "seed": 3}
    said |= {"op": "run", "signs": {"h": {"size": 0.5, "shape": [3, 1, 2, 1]}}}
    arrays = {"inputs": inputs, "currents.h": bits, "weights.W": np.array([[1], [2]], np.float32)}
    about, found = driver.answer(device, said, arrays | {"targets": inputs})
    assert about == {"held": "asked"}
    rows = np.concatenate([inputs + block, inputs - block], 1)
    np.testing.assert_array_equal(found["outputs"], np.concatenate([rows + 1, rows + 2], 1))
    np.testing.assert_array_equal(found["h.z"], np.concatenate([inputs, inputs], 1))
    assert [(shape, seed, t.shape) for shape, seed, t in device.asked] == [((3, 4, 1), 3, (3, 4, 1))] * 2
    arrays["weights.W"] += 1
    about, found = driver.answer(device, said | {"middle": "first"}, arrays)
    assert about == {"held": True}
    assert found["held.W"].tolist() == [[2], [2]]
    np.testing.assert_array_equal(found["h.z"][:, :2], inputs + block)
    wrong = (
        ({"rows": []}, {}, "rows must be a list"),
        ({"rows": [[1, 1.0]]}, {}, "with K at least 2"),
        ({"rows": [[0, 1.0]] * 2**16}, {}, "more than the limit"),
        ({"middle": "last"}, {}, "middle must be"),
        ({"signs": [1]}, {}, "signs must be a JSON object"),
        ({"signs": {"h": {"size": 0.5, "shape": [3, 1, 2, 9]}}}, {}, "are 1 bytes, not 7"),
        ({"signs": {"h": {"size": 0.5, "shape": [2**40]}}}, {}, "more than the limit"),
        ({"signs": {"o": {"size": 0.5, "shape": [1]}}}, {}, "an array of uint8"),
        ({}, {"weights.V": np.zeros((3, 1))}, "as many settings"),
        ({}, {"inputs": np.zeros((3, 0))}, "B above 0"),
    )
    for change, more, sentence in wrong:
        with pytest.raises(driver.FrameError, match=sentence):
            driver.answer(device, said | change, arrays | more, LIMIT)


def test_memory_is_used_again_once_no_array_lies_in_it():
    memory = driver.Memory()

    def read(value):
        frame = io.BytesIO(joined({}, {"x": np.full(10**5, value)}))
        return driver.unpack(driver.read_frame(frame.readinto, memory=memory))[1]["x"]

    first = read(1.0)
    part, place = first[5:9].reshape(2, 2), first.ctypes.data
    assert place % 64 == 0
    assert read(2.0).ctypes.data != place  # first is still there
    del first
    assert read(3.0).ctypes.data != place  # a part of it is
    assert part.tolist() == [[1, 1], [1, 1]]
    del part
    assert read(4.0).ctypes.data == place


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"Hi\n", r"text where a frame should be, 'Hi\\n'"),
        (b"Hi\n" + (300).to_bytes(8, "little"), r"text where a frame should be, 'Hi\\n"),
        (b"Welcome to tile 3\n", "text where a frame should be, 'Welcome '"),
        ((300).to_bytes(8, "little")[:5], "half a frame: it ends within its length"),
        ((2**40).to_bytes(8, "little"), "a frame of 1099511627776 bytes is longer than the limit"),
    ],
)
def test_what_stands_where_a_frame_should_be_is_named(sent, words):
    with pytest.raises(driver.FrameError, match=words):
        driver.read_frame(io.BytesIO(sent).readinto)
