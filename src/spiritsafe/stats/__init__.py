"""Statistics: intervals, paired tests, sequential designs, item response theory, contamination. No exam, no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.stats.bootstrap import BOOTSTRAP, ClusterBootstrap
    from spiritsafe.stats.contamination.gap import GapTest, gain_gap, public_sealed_gap, smallest_leak
    from spiritsafe.stats.contamination.reference_models import ForeignScores, ForeignTest, foreign_gap
    from spiritsafe.stats.contamination.share_studied import share_studied, studied_statement
    from spiritsafe.stats.intervals import (
        INTERVALS,
        Estimate,
        Floats,
        IntervalRule,
        clopper_pearson_interval,
        edge_of,
        korn_graubard_interval,
        score_interval,
    )
    from spiritsafe.stats.irt.model import Ability, ItemBank, estimate_ability, fit_items
    from spiritsafe.stats.irt.saturation import Saturation, watch_saturation
    from spiritsafe.stats.irt.short_form import (
        CHOSEN_METHOD,
        ChosenProblems,
        PredictedScore,
        choose_problems,
        is_adaptive_choice,
        is_choice,
        next_place,
        predict_score,
    )
    from spiritsafe.stats.multiple_testing import holm
    from spiritsafe.stats.paired import PairedDifference, exchange_p_value, gain_kept, paired_difference
    from spiritsafe.stats.pareto import dominating
    from spiritsafe.stats.permutation import Labels, randomisation_test
    from spiritsafe.stats.power import smallest_paired_difference, smallest_score_gain
    from spiritsafe.stats.ratio import ratio_interval
    from spiritsafe.stats.sequential.betting import bet_on_difference, bet_on_score, is_difference_shown
    from spiritsafe.stats.sequential.decision import LARGEST_MARGIN, PairedClaim, decide_difference, decide_score
    from spiritsafe.stats.sequential.design import BettingRule, StopRule, frequent_looks
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "BOOTSTRAP", "CHOSEN_METHOD", "INTERVALS", "LARGEST_MARGIN", "Ability", "BettingRule", "ChosenProblems",
    "ClusterBootstrap", "Estimate", "Floats", "ForeignScores", "ForeignTest", "GapTest", "IntervalRule", "ItemBank",
    "Labels", "PairedClaim", "PairedDifference", "PredictedScore", "Saturation", "StopRule", "bet_on_difference",
    "bet_on_score", "choose_problems", "clopper_pearson_interval", "decide_difference", "decide_score", "dominating",
    "edge_of", "estimate_ability", "exchange_p_value", "fit_items", "foreign_gap", "frequent_looks", "gain_gap",
    "gain_kept", "holm", "is_adaptive_choice", "is_choice", "is_difference_shown", "korn_graubard_interval",
    "next_place", "paired_difference", "predict_score", "public_sealed_gap", "randomisation_test", "ratio_interval",
    "score_interval", "share_studied", "smallest_leak", "smallest_paired_difference", "smallest_score_gain",
    "studied_statement", "watch_saturation",
]  # fmt: skip
