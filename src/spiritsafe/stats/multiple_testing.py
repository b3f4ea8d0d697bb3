"""More than one test: what remains of a finding when several papers, models or sittings could have shown it.

In: p-values and how many tests there were. Out: Holm-adjusted p-values. A maker who sat one paper five times and shows
the best sitting has made five tests, the withdrawn and unreported ones included.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import NumericalError


def holm(p_values: Sequence[float], *, num_tests: int | None = None) -> tuple[float, ...]:
    """Adjusted p-values: all that are at most α may be believed together, at error rate α (Holm 1979).

    Valid whatever the dependence between the tests.

    Args:
        num_tests: Tests that were made, those without a p-value included (withdrawn or open sittings: they could have
            shown something, and count as if they had shown nothing); None: as many as ``p_values``.

    Returns:
        Adjusted p-values in the order given.

    Raises:
        NumericalError: A p-value is outside [0, 1], or fewer tests than p-values.
    """
    total = len(p_values) if num_tests is None else num_tests
    if total < len(p_values) or any(not 0 <= p <= 1 for p in p_values):
        raise NumericalError(
            f"No adjustment of {len(p_values)} p-values among {total} tests.",
            hint="Give p-values in [0, 1] and count every test, the unreported ones too.",
        )
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (total - rank) * p_values[place]))
        adjusted[place] = largest
    return tuple(adjusted)
