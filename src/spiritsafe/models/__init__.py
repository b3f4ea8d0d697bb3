"""Models: where they come from, how chats become their tokens, running them, and what they cost in bytes.

Needs the ``train`` extra (torch, transformers).
"""

from __future__ import annotations

from spiritsafe.models.batch import (
    IGNORED,
    Document,
    Drawn,
    PackedBatch,
    PackedDrawn,
    pack_documents,
    shared_prefix,
)
from spiritsafe.models.budget import (
    Footprint,
    Quantisation,
    WeightClass,
    kv_cache_bytes,
    layers_within,
    measure_bytes,
    predict_footprint,
    shallower,
    weight_bytes,
)
from spiritsafe.models.candidates import candidates
from spiritsafe.models.chat import ChatFormat, ChatOptions, require_same_vocabulary
from spiritsafe.models.checkpoints import (
    parent_of,
    read_checkpoint,
    save_checkpoint,
    verify_checkpoint,
    write_lineage,
)
from spiritsafe.models.code_choice import CodeChoice, choose_code
from spiritsafe.models.cutting import CUT_PLAN, CutPlan, StudentShape, cut, read_cut_plan, resized
from spiritsafe.models.decoder import Decoder
from spiritsafe.models.decoder_config import DecoderConfig
from spiritsafe.models.documents import (
    DocumentArrays,
    DocumentStore,
    document_arrays,
    document_digests,
    document_lengths,
    supervised_counts,
    write_documents,
)
from spiritsafe.models.engine import LocalGenerator
from spiritsafe.models.engine_dtype import preferred_dtype
from spiritsafe.models.fallback import TransformersModel
from spiritsafe.models.fallback_generator import FallbackGenerator, make_generator, open_generator
from spiritsafe.models.importance import Importance, calibrate
from spiritsafe.models.interface import Head, LanguageModel
from spiritsafe.models.loading import LoadedModel, active_parameters, load_decoder, load_model
from spiritsafe.models.lora import (
    LORA_TARGETS,
    LoraBase,
    LoraConfig,
    add_lora,
    lora_config,
    lora_state,
    merge_lora,
    num_lora_parameters,
    num_trainable,
    remove_lora,
    without_lora,
)
from spiritsafe.models.lora_files import load_lora, save_lora
from spiritsafe.models.model_size import ModelSize, decoder_config, read_model_config, size_of, with_activations
from spiritsafe.models.prune import (
    DepthPlan,
    block_influence,
    choose_layers,
    cut_depth,
    mean_loss,
)
from spiritsafe.models.random_weights import randomise
from spiritsafe.models.sources import default_cache, find_source, resolve_source
from spiritsafe.models.tiny import write_tiny
from spiritsafe.models.training_memory import MemoryFit, TrainingMemory, fit_micro_batch, predict_training
from spiritsafe.models.vocabulary import (
    choose_vocabulary,
    renumber_documents,
    renumbered,
    trim_vocabulary,
    with_vocabulary,
)

__all__ = [
    "CUT_PLAN",
    "IGNORED",
    "LORA_TARGETS",
    "ChatFormat",
    "ChatOptions",
    "CodeChoice",
    "CutPlan",
    "Decoder",
    "DecoderConfig",
    "DepthPlan",
    "Document",
    "DocumentArrays",
    "DocumentStore",
    "Drawn",
    "FallbackGenerator",
    "Footprint",
    "Head",
    "Importance",
    "LanguageModel",
    "LoadedModel",
    "LocalGenerator",
    "LoraBase",
    "LoraConfig",
    "MemoryFit",
    "ModelSize",
    "PackedBatch",
    "PackedDrawn",
    "Quantisation",
    "StudentShape",
    "TrainingMemory",
    "TransformersModel",
    "WeightClass",
    "active_parameters",
    "add_lora",
    "block_influence",
    "calibrate",
    "candidates",
    "choose_code",
    "choose_layers",
    "choose_vocabulary",
    "cut",
    "cut_depth",
    "decoder_config",
    "default_cache",
    "document_arrays",
    "document_digests",
    "document_lengths",
    "find_source",
    "fit_micro_batch",
    "kv_cache_bytes",
    "layers_within",
    "load_decoder",
    "load_lora",
    "load_model",
    "lora_config",
    "lora_state",
    "make_generator",
    "mean_loss",
    "measure_bytes",
    "merge_lora",
    "num_lora_parameters",
    "num_trainable",
    "open_generator",
    "pack_documents",
    "parent_of",
    "predict_footprint",
    "predict_training",
    "preferred_dtype",
    "randomise",
    "read_checkpoint",
    "read_cut_plan",
    "read_model_config",
    "remove_lora",
    "renumber_documents",
    "renumbered",
    "require_same_vocabulary",
    "resized",
    "resolve_source",
    "save_checkpoint",
    "save_lora",
    "shallower",
    "shared_prefix",
    "size_of",
    "supervised_counts",
    "trim_vocabulary",
    "verify_checkpoint",
    "weight_bytes",
    "with_activations",
    "with_vocabulary",
    "without_lora",
    "write_documents",
    "write_lineage",
    "write_tiny",
]
