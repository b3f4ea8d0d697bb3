from __future__ import annotations

from report_parts import estimate

from spiritsafe.report import ReportData
from spiritsafe.report.text.measured import count_words, measured_difference, measured_value, what_words


def test_shares_are_percent_and_losses_are_nats(no_exam: ReportData) -> None:
    first, second, divergence, accuracy = no_exam.measured
    assert what_words(first) == "negative log-likelihood, nats a token"
    assert what_words(divergence) == "KL to deepseek, nats a token"
    assert what_words(accuracy) == "accuracy, % of problems"
    assert measured_value(first) == ("1.412", "1.372 to 1.456")
    assert measured_value(accuracy) == ("25.0\u00a0%", "18.0–32.7\u00a0%")
    assert second.difference is not None
    assert measured_difference(second, second.difference) == ("−0.312", "−0.342 to −0.279")
    assert measured_difference(accuracy, estimate(0.05, 0.01)) == ("+5.0", "+4.0 to +6.1")
    assert count_words(first) == "81\u202f234 tokens"
