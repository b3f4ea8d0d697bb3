"""Words about files."""

from __future__ import annotations

from report_parts import estimate

from spiritsafe.report import FileFigures
from spiritsafe.report.text.files import bits_text, divergence_text


def test_true_bits_stand_alone_where_the_name_is_true() -> None:
    figures = FileFigures(file="x.gguf", of="x", type="Q4_K_M", bits_per_weight=6.182, substituted_share=0.979)
    assert bits_text(figures) == "6.18, 98% not Q4_K_M"
    assert bits_text(figures.model_copy(update={"substituted_share": 0.004})) == "6.18"


def test_small_divergences_keep_two_digits() -> None:
    assert divergence_text(estimate(0.00001234, 0.000001))[0] == "1.2e-05"
    assert divergence_text(estimate(0.2712, 0.01)) == ("0.27", "0.26 to 0.28")
