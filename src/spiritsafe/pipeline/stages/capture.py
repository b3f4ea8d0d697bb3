"""Stage "capture": what the taught teacher says of every document that a student with a cached signal will read.

Written once, read by every rung. Killed, the same call goes on with the file it was at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from hashlib import sha256

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Checkpoint
from spiritsafe.distil import CachedTeacher, capture, document_key, self_test
from spiritsafe.models import ChatFormat, Document, LoadedModel, load_model
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.traces import student_traces
from spiritsafe.pipeline.stages.training import documents_path, make_documents
from spiritsafe.training import write_documents

_FOLDER = "cache"


def capture_teacher(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Capture, then score a sample again and hold it against the cache.

    Raises:
        IntegrityError: The second look does not agree with the first.
    """
    config = context.recipe.cache
    if config is None:
        raise RecipeError("The recipe has no [cache] section.", hint="Add one.")
    teacher = load_model(context.stage("teach").path / "model", dtype=torch.float32, device=context.device)
    config = config.model_copy(update={"seed": context.seed("capture")})
    path = documents_path(stage)
    documents = write_documents(path, _all_documents(context, teacher))
    folder = stage.path / _FOLDER
    report = capture(teacher, documents, config, folder, events=events)
    check = self_test(folder, teacher, documents, seed=context.seed("capture", "check"))
    write_json(stage.path / "check.json", check.to_json())
    num_read = documents.num_tokens
    shutil.rmtree(path.parent)
    return {
        "report": report.to_json(),
        "check": check.to_json(),
        "compute": Compute.reading(num_read, teacher.num_active).to_json(),
        "summary": f"{report.num_rows:,} tokens at {report.bytes_per_row:.0f} bytes",
    }


def _all_documents(context: RunContext, teacher: LoadedModel) -> Iterator[Document]:
    """What any student with a cached signal reads; students that read the same read it once."""
    seen: set[bytes] = set()
    for student in context.recipe.students:
        if student.needs.cache:
            for document in make_documents(teacher, student_traces(context, student.traces, student.problems)):
                name = sha256(bytes.fromhex(document_key(document.token_ids)) + bytes(document.supervised)).digest()
                if name not in seen:
                    seen.add(name)
                    yield document


def open_cache(context: RunContext, teacher: Checkpoint, chat: ChatFormat) -> CachedTeacher:
    """The cache, for a student of this teacher.

    Raises:
        CompatibilityError: It was captured from another teacher.
        IntegrityError: It is damaged.
    """
    return CachedTeacher(
        context.stage("capture").path / _FOLDER,
        tokenizer=chat.vocab_fingerprint,
        teacher=teacher.digest,
        chat_template=chat.template_fingerprint,
        compute_dtype="float32",
    )
