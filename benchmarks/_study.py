"""Runs a study: some variants of an experiment, each with several seeds, over hours and across interruptions.

A benchmark describes its study and hands it to `main`::

    def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
        ...  # minutes of work
        return {"speed_mps": 0.8, "minutes_to_target": None}

    STUDY = Study(
        name="gaits",
        module="benchmarks.gaits",
        variants={"plain": {"layer_norm": False}, "layer-norm": {"layer_norm": True}},
        cell=cell,
        figures={"speed_mps": "higher", "minutes_to_target": "lower"},
        seeds=(0, 1, 2),
    )

    if __name__ == "__main__":
        main(STUDY)

Each cell (variant, seed) is saved when it ends, as ``results/gaits/plain-seed0.json``; a study that is started again
runs what is missing. The summary over seeds, ``results/gaits.json``, is made anew after each cell. Cells keep the
daemon's defaults of their day, and the summary says which of them are others now.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import fcntl
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.machine import machine_facts
from agent.parent import die_with_parent
from benchmarks._statistics import Better, estimate

RESULTS = Path(__file__).parent / "results"

Settings = Mapping[str, Any]
Cells = Mapping[str, Sequence[Mapping[str, Any]]]
"""Variant to what its saved cells hold, by seed."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What to run and what to report."""

    name: str
    """Of the folder with the cells and of the summary beside it."""
    module: str
    """What ``python -m`` starts; part of the command that each cell records."""
    variants: Mapping[str, Settings]
    """Settings of each variant, as JSON can hold them."""
    cell: Callable[[Settings, int], dict[str, Any]]
    """Runs one cell from settings and seed and returns its figures, and whatever else to keep; a function of a module,
    since it runs in a process of its own."""
    figures: Mapping[str, Better] = dataclasses.field(default_factory=dict)
    """Figures to summarise over seeds and which end of them is better. A nested one is named by its path, such as
    ``final.walk_forward``. None in a cell means never reached, and counts as infinitely bad."""
    seeds: tuple[int, ...] = (0, 1, 2)
    conclude: Callable[[Cells], dict[str, Any]] | None = None
    """Further entries of the summary, such as comparisons between variants; variants without a cell are absent."""
    results: Path = RESULTS
    """Folder of the summary."""

    def __post_init__(self) -> None:
        """Refuse names that make no file name."""
        for name in (self.name, *self.variants):
            if not re.fullmatch(r"[A-Za-z0-9][\w.,=+-]*", name):
                raise ValueError(f"study or variant {name!r}; letters, digits and any of _ . , = + - make a name")

    def path(self, variant: str, seed: int) -> Path:
        """Where a cell is saved."""
        return self.results / self.name / f"{variant}-seed{seed}.json"

    def load(self, variant: str, seed: int) -> dict[str, Any] | None:
        """A saved cell, or None.

        Raises:
            ValueError: it was run with other settings than the variant has now.
        """
        path = self.path(variant, seed)
        if not path.exists():
            return None
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(self.variants[variant]))
        if saved["settings"] != wanted:
            raise ValueError(
                f"{path} was run with settings {saved['settings']}, but {variant!r} now means {wanted}; "
                "move the file away or give the variant another name"
            )
        return saved


def run_cells(study: Study, variants: Sequence[str], seeds: Sequence[int], jobs: int = 1) -> None:
    """Run what is missing, seed by seed, each cell in a fresh process; the summary is renewed after each.

    Two calls may share a study: a cell that another process is at is left to it. A cell that fails leaves the others
    running.

    Raises:
        RuntimeError: some cells failed; names them and the reason of each.
    """
    cells = [(variant, seed) for seed in seeds for variant in variants if study.load(variant, seed) is None]
    failures = []
    # One task per process: no cell inherits another one's memory, threads or random state.
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=die_with_parent, max_tasks_per_child=1
    ) as pool:
        pending = {pool.submit(_run_cell, study, *cell): cell for cell in cells}
        try:
            for done in as_completed(pending):
                variant, seed = pending[done]
                error = done.exception()
                outcome = f"failed: {type(error).__name__}: {error}" if error else done.result()
                print(f"{variant} seed {seed}: {outcome}", flush=True)
                if error:
                    failures.append(f"{variant} seed {seed}: {outcome}")
                else:
                    summarise(study)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else an interrupt would wait for all that was to come
            raise
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(cells)} cells of {study.name} failed:\n" + "\n".join(failures))


def summarise(study: Study) -> dict[str, Any]:
    """Write and return the summary of the cells that are there: each figure's IQM, interval, median and worst run."""
    saved = {
        variant: cells
        for variant in study.variants
        if (cells := [cell for seed in _seeds(study, variant) if (cell := study.load(variant, seed))])
    }
    summary: dict[str, Any] = {
        "study": study.name,
        "command": f"python -m {study.module}",
        "seeds": {variant: [cell["seed"] for cell in cells] for variant, cells in saved.items()},
        "figures": {
            variant: {
                name: dataclasses.asdict(estimate([[_figure(cell, name, better) for cell in cells]], better))
                for name, better in study.figures.items()
            }
            for variant, cells in saved.items()
        },
    }
    if changes := _changed_defaults(saved):
        summary["other_defaults"] = changes
    if study.conclude is not None:
        summary |= study.conclude(saved)
    _write(study.results / f"{study.name}.json", summary)
    return summary


def main(study: Study, arguments: Sequence[str] | None = None) -> None:
    """The command line of a study."""
    parser = argparse.ArgumentParser(prog=f"python -m {study.module}", description=f"Run the study {study.name}.")
    parser.add_argument("--only", nargs="+", choices=study.variants, metavar="VARIANT", help="; ".join(study.variants))
    parser.add_argument("--seeds", type=int, nargs="+", default=study.seeds)
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="cells at a time")
    parser.add_argument("--summary", action="store_true", help="run nothing; summarise what is there")
    options = parser.parse_args(arguments)
    if not options.summary:
        run_cells(study, options.only or tuple(study.variants), options.seeds, options.jobs)
    print(json.dumps(_finite(summarise(study)), indent=1))


def _run_cell(study: Study, variant: str, seed: int) -> str:
    """Run and save one cell, unless it is there by now or another process is at it. Returns what came of it."""
    path = study.path(variant, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claim(path.with_suffix(".lock")) as mine:
        if not mine:
            return "another process is at it"
        if path.exists():
            return "there already"
        facts = {"machine": machine_facts(), "load_average": [round(load, 1) for load in os.getloadavg()]}
        start, start_cpu = time.perf_counter(), _cpu_s()
        # A copy: what is saved are the settings as given, whatever the cell and its libraries do to them.
        figures = study.cell(copy.deepcopy(dict(study.variants[variant])), seed)
        spent = {"wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(_cpu_s() - start_cpu, 1)}
        command = f"python -m {study.module} --only {variant} --seeds {seed}"
        head = {"study": study.name, "variant": variant, "seed": seed, "settings": study.variants[variant]}
        facts["defaults"] = Config().to_dict()
        _write(path, {**head, "command": command, **figures, **spent, **facts})
    return f"done in {spent['wall_s']} s"


def _changed_defaults(saved: Cells) -> dict[str, dict[str, Any]]:
    """By variant, the daemon's defaults of today that were others when its cells ran, with what they were then."""
    today = Config()
    changed: dict[str, dict[str, Any]] = {}
    for variant, cells in saved.items():
        for cell in cells:
            if "defaults" in cell and (then := today.changes(Config.from_dict(cell["defaults"]))):
                changed.setdefault(variant, {})[f"seed{cell['seed']}"] = then
    return changed


@contextlib.contextmanager
def _claim(path: Path) -> Iterator[bool]:
    """Whether the lock file is ours; the system lets go of it if we die."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def _cpu_s() -> float:
    """Processor time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seeds(study: Study, variant: str) -> list[int]:
    """Seeds of the cells that are saved, also those beyond the usual ones."""
    names = (study.results / study.name).glob(f"{variant}-seed*.json")
    found = (re.fullmatch(re.escape(variant) + r"-seed(\d+)\.json", path.name) for path in names)
    return sorted(int(match[1]) for match in found if match)


def _figure(cell: Mapping[str, Any], name: str, better: Better) -> float:
    value: Any = cell
    for part in name.split("."):
        value = value[part]
    if value is None:
        return -math.inf if better == "higher" else math.inf
    return float(value)


def _finite(value: Any) -> Any:
    """As JSON can hold it: infinity and NaN become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
