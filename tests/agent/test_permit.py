"""The torque permit: who may do what, and what silence means."""

import stat
import time

import pytest

from agent.permit import GUARD_SILENCE_S, Permission, PermitMemory, runtime_dir


@pytest.fixture
def sides(tmp_path):
    """The same words as the guard, the loop and the robot see them."""
    made = [PermitMemory(tmp_path / "permit") for _ in range(3)]
    yield made
    for side in made:
        side.close()


class TestChallenge:
    def test_nobody_has_answered_at_first(self, sides):
        guard, loop, _ = sides
        guard.challenge()
        assert not guard.answered
        loop.renew()
        assert guard.answered

    def test_an_answer_counts_once(self, sides):
        guard, loop, _ = sides
        guard.challenge()
        loop.renew()
        guard.challenge()
        assert not guard.answered

    def test_an_answer_from_before_the_guard_began_does_not_count(self, sides):
        guard, loop, _ = sides
        loop.renew()
        guard.challenge()
        assert not guard.answered

    def test_a_loop_that_leaves_has_not_answered(self, sides):
        guard, loop, _ = sides
        guard.challenge()
        loop.leave()
        assert guard.left
        assert not guard.answered


class TestPermission:
    @pytest.mark.parametrize("permission", Permission)
    def test_the_robot_sees_what_the_guard_allows(self, sides, permission):
        guard, _, robot = sides
        guard.allow(permission, latched=False)
        assert robot.permission is permission

    def test_without_a_guard_there_is_damping_at_most(self, sides):
        assert sides[2].permission is Permission.DAMPING

    @pytest.mark.parametrize("permission", Permission)
    def test_a_guard_that_falls_silent_allows_no_more_than_damping(self, sides, permission):
        guard, _, robot = sides
        guard.allow(permission, latched=True)
        time.sleep(GUARD_SILENCE_S + 0.05)
        assert robot.permission is max(permission, Permission.DAMPING)
        assert robot.latched

    def test_a_level_that_does_not_exist_allows_nothing(self, sides):
        guard, _, robot = sides
        guard.allow(Permission.TORQUE, latched=False)
        guard._words[1] = 77
        assert robot.permission is Permission.CUT

    @pytest.mark.parametrize("before", [None, Permission.TORQUE])
    def test_a_guard_that_begins_while_it_is_read_lends_no_old_permission_new_life(self, sides, monkeypatch, before):
        guard, _, robot = sides
        if before is not None:
            guard.allow(before, latched=False)
            time.sleep(GUARD_SILENCE_S + 0.05)
        silence = PermitMemory.silence_s.fget

        def begins(permit):
            guard.allow(Permission.STOP, latched=False)
            return silence(permit)

        monkeypatch.setattr(PermitMemory, "silence_s", property(begins))
        assert robot.permission is Permission.STOP


class TestRuntimeDir:
    def test_each_home_has_its_own_and_nobody_else_may_look(self, tmp_path):
        first, second = runtime_dir(tmp_path / "a"), runtime_dir(tmp_path / "b")
        try:
            assert first != second
            assert first == runtime_dir(tmp_path / "a")
            assert stat.S_IMODE(first.stat().st_mode) == 0o700
            assert len(str(first / "guard.sock")) < 100  # what the system allows is 107
        finally:
            first.rmdir()
            second.rmdir()

    def test_a_folder_that_others_can_write_is_refused(self, tmp_path):
        path = runtime_dir(tmp_path)
        try:
            path.chmod(0o777)
            with pytest.raises(PermissionError, match="not this user's alone"):
                runtime_dir(tmp_path)
        finally:
            path.rmdir()
