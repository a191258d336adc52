"""Forecasting a column of any CSV file, or the class in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.fields import one_of, setting
from perturbax.tasks.base import Shipped, Task
from perturbax.tasks.categories import ANSWERS, Settings, classify
from perturbax.tasks.class_reading import holds_classes
from perturbax.tasks.files.csv_table import Table, first_rows
from perturbax.tasks.fromfile import FromFile, check_column, names_in
from perturbax.tasks.shipped_credit import TO_GO, for_node_rules


class Series(FromFile):
    """Forecast of any CSV file: one line per time, a header that names the columns.

        y_t = x^target_{t + horizon}, or its change from what is known at t, by `form`

    A target of text (or true and false) is a class: the task is then `perturbax.tasks.categories.Categories`,
    with a horizon of 0 for the class of the same row. Other text columns, such as a date, are left out unless
    they are named, and refused then.

    Attributes:
        target: name of the column to forecast, or several, separated by commas; required.
        inputs: names of the columns to read, separated by commas; empty for all columns of numbers.
        classes: whether a target of numbers holds classes, too.
        answer: of classes, row (an answer at every row) or window (one per window, at its last row).
    """

    target: str = setting("")
    inputs: str = setting("")
    classes: bool = setting(False)
    answer: str = setting("row")
    form: str = setting("auto")
    window: int = setting(0)
    lags: int = setting(0)
    least_horizon: ClassVar[int] = 0
    summary: ClassVar[str] = "forecast a column of your own CSV file (--data FILE.csv --task.target COLUMN)"
    settings: ClassVar[dict[str, Any]] = {"units": 32, "batch": 16, "passes": 3000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = for_node_rules(TO_GO)

    @classmethod
    def shipped(cls, options: Mapping[str, Any], data: str | None = None) -> Shipped:
        """Return what is shipped for forecasts that start from a base; nothing for levels and classes."""
        classes = str(options.get("classes")).lower() == "true"
        if options.get("form") == "level" or classes or _target_is_text(data, str(options.get("target"))):
            return Shipped({}, {})
        return super().shipped(options, data)

    def __check_init__(self) -> None:
        """Check how many answers there are."""
        one_of("answer", self.answer, ANSWERS)

    def read(self, table: Table) -> Task:
        """Return the task with its columns of a table, of another class where the target is a class."""
        if self.target in table.cells and (self.classes or holds_classes(table, self.target)):
            asked = self._asked_of_classes()
            for column in asked.inputs:
                if column != self.target:
                    check_column(table, {name: table.numeric(name) for name in table.cells}, column)
            return classify(table, asked)
        if self.answer != "row":
            raise ArgumentError(
                f"answer {self.answer} is for classes: column {self.target!r} holds numbers "
                "(--task.classes true takes them for classes)"
            )
        if min(self.shifts) < 1:
            raise ArgumentError(
                f"horizon must be at least 1 where the target is a number, not {self.horizon} "
                "(0, the same row, is for classes: text, or --task.classes true)"
            )
        return super().read(table)

    def _asked_of_classes(self) -> Settings:
        """Return the settings of a classification; ArgumentError for those that it has not."""
        if len(self.shifts) > 1:
            raise ArgumentError(
                f"horizon must be a single one where the target is a class, not {self.horizon}"
            )
        of_numbers = {
            "form": self.form not in ("auto", "level"),
            "season": self.season,
            "known": self.known,
            "calendar": self.calendar,
        }
        for name, is_asked in of_numbers.items():
            if is_asked:
                raise ArgumentError(
                    f"{name} is for forecasts of numbers: column {self.target!r} holds classes"
                )
        return Settings(
            target=self.target,
            inputs=names_in(self.inputs),
            gaps=self.gaps,
            horizon=self.shift,
            window=self.window,
            valid=self.valid,
            test=self.test,
            warmup=self.warmup,
            answer=self.answer,
        )


def _target_is_text(data: str | None, target: str) -> bool:
    """Whether the target holds classes, by the first rows of the file; a file that cannot be read says no."""
    if data is None:
        return False
    try:
        table = first_rows(Path(data))
    except (PerturbaxError, UnicodeDecodeError):
        return False
    return target in table.columns and holds_classes(table, target)
