"""Drawing attempts from any Generator, grading and keeping them, and using many of them at once (test-time compute).

Also Generators that need no weights of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.rollouts.attempts.collect import CollectReport, Grader, collect, grade_attempt
    from spiritsafe.rollouts.attempts.read import (
        VerifiedAttempts,
        VerifiedReport,
        read_attempts,
        read_endings,
        verified,
    )
    from spiritsafe.rollouts.attempts.top_logprobs import ReadTopLogprobs
    from spiritsafe.rollouts.generators.config import (
        OPERATING_FIELDS,
        EndpointConfig,
        EndpointSettings,
        open_endpoint,
        read_endpoint_config,
    )
    from spiritsafe.rollouts.generators.exchange import Exchange, RemoteConfig
    from spiritsafe.rollouts.generators.fake import FakeGenerator, FakeReply
    from spiritsafe.rollouts.generators.pipe import PipeGenerator
    from spiritsafe.rollouts.generators.rate_limits import RateLimiter
    from spiritsafe.rollouts.generators.remote import RemoteGenerator, api_root, read_api_key, served_models
    from spiritsafe.rollouts.generators.reply import printable
    from spiritsafe.rollouts.generators.tries import ask_until_answered
    from spiritsafe.rollouts.generators.usage import EndpointBudget, UsageReport
    from spiritsafe.rollouts.test_time.budget_forcing import BudgetForcedGenerator, BudgetForcing
    from spiritsafe.rollouts.test_time.budget_sweep import BudgetPoint, BudgetSweep, budgets, sweep_budgets
    from spiritsafe.rollouts.test_time.curve import curve_of_pools
    from spiritsafe.rollouts.test_time.pool import Candidate, Pool, SelfChecker, draw_pool, read_pool
    from spiritsafe.rollouts.test_time.records import (
        METHODS,
        ComputeCurve,
        ComputeLine,
        ComputePoint,
        CostAxis,
        EqualCost,
        ModelCompute,
        SelectionMethod,
        TokensToReach,
    )
    from spiritsafe.rollouts.test_time.selection import pass_at
    from spiritsafe.rollouts.test_time.voting import ProblemVote, VoteReport, VoteStop, vote, votes_needed
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "METHODS", "OPERATING_FIELDS", "BudgetForcedGenerator", "BudgetForcing", "BudgetPoint", "BudgetSweep", "Candidate",
    "CollectReport", "ComputeCurve", "ComputeLine", "ComputePoint", "CostAxis", "EndpointBudget", "EndpointConfig",
    "EndpointSettings", "EqualCost", "Exchange", "FakeGenerator", "FakeReply", "Grader", "ModelCompute",
    "PipeGenerator", "Pool", "ProblemVote", "RateLimiter", "ReadTopLogprobs", "RemoteConfig", "RemoteGenerator",
    "SelectionMethod", "SelfChecker", "TokensToReach", "UsageReport", "VerifiedAttempts", "VerifiedReport",
    "VoteReport", "VoteStop", "api_root", "ask_until_answered", "budgets", "collect", "curve_of_pools", "draw_pool",
    "grade_attempt", "open_endpoint", "pass_at", "printable", "read_api_key", "read_attempts", "read_endings",
    "read_endpoint_config", "read_pool", "served_models", "sweep_budgets", "verified", "vote", "votes_needed",
]  # fmt: skip
