"""The change-point test: false alarms no more often than stated, by simulation; delays for shifts of known size."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from meta.change_point import (
    MOST_CALM,
    SHIFTS,
    Calibration,
    ChangeDetector,
    _e_values,
    _news,
    _scores,
    _seen_before,
    steps_between_alarms,
)


def ratio(p):
    """Density of a normal variable with each mean over that of a standard one, where p lies above. Shape: (..., K)."""
    z = np.array([NormalDist().inv_cdf(max(1.0 - each, 1e-300)) for each in np.atleast_1d(p)])[:, None]
    return np.squeeze(np.exp(-0.5 * (z - SHIFTS) ** 2) / np.exp(-0.5 * z**2))


def skewed(rng, length, channels=1, shift=0.0):
    """Errors that are never negative and have a long tail. Shape: (length, channels)."""
    return np.exp(rng.normal(shift, 1.0, (length, channels)))


def strides(rng, length, channels=1, shift=0.0, memory=0.8):
    """The same, each error depending on the one before."""
    white = rng.normal(0.0, (1.0 - memory**2) ** 0.5, (length, channels))
    x = np.zeros(channels)
    rows = np.empty_like(white)
    for t, drawn in enumerate(white):
        x = rows[t] = memory * x + drawn
    return np.exp(rows + shift)


def uneven(rng, length, share=0.3, shift=0.0):
    """Errors of one attempt, which differs from others by a share of their variance. Shape: (length, 1)."""
    return rng.normal(shift + rng.normal(0.0, share**0.5), (1.0 - share) ** 0.5, (length, 1))


def calibrated(rng, draw=skewed, channels=1, block=1, blocks=2000):
    attempts = [draw(rng, blocks // 20 * block, channels) for _ in range(20)]
    return Calibration.of(attempts, block)


def alarms(detector, errors):
    found = 0
    for row in errors:
        if detector.update(row):
            found += 1
            detector.reset()
    return found


class TestFalseAlarms:
    @pytest.mark.parametrize(
        ("draw", "channels", "block", "steps"), [(skewed, 1, 1, 60), (skewed, 4, 1, 60), (strides, 1, 10, 600)]
    )
    def test_come_no_more_often_than_stated(self, draw, channels, block, steps):
        """Over 100 times the stated interval, on calibrations drawn anew: at most 100 alarms, and a few there are."""
        rng = np.random.default_rng(7)
        found = 0
        for _ in range(5):
            detector = ChangeDetector([calibrated(rng, draw, channels, block)], steps)
            found += alarms(detector, draw(rng, 20 * steps, channels))
        assert 1 <= found <= 100

    def test_stay_as_rare_if_the_ranks_come_from_times_that_were_too_calm(self):
        """Attempts of a smaller error among the calm ones: the others tell that e-values are too large, by how much."""
        rng = np.random.default_rng(3)
        attempts = [skewed(rng, 100, shift=-0.3 * (index % 2 == 0)) for index in range(20)]
        calibration = Calibration.of(attempts, 1)
        assert (calibration.inflation > 1.05).any()
        assert alarms(ChangeDetector([calibration], 60), skewed(rng, 6000)) <= 100

    def test_stay_as_rare_where_attempts_differ(self):
        """Each attempt errs by another amount from beginning to end: products of its e-values would rise with it."""
        rng = np.random.default_rng(11)
        found = without = 0
        for _ in range(5):
            calm = [uneven(rng, 50) for _ in range(60)]
            calibration = Calibration.of(calm, 1)
            detector = ChangeDetector([calibration], 600)
            naive = ChangeDetector([replace(calibration, between=np.zeros(1))], 600)
            for _ in range(240):
                detector.cut()
                naive.cut()
                attempt = uneven(rng, 50)
                found += alarms(detector, attempt)
                without += alarms(naive, attempt)
        assert found <= 100
        assert without > 200

    def test_bound_is_that_of_the_recursion(self):
        """M <- e (M + 1) with e = 1 grows by 1 a block: it reaches the threshold after exactly so many blocks."""
        calibration = calibrated(np.random.default_rng(0))
        middle = len(calibration.calm) // 2
        p = (len(calibration.calm) - middle + 1.0) / (len(calibration.calm) + 1.0)
        calibration = replace(calibration, between=np.zeros(1), inflation=ratio(p)[None])
        detector = ChangeDetector([calibration], 25 - 1e-9)
        assert [detector.update(calibration.calm[middle]) is not None for _ in range(25)].index(True) == 24

    def test_ties_with_calm_errors_are_no_evidence(self):
        """A channel that never changes has p = 1 at its own value."""
        constant = [np.zeros((100, 1)) for _ in range(20)]
        # Else a channel that is always the same would be taken for what attempts differ by.
        calibration = replace(Calibration.of(constant, 1), between=np.zeros(1))
        assert alarms(ChangeDetector([calibration], 50), np.zeros((1000, 1))) == 0


class TestSeveralLengths:
    """Blocks of one step and of sixteen, watched together."""

    LENGTHS = (1, 16)

    def detector(self, rng, least_steps, lengths=LENGTHS):
        calm = [rng.normal(0.0, 1.0, (400, 2)) for _ in range(40)]
        return ChangeDetector([Calibration.of(calm, block, 2) for block in lengths], least_steps)

    def delay(self, rng, draw, lengths):
        detector = self.detector(rng, 9000, lengths)
        for row in rng.normal(0.0, 1.0, (48, 2)):
            assert detector.update(row) is None
        return next(taken for taken in range(1, 4000) if detector.update(draw(taken)) is not None)

    def test_alarms_come_no_more_often_than_stated(self):
        rng = np.random.default_rng(15)
        found = sum(alarms(self.detector(rng, 320), rng.normal(0.0, 1.0, (6400, 2))) for _ in range(5))
        assert 1 <= found <= 100

    def test_what_errs_much_is_seen_as_soon_as_by_short_ones_and_what_errs_little_as_by_long_ones(self):
        rng = np.random.default_rng(16)

        def much(_):
            return rng.normal((3.0, 0.0), 1.0)

        def little(_):
            return rng.normal((0.4, 0.0), 1.0)

        by = {
            lengths: [np.mean([self.delay(rng, draw, lengths) for _ in range(8)]) for draw in (much, little)]
            for lengths in ((1,), (16,), self.LENGTHS)
        }
        assert by[(1,)][0] < 0.5 * by[(16,)][0]
        assert by[self.LENGTHS][0] < 1.5 * by[(1,)][0]
        assert by[self.LENGTHS][1] < 1.5 * by[(16,)][1]

    def test_the_alarm_is_that_of_the_blocks_with_most_evidence(self):
        """Those of sixteen steps have none yet, as the first is not over."""
        rng = np.random.default_rng(20)
        detector = self.detector(rng, 9000)
        alarm = next(alarm for _ in range(15) if (alarm := detector.update(rng.normal((0.0, -4.0), 1.0))))
        assert alarm.channel == 1
        assert alarm.evidence[1] > 0.9
        assert alarm.size[1] == pytest.approx(4.0, abs=1.0)

    def test_evidence_is_counted_in_steps(self):
        """Where e is 1, M grows by one a block: times its length, by one a step."""
        rng = np.random.default_rng(17)
        detector = self.detector(rng, 1e6)
        for blocks in detector._lengths:
            calm = blocks._calibration.calm
            still = _e_values(_scores(calm, np.zeros((1, 4))))[0]
            blocks._calibration = replace(blocks._calibration, between=np.zeros(4), inflation=still)
        for _ in range(160):
            detector.update(np.zeros(2))
        assert detector.statistic == pytest.approx(160.0)

    def test_of_other_channels_are_refused(self):
        rng = np.random.default_rng(18)
        one, two = (Calibration.of([rng.normal(size=(400, n)) for _ in range(4)], 1) for n in (1, 2))
        with pytest.raises(ValueError, match=r"\[1, 2\] channels"):
            ChangeDetector([one, two], 100)
        with pytest.raises(ValueError, match=r"calibrations of \[\] channels"):
            ChangeDetector([], 100)

    def test_ranks_are_taken_among_so_many_calm_blocks_at_most(self):
        rng = np.random.default_rng(19)
        calm = [rng.normal(size=(600, 1)) for _ in range(10)]
        found = Calibration.of(calm, 1).calm[:, 0]
        assert len(found) == MOST_CALM
        assert np.quantile(found, [0.05, 0.5, 0.95]) == pytest.approx([-1.64, 0.0, 1.64], abs=0.2)


class TestDelay:
    @pytest.mark.parametrize(("shift", "most"), [(1.0, 60), (2.0, 15), (4.0, 6)])
    def test_is_short_after_a_shift_of_so_many_deviations(self, shift, most):
        """At one false alarm in 9000 steps: mean delay over 15 changes."""
        rng = np.random.default_rng(1)
        delays, since = [], []
        for _ in range(15):
            detector = ChangeDetector([calibrated(rng)], 9000)
            for row in skewed(rng, 40):
                assert detector.update(row) is None
            for row in skewed(rng, 2000, shift=shift):
                if alarm := detector.update(row):
                    delays.append(alarm.step + 1 - 40)
                    since.append(alarm.since)
                    break
        assert len(delays) == 15
        assert np.mean(delays) < most
        assert abs(np.median(since) - 40) <= (8 if shift == 1.0 else 2)

    def test_is_as_short_where_attempts_differ_and_the_change_comes_within_one(self):
        """Two deviations, that attempts seldom differ by so much: no later than where they differ by nothing."""
        rng = np.random.default_rng(12)
        delays = []
        for _ in range(15):
            detector = ChangeDetector([Calibration.of([uneven(rng, 50) for _ in range(60)], 1)], 9000)
            rows = uneven(rng, 425)
            rows[25:] += 2.0
            delays.append(next(t for t, row in enumerate(rows) if detector.update(row)) + 1 - 25)
        assert min(delays) > 0
        assert np.mean(delays) < 15

    def test_a_change_before_an_attempt_is_found_over_several(self):
        """Within one it could be what attempts differ by."""
        rng = np.random.default_rng(13)
        detector = ChangeDetector([Calibration.of([uneven(rng, 50) for _ in range(60)], 1)], 9000)
        taken = 0
        while not alarms(detector, uneven(rng, 50, shift=1.0)):
            detector.cut()
            taken += 1
        assert 1 <= taken <= 20

    def test_the_channel_is_named_and_the_size_told(self):
        rng = np.random.default_rng(2)
        detector = ChangeDetector([calibrated(rng, channels=5)], 9000)
        for row in skewed(rng, 40, 5):
            detector.update(row)
        for row in skewed(rng, 500, 5):
            row[3] = row[3] * np.exp(2.0)
            if alarm := detector.update(row):
                break
        assert alarm.channel == 3
        assert alarm.evidence.sum() == pytest.approx(1.0)
        assert alarm.evidence[3] > 0.9
        assert alarm.size.argmax() == 3
        assert alarm.size[3] > 2.0

    def test_one_step_of_any_size_raises_none(self):
        """A single outlier has bounded evidence, so noise of one reading is not a change."""
        rng = np.random.default_rng(4)
        detector = ChangeDetector([calibrated(rng)], 90_000)
        assert detector.update(np.array([1e12])) is None


class TestSigned:
    """Errors of either sign: a small shift of their mean shows in blocks, whichever way it goes."""

    def detector(self, rng, signed):
        attempts = [rng.normal(0.0, 1.0, (1000, 2)) for _ in range(20)]
        return ChangeDetector([Calibration.of(attempts, 10, signed)], 10_000)

    @pytest.mark.parametrize("shift", [-0.8, 0.8])
    def test_a_shift_either_way_is_seen_in_the_channels_that_are_signed(self, shift):
        rng = np.random.default_rng(5)
        detector = self.detector(rng, signed=1)
        rows = rng.normal((0.0, shift), 1.0, (600, 2))
        found = next(alarm for row in rows if (alarm := detector.update(row)))
        assert found.channel == 1
        assert found.step < 300

    @pytest.mark.parametrize("shift", [-0.3, 0.3])
    def test_a_small_shift_that_stays_is_seen_though_hardly_any_block_is_far_off(self, shift):
        """A mean is about one deviation off: that adds up with its sign, and hardly without it."""
        rng = np.random.default_rng(8)
        detector = self.detector(rng, signed=1)
        rows = rng.normal((0.0, shift), 1.0, (3000, 2))
        found = next(alarm for row in rows if (alarm := detector.update(row)))
        assert found.channel == 1
        assert found.step < 600
        assert found.evidence.shape == found.size.shape == (2,)
        assert found.size[1] == pytest.approx(0.3 * 10**0.5, abs=0.4)
        assert found.evidence.sum() == pytest.approx(1.0)

    def test_a_fall_of_what_is_not_signed_is_no_change_for_the_worse(self):
        rng = np.random.default_rng(6)
        assert not alarms(self.detector(rng, signed=1), rng.normal((-0.8, 0.0), 1.0, (2000, 2)))


class TestUpdates:
    def test_blocks_are_means_of_whole_blocks(self):
        rng = np.random.default_rng(5)
        calibration = calibrated(rng, block=4)
        by_step, by_block = ChangeDetector([calibration], 4e6), ChangeDetector([calibration], 4e6)
        for rows in skewed(rng, 80).reshape(20, 4, 1):
            for row in rows:
                by_step.update(row)
            for _ in range(4):
                by_block.update(rows.mean(axis=0))
            assert by_step.statistic == pytest.approx(by_block.statistic)
        assert by_step.statistic > 0.0

    def test_missing_errors_are_left_out_of_their_channel_alone(self):
        rng = np.random.default_rng(6)
        detector = ChangeDetector([calibrated(rng, channels=2)], 1e6)
        for row in skewed(rng, 10, 2):
            detector.update(row)
        before = detector._lengths[0]._evidence.copy()
        detector.update(np.array([np.nan, 1.0]))
        np.testing.assert_array_equal(detector._lengths[0]._evidence[0], before[0])
        assert not np.array_equal(detector._lengths[0]._evidence[1], before[1])
        assert detector.update(np.array([np.nan, np.inf])) is None
        assert np.isfinite(detector.statistic)

    def test_the_mean_of_a_block_counts_where_at_least_half_of_its_errors_are_known(self):
        rng = np.random.default_rng(6)
        calibration = calibrated(rng, block=4)
        part, whole = ChangeDetector([calibration], 4e6), ChangeDetector([calibration], 4e6)
        for known in (3.0, np.nan, np.nan, 5.0):
            part.update(np.array([known]))
        for known in (4.0,) * 4:
            whole.update(np.array([known]))
        assert part.statistic == whole.statistic > 0.0
        before = part.statistic
        for known in (np.nan, np.nan, np.nan, 1e6):
            part.update(np.array([known]))
        assert part.statistic == before

    def test_reset_is_a_new_detector(self):
        rng = np.random.default_rng(8)
        calibration = calibrated(rng, block=3)
        used, new = ChangeDetector([calibration], 1e5), ChangeDetector([calibration], 1e5)
        for row in skewed(rng, 50, shift=1.0):
            used.update(row)
        used.reset()
        for row in skewed(rng, 50):
            used.update(row)
            new.update(row)
            assert used.statistic == new.statistic

    def test_the_number_of_channels_is_fixed(self):
        detector = ChangeDetector([calibrated(np.random.default_rng(0))], 100)
        with pytest.raises(ValueError, match="1 channels"):
            detector.update(np.zeros(2))


class TestCalibration:
    def test_e_values_have_a_mean_of_at_most_one(self):
        """Of each calibrator, on errors as calm as those of the calibration: the guarantee rests on it."""
        rng = np.random.default_rng(9)
        means = []
        for _ in range(20):
            calibration = calibrated(rng, blocks=1000)
            fresh = skewed(rng, 4000)[:, 0]
            p = (len(calibration.calm) - np.searchsorted(calibration.calm[:, 0], fresh) + 1.0) / (
                len(calibration.calm) + 1.0
            )
            means.append((ratio(p) / calibration.inflation[0]).mean(axis=0))
        assert (np.mean(means, axis=0) <= 1.0).all()
        assert (np.mean(means, axis=0) > 0.6).all()

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
    def test_what_attempts_differ_by_is_learned(self, share):
        rng = np.random.default_rng(10)
        found = [Calibration.of([uneven(rng, 40, share) for _ in range(80)], 1).between[0] for _ in range(10)]
        assert share <= np.mean(found) <= share + 0.15

    def test_what_is_left_of_scores_is_standard_normal_and_does_not_depend_on_what_came_before(self):
        """Of the detector's own sums, as of those that calibration takes."""
        rng = np.random.default_rng(14)
        between, scores = np.array([0.4]), np.stack([uneven(rng, 30, 0.4) for _ in range(3000)])
        news = np.stack([_news(each, *_seen_before(each), between) for each in scores])[..., 0]
        np.testing.assert_allclose(np.cov(news.T), np.eye(30), atol=0.12)

    def test_blocks_do_not_reach_over_the_end_of_an_attempt(self):
        attempts = [np.full((25, 1), float(index)) for index in range(200)]
        calibration = Calibration.of(attempts, 10)
        assert set(calibration.calm[:, 0]) == {float(index) for index in range(0, 200, 2)}
        assert len(calibration.calm) == 200

    def test_blocks_that_are_half_known_calibrate(self):
        attempts = [np.where(np.arange(20)[:, None] % 4 < 2, float(index), np.nan) for index in range(200)]
        calibration = Calibration.of(attempts, 4)
        assert set(calibration.calm[:, 0]) == {float(index) for index in range(0, 200, 2)}
        sparser = [np.where(np.arange(20)[:, None] % 4 < 1, 1.0, np.nan) for _ in range(200)]
        with pytest.raises(ValueError, match="calm blocks"):
            Calibration.of(sparser, 4)

    def test_needs_enough_calm_data(self):
        with pytest.raises(ValueError, match="each half needs 100"):
            Calibration.of([np.ones((50, 1)) for _ in range(3)], 1)
        with pytest.raises(ValueError, match="calm blocks"):
            Calibration.of([], 1)
        with pytest.raises(ValueError, match="block is 0"):
            Calibration.of([np.ones((500, 1))] * 2, 0)


def test_rates_by_hand():
    assert steps_between_alarms(0.5, 25.0) == 180_000.0
    for bad in ((0.0, 25.0), (1.0, 0.0), (float("nan"), 25.0)):
        with pytest.raises(ValueError, match="positive"):
            steps_between_alarms(*bad)
    with pytest.raises(ValueError, match="block"):
        ChangeDetector([calibrated(np.random.default_rng(0), block=5)], 4.0)
