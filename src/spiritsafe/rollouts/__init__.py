"""Drawing attempts from any Generator, grading and keeping them, and using many of them at once (test-time compute).

Also Generators that need no weights of their own.
"""

from spiritsafe.rollouts.budgets import BudgetPoint, BudgetSweep, budgets, sweep_budgets
from spiritsafe.rollouts.collect import CollectReport, Grader, collect
from spiritsafe.rollouts.compute_curve import curve_of_pools
from spiritsafe.rollouts.exchange import RemoteConfig
from spiritsafe.rollouts.fake import FakeGenerator, FakeReply
from spiritsafe.rollouts.pipe import PipeGenerator
from spiritsafe.rollouts.pools import Candidate, Pool, SelfChecker, draw_pool, read_pool
from spiritsafe.rollouts.read import VerifiedAttempts, VerifiedReport, read_attempts, verified
from spiritsafe.rollouts.remote import RemoteGenerator
from spiritsafe.rollouts.summary import PassSummary, ProblemCounts, summarise
from spiritsafe.rollouts.thinking import BudgetForcedGenerator, BudgetForcing
from spiritsafe.rollouts.usage import UsageReport
from spiritsafe.rollouts.voting import ProblemVote, StopRule, VoteReport, vote, votes_needed

__all__ = [
    "BudgetForcedGenerator",
    "BudgetForcing",
    "BudgetPoint",
    "BudgetSweep",
    "Candidate",
    "CollectReport",
    "FakeGenerator",
    "FakeReply",
    "Grader",
    "PassSummary",
    "PipeGenerator",
    "Pool",
    "ProblemCounts",
    "ProblemVote",
    "RemoteConfig",
    "RemoteGenerator",
    "SelfChecker",
    "StopRule",
    "UsageReport",
    "VerifiedAttempts",
    "VerifiedReport",
    "VoteReport",
    "budgets",
    "collect",
    "curve_of_pools",
    "draw_pool",
    "read_attempts",
    "read_pool",
    "summarise",
    "sweep_budgets",
    "verified",
    "vote",
    "votes_needed",
]
