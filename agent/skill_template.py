"""The files that ``perdure skills new`` writes: a skill that works as it is, its test, and what to do with it."""

from __future__ import annotations

from pathlib import Path
from string import Template

_SKILL = Template('''"""$title: say here what the robot does."""

import numpy as np

from skills.pose_control import BODY
from skills.skill import LearnedSkill, SkillKind

LOW_M, FALLEN = 0.13, 0.64
"""Height of the body to go down to; cosine of the lean (50 degrees) at which an attempt is over."""


class $class_name(LearnedSkill):
    name = "$name"
    kind = SkillKind.TASK
    summary = "$title: go down and stay there"
    family = BODY  # an action is a posture; skills.gait.GAIT walks
    command = ()
    horizon_s = 4.0
    on_request = True  # runs only where it is named

    def prior_action(self, spec):
        """What an untrained policy does: stand."""
        return np.zeros(self.family.action_size(spec))

    def reward_terms(self, step):
        """Of a batch of steps, each of shape (batch,); a good step is worth about 1."""
        height_m = step.next_frame.base_position[..., 2]
        restless = np.square(step.action - step.previous_action).mean(axis=-1)
        return {
            "low": np.exp(-np.square((height_m - LOW_M) / 0.03)),
            "calm": -0.1 * restless,
            "fall": -10.0 * self.terminated(step),
        }

    def terminated(self, step):
        return step.next_frame.up[..., 2] < FALLEN

    def success(self, step):
        """Of one attempt, its steps in order."""
        end_m = step.next_frame.base_position[-10:, 2]
        return bool(np.abs(end_m - LOW_M).max() < 0.03) and not self.terminated(step).any()


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
