"""Which problems are for training, for development, and for exams.

In: a problem. Out: its bucket, 0 to 99, a function of what the problem *is* and of nothing else. Buckets 0-79 are
train, 80-89 dev, 90-99 exam, whatever the seed, so that no seed can leak an exam problem into training.

The hash is taken over the task's name **without its knobs**: ``arith:sums?terms=2-3`` and ``arith:sums?terms=2-4``
share problems, so they must share their splits. For data files (``Family.has_data``) it is taken over the family
alone: the same question in two files, or in one file under two paths, is in one bucket; so it is for families whose
tasks pose the same problems in other ways (``Family.shares_splits``). Of a family that keeps several
answers to one prompt, what tells them apart (``Family.variant_mark``) is not hashed.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from spiritsafe.core.records import Problem
from spiritsafe.tasks.family import family_module

Split = Literal["train", "dev", "exam"]
NUM_BUCKETS = 100
SPLIT_BUCKETS: dict[Split, range] = {"train": range(0, 80), "dev": range(80, 90), "exam": range(90, 100)}


def bucket_of_text(task_name: str, canonical_text: str) -> int:
    """The bucket of a canonical text under a task: ``sha256(scope ‖ 0x00 ‖ text) mod 100``."""
    scope = task_name.partition("?")[0]
    family = scope.partition(":")[0]
    module = family_module(family)
    if module is not None and (module.FAMILY.has_data or module.FAMILY.shares_splits):
        scope = family
        if module.FAMILY.variant_mark:
            canonical_text = canonical_text.partition(module.FAMILY.variant_mark)[0]
    raw = hashlib.sha256(f"{scope}\0{canonical_text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(raw, "big") % NUM_BUCKETS


def bucket_of(problem: Problem) -> int:
    """The bucket of a problem, 0 to 99."""
    return bucket_of_text(problem.task, problem.canonical_text)


def split_of(problem: Problem) -> Split:
    """The split that a problem belongs to, for ever."""
    bucket = bucket_of(problem)
    return next(split for split, buckets in SPLIT_BUCKETS.items() if bucket in buckets)
