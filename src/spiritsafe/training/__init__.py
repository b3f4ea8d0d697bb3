"""Training: packed batches, AdamW with float32 masters, a loop that survives being killed.

In: a model, documents, an objective, a :class:`TrainConfig`. Out: a trained model and its curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.training.checkpoints.state import discard_state, weights_fingerprint
    from spiritsafe.training.chunked_head import (
        ChunkedHead,
        ChunkLogits,
        RowLoss,
        check_head_shapes,
        even_slices,
        gradient_buffer,
        logits_budget,
        logits_bytes_per_row,
        rows_of_chunk,
    )
    from spiritsafe.training.config import SITTING_FIELDS, ComputeDtype, TrainConfig, TrainSettings, learning_rate_at
    from spiritsafe.training.data.answer_pool import check_answer_length, check_training_pool
    from spiritsafe.training.data.documents import (
        DocumentArrays,
        DocumentStore,
        document_arrays,
        document_digests,
        document_lengths,
        document_writer,
        supervised_counts,
        write_documents,
    )
    from spiritsafe.training.data.feed import CollectiveFeed, Feed, FixedFeed, describe_documents
    from spiritsafe.training.data.packing import (
        check_documents,
        num_supervised,
        pack_micro_batch,
        split_micro_batches,
        split_step,
    )
    from spiritsafe.training.data.rounds import ROUNDS_FILE, Round, RoundFeed, RoundFormat, RoundHeader, round_path
    from spiritsafe.training.device import choose_dtype, give_back_memory
    from spiritsafe.training.distributed.processes import Parallel, choose_mode, current_parallel, is_torchrun
    from spiritsafe.training.head import cross_entropy_head
    from spiritsafe.training.loop import METRICS_FILE, Evaluate, TrainResult, train
    from spiritsafe.training.objective import LossResult, Objective, SupervisedRows, TracesObjective
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "METRICS_FILE", "ROUNDS_FILE", "SITTING_FIELDS", "ChunkLogits", "ChunkedHead", "CollectiveFeed", "ComputeDtype",
    "DocumentArrays", "DocumentStore", "Evaluate", "Feed", "FixedFeed", "LossResult", "Objective", "Parallel",
    "Round", "RoundFeed", "RoundFormat", "RoundHeader", "RowLoss", "SupervisedRows", "TracesObjective",
    "TrainConfig", "TrainResult", "TrainSettings", "check_answer_length", "check_documents", "check_head_shapes",
    "check_training_pool", "choose_dtype", "choose_mode", "cross_entropy_head", "current_parallel",
    "describe_documents", "discard_state", "document_arrays", "document_digests", "document_lengths",
    "document_writer", "even_slices", "give_back_memory", "gradient_buffer", "is_torchrun", "learning_rate_at",
    "logits_budget", "logits_bytes_per_row", "num_supervised", "pack_micro_batch", "round_path", "rows_of_chunk",
    "split_micro_batches", "split_step", "supervised_counts", "train", "weights_fingerprint", "write_documents",
]  # fmt: skip
