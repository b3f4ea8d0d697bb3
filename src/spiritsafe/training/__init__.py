"""Training: packed batches, AdamW with float32 masters, a loop that survives being killed.

In: a model, documents, an objective, a :class:`TrainConfig`. Out: a trained model and its curve.
"""

from spiritsafe.training.config import TrainConfig, learning_rate_at
from spiritsafe.training.feed import CollectiveFeed, Feed, FixedFeed
from spiritsafe.training.loop import Evaluate, TrainResult, train
from spiritsafe.training.memory import give_back_memory
from spiritsafe.training.objective import LossResult, Objective, TracesObjective
from spiritsafe.training.parallel import Parallel, current_parallel, is_torchrun
from spiritsafe.training.precision import choose_dtype
from spiritsafe.training.state import discard_state, weights_fingerprint

__all__ = [
    "CollectiveFeed",
    "Evaluate",
    "Feed",
    "FixedFeed",
    "LossResult",
    "Objective",
    "Parallel",
    "TracesObjective",
    "TrainConfig",
    "TrainResult",
    "choose_dtype",
    "current_parallel",
    "discard_state",
    "give_back_memory",
    "is_torchrun",
    "learning_rate_at",
    "train",
    "weights_fingerprint",
]
