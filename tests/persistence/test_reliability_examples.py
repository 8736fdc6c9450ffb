"""Published examples to their printed digits: NIST e-Handbook 8.4.5, MIL-HDBK-189, NASA TM-103511, ReliaWiki."""

import json
from pathlib import Path

import pytest

from persistence.crow_bounds import failure_terminated_factors, time_terminated_factors
from persistence.reliability import (
    crow_amsaa,
    crow_amsaa_grouped,
    duane,
    exposure_to_claim,
    improvement_p,
    laplace_trend,
    mtbf_interval,
    nist_power_law,
    plan_test,
)

EXAMPLES = json.loads((Path(__file__).parent / "reliability_examples.json").read_text())


def printed(value: float) -> object:
    """Match a figure to half a unit of its last printed digit."""
    digits = len(repr(value).split(".")[1]) if "." in repr(value) else 0
    return pytest.approx(value, abs=0.5000001 * 10**-digits)


def digits(value: float, places: int) -> object:
    return pytest.approx(value, abs=0.5000001 * 10**-places)


def test_e1_nist_constant_rate() -> None:
    result = mtbf_interval(800, 2, 0.9)
    assert result.mtbf == 400
    assert (round(result.lower), round(result.upper)) == (127, 2251)


@pytest.mark.parametrize("name", ["E2_reliability_planner1", "E3_reliability_planner2"])
def test_e2_e3_planner(name: str) -> None:
    case = EXAMPLES[name]
    result = mtbf_interval(case["T"], case["r"], case["conf"], case["termination"], case["sides"])
    assert result.lower == pytest.approx(case["expect"]["lower"], rel=1e-13)


def test_e3_failure_terminated_cross_check() -> None:
    case = EXAMPLES["E3b_failure_terminated"]
    one = mtbf_interval(case["T"], case["r"], case["conf"], "failure", 1)
    two = mtbf_interval(case["T"], case["r"], case["conf"], "failure", 2)
    assert one.lower == digits(case["one_sided"], 4)
    assert (two.lower, two.upper) == (digits(case["two_sided"][0], 4), digits(case["two_sided"][1], 4))


def test_e4_nist_modified_likelihood() -> None:
    case = EXAMPLES["E4_nist_case1"]
    want = case["expect"]
    result = nist_power_law(case["times"], case["T"], 0.8)
    assert result.slope == printed(want["nist_slope"])
    assert result.a == printed(want["a"])
    assert result.b == printed(want["b"])
    assert result.mtbf == printed(want["mtbf"])
    assert result.lower == printed(want["lower80"])
    assert result.upper == printed(want["upper80"])


def test_e4_plain_likelihood() -> None:
    case = EXAMPLES["E4_nist_case1"]
    want = case["expect"]
    fit = crow_amsaa(case["times"], case["T"], confidence=0.8)
    assert fit.beta == pytest.approx(want["raw_beta"], rel=1e-14)
    assert fit.lambda_ == printed(want["raw_lambda"])
    assert fit.mtbf == printed(want["raw_mtbf"])
    assert fit.cramer_von_mises == printed(want["cvm"])
    assert fit.beta_unbiased == printed(want["b"])
    assert (fit.lower, fit.upper) == tuple(printed(value) for value in want["crow80"])
    assert laplace_trend(case["times"], case["T"]).statistic == printed(want["laplace"])
    assert time_terminated_factors(10, 0.8) == tuple(printed(value) for value in want["crow80_factors"])


def test_e5_failure_terminated() -> None:
    case = EXAMPLES["E5_reliawiki_22"]
    want = case["expect"]
    fit = crow_amsaa(case["times"], termination="failure")
    assert fit.beta == pytest.approx(want["beta_exact"], rel=1e-14)
    assert fit.lambda_ == pytest.approx(want["lambda_exact"], rel=1e-13)
    assert fit.mtbf == pytest.approx(want["mtbf_exact"], rel=1e-13)
    assert (fit.beta, fit.lambda_) == (printed(want["beta"]), printed(want["lambda"]))
    assert fit.growth_rate == printed(want["growth"])
    assert fit.mtbf_cumulative == printed(want["mtbf_cum"])
    assert fit.mtbf == printed(want["mtbf_inst"])
    assert 1 / fit.mtbf_cumulative == printed(want["intensity_cum"])
    assert fit.intensity == printed(want["intensity_inst"])
    assert fit.time_to_cumulative_mtbf(35) == printed(want["time_to_35"])


def test_e5_intervals_and_fit() -> None:
    case = EXAMPLES["E5_reliawiki_22"]
    want = case["expect"]
    fit = crow_amsaa(case["times"], termination="failure")
    assert fit.beta_unbiased == printed(want["beta_unbiased"])
    assert (fit.beta_lower, fit.beta_upper) == tuple(printed(value) for value in want["beta90"])
    assert (fit.lower, fit.upper) == tuple(printed(value) for value in want["mtbf90"])
    assert failure_terminated_factors(22, 0.9) == tuple(printed(value) for value in want["crow90_factors"])
    assert fit.cramer_von_mises == printed(want["cvm"])
    covariance = fit.covariance()
    assert covariance[0, 0] == printed(want["var_lambda"])
    assert covariance[1, 1] == printed(want["var_beta"])
    assert covariance[0, 1] == printed(want["cov"])
    assert fit.beta_fisher() == (printed(want["beta90_fisher"][0]), digits(want["beta90_fisher"][1], 5))


def test_e8_crow_tables() -> None:
    assert time_terminated_factors(27, 0.9) == tuple(printed(v) for v in EXAMPLES["E8_crow_tables"]["time_n27_90"])
    assert failure_terminated_factors(26, 0.95) == tuple(
        printed(v) for v in EXAMPLES["E8_crow_tables"]["failure_n26_95"]
    )


def test_e9_grouped() -> None:
    case = EXAMPLES["E9_mil_grouped"]
    want = case["expect"]
    fit = crow_amsaa_grouped(case["ends"], case["counts"])
    assert fit.beta == printed(want["beta"])
    assert fit.lambda_ == printed(want["lambda"])
    assert fit.intensity == printed(want["intensity"])
    assert fit.mtbf == printed(want["mtbf"])
    assert fit.last_interval_mtbf == printed(want["last_interval_mtbf"])
    assert fit.last_interval_intensity == printed(want["last_interval_intensity"])
    # the publication's own solver stopped at about 1e-8 in beta, which shows in its last printed digits
    assert fit.expected == pytest.approx(want["expected_counts"], rel=3e-8)
    assert fit.degrees_of_freedom == want["dof"]


def test_e11a_duane() -> None:
    want = EXAMPLES["E11a_duane_22"]["expect"]
    line = duane(EXAMPLES["E5_reliawiki_22"]["times"])
    assert line.alpha == printed(want["alpha"])
    assert line.scale == printed(want["A"])
    assert line.mtbf_cumulative == printed(want["mtbf_cum"])
    assert line.mtbf == printed(want["mtbf_inst"])
    assert 1 / line.mtbf_cumulative == printed(want["intensity_cum"])
    assert 1 / line.mtbf == printed(want["intensity_inst"])
    assert line.time_to_cumulative_mtbf(35) == printed(want["time_to_35"])


def test_e11b_duane() -> None:
    case = EXAMPLES["E11b_duane_23"]
    want = case["expect"]
    line = duane(case["times"])
    assert line.alpha == printed(want["alpha"])
    # the publication went on with its rounded slope: the last printed digit of these three is not a figure of the data
    assert line.b == pytest.approx(want["b"], rel=2e-7)
    assert line.mtbf_cumulative == pytest.approx(want["mtbf_cum"], rel=6e-7)
    assert line.mtbf == pytest.approx(want["mtbf_inst"], rel=6e-7)
    assert want["b"] * 22000 ** want["alpha"] == pytest.approx(want["mtbf_cum"], abs=5e-5)


def test_e12_automotive() -> None:
    case = EXAMPLES["E12a_automotive"]
    want = case["expect"]
    fit = crow_amsaa(case["times"], case["T"], case["termination"])
    assert fit.beta == printed(want["beta"])
    assert fit.lambda_ == printed(want["lambda"])
    assert fit.growth_rate == printed(want["growth"])
    assert fit.mtbf_cumulative == want["mtbf_cum"]
    assert fit.mtbf == printed(want["mtbf_inst"])
    assert fit.time_to_cumulative_mtbf(14000) == printed(want["time_to_14000"])


def test_e16_test_duration() -> None:
    case = EXAMPLES["E16_test_duration"]
    plan = plan_test(case["required"], case["design"], case["consumer"], case["producer"])
    assert plan.duration == pytest.approx(case["expect"], rel=1e-13)


@pytest.mark.parametrize("row", EXAMPLES["E17_factors"]["table"], ids=lambda row: f"r{row['r']}-{row['conf']}")
def test_e17_factor_table(row: dict[str, float]) -> None:
    result = mtbf_interval(row["r"], row["r"], row["conf"])
    assert (result.lower, result.upper) == (digits(row["lower"], 4), digits(row["upper"], 4))


@pytest.mark.parametrize(("confidence", "factor"), EXAMPLES["E17_factors"]["zero_failures"].items())
def test_e17_zero_failures(confidence: str, factor: float) -> None:
    result = mtbf_interval(1, 0, float(confidence))
    assert result.lower == digits(factor, 4)
    assert (result.mtbf, result.upper) == (None, None)


@pytest.mark.parametrize(("confidence", "factors"), EXAMPLES["E17_factors"]["exposure_needed"].items())
def test_e17_exposure_needed(confidence: str, factors: list[float]) -> None:
    assert [exposure_to_claim(1, r, float(confidence)) for r in range(5)] == [digits(value, 3) for value in factors]


def test_improvement_between_phases() -> None:
    case = EXAMPLES["improvement"]
    assert improvement_p(*case["before"], *case["after"]) == digits(case["p"], 4)
