"""Exact error rates of sequential rules on paired answers: every path is summed, nothing is simulated."""

from __future__ import annotations

import numpy as np
from scipy import signal, special

__all__ = ["exact_chance_shown", "latent_answers"]


def trinomial(num: int, win: float, loss: float) -> np.ndarray:
    """Chances of (wins, losses) in ``num`` problems, shape (num + 1, num + 1)."""
    wins, losses = np.meshgrid(np.arange(num + 1), np.arange(num + 1), indexing="ij")
    ties = num - wins - losses
    inside = ties >= 0
    ties = np.where(inside, ties, 0)
    logs = (
        special.gammaln(num + 1) - special.gammaln(wins + 1) - special.gammaln(losses + 1) - special.gammaln(ties + 1)
    )
    logs = logs + special.xlogy(wins, win) + special.xlogy(losses, loss) + special.xlogy(ties, max(0.0, 1 - win - loss))
    return np.where(inside, np.exp(logs), 0.0)


def exact_chance_shown(looks, upper, statistic, win: float, loss: float) -> float:
    """Chance that ``statistic(counts of -1, 0, 1)`` reaches ``upper`` at some look."""
    going, before, shown = None, 0, 0.0
    for seen, bound in zip(looks, upper, strict=True):
        steps = trinomial(seen - before, win, loss)
        going = steps if going is None else np.maximum(signal.fftconvolve(going, steps), 0.0)
        before = seen
        wins, losses = np.meshgrid(np.arange(seen + 1), np.arange(seen + 1), indexing="ij")
        possible = wins + losses <= seen
        counts = np.stack([losses[possible], (seen - wins - losses)[possible], wins[possible]], axis=-1)
        crossed = np.zeros(possible.shape, dtype=bool)
        crossed[possible] = statistic(counts) >= bound
        shown += float(going[crossed].sum())
        going = np.where(crossed, 0.0, going)
    return shown


def latent_answers(rng, num_problems, trials, shares, repeats, *, between=0.5, within=0.6):
    """Right answers of models whose problem difficulties correlate; from latent normals, one array (R, N) a model."""
    shared = rng.standard_normal((repeats, num_problems, 1))
    answers = []
    for share in shares:
        own = np.sqrt(between) * shared + np.sqrt(1 - between) * rng.standard_normal((repeats, num_problems, 1))
        noise = rng.standard_normal((repeats, num_problems, trials))
        answers.append((np.sqrt(within) * own + np.sqrt(1 - within) * noise < special.ndtri(share)).sum(axis=2))
    return answers
