"""How often `llmbench compare` is right, on queues whose truth is known. docs/compare.md has the
figures. Usage: python benchmarks/compare_truth.py [--pairs 200]
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmbench_locust.statistics import comparison as c
from llmbench_locust.statistics import estimates
from llmbench_locust.statistics.estimates import Sample
from tests.statistics import queues

NAMES = ("mean TTFT", "P99 TTFT", "throughput")
HIGHER_IS_BETTER = (False, False, True)


def figures(run):
    """Mean TTFT, P99 TTFT and output throughput of one run of a queue."""
    tokens = np.full(len(run.end), queues.TOKENS)
    rate = c.Figure(run.throughput, (estimates.rate_influence(tokens, run.end),))
    return c.mean_figure(Sample(run.ttft)), c.quantile_figure(Sample(run.ttft), 0.99), rate


def compare(base, new, equivalence=0.02):
    """Verdict and difference of each figure, together under Holm, as the command makes them."""
    columns = zip(
        zip(*map(figures, base), strict=True), zip(*map(figures, new), strict=True), strict=True
    )
    found = [c.difference(a, b, paired=False) for a, b in columns]
    levels = c.holm_levels([d.p_value for d in found])
    limit = math.log1p(equivalence)
    return [
        (c.verdict(d.interval(level), limit, higher), d, level)
        for d, level, higher in zip(found, levels, HIGHER_IS_BETTER, strict=True)
    ]


def false_alarms(rho, n, runs, pairs, seed=1):
    """Share of pairs of equal servers called better or worse: by us and by tests over requests."""
    rng = np.random.default_rng(seed)
    ours, welch, mann = np.zeros(3), 0, 0
    for _ in range(pairs):
        base, new = ([queues.run(rng, rho, n) for _ in range(runs)] for _ in "ab")
        ours += [v in ("better", "worse") for v, _, _ in compare(base, new)]
        a, b = (np.concatenate([r.ttft for r in side]) for side in (base, new))
        welch += stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05
        mann += stats.mannwhitneyu(a, b).pvalue < 0.05
    return ours / pairs, welch / pairs, mann / pairs


def paired_alarms(rho, jitter, n=2000, pairs=200, seed=5):
    """Share of pairs of equal servers with the same arrivals that are called better or worse."""
    sides = queues.pairs(np.random.default_rng(seed), rho, n, pairs, jitter=jitter)
    found = np.zeros(2)
    for a, b in zip(*(side.T for side in sides), strict=True):
        figures = (c.mean_figure, lambda sample: c.quantile_figure(sample, 0.99))
        pair = [c.difference([f(Sample(a))], [f(Sample(b))], paired=True) for f in figures]
        levels = c.holm_levels([d.p_value for d in pair])
        limit = math.log1p(0.02)
        words = [c.verdict(d.interval(k), limit, False) for d, k in zip(pair, levels, strict=True)]
        found += [word in ("better", "worse") for word in words]
    return found / pairs


def run_unit_alarms(runs, between, pairs=1000, draws=1000, seed=4):
    """Student's t and the hierarchical bootstrap (runs, then blocks within them) on means of equal
    servers, whose runs differ by a factor exp(N(0, ``between``)) besides their queues at rho 0.5:
    share of intervals without 0 for both, and for the bootstrap of paired runs.
    """
    rng = np.random.default_rng(seed)
    _, found = queues.waits(rng, 0.5, 2000, runs=1000)
    blocks = (found + 0.05).reshape(10, 200, -1).mean(axis=1).T

    def resampled(side, rows):
        picks = rng.integers(10, size=(draws, runs, 10))
        return np.log(side[rows[:, :, None], picks].mean(axis=2)).mean(axis=1)

    alarms = np.zeros(3)
    for _ in range(pairs):
        sides = [
            blocks[rng.integers(len(blocks), size=runs)] * rng.lognormal(0, between, (runs, 1))
            for _ in "ab"
        ]
        student = stats.ttest_ind(*(np.log(side.mean(axis=1)) for side in sides)).pvalue < 0.05
        rows = [rng.integers(runs, size=(draws, runs)) for _ in "ab"]
        alone = resampled(sides[0], rows[0]) - resampled(sides[1], rows[1])
        noise = rng.normal(0, between, runs)[rows[0]].mean(axis=1)  # all that pairs do not share
        ends = (np.quantile(x, (0.025, 0.975)) for x in (alone, noise))
        alarms += [student, *(low > 0 or high < 0 for low, high in ends)]
    return alarms / pairs


def power(rho, n, runs, pairs, change=0.1, most=3_000_000, seed=2):
    """Of pairs whose new side is slower by ``change`` and that got "cannot tell" at n requests:
    in how many is it called at the size asked for, or at ``most`` requests where it is above? By
    figure: share, pairs, median factor.
    """
    rng = np.random.default_rng(seed)
    called, asked, factors = np.zeros(3), np.zeros(3), ([], [], [])

    def sides(n, runs):
        return ([queues.run(rng, rho, n, unit) for _ in range(runs)] for unit in (1, 1 + change))

    for _ in range(pairs):
        for i, (found, d, level) in enumerate(compare(*sides(n, runs), equivalence=change)):
            factor = d.factor(level, math.log1p(change)) if found == "cannot tell" else None
            if factor is None:
                continue
            factors[i].append(factor)
            factor = min(max(factor, 2.0), most / n)
            size = (n, math.ceil(runs * factor)) if runs > 1 else (math.ceil(n * factor), 1)
            asked[i] += 1
            called[i] += compare(*sides(*size), equivalence=change)[i][0] in ("better", "worse")
    return [
        (
            called[i] / asked[i] if asked[i] else math.nan,
            int(asked[i]),
            float(np.median(factors[i])) if factors[i] else math.nan,
        )
        for i in range(3)
    ]


def coverage(rho, n, runs=200, seed=3):
    """Share of runs whose 95% interval holds the truth: mean, P99, the naive interval of the mean;
    and the share of P99 intervals without an upper end.
    """
    mean, p99 = (value + 0.05 for value in queues.truth(rho))
    _, found = queues.waits(np.random.default_rng(seed), rho, n, runs=runs)
    held = np.zeros(4)
    for values in found.T + 0.05:
        of_mean = estimates.mean_interval(Sample(values))
        of_p99 = estimates.quantile_interval(Sample(values), 0.99)
        half = 1.96 * values.std() / math.sqrt(n)
        held += [
            of_mean.low <= mean <= of_mean.high,
            of_p99.low <= p99 <= of_p99.high,
            abs(values.mean() - mean) <= half,
            of_p99.high == math.inf,
        ]
    return held / runs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=200)
    pairs = parser.parse_args().pairs
    print("coverage: rho n | mean, P99, naive mean | P99 without upper end")
    for rho in (0.5, 0.8, 0.9):
        for n in (2000, 8000, 20_000):
            print(rho, n, *(f"{x:.1%}" for x in coverage(rho, n)), flush=True)
    print("false alarms: rho n runs |", *NAMES, "| Welch, Mann-Whitney over requests")
    for rho in (0.5, 0.9):
        for runs in (1, 3):
            ours, welch, mann = false_alarms(rho, 2000, runs, pairs)
            print(rho, 2000, runs, *(f"{x:.1%}" for x in (*ours, welch, mann)), flush=True)
    print("false alarms of paired requests: rho jitter | mean, P99")
    for rho in (0.5, 0.9):
        for jitter in (0.05, 0.3):
            print(rho, jitter, *(f"{x:.1%}" for x in paired_alarms(rho, jitter)), flush=True)
    print("false alarms over runs: runs, sd between | t, hierarchical bootstrap, the same in pairs")
    for between in (0.02, 0.2):
        for runs in (3, 5, 10):
            shares = run_unit_alarms(runs, between)
            print(runs, between, *(f"{x:.1%}" for x in shares), flush=True)
    print("power at the size asked for, 10% slower: rho n runs | share, pairs, median factor")
    for rho in (0.5, 0.9):
        for runs in (1, 3):
            found = power(rho, 2000, runs, pairs // 4)
            print(rho, 2000, runs, *(f"{s:.0%} of {k} ({f:.3g}x)" for s, k, f in found), flush=True)


if __name__ == "__main__":
    main()
