"""The files that ``perdure skills new`` writes: a skill that works as it is, its test, and what to do with it."""

from __future__ import annotations

from pathlib import Path
from string import Template

_SKILL = Template('''"""$title: say here what the robot does."""

import numpy as np

from sim.robot import body_velocity
from skills.gait import GAIT
from skills.skill import LearnedSkill, SkillKind


class $class_name(LearnedSkill):
    name = "$name"
    kind = SkillKind.TASK
    summary = "$title: walk in a circle to the left"
    family = GAIT  # actions modulate a trot; with skills.pose_control.BODY an action is a posture
    command = (0.5, 0.5)  # tells it from the other skills of its family
    horizon_s = 10.0
    on_request = True  # runs only where it is named

    def prior_action(self, spec):
        """What an untrained policy does: no strides on the left, long ones on the right."""
        action = np.zeros(self.family.action_size(spec))
        action[1:3] = 0.0, 0.5
        return action

    def start_problem(self, observation):
        return None if observation.tilt_rad < 0.4 else "it leans"

    def reward_terms(self, step):
        """Of a batch of steps, each of shape (batch,); a good step is worth about 1."""
        ahead_mps, left_mps, turn_radps = np.moveaxis(body_velocity(step), -1, 0)
        return {
            "ahead": 0.5 * np.clip(ahead_mps / 0.2, -1.0, 1.0),
            "turning": np.clip(turn_radps / 0.6, -1.0, 1.0),
            "aside": -0.5 * np.minimum(np.abs(left_mps), 2.0),
            "fall": -20.0 * self.terminated(step),
        }

    def terminated(self, step):
        return step.next_frame.up[..., 2] < 0.64

    def success(self, step):
        """Of one attempt, its steps in order."""
        ahead_mps, _, turn_radps = body_velocity(step).mean(axis=0)
        return bool(ahead_mps > 0.1 and turn_radps > 0.4) and not self.terminated(step).any()


SKILL = $class_name()
''')
_TEST = Template('''"""$title is a skill that can run."""

from pathlib import Path

from agent.skill_check import check

FILE = Path(__file__).with_name("$name.py")


def test_it_keeps_what_a_skill_promises():
    assert check(FILE, "minitaur") == []
''')
_README = Template("""# $title

- `$name.py`: the skill. Change its reward, its success, and where it may start; the class that it derives from
  (`skills/skill.py`) says what else there is.
- `test_$name.py`: run it with `pytest`.

```
perdure skills check $name --skill-folder .
perdure run --skills $name --skill-folder . --home home-of-$name --hours 1
perdure skills eval $name --skill-folder . --home home-of-$name
```

For good, name the folder in `perdure.toml` in the home, under `[run]`: `skill_folders = ["/where/it/is"]`.
""")


def write_template(name: str, folder: Path) -> list[Path]:
    """Write the three files of a new skill.

    Args:
        name: of the skill: small letters, digits and underscores.
        folder: where to; made where it is missing.

    Returns:
        The files.

    Raises:
        FileExistsError: one of them is there already; then nothing is written.
        OSError: they cannot be written.
    """
    words = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "class_name": "".join(part.capitalize() for part in name.split("_")),
    }
    files = {f"{name}.py": _SKILL, f"test_{name}.py": _TEST, "README.md": _README}
    for file in files:
        if (folder / file).exists():
            raise FileExistsError(f"{folder / file} is there already; choose another name or --folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in files.items():
        (folder / file).write_text(template.substitute(words), encoding="utf-8")
    return [folder / file for file in files]
