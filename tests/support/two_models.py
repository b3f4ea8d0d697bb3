"""Two models whose answers correlate."""

from __future__ import annotations

import math

from scipy import stats as reference


def two_models(rng, problems, trials, shares, between, within, repeats):
    """Right answers of two models whose problem difficulties correlate; from a latent normal."""
    shared = rng.standard_normal((repeats, problems, 1))
    answers = []
    for share in shares:
        own = math.sqrt(between) * shared + math.sqrt(1 - between) * rng.standard_normal((repeats, problems, 1))
        noise = rng.standard_normal((repeats, problems, trials))
        answers.append(
            (math.sqrt(within) * own + math.sqrt(1 - within) * noise < reference.norm.ppf(share)).sum(axis=2)
        )
    return answers
