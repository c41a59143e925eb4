"""Percentiles of measurements."""

import math
from collections.abc import Sequence


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest measurement that so many percent are not above (the nearest rank)."""
    rank = math.ceil(percent / 100 * len(ascending))
    return ascending[max(rank, 1) - 1]
