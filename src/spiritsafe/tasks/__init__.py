"""Tasks: problems, their verifiers, their splits, and the audit that says which can be trusted.

The exam buckets are not reachable from here: see ``exam_bucket.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.tasks.answers.extract import Extracted, extract_answer, normalise, parse_number
    from spiritsafe.tasks.code.languages.language import languages
    from spiritsafe.tasks.data.benchmarks import BENCHMARKS
    from spiritsafe.tasks.data.source import DataSource, is_hub_name, is_set
    from spiritsafe.tasks.families.choice import LetterVerifier
    from spiritsafe.tasks.families.code.leaks import leak_in
    from spiritsafe.tasks.families.ifeval.task import InstructionRates, InstructionVerifier, instruction_rates
    from spiritsafe.tasks.families.math.task import MathVerifier, ValueVerifier, gold_and_solution
    from spiritsafe.tasks.families.mix import MixTask
    from spiritsafe.tasks.families.own_data import data_spec
    from spiritsafe.tasks.grading.audit import AuditReport, audit_task
    from spiritsafe.tasks.grading.pool import GraderPool
    from spiritsafe.tasks.registry import (
        QUICKSTART_SPECS,
        R1_MIX_SPEC,
        FamilyInfo,
        build_task,
        list_families,
        load_named,
        load_task,
        load_verifier,
        row_graders,
    )
    from spiritsafe.tasks.sandbox.attacks.table import AttackResult, attack_table
    from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
    from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS, strongest_layer, why_no_layer
    from spiritsafe.tasks.sandbox.namespaces import shown_at
    from spiritsafe.tasks.sandbox.sandbox import Sandbox, SandboxFailure, shared_sandbox
    from spiritsafe.tasks.sandbox.walls import closed_folder, interpreter, python_folders
    from spiritsafe.tasks.spec import canonical_name, parse_spec
    from spiritsafe.tasks.splits import NUM_BUCKETS, Split, bucket_of, split_of
    from spiritsafe.tasks.task import Draft, NoMoreProblemsError, Task, Verifier
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "BENCHMARKS", "NUM_BUCKETS", "QUICKSTART_SPECS", "R1_MIX_SPEC", "SANDBOX_LAYERS", "AttackResult", "AuditReport",
    "DataSource", "Draft", "Extracted", "FamilyInfo", "GraderPool", "InstructionRates", "InstructionVerifier",
    "LetterVerifier", "Limits", "MathVerifier", "MixTask", "NoMoreProblemsError", "Run", "RunStep", "Sandbox",
    "SandboxFailure", "Split", "Task", "ValueVerifier", "Verifier", "attack_table", "audit_task", "bucket_of",
    "build_task", "canonical_name", "closed_folder", "data_spec", "extract_answer", "gold_and_solution",
    "instruction_rates", "interpreter", "is_hub_name", "is_set", "languages", "leak_in", "list_families",
    "load_named", "load_task", "load_verifier", "normalise", "parse_number", "parse_spec", "python_folders",
    "row_graders", "shared_sandbox", "shown_at", "split_of", "strongest_layer", "why_no_layer",
]  # fmt: skip
