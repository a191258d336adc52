"""The lines that show how far runs are: what they say, that they fit, and the time left."""

import math
import threading
from types import SimpleNamespace

from perturbax.cli.board import Board, clock_time

NAN = math.nan


def result(seed):
    return SimpleNamespace(experiment=SimpleNamespace(seed=seed))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_one_run_says_what_it_does_from_the_beginning():
    clock = Clock()
    board = Board(clock=clock)
    clock.now = 2.0
    assert board.lines(60) == ["starting 0:02"]
    board.compiling("node", [4])
    clock.now = 5.0
    assert board.lines(60) == ["node seed 4  compiling 0:03"]
    board.advanced("node", [4], 0, 100, NAN, NAN)
    assert board.lines(60)[0].startswith("node seed 4  ───")
    clock.now = 15.0
    board.advanced("node", [4], 25, 100, 9.0, 0.12345)
    line = board.lines(60)[0]
    assert line.endswith(" 25%  valid 0.123  0:30 left"), line
    assert "━" in line
    board.judging("node", [4])
    assert "judging on test data" in board.lines(60)[0]


def test_every_run_begins_anew_and_all_of_them_have_a_time_left():
    clock, ended = Clock(), []
    board = Board(clock=clock, on_end=lambda place, name, result: ended.append((place, name)))
    board.expect(18, 4)
    board.compiling("node", [0])
    clock.now = 10.0
    board.advanced("node", [0], 100, 100, 0.5, 0.5)
    assert "run 5 of 18  node seed 0" in board.lines(60)[0]
    board.ended("node", result(0))
    assert ended == [("5 of 18", "node")]
    board.compiling("node", [1])
    line = board.lines(60)[0]
    assert line.startswith("run 6 of 18  node seed 1  compiling 0:00")
    assert line.endswith("2:10 left")  # 13 runs of 10 seconds
    board.advanced("node", [1], 0, 100, NAN, NAN)
    assert "  0%" in board.lines(60)[0]
    assert "valid" not in board.lines(60)[0]


def test_seeds_that_advance_together_count_as_so_many_runs():
    clock = Clock()
    board = Board(clock=clock)
    board.expect(6, 0)
    board.advanced("node", [0, 1, 2], 0, 10, NAN, NAN)
    clock.now = 6.0
    board.advanced("node", [0, 1, 2], 5, 10, 1.0, 1.0)
    assert board.lines(80)[0].startswith("runs 1-3 of 6  node seeds 0-2  ")
    assert board.seconds_left() == 6 + 3 * 4  # each of the three takes a third of twelve seconds
    for seed in (0, 1, 2):
        board.ended("node", result(seed))
    board.compiling("bptt", [0, 1, 2])
    assert board.lines(80)[0].startswith("runs 4-6 of 6  bptt seeds 0-2")


def test_runs_side_by_side_have_a_line_each():
    clock = Clock()
    board = Board(clock=clock)
    board.expect(4, 0, workers=2)
    board.advanced("node", [0], 0, 10, NAN, NAN)
    board.compiling("bptt", [0])
    clock.now = 4.0
    board.advanced("node", [0], 5, 10, 1.0, 1.0)
    one, two, whole = board.lines(60)
    assert one.startswith("run 1 of 4  node seed 0")
    assert two.startswith("run 2 of 4  bptt seed 0  compiling 0:04")
    assert whole.startswith("0 of 4 runs finished  ━")
    assert whole.endswith("0:12 left")  # 4 of one, 4 of the other, 16 of those that wait: on two workers
    board.lost("bptt", [0])
    assert board.lines(60)[-1].startswith("1 of 4 runs finished")


def test_lines_can_be_drawn_while_an_end_is_printed():
    """Printing waits until the lines are drawn, by another thread: neither may wait for the other."""
    drawn = []

    def print_end(place, name, result):
        drawing = threading.Thread(target=lambda: drawn.extend(board.lines(60)), daemon=True)
        drawing.start()
        drawing.join(5)

    board = Board(clock=Clock(), on_end=print_end)
    board.compiling("node", [0])
    board.ended("node", result(0))
    assert drawn == ["all runs have ended 0:00"]


def test_lines_fit_any_width():
    board = Board(clock=Clock())
    board.expect(18, 0)
    board.advanced("activity+decor:sigma=1e-3:samples=8", [12], 0, 1000, NAN, NAN)
    board.advanced("activity+decor:sigma=1e-3:samples=8", [12], 3, 1000, 1.0, 0.0123456)
    for width in (20, 40, 60, 80, 120):
        for line in board.lines(width):
            assert len(line) <= width
    narrow = board.lines(60)[0]
    assert narrow.startswith("run 1 of 18  activity+decor")
    assert "valid 0.0123" in narrow


def test_times_of_a_clock():
    assert [clock_time(s) for s in (0.0, 7.4, 754.0, 3723.0)] == ["0:00", "0:07", "12:34", "1:02:03"]


def test_runs_whose_process_died_go_on_one_by_one():
    board = Board(clock=lambda: 0.0)
    board.expect(3, 0, workers=2)
    board.compiling("node", [0, 1])
    board.advanced("node", [0, 1], 5, 10, 1.0, 1.0)
    board.compiling("node", [0])
    board.compiling("node", [1])
    assert list(board.going) == [("node", (0,)), ("node", (1,))]
    assert board.begun == 2
    board.lost("node", [0, 1])
    assert not board.going
    assert board.finished == 2
