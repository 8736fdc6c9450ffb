"""The mirror images of the walking family hold in the simulator, not only on paper."""

import math

import numpy as np
import pytest

from sim.minitaur import make_minitaur, minitaur_spec
from sim.robot import Command, CommandMode, FrameLayout, Frames, Transition
from sim.sensors import SensorParams
from skills.gait import GAIT
from skills.trajectory_generator import TrajectoryGenerator, right_ahead_rad
from skills.walk import WALKING_SKILLS

SPEC = minitaur_spec()
LAYOUT = FrameLayout.of(SPEC)
COMMANDS = [skill.command for skill in WALKING_SKILLS]
DT_S = 0.02
NO_NOISE = SensorParams.ideal()


def play(actions, phase_rad):
    """Frames, phases and last actions of a noiseless robot that is sent actions at 25 Hz."""
    generator = TrajectoryGenerator(SPEC, DT_S)
    generator.reset(phase_rad)
    frames, phases, last = [], [], []
    with make_minitaur(0, sensors=NO_NOISE) as robot:
        for number, action in enumerate(np.repeat(actions, 2, axis=0)):
            target = generator.step(action)
            robot.write(Command(mode=CommandMode.POSITION, target=target, kp=SPEC.kp, kd=SPEC.kd, sequence=number))
            robot.step(DT_S)
            if number % 2:
                frames.append(LAYOUT.pack(robot.read()))
                phases.append(generator.phase_rad)
                last.append(action)
    return Frames(np.stack(frames), LAYOUT), np.array(phases), np.array(last)


@pytest.mark.parametrize("index", [0, 1, 2], ids=["left_right", "front_back", "both"])
@pytest.mark.parametrize("skill", WALKING_SKILLS[::2], ids=lambda skill: skill.name)
def test_mirrored_actions_make_the_mirrored_motion(index, skill):
    mirror = GAIT.mirrors(SPEC, COMMANDS)[index]
    rng = np.random.default_rng(2)
    actions = np.tile(skill.prior_action(SPEC), (15, 1))
    actions[:, 4:] += rng.uniform(-0.6, 0.6, 8)
    actions[:, 0] += 0.3
    frames, phases, last = play(actions, 0.4)
    side_rad = float(right_ahead_rad(actions[0], SPEC.leg_dofs)) if index != 1 else 0.0
    end_rad = math.pi if index != 0 else 0.0
    seen, seen_phases, seen_last = play(mirror.actions(actions), 0.4 + side_rad + end_rad)
    original = GAIT.features(SPEC, frames, phases, last)
    mirrored = GAIT.features(SPEC, seen, seen_phases, seen_last)
    # Contacts come and go by chance, so single values differ; as a whole the motion is the mirrored one.
    error = np.abs(mirror.rows(original) - mirrored)
    assert error.mean() < 0.015
    assert error.mean() < 0.1 * np.abs(original - mirrored).mean(), "the motion is not its own mirror image"
    assert np.quantile(error, 0.98) < 0.12
    for k, taught in enumerate(WALKING_SKILLS):
        theirs = WALKING_SKILLS[mirror.skill_of[k]].reward(steps(frames, last))
        ours = taught.reward(steps(seen, seen_last))
        np.testing.assert_allclose(ours.mean(), theirs.mean(), atol=0.12)


def steps(frames, last):
    """Consecutive frames as transitions."""
    before, after = Frames(frames.data[:-1], LAYOUT), Frames(frames.data[1:], LAYOUT)
    return Transition(before, last[1:], last[:-1], after, np.full(len(last) - 1, 2 * DT_S))


def test_a_skill_without_its_partner_is_mirrored_only_onto_itself():
    alone = GAIT.mirrors(SPEC, [(1.0, 0.0)])
    assert len(alone) == 1, "only left for right maps walking forward onto itself"
    assert alone[0].skill_of.tolist() == [0]
    turns = GAIT.mirrors(SPEC, [(0.0, 1.0), (0.0, -1.0)])
    assert [mirror.skill_of.tolist() for mirror in turns] == [[1, 0], [1, 0], [0, 1]]


def test_priors_are_mirror_images_of_each_other():
    for mirror in GAIT.mirrors(SPEC, COMMANDS):
        for k, skill in enumerate(WALKING_SKILLS):
            image = WALKING_SKILLS[mirror.skill_of[k]].prior_action(SPEC)
            np.testing.assert_allclose(mirror.actions(image), skill.prior_action(SPEC))
