"""What the skills that perdure brings have earned: the trial of `perdure skills tier --earn` with the zoo's policies.

python -m benchmarks.tiers --robot minitaur --hours 3.2 [--skills walk_forward,turn_left]

Writes into ``skills/library/tiers.json``, task by task, in the place of what was there for the same robot and task.
"""

from __future__ import annotations

import argparse
import json

from agent.machine import machine_facts
from agent.opening import abilities_of
from agent.robots import load_robot
from agent.tier_books import LIBRARY, evaluation_of
from agent.tier_trial import try_out
from persistence.events import plain
from persistence.files import atomic_write_json
from persistence.home import Home


def main() -> None:
    """Let tasks earn their tiers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", default="minitaur")
    parser.add_argument("--skills", default="")
    parser.add_argument("--hours", type=float, default=3.2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    made = load_robot(words.robot, 0)
    names = tuple(name for name in words.skills.split(",") if name)
    tasks = abilities_of(names, made.spec).tasks
    made.close()

    def told(line: str) -> None:
        print(line, flush=True)

    nowhere = Home(LIBRARY.parent / "no-home").root
    for task in tasks:
        evidence, version = try_out(
            task,
            words.robot,
            "zoo",
            nowhere,
            hours=words.hours,
            rounds=words.rounds,
            seed=words.seed,
            told=told,
        )
        machine = machine_facts()
        row = evaluation_of(task, words.robot, evidence, version, "held-out", words.seed) | {
            "wall_utc": machine["utc"],
            "command": f"python -m benchmarks.tiers --robot {words.robot} --skills {task.name} "
            f"--hours {words.hours:g} --rounds {words.rounds} --seed {words.seed}",
            "machine": machine,
        }
        rows = json.loads(LIBRARY.read_text(encoding="utf-8")) if LIBRARY.is_file() else []
        rows = [each for each in rows if (each["robot"], each["skill"]) != (words.robot, task.name)]
        atomic_write_json(LIBRARY, plain(sorted([*rows, row], key=lambda each: (each["robot"], each["skill"]))))
        print(f"{task.name} on {words.robot}: {row['figures']['tier']}", flush=True)


if __name__ == "__main__":
    main()
