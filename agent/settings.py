"""How a configuration is checked, read from TOML and written back: the machinery under `agent.config`.

A field's allowed range stands in its metadata (`setting`), so that the class, the file and the error message share it.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says where, what is valid and what to do."""


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What a setting may be."""

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.low is None or self.high is None:
            return "any text"
        ends = (str(end) if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high))
        return f"{' to '.join(ends)} {self.unit}".rstrip()


def setting(
    default: Any, low: float | None = None, high: float | None = None, *, choices: tuple[str, ...] = (), unit: str = ""
) -> Any:
    """A dataclass field with its default and what it may be; ranges include both ends."""
    return field(default=default, metadata={"allowed": Allowed(low=low, high=high, choices=choices, unit=unit)})


class Section:
    """Base of configuration sections: every instance holds allowed values, however it was made."""

    def __post_init__(self) -> None:
        for name in setting_names(type(self)):
            object.__setattr__(self, name, checked(type(self), name, getattr(self, name)))


@cache
def _hints(section: type) -> dict[str, Any]:
    return get_type_hints(section)


def setting_names(section: type) -> tuple[str, ...]:
    """Names of the settings of a section, in order."""
    return tuple(f.name for f in fields(section))


def checked(section: type, name: str, value: Any) -> Any:
    """Return ``value`` in the setting's own type.

    Raises:
        ConfigError: wrong type, NaN or infinite, out of range, or no valid choice.
    """
    hint = _hints(section)[name]
    allowed: Allowed = next(f.metadata["allowed"] for f in fields(section) if f.name == name)
    if NoneType in get_args(hint):
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name} = {value!r} is not a list; write [a, b]")
        return tuple(_scalar(get_args(hint)[0], allowed, name, item) for item in value)
    return _scalar(hint, allowed, name, value)


_KIND_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text in quotes"}


def _scalar(kind: type[Any], allowed: Allowed, name: str, value: Any) -> Any:
    """Check one plain value."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not kind:
        text = f"; allowed: {allowed}" if kind is not bool else ""
        raise ConfigError(f"{name} = {value!r} is not {_KIND_NAMES[kind]}{text}; correct the value")
    if kind is str and allowed.choices and value not in allowed.choices:
        raise ConfigError(f"{name} = {value!r} is unknown; allowed: {allowed}; correct the value")
    if isinstance(value, (int, float)) and allowed.low is not None and allowed.high is not None:
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} = {value!r} is not a finite number; allowed: {allowed}; correct the value")
        if not allowed.low <= value <= allowed.high:
            raise ConfigError(f"{name} = {value!r} is out of range; allowed: {allowed}; choose a value inside")
    return value


def unknown_name(what: str, name: str, valid: Iterable[str]) -> str:
    """Message for a name that does not exist: what it is, the nearest valid one and all valid ones."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}; {hint}valid: {', '.join(names) or 'none'}"


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Parse a TOML file. Returns its data and its text.

    Raises:
        ConfigError: the file cannot be read or is not TOML, with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read configuration {path}: {reason}; check the path given to --config") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        raise ConfigError(f"{path}:{line}: not valid TOML: {error}; correct that line") from error


def line_of(text: str, section: str, key: str | None = None) -> int:
    """Line, from 1, on which a TOML text sets ``section.key`` or opens ``section``; 1 if it is not found."""
    target = f"{section}.{key}" if key is not None else section
    current, opened = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            path = current = _unquoted(header.group(1))
            opened = number if current == section else opened
        elif assigned := re.match(r"""\s*([\w\-."']+)\s*=""", line):
            path = f"{current}.{_unquoted(assigned.group(1))}".lstrip(".")
        else:
            continue
        if path == target or (key is None and path.startswith(f"{section}.")):
            return number
    return opened


def _unquoted(name: str) -> str:
    return name.replace('"', "").replace("'", "")


def toml_value(value: Any) -> str:
    """One value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(char) for char in value) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return repr(value)


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char


def toml_text(data: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of plain values as TOML; a None is left out, as TOML has none."""
    blocks = []
    for section, values in data.items():
        lines = [f"{key} = {toml_value(value)}" for key, value in values.items() if value is not None]
        blocks.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(blocks)
