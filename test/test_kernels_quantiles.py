"""Quantiles by counting levels: np.quantile's within 2**-23 of the range, whatever the numbers are like."""

import numpy as np
import pytest

from dps_perception.kernels.bands import as_input
from dps_perception.kernels.surface_loops import find_quantiles

SHARES = np.array([0.5, 0.0, 0.05, 0.99, 1.0, 0.95])
RNG = np.random.default_rng(0)


def find(values, shares=SHARES):
    values = np.array(values, np.float32)
    found = np.empty(len(shares))
    spare = np.empty(values.size + 1, np.uint32)
    return found, find_quantiles(values, as_input(shares, np.float64), np.empty(values.size, np.uint32), spare, found)


def bound(values):
    """Half a level for rounding, and the arithmetic of float32 around it."""
    return float(np.ptp(values)) * 2.0**-23 + float(np.abs(values).max()) * 2.0**-24


NUMBERS = {
    "spread": lambda n: RNG.gamma(2, 10, n),
    "around 0": lambda n: RNG.normal(0, 3, n),
    "few levels": lambda n: RNG.integers(0, 5, n),
    "one far off": lambda n: np.append(RNG.normal(10, 1e-4, n - 1), 1e5),
    "two groups": lambda n: np.where(RNG.random(n) < 0.5, 1.0, 80.0) + RNG.normal(0, 0.01, n),
    "rising": lambda n: np.linspace(2, 80, n),
    "tiny": lambda n: RNG.random(n) * 1e-20,
}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17, 1000, 100_003])
@pytest.mark.parametrize("kind", NUMBERS)
def test_quantiles_and_moments_are_numpys(kind, count):
    values = NUMBERS[kind](count).astype(np.float32)
    found, (low, high, mean, variance) = find(values)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(found, np.quantile(wide, SHARES), rtol=0, atol=bound(values))
    assert (low, high) == (values.min(), values.max())
    assert mean == pytest.approx(wide.mean(), rel=1e-6, abs=bound(values))
    assert np.sqrt(variance) == pytest.approx(wide.std(), rel=1e-5, abs=bound(values))


def test_equal_numbers_are_exact():
    found, (low, high, mean, variance) = find(np.full(70_000, 7.3, np.float32))
    assert (found == np.float32(7.3)).all()
    assert (low, high, mean) == (np.float32(7.3),) * 3
    assert variance == 0


def test_the_smallest_and_largest_float_do_no_harm():
    """A range beyond float32 has no levels; the answer says nothing then, but stays within the memory."""
    found, (low, high, _, _) = find([-3e38, 0, 3e38, 1])
    assert np.isfinite(found).all()
    assert (low, high) == (np.float32(-3e38), np.float32(3e38))
    find(np.array([1e-45, 2e-45, 3e-45], np.float32))


def test_an_interpolated_quantile_lies_between_its_neighbours():
    found, _ = find([10, 20, 40], np.array([0.25, 0.75]))
    np.testing.assert_allclose(found, [15, 30], atol=1e-5)
