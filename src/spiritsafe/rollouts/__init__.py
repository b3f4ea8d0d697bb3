"""Drawing attempts from any Generator, grading and keeping them; Generators that need no weights of their own."""

from spiritsafe.rollouts.collect import CollectReport, Grader, collect
from spiritsafe.rollouts.exchange import RemoteConfig
from spiritsafe.rollouts.fake import FakeGenerator, FakeReply
from spiritsafe.rollouts.pipe import PipeGenerator
from spiritsafe.rollouts.read import VerifiedReport, read_attempts, verified
from spiritsafe.rollouts.remote import RemoteGenerator
from spiritsafe.rollouts.summary import PassSummary, ProblemCounts, summarise
from spiritsafe.rollouts.usage import UsageReport

__all__ = [
    "CollectReport",
    "FakeGenerator",
    "FakeReply",
    "Grader",
    "PassSummary",
    "PipeGenerator",
    "ProblemCounts",
    "RemoteConfig",
    "RemoteGenerator",
    "UsageReport",
    "VerifiedReport",
    "collect",
    "read_attempts",
    "summarise",
    "verified",
]
