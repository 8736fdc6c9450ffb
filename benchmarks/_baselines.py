"""stable-baselines3 and sbx, for the benchmarks that compare with them.

Both have one interface. sbx brings JAX along, so it may live in a virtual environment of its own, together with
pybullet where that task is learned; ``SBX_PYTHON`` names its interpreter. This module is what runs there, so it imports
nothing of perdure's own dependencies.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

Library = Literal["stable_baselines3", "sbx"]
Act = Callable[[NDArray[Any]], NDArray[Any]]

PER_CALL = 20
"""Gradient updates per call when speed is measured."""
EVALUATION_SEED = 10_000
"""Of the first evaluation episode; the same start states for everybody, at every evaluation."""
REPLAY_STEPS = 20_000
NO_SBX = (
    "sbx is not installed; make a virtual environment with sbx-rl and this project in it and name its interpreter by "
    "--sbx-python or SBX_PYTHON"
)


def make_env(task: str) -> gymnasium.Env[Any, Any]:
    """A Gymnasium environment; those of perdure are registered first."""
    if task.startswith("perdure/"):
        import sim.gym_env  # noqa: F401
    return gymnasium.make(task)


def evaluate(env: gymnasium.Env[Any, Any], act: Act, episodes: int) -> float:
    """Mean return over episodes from fixed start states, without exploration."""
    total = 0.0
    for episode in range(episodes):
        obs, _ = env.reset(seed=EVALUATION_SEED + episode)
        over = False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total += float(reward)
            over = terminated or truncated
    return total / episodes


def learning_curve(
    library: Library, task: str, settings: Mapping[str, Any], steps: int, every: int, episodes: int, seed: int
) -> list[tuple[int, float]]:
    """Learn for ``steps`` steps with a library's soft actor-critic.

    Args:
        library: whose.
        task: Gymnasium id.
        settings: of the algorithm's constructor, over its defaults.
        steps: environment steps.
        every: steps between evaluations.
        episodes: of each evaluation.
        seed: of everything but the evaluations' start states.

    Returns:
        Steps made and mean evaluation return, at each evaluation; the first is before learning.
    """
    model = _algorithm(library)("MlpPolicy", make_env(task), seed=seed, **settings)
    env = make_env(task)

    def act(obs: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(model.predict(obs, deterministic=True)[0])

    curve = [(0, evaluate(env, act, episodes))]
    for _ in range(steps // every):
        model.learn(every, reset_num_timesteps=False)
        curve.append((int(model.num_timesteps), evaluate(env, act, episodes)))
    return curve


def updater(library: Library, obs: int, actions: int, seed: int) -> Callable[[], object]:
    """A call takes `PER_CALL` updates of 2 x 256 networks with batches of 256, from random transitions.

    Every update moves critics, target critics, actor and temperature: so does stable-baselines3 always, and sbx with a
    ``policy_delay`` of 1. sbx compiles the updates of a call into one loop; the number per call is fixed for that.
    """
    model = model_on_noise(library, obs, actions, seed)
    return lambda: model.train(gradient_steps=PER_CALL, batch_size=256)


def model_on_noise(library: Library, obs: int, actions: int, seed: int) -> Any:
    """A library's soft actor-critic over `REPLAY_STEPS` random transitions."""
    from stable_baselines3.common.logger import configure

    own: dict[str, Any] = {"policy_delay": 1} if library == "sbx" else {"device": "cpu"}
    widths = {"net_arch": [256, 256]}
    model = _algorithm(library)(
        "MlpPolicy", _RandomEnv(obs, actions), policy_kwargs=widths, buffer_size=REPLAY_STEPS, seed=seed, **own
    )
    model.set_logger(configure(None, []))
    rng = np.random.default_rng(seed)
    for _ in range(REPLAY_STEPS):
        row = rng.standard_normal((2, 1, obs)).astype(np.float32)
        model.replay_buffer.add(row[0], row[1], rng.uniform(-1, 1, (1, actions)), np.zeros(1), np.zeros(1), [{}])
    return model


class _RandomEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Only its spaces are used."""

    def __init__(self, obs: int, actions: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-10, 10, (obs,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (actions,), np.float32)


def _algorithm(library: Library) -> Any:
    if library == "sbx":
        from sbx import SAC
    else:
        from stable_baselines3 import SAC
    return SAC


def add_sbx_option(parser: argparse.ArgumentParser) -> None:
    """Let a command line say where sbx is."""
    parser.add_argument("--sbx-python", type=Path, default=None, help="interpreter that has sbx")


def apply_sbx_option(options: argparse.Namespace) -> None:
    """Hand what the command line said to this process and its children."""
    if options.sbx_python is not None:
        os.environ["SBX_PYTHON"] = str(options.sbx_python.absolute())


def sbx_python() -> str | None:
    """The interpreter that has sbx: that of ``SBX_PYTHON``, else this one; None if neither has it."""
    named = os.environ.get("SBX_PYTHON")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("sbx") else None


def sbx_learning_curve(task: str, threads: int = 1, **arguments: Any) -> dict[str, Any]:
    """`learning_curve` with sbx, in a process of its own.

    Returns:
        ``curve`` and the ``peer_versions`` of what it ran on.

    Raises:
        RuntimeError: sbx is not there, or it failed.
    """
    with _sbx_process({"task": task, **arguments}, threads) as ask:
        return {"curve": ask("learn"), "peer_versions": ask("versions")}


@contextlib.contextmanager
def sbx_updates(obs: int, actions: int, seed: int, threads: int) -> Iterator[Callable[[Any], Any]]:
    """A process that holds sbx's `updater`.

    Yields:
        What answers a number of calls with the seconds that they took, and "versions" with those of its packages.
    """
    with _sbx_process({"obs": obs, "actions": actions, "seed": seed}, threads) as ask:
        yield ask


@contextlib.contextmanager
def _sbx_process(subject: Mapping[str, Any], threads: int) -> Iterator[Callable[[Any], Any]]:
    python = sbx_python()
    if python is None:
        raise RuntimeError(NO_SBX)
    flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    child = subprocess.Popen(
        [python, "-m", "benchmarks._baselines"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[1],
    )

    def ask(question: Any) -> Any:
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(question), file=child.stdin, flush=True)
        answer = child.stdout.readline()
        if not answer:
            raise RuntimeError(f"sbx under {python} ended with {child.wait()} when asked {question!r}; see above")
        return json.loads(answer)

    try:
        ask(dict(subject))
        yield ask
    finally:
        child.kill()
        child.wait()


def _serve() -> None:
    """Answer the questions of `_sbx_process`, a line of JSON each. The first says what to do."""
    # Libraries print as they like; the answers' way is kept free of that.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    subject = json.loads(sys.stdin.readline())
    call = None
    if "obs" in subject:
        call = updater("sbx", **subject)
        call()  # compiles
    print("null", file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        answer: Any
        if question == "versions":
            names = ("sbx-rl", "jax", "jaxlib", "flax", "optax", "stable-baselines3", "numpy", "gymnasium")
            answer = {name: importlib.metadata.version(name) for name in names}
        elif question == "learn":
            answer = learning_curve("sbx", **subject)
        else:
            assert call is not None
            start = time.perf_counter()
            for _ in range(question):
                call()
            answer = time.perf_counter() - start
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
