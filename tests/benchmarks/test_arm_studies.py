"""The studies of the arm: what they count, what they compare, and whether an early abort would have come in time."""

import math

import numpy as np
import pytest

from agent.config import Config
from agent.daemon import run_daemon
from benchmarks import early_aborts, resets
from benchmarks._fumbling import fumbled
from persistence.episodes import Episode, write_episode
from persistence.home import Home
from sim.kuka import kuka_spec
from sim.robot import FrameLayout, Frames
from skills.carry import CARRYING_SKILLS, REACH_M
from skills.registry import get
from tests.skills.arm_readings import ON_TRAY_M, reading

HOUR_MIN = 60.0


def cell(interventions, late, share, minutes=600):
    return {
        "interventions": interventions,
        "interventions_late": late,
        "success_share": share,
        "minutes": minutes,
        "curve": {"carry_out": [(round(100 * share), 100)], "slide_open": [(0, 10), (5, 10)]},
    }


def test_ours_is_compared_with_the_others_and_the_end_has_an_interval():
    found = resets.conclude(
        {
            "ours": [cell(4, 1, 0.6), cell(2, 0, 0.8)],
            "forward-only": [cell(100, 50, 0.2)],
            "oracle": [cell(0, 0, 0.75), cell(0, 0, 1.0)],
        }
    )
    assert found["intervention_ratio"] == pytest.approx(0.03)
    assert found["continuing_return_share"] == pytest.approx(0.7 / 0.875)
    assert resets.successes_per_h(cell(0, 0, 0.5)) == pytest.approx(5.5)  # 55 in ten hours
    assert found["continuing_rate_share"] == pytest.approx((60 + 80 + 10) / (75 + 100 + 10))
    assert (found["late_hours"], found["late_interventions"], found["mtbi_hours"]) == (10.0, 1, 10.0)
    # One-sided, time-terminated: 2 T / chi2(0.9; 2 r + 2), chi2(0.9; 4) = 7.779.
    assert found["mtbi_lower_hours"] == pytest.approx(20.0 / 7.779, rel=1e-3)


def test_without_an_intervention_there_is_a_lower_bound_alone_and_no_ratio_to_none():
    found = resets.conclude({"ours": [cell(0, 0, 0.5)], "forward-only": [cell(0, 0, 0.5)]})
    assert (found["intervention_ratio"], found["mtbi_hours"]) == (None, None)
    assert found["mtbi_lower_hours"] == pytest.approx(5.0 / -math.log(0.1))
    assert "continuing_return_share" not in found


def test_the_curve_counts_by_span():
    tried = [("carry_out", 60.0 * minute, success, "") for minute, success in ((5, 1), (29, 0), (31, 1), (60, 0))]
    assert resets._curve(tried, HOUR_MIN) == [(1, 2), (1, 2)]


def test_a_short_practice_is_judged_and_goes_on_where_it_was(tmp_path, monkeypatch):
    """The daemon runs in this process, and ends after a few attempts; what is asked of it is what is left."""
    asked = []

    def run(home, *arguments):
        asked.append(float(arguments[arguments.index("--hours") + 1]))
        settings = {
            "run.robot": "kuka",
            "run.attempts": 2,
            "run.perturb_share": 0.0,
            "learner.hidden": [16],
            "learner.warmup_steps": 100_000,
        }
        run_daemon(Config.load(None, settings), home)

    monkeypatch.setattr(resets._daemon, "run_daemon", run)
    monkeypatch.setattr(resets, "evaluate_skill", lambda *_: {"success_rate": 0.5})
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"ended after 0\.\d of 60.0 robot minutes"):
            resets.practise(tmp_path, 0, HOUR_MIN, {})
    assert asked[0] == 1.0
    assert 0.9 < asked[1] < 1.0
    judged = resets.practise(tmp_path, 0, 60.0 * resets._daemon.practised_h(tmp_path), {})
    assert len(asked) == 2
    assert sum(attempts for spans in judged["curve"].values() for _, attempts in spans) == 4
    assert judged["deployed_least"] == 0.5
    assert early_aborts.judge(early_aborts.made_in(tmp_path), Config())["attempts"] <= 4


def test_a_hand_that_fumbles_does_what_its_script_says_and_more():
    """The same seed makes the same attempts; what it does not fumble it does as its script would."""
    made = list(fumbled(3, 6))
    again = list(fumbled(3, 6))
    assert len(made) == 6
    assert {one.policy_version for one in made} == {"1", "None"}
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        script = get(one.skill).script(kuka_spec())
        asked = script(Frames(one.frames[:-1], FrameLayout.of(kuka_spec())))
        assert np.allclose(one.proposed, asked, atol=1e-6) is (one.policy_version == "None")


def test_attempts_of_a_hand_that_fumbles_are_judged():
    found = early_aborts.run(3, 6)
    assert found["attempts"] == sum(one.policy_version == "1" for one in fumbled(3, 6))
    assert found["losses"] + found["good"] == found["attempts"]


def test_early_aborts_are_counted_over_all_seeds():
    ends = {"prevented": 1, "cut": 3, "lead_s": [0.4]}, {"prevented": 0, "cut": 0, "lead_s": []}
    cells = [
        {"attempts": 50, "losses": 2, "good": 48, "said": ends[0], "learned": ends[1], "either": ends[0]},
        {"attempts": 52, "losses": 0, "good": 52, "said": ends[1], "learned": ends[1], "either": ends[1]},
    ]
    found = early_aborts.conclude({"fumbling": cells})["fumbling"]
    assert (found["attempts"], found["losses"], found["good"]) == (102, 2, 100)
    assert found["said"] == {"prevented_share": 0.5, "cut_share": 0.03, "lead_s": 0.4}
    assert found["learned"] == {"prevented_share": 0.0, "cut_share": 0.0, "lead_s": None}


def test_what_comes_first_ends_an_attempt():
    assert early_aborts.End(True, 0.2, 0.5).either_s == 0.5
    assert early_aborts.End(True, 0.2, None).either_s == 0.2
    assert early_aborts.End(True, None, None).either_s is None


def from_frame_on(number):
    """Finds everything hopeless from a frame on."""
    return lambda frames: (np.arange(len(frames)) >= number)[:, None]


@pytest.mark.parametrize(
    ("end_y_m", "from_frame", "wanted"),
    [
        (REACH_M[1][1] + 0.02, 5, (True, 1.4)),  # seen to be lost at frame 19 of 20, cut at frame 5
        (REACH_M[1][1] + 0.02, 18, (True, 0.1)),  # just in time: the decision of that reading is not carried out
        (REACH_M[1][1] + 0.02, 19, (True, None)),  # too late
        (REACH_M[1][1] + 0.02, 0, (True, None)),  # it began so, and is not ended
        (0.1, 5, (False, 1.5)),
        (0.1, 99, (False, None)),
    ],
)
def test_an_early_abort_counts_if_it_comes_before_the_loss(tmp_path, end_y_m, from_frame, wanted):
    layout, ways = FrameLayout.of(kuka_spec()), np.linspace((0.54, 0.0), (0.54, end_y_m), 21)
    actions = np.zeros((20, 5), np.float32)
    attempt = Episode(
        uid="attempt-00000001",
        skill="carry_out",
        action_space="hand",
        policy_version="1",
        frames=np.stack([layout.pack(reading(thing=(*way, ON_TRAY_M, 0.0))) for way in ways]),
        stamps=0.1 * np.arange(21),
        actions=actions,
        proposed=actions,
        resting=actions[0],
        phase=np.zeros(21, np.float32),
        terminated=False,
    )
    home = Home(tmp_path).prepare()
    path = home.episodes / write_episode(home, attempt).name
    never, then = from_frame_on(99), from_frame_on(from_frame)
    for said, learned, way in ((then, never, "said_s"), (never, then, "learned_s")):
        end = early_aborts.end_of(path, kuka_spec(), CARRYING_SKILLS, said, learned)
        assert end.lost == wanted[0]
        assert getattr(end, way) == (None if wanted[1] is None else pytest.approx(wanted[1]))
        assert {"said_s": end.learned_s, "learned_s": end.said_s}[way] is None
