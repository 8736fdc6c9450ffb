"""The limits of a robot's hardware as a table with sources: ``tables/<robot>.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sim.robot import Array, Limit

TABLES = Path(__file__).resolve().parent / "tables"


class LimitTable:
    """All limits of one robot."""

    def __init__(self, robot: str, limits: Mapping[str, Limit]) -> None:
        """Hold the rows by name."""
        self.robot = robot
        self.limits = dict(limits)

    @classmethod
    def read(cls, path: Path) -> LimitTable:
        """Read a table.

        Raises:
            ValueError: the file is no such table; says which row is wrong.
        """
        try:
            rows = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"limits of a robot in {path} cannot be read: {error}") from error
        try:
            return cls(path.stem, {name: _limit(name, row) for name, row in rows.items()})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def lower(self, name: str, n: int) -> Array:
        """Lower bounds of ``n`` joints. Raises KeyError where the table has none."""
        return self._bound(name, self.limits[name].lower, n)

    def upper(self, name: str, n: int) -> Array:
        """Upper bounds of ``n`` joints. Raises KeyError where the table has none."""
        return self._bound(name, self.limits[name].upper, n)

    def least(self, name: str) -> float:
        """Lower bound of a quantity that is one number."""
        return float(self.lower(name, 1)[0])

    def most(self, name: str) -> float:
        """Upper bound of a quantity that is one number."""
        return float(self.upper(name, 1)[0])

    @property
    def rows(self) -> tuple[Limit, ...]:
        """All of them."""
        return tuple(self.limits.values())

    def _bound(self, name: str, bound: tuple[float, ...] | None, n: int) -> Array:
        if bound is None or n % len(bound):
            raise KeyError(f"the limits of {self.robot} have no such bound of {name} for {n} joints")
        return np.tile(np.array(bound), n // len(bound))


def load_limits(robot: str) -> LimitTable:
    """The table of a robot that comes with perdure."""
    return LimitTable.read(TABLES / f"{robot}.toml")


def _limit(name: str, row: Any) -> Limit:
    if not isinstance(row, dict) or (unknown := row.keys() - {"unit", "lower", "upper", "source"}):
        what = f"has unknown entries {sorted(unknown)}" if isinstance(row, dict) else f"is {row!r}"
        raise ValueError(f"limit {name!r} {what}; it takes unit, lower, upper and source")
    return Limit(
        name=name,
        unit=str(row.get("unit", "")),
        lower=_numbers(name, row.get("lower")),
        upper=_numbers(name, row.get("upper")),
        source=str(row.get("source", "")),
    )


def _numbers(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise ValueError(f"limit {name!r} has a bound {value!r} that is no number")
    return tuple(float(number) for number in numbers)
