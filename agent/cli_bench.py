"""``perdure bench``: the benchmarks of the checkout."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from agent.cli_common import CliError, json_text, out_facts, out_json
from agent.cli_options import JsonOption

FOLDER = "benchmarks"


def bench(
    name: Annotated[str, typer.Argument(help="Name of the benchmark; an unknown one lists the valid ones.")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0)] = 0,
    n: Annotated[
        int | None, typer.Option("--n", help="Size; a small one ends within a minute. Default: its own.", min=1)
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Also store the result under benchmarks/results.")] = False,
    json_: JsonOption = False,
) -> None:
    """Run one benchmark and print its figures with machine facts."""
    from agent.machine import CHECKOUT, machine_facts

    module = load_benchmark(CHECKOUT / FOLDER, name)
    size = n if n is not None else _own_size(module, name)
    started = time.perf_counter()
    figures: dict[str, Any] = module.run(seed, size)
    wall_s = round(time.perf_counter() - started, 3)
    result = {"benchmark": name, **figures, "seed": seed, "n": size, "wall_s": wall_s, "machine": machine_facts()}
    if save:
        path = CHECKOUT / FOLDER / "results" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_text(result) + "\n", encoding="utf-8")
    if json_:
        out_json(result)
    else:
        out_facts(result)


def load_benchmark(folder: Path, name: str) -> ModuleType:
    """Import ``folder/NAME.py``, hyphens in the name being underscores in the file.

    Raises:
        CliError: there is no such benchmark, or the folder is missing (perdure was installed without its checkout).
    """
    if not folder.is_dir():
        raise CliError(f"no benchmarks at {folder}; run this in a checkout of perdure, installed with pip install -e .")
    valid = {
        path.stem.replace("_", "-"): path
        for path in sorted(folder.glob("*.py"))
        if not path.stem.startswith("_") and "def run(" in path.read_text(encoding="utf-8")
    }
    if name not in valid:
        from agent.settings import unknown_name

        raise CliError(unknown_name("benchmark", name, valid))
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    spec = importlib.util.spec_from_file_location(f"{FOLDER}.{valid[name].stem}", valid[name])
    if spec is None or spec.loader is None:
        raise CliError(f"cannot load {valid[name]}; check that it is a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _own_size(module: ModuleType, name: str) -> int:
    """The benchmark's own size: ``DEFAULT_N``, else the default of ``n``."""
    default = inspect.signature(module.run).parameters["n"].default
    size = getattr(module, "DEFAULT_N", default)
    if not isinstance(size, int):
        raise CliError(f"benchmark {name!r} has no size of its own; give one with --n")
    return size
