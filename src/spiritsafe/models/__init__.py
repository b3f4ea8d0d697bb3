"""Models: where they come from, how chats become their tokens, running them, and what they cost in bytes.

Needs the ``train`` extra (torch, transformers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.core.files.cache import default_cache
    from spiritsafe.models.chat.format import ChatFormat, require_same_vocabulary
    from spiritsafe.models.chat.options import ChatOptions, Day
    from spiritsafe.models.chat.thoughts import Use
    from spiritsafe.models.checkpoints.directory import HasWeights, new_directory, save_checkpoint, write_lineage
    from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint, verify_checkpoint
    from spiritsafe.models.checkpoints.merge import merge_checkpoints
    from spiritsafe.models.checkpoints.merge_methods import RANDOM_METHODS, SPARSE_METHODS, MergeMethod, MergeSettings
    from spiritsafe.models.checkpoints.tensors import read_tensor_table, saved_dtype
    from spiritsafe.models.cost.footprint import (
        Footprint,
        Quantisation,
        held_bytes,
        kv_cache_bytes,
        layers_within,
        measure_bytes,
        predict_footprint,
        shallower,
        weight_bytes,
    )
    from spiritsafe.models.cost.moments import MOMENT_BLOCK, takes_8_bits
    from spiritsafe.models.cost.step_time import (
        ERROR_FACTOR,
        MachineRates,
        Work,
        measure_machine,
        sampling_work,
        scoring_work,
        training_work,
    )
    from spiritsafe.models.cost.training_memory import MemoryFit, TrainingMemory, fit_micro_batch, predict_training
    from spiritsafe.models.decoder.architectures import DECODER_NAMES
    from spiritsafe.models.decoder.config import DecoderConfig
    from spiritsafe.models.decoder.head_product import head_logits, head_product, logits_dtype
    from spiritsafe.models.decoder.module import Decoder
    from spiritsafe.models.decoder.quantised import QuantisedWeight, WeightFormat, bitsandbytes_functions, format_name
    from spiritsafe.models.gguf.blocks.grids import (
        FileGrid,
        GridType,
        fake_quantise,
        file_grid,
        predict_file_bytes,
        round_to_grid,
    )
    from spiritsafe.models.gguf.facts import (
        MOST_SUBSTITUTED,
        FileFacts,
        TypeShare,
        check_file_name,
        file_facts,
        true_name,
    )
    from spiritsafe.models.gguf.lineage import write_file_lineage
    from spiritsafe.models.gguf.types import FILE_TYPES, FileType, FileTypeName, find_file_type
    from spiritsafe.models.gguf.write import write_gguf
    from spiritsafe.models.interface.batch import (
        IGNORED,
        Document,
        DrawnCompletion,
        PackedBatch,
        PackedDrawn,
        pack_documents,
        shared_prefix,
    )
    from spiritsafe.models.interface.byte_alphabet import BYTE_OF_CHARACTER
    from spiritsafe.models.interface.dtype import preferred_dtype
    from spiritsafe.models.interface.language_model import Head, LanguageModel
    from spiritsafe.models.llama_cpp.fidelity.measure import general_documents, measure_fidelity
    from spiritsafe.models.llama_cpp.fidelity.records import Fidelity, require_faithful
    from spiritsafe.models.llama_cpp.importance import ImportanceMatrix, measure_importance
    from spiritsafe.models.llama_cpp.process import has_llama_cpp
    from spiritsafe.models.llama_cpp.quantise import quantise_file
    from spiritsafe.models.llama_cpp.speed import FileSpeed, measure_speed
    from spiritsafe.models.lora.adapters import (
        LoraBase,
        add_lora,
        lora_config,
        lora_parameters,
        lora_state,
        merge_lora,
        num_trainable,
        without_lora,
    )
    from spiritsafe.models.lora.config import LoraConfig
    from spiritsafe.models.lora.decoder_adapters import num_lora_parameters
    from spiritsafe.models.lora.files import load_lora, save_lora
    from spiritsafe.models.lora.merged import MergedLora
    from spiritsafe.models.pruning.cut import CUT_PLAN, CutPlan, StudentShape, cut, read_cut_plan, resized
    from spiritsafe.models.pruning.depth import DepthPlan, block_influence, choose_layers, cut_depth, mean_loss
    from spiritsafe.models.pruning.importance import Importance, calibrate
    from spiritsafe.models.pruning.random_init import randomise
    from spiritsafe.models.pruning.shapes import candidates
    from spiritsafe.models.pruning.vocabulary import (
        choose_vocabulary,
        renumber_documents,
        renumbered,
        trim_vocabulary,
        with_vocabulary,
    )
    from spiritsafe.models.running.engine.cached_runner import PACK_LIMIT_BYTES
    from spiritsafe.models.running.generators.file_generator import FileGenerator
    from spiritsafe.models.running.generators.local_generator import LocalGenerator
    from spiritsafe.models.running.generators.this_platform import this_platform
    from spiritsafe.models.running.generators.transformers_generator import (
        FallbackGenerator,
        make_generator,
        open_generator,
    )
    from spiritsafe.models.sources.architecture import architecture_config
    from spiritsafe.models.sources.config import SourceConfig, source_config
    from spiritsafe.models.sources.resolve import find_source, resolve_source
    from spiritsafe.models.sources.texts import source_texts
    from spiritsafe.models.sources.tiny import write_tiny
    from spiritsafe.models.transformers_backend.choice import CodeChoice, choose_code
    from spiritsafe.models.transformers_backend.loading import LoadedModel, active_parameters, load_decoder, load_model
    from spiritsafe.models.transformers_backend.model import TransformersModel
    from spiritsafe.models.transformers_backend.projections import LORA_TARGETS
    from spiritsafe.models.transformers_backend.sizes import (
        ModelSize,
        adapter_fault,
        decoder_config,
        num_adapted,
        read_model_config,
        size_of,
        with_activations,
    )
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "BYTE_OF_CHARACTER", "CUT_PLAN", "DECODER_NAMES", "ERROR_FACTOR", "FILE_TYPES", "IGNORED", "LORA_TARGETS",
    "MOMENT_BLOCK", "MOST_SUBSTITUTED", "PACK_LIMIT_BYTES", "RANDOM_METHODS", "SPARSE_METHODS", "ChatFormat",
    "ChatOptions", "CodeChoice", "CutPlan", "Day", "Decoder", "DecoderConfig", "DepthPlan", "Document",
    "DrawnCompletion", "FallbackGenerator", "Fidelity", "FileFacts", "FileGenerator", "FileGrid", "FileSpeed",
    "FileType", "FileTypeName", "Footprint", "GridType", "HasWeights", "Head", "Importance", "ImportanceMatrix",
    "LanguageModel", "LoadedModel", "LocalGenerator", "LoraBase", "LoraConfig", "MachineRates", "MemoryFit",
    "MergeMethod", "MergeSettings", "MergedLora", "ModelSize", "PackedBatch", "PackedDrawn", "Quantisation",
    "QuantisedWeight", "SourceConfig", "StudentShape", "TrainingMemory", "TransformersModel", "TypeShare", "Use",
    "WeightFormat", "Work", "active_parameters", "adapter_fault", "add_lora", "architecture_config",
    "bitsandbytes_functions", "block_influence", "calibrate", "candidates", "check_file_name", "choose_code",
    "choose_layers", "choose_vocabulary", "cut", "cut_depth", "decoder_config", "default_cache", "fake_quantise",
    "file_facts", "file_grid", "find_file_type", "find_source", "fit_micro_batch", "format_name", "general_documents",
    "has_llama_cpp", "head_logits", "head_product", "held_bytes", "kv_cache_bytes", "layers_within", "load_decoder",
    "load_lora", "load_model", "logits_dtype", "lora_config", "lora_parameters", "lora_state", "make_generator",
    "mean_loss", "measure_bytes", "measure_fidelity", "measure_importance", "measure_machine", "measure_speed",
    "merge_checkpoints", "merge_lora", "new_directory", "num_adapted", "num_lora_parameters", "num_trainable",
    "open_generator", "pack_documents", "parent_of", "predict_file_bytes", "predict_footprint", "predict_training",
    "preferred_dtype", "quantise_file", "randomise", "read_checkpoint", "read_cut_plan", "read_model_config",
    "read_tensor_table", "renumber_documents", "renumbered", "require_faithful", "require_same_vocabulary", "resized",
    "resolve_source", "round_to_grid", "sampling_work", "save_checkpoint", "save_lora", "saved_dtype", "scoring_work",
    "shallower", "shared_prefix", "size_of", "source_config", "source_texts", "takes_8_bits", "this_platform",
    "training_work", "trim_vocabulary", "true_name", "verify_checkpoint", "weight_bytes", "with_activations",
    "with_vocabulary", "without_lora", "write_file_lineage", "write_gguf", "write_lineage", "write_tiny",
]  # fmt: skip
