"""What the robot does when its commands cease: `perdure bench guard --n 200`.

``n`` is the number of silences. In each, a simulated Minitaur in a process of its own walks under a guard; at a random
moment whoever commands it falls silent. In a quarter as many freezes the real daemon is stopped (SIGSTOP) at a random
moment of a run. Besides, everything but a person's word is tried on each cause that the guard latches. The knees have
some friction: without any, one limp Minitaur in a hundred dangles on for as long as one looks.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from agent.guard import LATCHES, Guard, ask_guard, permit_path
from agent.guard_watch import CRASHES, STOP_AFTER_S
from agent.mailbox import Mailbox
from agent.permit import Permission, PermitMemory, runtime_dir
from agent.remote_robot import RemoteRobot, open_remote_robot
from agent.robot_host import MODES, ROOM, HostJob
from benchmarks import _daemon
from sim.robot import Array, CommandMode
from sim.state import Pose
from skills.gait import GAIT
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.registry import get
from skills.skill import LearnedSkill

DEFAULT_N = 200
DT_S = 0.02
DECIMATION = 2
WALK_S = (0.5, 1.5)
"""Shortest and longest walk before a silence."""
SILENCE_LIMIT_S = 0.2
FREEZE_LIMIT_S = 0.5
REPLACED_WITHIN_S = 20.0
STILL = 0.005
"""Motion of the true base within `REST_S` that is none, in m and in parts of its orientation's quaternion."""
JOINT_FRICTION_NM = 0.025
"""Middle of what pybullet_envs' minitaur_env_randomizer_config.py draws (0 to 0.05); nominal Minitaurs have none."""
LIMP_S = STOP_AFTER_S + 1.0
"""From the silence until there must be no current any more: a safe stop damps for half a second."""
WATCH_S = STOP_AFTER_S + 5.0
"""From the silence until the body must lie still. Legs without current may dangle for longer: nothing brakes them."""
REST_S = 0.3
PLACE = "place"


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Fall silent ``n`` times, freeze ``n // 4`` times, and try to clear latches.

    Returns:
        ``silences``, ``silence_safe`` (damping or no current within `SILENCE_LIMIT_S`, no current from `LIMP_S` on, and
        the body at rest in the end), ``silence_limp`` and ``silence_rest`` (how many of them did either),
        ``silence_s_max``; ``freezes``, ``freeze_safe`` (the same within `FREEZE_LIMIT_S`, and the daemon replaced),
        ``freeze_s_max``, ``replaced_s_max``; ``latch_trials`` and ``self_clears``.
    """
    rng = np.random.default_rng(seed)
    silences = list(_silences(seed, n, rng))
    freezes = [_freeze(seed + index, float(rng.uniform(0.5, 5.0))) for index in range(max(1, n // 4))]
    trials = _latch_trials()
    return {
        "silences": len(silences),
        "silence_safe": sum(safe_s <= SILENCE_LIMIT_S and limp and rest for safe_s, limp, rest in silences),
        "silence_limp": sum(limp for _, limp, _ in silences),
        "silence_rest": sum(rest for _, _, rest in silences),
        "silence_s_max": max(safe_s for safe_s, _, _ in silences),
        "freezes": len(freezes),
        "freeze_safe": sum(safe_s <= FREEZE_LIMIT_S and taken_s is not None for safe_s, taken_s in freezes),
        "freeze_s_max": max(safe_s for safe_s, _ in freezes),
        "replaced_s_max": max((taken_s for _, taken_s in freezes if taken_s is not None), default=None),
        "latch_trials": len(trials),
        "self_clears": sum(trials),
    }


# ------------------------------------------------------------------------------------------------------------ silences


def _silences(seed: int, n: int, rng: np.random.Generator) -> Iterator[tuple[float, bool, bool]]:
    """Of each silence: seconds from the last command to damping, whether the robot went limp, and came to rest."""
    with _home() as home:
        permit, place = PermitMemory(permit_path(home)), Mailbox(ROOM, runtime_dir(home) / PLACE)
        job = HostJob(
            name="minitaur",
            seed=seed,
            latency_ms=None,
            permit=permit_path(home),
            place=place.path,
            dynamics={"joint_friction_nm": JOINT_FRICTION_NM},
        )
        robot = open_remote_robot(job, lambda reason: None)
        try:
            for _ in range(n):
                with _guard(home):
                    robot.place(Pose.standing())  # type: ignore[attr-defined]
                    _walk(robot, permit, float(rng.uniform(*WALK_S)))
                    silent_s = time.monotonic()
                    safe_s = _seconds_until(lambda: _safe(place), silent_s)
                    limp = True
                    while time.monotonic() < silent_s + WATCH_S:
                        limp = limp and (_limp(place) or time.monotonic() < silent_s + LIMP_S)
                        time.sleep(0.01)
                    before = _base(place)
                    time.sleep(REST_S)
                    yield safe_s, limp and _limp(place), float(np.abs(_base(place) - before).max()) < STILL
        finally:
            robot.close()
            permit.close()


def _walk(robot: RemoteRobot, permit: PermitMemory, seconds: float) -> None:
    """Walk ahead by the trajectory generator, renewing the permit, and stop doing either."""
    skill, spec = get("walk_forward"), robot.spec
    assert isinstance(skill, LearnedSkill)
    controller = policy_controller(skill, spec, DT_S, _generator_alone(skill, robot), None, decimation=DECIMATION)
    controller.start(robot.read())
    begun_s = time.monotonic()
    sequence = 0
    while time.monotonic() < begun_s + seconds:
        permit.renew()
        sequence += 1
        robot.write(controller.act(robot.read()))
        time.sleep(max(0.0, begun_s + sequence * DT_S - time.monotonic()))


def _generator_alone(skill: LearnedSkill, robot: RemoteRobot) -> PolicyWeights:
    """A policy that puts out zero."""
    actions, features = len(skill.prior_action(robot.spec)), 3 * GAIT.feature_size(robot.spec)
    layer = (np.zeros((features + len(skill.command), 2 * actions), np.float32), np.zeros(2 * actions, np.float32))
    zeros = np.zeros(features, np.float32)
    return PolicyWeights(version=0, layers=(layer,), obs_mean=zeros, obs_std=zeros + 1.0)


@contextmanager
def _guard(home: Path) -> Iterator[None]:
    """A guard with nothing latched, over a process that does nothing."""
    (home / LATCHES).unlink(missing_ok=True)
    idle = (sys.executable, "-c", "import time; time.sleep(3600)")
    guard = subprocess.Popen((sys.executable, "-m", "agent.guard", str(home), "--", *idle), start_new_session=True)
    try:
        _wait_for(lambda: bool(ask_guard(home, {"do": "status"})))
        yield
    finally:
        os.killpg(guard.pid, signal.SIGKILL)
        guard.wait()


# ------------------------------------------------------------------------------------------------------------- freezes


def _freeze(seed: int, after_s: float) -> tuple[float, float | None]:
    """Seconds until the robot was safe after its daemon was frozen, and until another ran; None: none did."""
    words = ("--speed", "realtime", "--start", "zoo", "--set", "learner.enabled=false", "--seed", str(seed))
    with _home() as home:
        guard = subprocess.Popen(
            _daemon.command(home, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait_for(lambda: _runs(home) == 1 and _attempts(home) > 0, 60.0)
            time.sleep(after_s)
            place = Mailbox(ROOM, runtime_dir(home) / PLACE)
            (daemon,) = Path(f"/proc/{guard.pid}/task/{guard.pid}/children").read_text().split()
            os.kill(int(daemon), signal.SIGSTOP)
            frozen_s = time.monotonic()
            safe_s = _seconds_until(lambda: _safe(place), frozen_s)
            try:
                _wait_for(lambda: _runs(home) == 2, REPLACED_WITHIN_S)
            except TimeoutError:
                return safe_s, None
            return safe_s, time.monotonic() - frozen_s
        finally:
            with suppress(ProcessLookupError):
                os.killpg(guard.pid, signal.SIGKILL)
            guard.wait()


def _runs(home: Path) -> int:
    return _count(home, "runs")


def _attempts(home: Path) -> int:
    return _count(home, "attempts")


def _count(home: Path, table: str) -> int:
    with suppress(Exception):  # the database, or the table, is yet to come
        return int(_daemon.query(home, f"SELECT count(*) FROM {table}")[0][0])
    return 0


# ------------------------------------------------------------------------------------------------------------- latches


def _latch_trials() -> list[bool]:
    """For each cause and each way but a person's word: whether the guard then held it no more."""
    return [_cleared(cause, way) for cause in CAUSES.values() for way in WAYS.values()]


def _cleared(cause: Callable[[Guard], None], way: Callable[[Path, Guard], Guard]) -> bool:
    with _home() as home:
        guard = Guard(home)
        cause(guard)
        guard.turn()
        held = guard.watch.latches
        guard = way(home, guard)
        for _ in range(3):
            allowed = guard.turn()
        cleared = not held or not guard.watch.latches or allowed < Permission.STOP
        guard.close()
        return cleared


def _silent(guard: Guard) -> None:
    guard.watch.heard(time.monotonic() - 2.0 * STOP_AFTER_S)
    guard.watch.update(time.monotonic())


def _crash_loop(guard: Guard) -> None:
    for _ in range(CRASHES):
        guard.watch.crashed(time.monotonic())


def _damage(home: Path, guard: Guard) -> Guard:
    """Both copies of the latches are damaged while nobody runs."""
    guard.close()
    for folder in (home, runtime_dir(home)):
        (folder / LATCHES).write_text("{", encoding="utf-8")
    return Guard(home)


def _restart(home: Path, guard: Guard) -> Guard:
    guard.close()
    return Guard(home)


def _die(home: Path, guard: Guard) -> Guard:
    """As after SIGKILL: nothing is closed, nothing is said."""
    return Guard(home)


def _loop_again(home: Path, guard: Guard) -> Guard:
    permit = PermitMemory(permit_path(home))
    for _ in range(20):
        permit.renew()
        guard.turn()
    permit.close()
    return guard


def _ask(*requests: dict[str, Any]) -> Callable[[Path, Guard], Guard]:
    def ask(home: Path, guard: Guard) -> Guard:
        for request in requests:
            with suppress(ValueError, KeyError):
                guard._carry_out(request)
        return guard

    return ask


def _condition_gone(home: Path, guard: Guard) -> Guard:
    guard.daemon_gone()
    guard.watch.heard(time.monotonic())
    return guard


CAUSES: dict[str, Callable[[Guard], None]] = {
    "emergency stop": lambda guard: guard.watch.estop(time.monotonic()),
    "silent loop": _silent,
    "crash loop": _crash_loop,
}
NOBODY = {"do": "acknowledge", "name": "", "action": "", "released": True}
WAYS: dict[str, Callable[[Path, Guard], Guard]] = {
    "the condition ends": _condition_gone,
    "the loop renews again": _loop_again,
    "restart": _restart,
    "kill": _die,
    "damaged files and a restart": _damage,
    "other requests": _ask({"do": "status"}, {"do": "start"}, {"do": "acknowledge"}, NOBODY),
    "an acknowledgement without a reason": _ask(NOBODY | {"name": "x"}),
}


# -------------------------------------------------------------------------------------------------------------- shared


@contextmanager
def _home() -> Iterator[Path]:
    """A home whose shared memory is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        try:
            yield home
        finally:
            shutil.rmtree(runtime_dir(home))


def _safe(place: Mailbox) -> bool:
    """Whether the motors of the simulated robot only damp, or carry no current."""
    return _limp(place) or MODES[_mode(place)] is CommandMode.DAMPING


def _limp(place: Mailbox) -> bool:
    """Whether its motors carry no current."""
    return _mode(place) < 0


def _mode(place: Mailbox) -> int:
    _, values = place.get(ROOM)
    return int(values[8 + int(values[0])])


def _base(place: Mailbox) -> Array:
    """Its true position and orientation. Shape: (7,)."""
    return place.get(ROOM)[1][1:8]


def _seconds_until(condition: Callable[[], bool], since_s: float, at_most_s: float = 5.0) -> float:
    while not condition() and time.monotonic() < since_s + at_most_s:
        time.sleep(0.001)
    return time.monotonic() - since_s


def _wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline_s = time.monotonic() + seconds
    while True:
        with suppress(ConnectionError):
            if condition():
                return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"it did not happen within {seconds:g} s")
        time.sleep(0.01)
