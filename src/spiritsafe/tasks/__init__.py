"""Tasks: problems, their verifiers, their splits, and the audit that says which can be trusted.

The exam buckets are not reachable from here: see ``exam_bucket.py``.
"""

from spiritsafe.tasks.audit import AuditReport, audit_task
from spiritsafe.tasks.extract import Extracted, extract_answer
from spiritsafe.tasks.graders import GraderPool
from spiritsafe.tasks.registry import (
    QUICKSTART_SPECS,
    R1_MIX_SPEC,
    FamilyInfo,
    build_task,
    list_families,
    load_named,
    load_task,
    load_verifier,
)
from spiritsafe.tasks.splits import NUM_BUCKETS, Split, bucket_of, split_of
from spiritsafe.tasks.task import Draft, Task, Verifier

__all__ = [
    "NUM_BUCKETS",
    "QUICKSTART_SPECS",
    "R1_MIX_SPEC",
    "AuditReport",
    "Draft",
    "Extracted",
    "FamilyInfo",
    "GraderPool",
    "Split",
    "Task",
    "Verifier",
    "audit_task",
    "bucket_of",
    "build_task",
    "extract_answer",
    "list_families",
    "load_named",
    "load_task",
    "load_verifier",
    "split_of",
]
