"""Tries a skill's functions, one after the other, and tells a file descriptor what it does and finds.

python -m agent.skill_trial FILE ROBOT DESCRIPTOR
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agent.skill_check import NAME, Problem
from agent.skill_examples import Examples, examples
from skills.family import Family
from skills.folders import SkillFileError, load_file
from skills.registry import skills
from skills.skill import Displacement, LearnedSkill, Level, Progress, ScriptedSkill, Skill, SkillKind

MEMORY_BYTES = 2 << 30
"""What a skill may take beyond what is in use before it is loaded."""
LONGEST_S, LARGEST_REWARD = 3600.0, 1e4
READING_MS, BATCH_MS, BATCH = 1.0, 20.0, 1000
"""What all functions of a reading may take together, and all those of a batch of so many steps."""
TRIES, FAR = 5, 10.0
"""How often what is slow is timed, and how many times as long as allowed is slow without another try."""

Tell = Callable[[Mapping[str, Any]], None]


class _Trial:
    """Tries functions of one skill and tells what it finds."""

    def __init__(self, skill: str, tell: Tell) -> None:
        self._skill, self._tell = skill, tell
        self.failed = False

    def problem(self, where: str, what: str, mend: str) -> None:
        self.failed = True
        self._tell({"problem": asdict(Problem(self._skill, where, what, mend))})

    @contextlib.contextmanager
    def stage(self, where: str) -> Iterator[None]:
        """What is raised within is a problem of that function."""
        self._tell({"skill": self._skill, "stage": where})
        try:
            yield
        except MemoryError:
            self.problem(where, "takes more than 2 GiB of memory", "work on the batch that is given, without copies")
        except (Exception, SystemExit) as error:
            self.problem(where, f"raises {type(error).__name__}: {error}", "see the traceback of a test of your own")

    def expect(self, valid: object, where: str, what: str, mend: str) -> bool:
        """Whether this is so; a problem if not."""
        if not valid:
            self.problem(where, what, mend)
        return bool(valid)


def _try_file(path: Path, robot: str, tell: Tell) -> None:
    known = skills()
    _limit_memory()
    tell({"skill": "", "stage": "loading"})
    try:
        found = load_file(path)
    except (SkillFileError, MemoryError) as error:
        tell({"problem": asdict(Problem("", "loading", str(error), "the file must load, and name its skill SKILL"))})
        return
    names = [getattr(skill, "name", "") for skill in found]
    for skill, name in zip(found, names, strict=True):
        trial = _Trial(str(name), tell)
        with trial.stage("name"):
            trial.expect(name not in known, "name", f"is that of another skill, {name!r}", "rename it")
            trial.expect(names.count(name) == 1, "name", f"{name!r} is used twice", "rename one of them")
        _try(skill, robot, trial)


def _try(skill: Skill, robot: str, trial: _Trial) -> None:
    with trial.stage("metadata"):
        _metadata(skill, trial)
    if not trial.failed:
        _try_functions(skill, robot, trial)


def _metadata(skill: Skill, trial: _Trial) -> None:
    name, summary = getattr(skill, "name", None), getattr(skill, "summary", None)
    valid = isinstance(name, str) and NAME.fullmatch(name) is not None
    trial.expect(valid, "name", f"is {name!r}", "2 to 40 small letters, digits and underscores")
    valid = isinstance(summary, str) and 0 < len(summary.strip()) <= 100 and "\n" not in summary
    trial.expect(valid, "summary", f"is {summary!r}", "one line of at most 100 characters")
    kind = getattr(skill, "kind", None)
    trial.expect(isinstance(kind, SkillKind), "kind", f"is {kind!r}", "one of SkillKind.TASK, RESET, RECOVERY")
    horizon = getattr(skill, "horizon_s", None)
    valid = isinstance(horizon, int | float) and 0.1 <= horizon <= LONGEST_S
    trial.expect(valid, "horizon_s", f"is {horizon!r}", f"seconds from 0.1 to {LONGEST_S:g}")
    trial.expect(
        isinstance(skill.displacement, Displacement), "displacement", "is no Displacement", "use skills.skill's"
    )
    level, requires = skill.level, skill.requires
    valid = level is None or (isinstance(level, Level) and np.isfinite(level.value))
    trial.expect(valid, "level", f"is {level!r}", 'None, or such as Level(of="walk_to", axis="distance_m", value=2.0)')
    valid = isinstance(requires, tuple) and all(isinstance(other, str) for other in requires)
    trial.expect(valid, "requires", f"is {requires!r}", "a tuple of names of skills")
    if isinstance(skill, LearnedSkill):
        family, command = getattr(skill, "family", None), getattr(skill, "command", None)
        trial.expect(isinstance(family, Family), "family", f"is {family!r}", "such as skills.pose_control.BODY")
        valid = isinstance(command, tuple) and all(isinstance(x, int | float) and np.isfinite(x) for x in command)
        trial.expect(valid, "command", f"is {command!r}", "a tuple of finite numbers, () where there is one skill")
    else:
        of_a_kind = isinstance(skill, ScriptedSkill)
        trial.expect(of_a_kind, "class", "is neither learned nor scripted", "derive from LearnedSkill or ScriptedSkill")


def _try_functions(skill: Skill, robot: str, trial: _Trial) -> None:
    seen: Examples | None = None
    with trial.stage("family"):
        seen = examples(robot, skill.family if isinstance(skill, LearnedSkill) else None, ground=skill.ground)
    if seen is None:
        return
    with trial.stage("problem"):
        problem = skill.problem(seen.spec)
        if not trial.expect(
            problem is None, "problem", f"says {problem!r} of {robot}", "check it with another --robot"
        ):
            return
    _readings(skill, seen, trial)
    if isinstance(skill, LearnedSkill):
        _learned(skill, seen, trial)
    elif isinstance(skill, ScriptedSkill):
        _scripted(skill, seen, trial)
    with trial.stage("success"):
        success = skill.success(seen.part(slice(None)))
        valid = isinstance(success, bool | np.bool_)
        trial.expect(valid, "success", f"gives {_brief(success)}", "True or False for an attempt, as bool(...)")
    with trial.stage("measures"):
        measures = skill.measures(seen.part(slice(None)))
        valid = isinstance(measures, dict) and all(
            isinstance(key, str) and np.ndim(value) == 0 and np.isfinite(value) for key, value in measures.items()
        )
        trial.expect(valid, "measures", f"gives {_brief(measures)}", "finite numbers by name")


def _readings(skill: Skill, seen: Examples, trial: _Trial) -> None:
    """Functions of single readings, which the control loop waits for."""
    functions: dict[str, Callable[[Any], Any]] = {
        "over": skill.over,
        "start_problem": skill.start_problem,
        "lost": skill.lost,
        "nearly_lost": lambda now: skill.nearly_lost(now, now),
    }
    for where, function in functions.items():
        with trial.stage(where):
            words = where in ("over", "start_problem")
            found = [function(each) for each in seen.readings]
            valid = all(
                each is None or isinstance(each, str) if words else isinstance(each, bool | np.bool_) for each in found
            )
            needs = "None, or why as a text" if words else "True or False, as bool(...)"
            trial.expect(valid, where, f"gives {_brief(found[0])}", needs)
    if not trial.failed:
        together = "over, start_problem, lost, nearly_lost"
        with trial.stage(together):
            n = len(seen.readings)
            spent_ms = _least_ms(
                lambda: [f(each) for f in functions.values() for each in seen.readings], READING_MS * n
            )
            trial.expect(
                spent_ms <= READING_MS * n,
                together,
                f"take {spent_ms / n:.1f} ms for a reading",
                f"the control loop has {READING_MS:g} ms for them together",
            )
    if skill.kind == "task" and not skill.lies_down and not trial.failed:
        for where in ("start_problem", "over"):
            with trial.stage(where):
                why = functions[where](seen.standing)
                mend = "an attempt starts where the robot stands still in its stance"
                trial.expect(why is None, where, f"says {why!r} of a robot that stands", mend)


def _least_ms(work: Callable[[], object], limit_ms: float) -> float:
    """How long ``work`` takes: the least of `TRIES` where it takes longer than the limit, but not by `FAR`; on a busy
    machine a slow one says little.
    """
    least_ms = np.inf
    for _ in range(TRIES):
        begun = time.perf_counter()
        work()
        least_ms = min(least_ms, 1e3 * (time.perf_counter() - begun))
        if not limit_ms < least_ms < FAR * limit_ms:
            break
    return least_ms


def _learned(skill: LearnedSkill, seen: Examples, trial: _Trial) -> None:
    spec, size = seen.spec, skill.family.action_size(seen.spec)
    with trial.stage("prior_action"):
        prior = np.asarray(skill.prior_action(spec))
        valid = prior.shape == (size,) and bool((np.abs(prior) < 1.0).all())
        trial.expect(valid, "prior_action", f"gives {_brief(prior)}", f"{size} numbers between -1 and 1")
    functions: dict[str, Callable[[Any], Any]] = {
        "reward_terms": skill.reward_terms,
        "terminated": skill.terminated,
        "trusted": skill.trusted,
        "irreversible": skill.irreversible,
        "potential": lambda steps: {} if (found := skill.potential(steps.frame)) is None else {"potential": found},
        "costs": lambda steps: skill.costs(steps, spec),
    }
    for where, function in functions.items():
        with trial.stage(where):
            _batched(where, function, seen, trial)
    if trial.failed:
        return
    with trial.stage("reward_terms"):
        repeats = -(-BATCH // len(seen.steps))

        def judge() -> None:
            for _ in range(repeats):
                steps = seen.part(slice(None))
                for function in functions.values():
                    function(steps)

        spent_ms = _least_ms(judge, BATCH_MS * repeats)
        trial.expect(
            spent_ms <= BATCH_MS * repeats,
            "reward_terms",
            f"and its like take {spent_ms:.0f} ms for {repeats * len(seen.steps)} steps",
            "use NumPy over the batch instead of a loop over its steps",
        )


def _batched(where: str, function: Callable[[Any], Any], seen: Examples, trial: _Trial) -> None:
    """A function of steps: shapes, finite numbers, the same each time and for each step alone."""
    named = where in ("reward_terms", "costs", "potential")
    steps = seen.part(slice(None))
    found = function(steps)
    if not trial.expect(isinstance(found, dict) if named else True, where, f"gives {_brief(found)}", "arrays by name"):
        return
    if where == "reward_terms" and not trial.expect(len(found) > 0, where, "gives no term", "at least one"):
        return

    def values(given: Any) -> dict[str, Any]:
        return {str(name): np.asarray(value) for name, value in given.items()} if named else {where: np.asarray(given)}

    for name, value in values(found).items():
        at = f"{where}[{name!r}]" if named else where
        n = len(steps)
        if not trial.expect(value.shape == (n,), at, f"has shape {value.shape} for {n} steps", f"shape ({n},)"):
            return
        if named:
            finite = bool(np.isfinite(value.astype(np.float64)).all())
            if not trial.expect(finite, at, "has numbers that are not finite", "guard divisions, roots and logarithms"):
                return
            size = float(np.abs(value).max())
            trial.expect(size <= LARGEST_REWARD, at, f"reaches {size:.3g}", "a good step is worth about 1")
            if where == "costs":
                trial.expect(bool((value >= 0).all()), at, "is negative", "0 within the limit, more beyond it")
        else:
            trial.expect(
                value.dtype == np.bool_, at, f"has type {value.dtype}", "truth values, such as a comparison gives"
            )
    fresh = seen.part(slice(None))
    changed = not (
        np.array_equal(steps.frame.data, fresh.frame.data, equal_nan=True)
        and np.array_equal(steps.action, fresh.action)
    )
    trial.expect(not changed, where, "changes what it is given", "copy before changing")
    again, empty = values(function(fresh)), values(function(seen.part(slice(0))))
    same = all(np.array_equal(value, again[name]) for name, value in values(found).items())
    trial.expect(
        same, where, "gives something else the second time", "it may depend on the steps alone, and on no chance"
    )
    trial.expect(all(len(value) == 0 for value in empty.values()), where, "gives something for no steps", "shape (0,)")
    for number in range(0, len(steps), max(1, len(steps) // 7)):
        for name, value in values(function(seen.part(slice(number, number + 1)))).items():
            one = values(found)[name][number]
            if not trial.expect(
                bool(np.allclose(value.astype(np.float64), one, rtol=1e-4, atol=1e-5)),
                where,
                f"gives {value} for step {number} alone, and {one} within its batch",
                "each step is judged by itself: no sums or means over the batch",
            ):
                return


def _scripted(skill: ScriptedSkill, seen: Examples, trial: _Trial) -> None:
    with trial.stage("controller"):
        controller = skill.controller(seen.spec, 1.0 / seen.spec.control_rate_hz)
        controller.start(seen.standing)
        for reading in seen.readings:
            command = controller.act(reading)
            target = np.asarray(command.target)
            valid = target.shape == (seen.spec.n_joints,) and bool(np.isfinite(target).all())
            mend = f"{seen.spec.n_joints} finite numbers"
            if not trial.expect(valid, "controller.act", f"commands {_brief(target)}", mend):
                return
            progress = controller.progress(reading)
            valid = isinstance(progress, Progress)
            if not trial.expect(
                valid, "controller.progress", f"gives {_brief(progress)}", "one of skills.skill.Progress"
            ):
                return


def _brief(value: Any) -> str:
    text = f"shape {value.shape}" if isinstance(value, np.ndarray) and value.ndim else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _limit_memory() -> None:
    """Of this process: more is a MemoryError in what asks for it."""
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))


def main() -> None:
    """Entry point of the process that tries."""
    what, robot, told = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def tell(message: Mapping[str, Any]) -> None:
        os.write(told, json.dumps(message).encode() + b"\n")

    if what in skills():
        _try(skills()[what], robot, _Trial(what, tell))
    else:
        _try_file(Path(what), robot, tell)
    tell({"done": True})


if __name__ == "__main__":
    main()
