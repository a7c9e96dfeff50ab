"""Against independent libraries, on seeded random inputs with and without ties; and without the faults they have."""

from __future__ import annotations

import math
import warnings
from itertools import combinations, pairwise

import baycomp
import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
import statsmodels.formula.api as smf
from scipy import integrate, stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from ltbench.stats.aggregate import iqm
from ltbench.stats.behrens_fisher import half_width, tail
from ltbench.stats.crossed import crossed_variance, mcnemar, sign_flip
from ltbench.stats.fixed_datasets import ScopeATest, Verdict, scope_a, verdict
from ltbench.stats.minimum import critical_difference
from ltbench.stats.paired import holm, paired_t
from ltbench.stats.random_datasets import bayes_signed_rank, friedman, nemenyi, ranks, wilcoxon_pairs
from ltbench.stats.reasons import Reason

SEEDS = range(12)
DECIMALS = [1, 8]
"""One decimal makes ties and zero differences; eight make none."""
each_seed = pytest.mark.parametrize("seed", SEEDS)
with_and_without_ties = pytest.mark.parametrize("decimals", DECIMALS)


def by_seed(values: np.ndarray) -> dict[int, float]:
    return {s: float(v) for s, v in enumerate(values)}


def scope_a_of(*differences: np.ndarray) -> ScopeATest:
    """Scope A of one data set per array, the differences given."""
    a = {f"d{t}": by_seed(d) for t, d in enumerate(differences)}
    return scope_a(a, {t: dict.fromkeys(d, 0.0) for t, d in a.items()})


# -- t tests and equivalence -------------------------------------------------------------------------------------------


@each_seed
@with_and_without_ties
def test_one_data_set_is_scipys_paired_t(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.normal([[50.4], [50]], 1, (2, int(rng.integers(4, 12)))), decimals)
    reference = stats.ttest_rel(np.round(a - b, 10), np.zeros(len(a)))
    low, high = reference.confidence_interval(0.95)
    found = paired_t(by_seed(a), by_seed(b))
    for p, half in ((found.p, found.half), (scope_a_of(a - b).p, scope_a_of(a - b).half)):
        assert p == pytest.approx(reference.pvalue, rel=1e-9)
        assert half == pytest.approx((high - low) / 2, rel=1e-9)


@each_seed
def test_two_data_sets_are_welchs_test(seed: int) -> None:
    """The mean of two independent means over its Satterthwaite standard error is Welch's t of d1 against -d2."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0.4, 1, int(rng.integers(3, 9)))
    second = rng.normal(0.4, rng.choice([0.2, 1, 5]), int(rng.integers(3, 9)))
    reference = stats.ttest_ind(first, -second, equal_var=False)
    found = scope_a_of(first, second)
    assert found.df == pytest.approx(reference.df, rel=1e-6)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-6)
    for level in (0.9, 0.95):
        low, high = reference.confidence_interval(level)
        assert found.interval_half(level) == pytest.approx((high - low) / 4, rel=1e-6)


@pytest.mark.parametrize("datasets", [1, 3, 4, 7])
@each_seed
def test_any_number_of_data_sets_is_the_written_formula(seed: int, datasets: int) -> None:
    """Term by term with the standard library's variance, a different number of seeds on every data set."""
    rng = np.random.default_rng(seed)
    rows = [np.round(rng.normal(0.3, 1 + t, 3 + (seed + t) % 5), 6) for t in range(datasets)]
    terms = [(float(pd.Series(d).var()) / len(d), len(d) - 1) for d in rows]
    total = math.fsum(v for v, _ in terms)
    se, df = math.sqrt(total) / datasets, total**2 / math.fsum(v**2 / n for v, n in terms)
    diff = math.fsum(math.fsum(d) / len(d) for d in rows) / datasets
    found = scope_a_of(*rows)
    assert (found.diff, found.se, found.df) == (pytest.approx(diff), pytest.approx(se), pytest.approx(df))
    assert found.half == pytest.approx(stats.t.ppf(0.975, df) * se)
    if df > 2.001:
        assert found.p == pytest.approx(2 * stats.t.sf(abs(diff) / se, df))


@each_seed
def test_equivalent_is_schuirmanns_two_one_sided_tests(seed: int) -> None:
    rng, rope, seen = np.random.default_rng(seed), 0.5, set()
    for _ in range(40):
        n = int(rng.integers(3, 15))
        d = np.round(rng.normal(rng.uniform(-0.6, 0.6), rng.choice([0.2, 0.5]), n), 6)
        p_equivalence = ttost_paired(d, np.zeros(n), -rope, rope)[0]
        found = scope_a_of(d)
        said = verdict(found, 1.0, rope)
        assert (said is Verdict.equivalent) == (p_equivalence < 0.05)
        seen.add(said)
        with_its_p = verdict(found, found.p, rope)
        if stats.ttest_1samp(d, 0).pvalue >= 0.05:
            assert with_its_p is said
        else:
            size = "slightly_" if abs(d.mean()) < rope else ""
            assert with_its_p.value == size + ("better" if d.mean() > 0 else "worse")
    assert seen == {Verdict.equivalent, Verdict.undecided}


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_a_difference_without_spread_has_no_p(shift: float) -> None:
    """scipy's ttest_rel answers t = 1e15, p = 1e-163, or nan."""
    b = np.array([70.0, 71.5, 69.25, 70.75])
    with warnings.catch_warnings():
        # scipy warns of catastrophic cancellation or divides by zero here: that is the fault under test.
        warnings.simplefilter("ignore", RuntimeWarning)
        fault = stats.ttest_rel(b + shift, b).pvalue
    assert math.isnan(fault) or fault < 1e-10
    expected = Reason.zero_variance if shift else Reason.identical
    for found in (paired_t(by_seed(b + shift), by_seed(b)), scope_a({"d": by_seed(b + shift)}, {"d": by_seed(b)})):
        assert (found.p, found.half or None, found.reason) == (None, None, expected)


@each_seed
def test_p_is_two_sided(seed: int) -> None:
    """autorank picks the larger median first and then tests one-sided: 10 % false positives at 5 %."""
    d = np.random.default_rng(seed).normal(0.5, 1, (2, 8))
    assert scope_a_of(*d).p == pytest.approx(scope_a_of(*-d).p, rel=1e-12)
    assert sign_flip(d[0])[0] == sign_flip(-d[0])[0]
    assert wilcoxon_pairs(d.T, [(0, 1)])[0].p == wilcoxon_pairs(d.T, [(1, 0)])[0].p


# -- Holm --------------------------------------------------------------------------------------------------------------


@each_seed
@pytest.mark.parametrize("decimals", [2, 12])
def test_holm_is_statsmodels(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(int(rng.integers(1, 40))) ** 3, decimals)
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist(), rel=1e-12)


def test_the_smallest_p_is_multiplied_by_the_size_of_the_family() -> None:
    """aeon keeps the single threshold alpha / (k - 1); deepsig's Bonferroni for 10 comparisons is .955, not .995."""
    assert holm([0.004] + [0.5] * 9)[0] == pytest.approx(0.04)
    assert holm([0.006] + [0.5] * 9)[0] == pytest.approx(0.06)


# -- one pair of models ------------------------------------------------------------------------------------------------


@each_seed
def test_mcnemar_is_statsmodels_exact_p_less_the_probability_of_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        b, c, both, neither = (int(x) for x in rng.integers(0, 14, 4))
        a_right = np.repeat([True, False, True, False], [b, c, both, neither])
        b_right = np.repeat([False, True, True, False], [b, c, both, neither])
        found = mcnemar(a_right, b_right)
        assert (found.b, found.c) == (b, c)
        if b + c < 6:
            assert (found.p, found.reason) == (None, Reason.too_few_discordant)
        elif b == c:
            assert found.p == pytest.approx(1)
        else:
            exact = statsmodels_mcnemar([[both, b], [c, neither]], exact=True).pvalue
            assert found.p == pytest.approx(exact - math.comb(b + c, b) / 2 ** (b + c), rel=1e-9)


@each_seed
@with_and_without_ties
def test_sign_flips_are_scipys_exact_permutations(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    d = np.round(rng.normal(0.3, 0.5, 6 + seed % 5), decimals)
    reference = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d)[0] == pytest.approx(reference.pvalue, rel=1e-12)


@each_seed
def test_sign_flips_of_one_large_size_reach_their_floor(seed: int) -> None:
    """Sums in another order differ by float noise, which must not lose the observed pattern itself."""
    n, size = 8 + seed, float(np.random.default_rng(seed).uniform(1, 1000))
    assert sign_flip(np.full(n, size))[0] == 2.0 ** (1 - n)


# -- seeds and images --------------------------------------------------------------------------------------------------


def brute_tail(distance: float | None, seeds: float, df: float, images: float | None) -> float:
    """P(|sqrt(seeds) T + sqrt(images) Z| >= distance): scipy's adaptive quadrature over Z, with Student's cdf."""
    assert distance is not None
    assert images is not None
    spread, scale = math.sqrt(images), math.sqrt(seeds)

    def at(z: float) -> float:
        sides = stats.t.cdf(np.array([z * spread - distance, -z * spread - distance]) / scale, df)
        return float(stats.norm.pdf(z) * sides.sum())

    edges = [side * distance / spread for side in (-1, 1) if distance < 12 * spread]
    return float(integrate.quad(at, -12, 12, points=edges, epsabs=0, epsrel=1e-10, limit=500)[0])


@pytest.mark.parametrize("distance", [0.1, 1.0, 3.0, 12.0, 40.0])
@pytest.mark.parametrize(("seeds", "df", "images"), [
    (1.0, 2.0, 1.0), (1.0, 2.0, 0.01), (0.01, 2.0, 1.0), (1.0, 4.0, 0.3), (0.2, 9.0, 1.0), (1.0, 3.7, 2.0),
    (1.0, 108.0, 1.0),
])  # fmt: skip
def test_the_tail_of_seeds_and_images_is_that_of_adaptive_quadrature(
    distance: float, seeds: float, df: float, images: float
) -> None:
    wanted = brute_tail(distance, seeds, df, images)
    assert tail(distance, seeds, df, images) == pytest.approx(wanted, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("distance", [0.1, 1.0, 3.0, 12.0])
@pytest.mark.parametrize(("seeds", "df", "images", "images_df"), [
    (1.0, 2.0, 1.0, 6.5), (1.0, 4.0, 0.3, 10.0), (0.2, 2.0, 2.0, 3.0), (0.5, 9.0, 1.0, 80.0), (0.01, 4.0, 1.0, 2.0),
])  # fmt: skip
def test_the_tail_of_seeds_and_few_images_is_that_of_adaptive_quadrature(
    distance: float, seeds: float, df: float, images: float, images_df: float
) -> None:
    """Two Student's t: over the density of the one with the cdf of the other."""
    scale, spread = math.sqrt(seeds), math.sqrt(images)

    def at(t: float) -> float:
        sides = stats.t.cdf(np.array([t * scale - distance, -t * scale - distance]) / spread, images_df)
        return float(stats.t.pdf(t, df) * sides.sum())

    edges = (-np.inf, -distance / scale, 0.0, distance / scale, np.inf)
    parts = [integrate.quad(at, *both, epsabs=1e-13, epsrel=1e-9, limit=500)[0] for both in pairwise(edges)]
    assert tail(distance, seeds, df, images, images_df) == pytest.approx(sum(parts), rel=5e-5)
    half = half_width(seeds, df, images, 0.9, images_df)
    assert tail(half, seeds, df, images, images_df) == pytest.approx(0.1, rel=1e-9)


def test_the_tail_of_seeds_and_images_is_that_of_draws() -> None:
    rng = np.random.default_rng(0)
    t, z = rng.standard_t(3, 400_000), rng.standard_normal(400_000)
    for seeds, images in ((1.0, 0.2), (0.2, 1.0)):
        noise = np.abs(np.sqrt(seeds) * t + np.sqrt(images) * z)
        for distance in (0.5, 2.0, 5.0):
            found = float(tail(distance, seeds, 3.0, images))
            assert (noise >= distance).mean() == pytest.approx(found, abs=4 * math.sqrt(found / 400_000))
        assert np.quantile(noise, 0.9) == pytest.approx(float(half_width(seeds, 3.0, images, 0.9)), rel=0.01)


@pytest.mark.parametrize("interaction_only", [False, True])
@each_seed
def test_the_crossed_variance_is_that_of_a_two_way_anova(seed: int, interaction_only: bool) -> None:
    """Mean squares from ordinary least squares. Without main effects a component is often estimated as negative; the
    images' part is then none, and the test is that of the seeds."""
    rng = np.random.default_rng(seed)
    seeds, images = 3 + seed % 3, 5 + seed % 4
    d = rng.normal(size=(seeds, images))
    if not interaction_only:
        d += rng.normal(size=(seeds, 1)) + rng.normal(size=(1, images))
    rows, columns = np.indices(d.shape)
    frame = pd.DataFrame({"d": d.ravel(), "seed": rows.ravel(), "image": columns.ravel()})
    anova = anova_lm(smf.ols("d ~ C(seed) + C(image)", frame).fit())
    ms_s, ms_i, ms_e = anova["mean_sq"]
    df_s = anova["df"].iloc[0]
    found = crossed_variance(d)
    assert found.seeds == pytest.approx(ms_s / d.size, rel=1e-9)
    assert found.images == pytest.approx(max(ms_i - ms_e, 0) / d.size, rel=1e-9, abs=1e-12)
    assert found.df == df_s
    assert found.seeds is not None
    by_seed = d.mean(axis=1)
    if ms_i <= ms_e:
        assert found.p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue, rel=1e-9)
        assert found.half == pytest.approx(stats.t.ppf(0.975, df_s) * stats.sem(by_seed), rel=1e-9)
    else:
        assert found.p == pytest.approx(brute_tail(abs(d.mean()), found.seeds, df_s, found.images), rel=1e-6)
        assert brute_tail(found.half, found.seeds, df_s, found.images) == pytest.approx(0.05, rel=1e-6)
    parts = np.clip([ms_s - ms_e, ms_i - ms_e, ms_e], 0, None)
    assert found.shares == pytest.approx(tuple(parts / parts.sum()), rel=1e-9, abs=1e-12)


def test_the_anova_cases_have_negative_estimates_of_either_kind() -> None:
    """Else the test above would say nothing of dropped components."""
    kinds = set()
    for seed in SEEDS:
        d = np.random.default_rng(seed).normal(size=(3 + seed % 3, 5 + seed % 4))
        found = crossed_variance(d)
        assert found.shares is not None
        kinds.add((found.shares[0] == 0, found.shares[1] == 0))
    assert {(True, False), (False, True)} <= kinds


# -- ranks over data sets ----------------------------------------------------------------------------------------------


@each_seed
@with_and_without_ties
def test_friedmans_statistic_is_scipys(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 0.2, (int(rng.integers(5, 12)), int(rng.integers(3, 8)))), decimals)
    assert friedman(x).statistic == pytest.approx(stats.friedmanchisquare(*x.T).statistic, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@with_and_without_ties
def test_friedmans_exact_p_is_scipys_permutation_of_samples(seed: int, decimals: int) -> None:
    """scipy permutes all blocks, ltbench all but the first: the same p, and not that of chi-square."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 0.15, (5, 3)) + np.array([0, 0.1, 0.2]), decimals)
    r = ranks(x)

    def spread(*samples: np.ndarray, axis: int) -> np.ndarray:
        return np.round(np.var([s.sum(axis=axis) for s in samples], axis=0), 9)

    reference = stats.permutation_test(
        tuple(r.T), spread, permutation_type="samples", n_resamples=np.inf, alternative="greater", vectorized=True
    )
    found = friedman(x)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-12)


def test_friedmans_p_of_perfect_agreement_is_far_below_chi_square() -> None:
    x = np.arange(4.0) + np.zeros((5, 1))
    found = friedman(x)
    assert found.p == pytest.approx(1 / math.factorial(4) ** 4)
    assert found.p < stats.friedmanchisquare(*x.T).pvalue / 100


def test_friedman_of_all_tied_methods_says_so() -> None:
    """scipy's friedmanchisquare answers nan."""
    x = np.full((6, 4), 0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 inside scipy is the fault under test
        assert math.isnan(stats.friedmanchisquare(*x.T).statistic)
    found = friedman(x)
    assert (found.statistic, found.p, found.reason) == (None, None, Reason.all_tied)


@each_seed
@with_and_without_ties
def test_wilcoxon_is_scipys_with_pratt_zeros(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(0, 0.2, ([8, 9, 10, 20][seed % 4], 3)) + np.array([0, 0.1, 0.3]), decimals)
    for found in wilcoxon_pairs(x):
        d = np.round(x[:, found.a] - x[:, found.b], 10)
        assert found.p == pytest.approx(stats.wilcoxon(d, zero_method="pratt").pvalue, rel=1e-12)


def test_zero_differences_are_kept() -> None:
    """scipy's default drops them and is left with 6 of 9 data sets."""
    d = np.array([0, 0, 0, 1, 2, 3, 4, 5, -6.0])
    (found,) = wilcoxon_pairs(np.stack([d, np.zeros(9)], axis=1))
    assert found.p == pytest.approx(stats.wilcoxon(d, zero_method="pratt").pvalue)
    assert found.p != pytest.approx(stats.wilcoxon(d, zero_method="wilcox").pvalue, rel=0.05)


@each_seed
@with_and_without_ties
def test_wilcoxon_with_holm_is_scikit_posthocs(seed: int, decimals: int) -> None:
    """Multiples of 1/16: every difference is exact, so that the library, which does not round, sees the same ties."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**decimals * 8, (14, 4)) / 16 + np.array([0, 0, 0.25, 1])
    reference = scikit_posthocs.posthoc_wilcoxon(x.T.tolist(), zero_method="pratt", p_adjust="holm").to_numpy()
    for found in wilcoxon_pairs(x):
        assert found.p_holm == pytest.approx(reference[found.a, found.b], rel=1e-9)


@each_seed
@with_and_without_ties
def test_the_critical_difference_separates_what_nemenyis_p_separates(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(5, 30)), int(rng.integers(3, 11))
    x = np.round(rng.normal(0, 0.3, (n, k)) + np.linspace(0, 0.5, k), decimals)
    reference = scikit_posthocs.posthoc_nemenyi_friedman(x).to_numpy()
    limit, mean = nemenyi(x)[0], friedman(x).mean_ranks
    assert limit is not None
    for a, b in combinations(range(k), 2):
        assert (abs(mean[a] - mean[b]) > limit) == (reference[a, b] < 0.05)


@pytest.mark.parametrize(("k", "n"), [(2, 6), (5, 8), (10, 12), (50, 20)])
def test_the_critical_difference_is_nemenyis_p_turned_round(k: int, n: int) -> None:
    q = critical_difference(k, n) * math.sqrt(2) / math.sqrt(k * (k + 1) / (6 * n))
    assert stats.studentized_range.sf(q, k, np.inf) == pytest.approx(0.05, rel=1e-6)


def test_the_critical_difference_is_right_for_a_thousand_methods() -> None:
    """statsmodels' qsturng, which autorank uses, is 2 % off there. The range of normal draws cannot be."""
    rng = np.random.default_rng(0)
    ranges = np.concatenate([np.ptp(rng.standard_normal((2000, 1000)), axis=1) for _ in range(10)])
    q = critical_difference(1000, 10) * math.sqrt(2) / math.sqrt(1000 * 1001 / 60)
    assert q == pytest.approx(np.quantile(ranges, 0.95), rel=0.005)


# -- Bayesian signed rank ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rope", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_the_bayesian_signed_rank_test_is_baycomps(seed: int, rope: float) -> None:
    """Equal differences, but no sum of two exactly at the edge of the ROPE, which baycomp counts as half outside."""
    rng = np.random.default_rng(seed)
    d = (np.round(rng.normal(0.2, 0.5, 6 + 2 * seed), 1) + 0.01) if rope else rng.normal(0.2, 0.5, 6 + 2 * seed)
    reference = baycomp.two_on_multiple(np.zeros(len(d)), d, rope=rope, nsamples=10_000, random_state=seed)
    found = bayes_signed_rank(d, rope)
    assert found.worse == pytest.approx(reference[0], abs=0.025)
    assert found.better == pytest.approx(reference[-1], abs=0.025)
    assert found.within == pytest.approx(reference[1] if rope else 0, abs=0.025)


def test_the_bayesian_signed_rank_test_is_silent_where_it_is_too_eager() -> None:
    """baycomp is more than 95 % sure after three data sets that merely agree in sign."""
    d = np.array([1.0, 2.0, 3.0])
    assert baycomp.two_on_multiple(np.zeros(3), d, rope=0.1, nsamples=4000, random_state=0)[-1] > 0.95
    found = bayes_signed_rank(d, 0.1)
    assert (found.better, found.reason) == (None, Reason.too_few_datasets)


# -- interquartile mean ------------------------------------------------------------------------------------------------


@each_seed
@with_and_without_ties
def test_the_interquartile_mean_of_a_balanced_table_is_scipys_trimmed_mean(seed: int, decimals: int) -> None:
    """Where the number of runs divides by 4; elsewhere exactly 25 % of the mass is cut, not a whole number of runs."""
    x = np.round(np.random.default_rng(seed).normal(0, 0.3, (3, 4, 3)), decimals)
    found = iqm({f"d{t}": x[:, t] for t in range(4)})
    assert [e.value for e in found] == pytest.approx([stats.trim_mean(m, 0.25, axis=None) for m in x], abs=1e-12)


def test_the_bootstrap_neither_uses_nor_moves_the_global_generator() -> None:
    """rliable draws from it whatever random_state it is given, so that two calls differ."""
    runs = {"d": np.random.default_rng(0).normal(size=(2, 5))}
    np.random.seed(1)  # noqa: NPY002
    first, after = iqm(runs), np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert iqm(runs) == first


def test_the_bootstrap_of_constant_runs_is_a_point() -> None:
    """scipy's BCa interval of a constant is nan."""
    (found,) = iqm({"d": np.full((1, 5), 0.7), "e": np.full((1, 5), 0.7)})
    assert (found.low, found.high) == (pytest.approx(0.7), pytest.approx(0.7))
