"""A device that misbehaves as its argument says; with numpy alone, from a copy of driver.py beside it."""

import os
import sys
import time

import numpy as np
from driver import LIMIT, pack, serve

HOW = sys.argv[1] if len(sys.argv) > 1 else "well"


class Unruly:
    W = np.array([[1.0], [-2.0]])

    def hello(self, asked):
        if HOW == "old":
            return {"version": 0}
        return {
            "version": 1,
            "name": "unruly",
            "inputs": 2 if HOW == "narrow" else asked["inputs"],
            "outputs": asked["outputs"],
            "weights": {"W": {"shape": [2, 1], "layer": "out", "reads": "z"}},
            "noise": "none",
            "taps": {"out": ["z", "a"]},
            "batch": 2 if HOW == "small" else None,
        }

    def write(self, weights):
        print("noise on standard output")
        self.W = weights.get("W", self.W)
        if HOW == "forgets":
            return {}
        if HOW == "mute":
            return None
        return {"W": self.W.T if HOW == "turned" else self.W}

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        a = inputs @ self.W
        if HOW == "dies":
            print("out of memory on tile 3", flush=True)
            os._exit(3)
        if HOW == "hangs":
            time.sleep(100)
        if HOW == "fails":
            raise OverflowError("membrane\nof unit 3")
        if HOW == "nan":
            a[1, 2] = np.nan
        if HOW == "half":
            frame = b"".join(bytes(piece) for piece in pack({}, {"outputs": a}))
            os.write(FRAMES, frame[:40])
            os._exit(0)
        if HOW == "endless":
            os.write(FRAMES, (LIMIT + 1).to_bytes(8, "little"))
        outputs = a[0] if HOW == "flat" else a
        return {"outputs": outputs, "out.z": inputs[..., :1] if HOW == "tap" else inputs, "out.a": a}

    def bye(self):
        print("good night")


if HOW == "text":
    print("Welcome to the simulator", flush=True)
FRAMES = os.dup(1)
if HOW != "socket":
    serve(Unruly())
