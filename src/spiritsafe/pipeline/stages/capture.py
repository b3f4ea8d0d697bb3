"""Stages that capture: what a teacher says of every document that students of its signal will read.

Written once, read by every one of them. Killed, the same call goes on with the file it was at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Checkpoint
from spiritsafe.distil import CachedTeacher, CaptureConfig, capture, document_key, self_test
from spiritsafe.models import ChatFormat, Document
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Traces, in_vocabulary
from spiritsafe.pipeline.recipe.made import FromEntry, Learns
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.source import load_reader, reading_dtype
from spiritsafe.pipeline.stages.training import documents_path, make_documents
from spiritsafe.training import write_documents

_FOLDER = "cache"
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def capture_teacher(
    name: str,
    teacher: str,
    learns: Learns,
    config: CaptureConfig,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> dict[str, JSON]:
    """Capture, then score a sample again and hold it against the cache.

    Raises:
        IntegrityError: The second look does not agree with the first.
    """
    loaded = load_reader(context, teacher)
    config = config.model_copy(update={"seed": context.seed("capture", name)})
    path = documents_path(stage)
    documents = write_documents(path, _documents(loaded.chat, chosen_traces(context, learns)))
    folder = stage.path / _FOLDER
    report = capture(loaded, documents, config, folder, events=events)
    check = self_test(folder, loaded, documents, seed=context.seed("capture", "check"))
    write_json(stage.path / "check.json", check.to_json())
    num_read = documents.num_tokens
    shutil.rmtree(path.parent)
    return {
        "report": report.to_json(),
        "check": check.to_json(),
        "compute": Compute.reading(num_read, loaded.num_active).to_json(),
        "summary": f"{report.num_rows:,} tokens at {report.bytes_per_row:.0f} bytes",
    }


def _documents(chat: ChatFormat, sets: Mapping[str, Traces]) -> Iterator[Document]:
    """What a student of the signal reads; what stands in two sets is read once."""
    seen: set[bytes] = set()
    traces = in_vocabulary(Traces.joined(list(sets.values())), chat.vocab_fingerprint)
    for document in make_documents(chat, traces):
        name = sha256(bytes.fromhex(document_key(document.token_ids)) + bytes(document.supervised)).digest()
        if name not in seen:
            seen.add(name)
            yield document


def teacher_of_signal(context: RunContext, signal: str) -> str:
    """Whose signal it is."""
    recipe = context.recipe.node(signal).recipe
    if not isinstance(recipe, FromEntry):
        raise TypeError(f"{signal} is no step that captures")
    return recipe.origin


def open_signal(context: RunContext, signal: str, teacher: Checkpoint, chat: ChatFormat) -> CachedTeacher:
    """A captured signal, for a student of this teacher.

    Raises:
        CompatibilityError: It was captured from another teacher.
        IntegrityError: It is damaged.
    """
    return CachedTeacher(
        context.stage(signal).path / _FOLDER,
        tokenizer=chat.vocab_fingerprint,
        teacher=teacher.digest,
        chat_template=chat.template_fingerprint,
        compute_dtype=_DTYPES[reading_dtype(context, teacher_of_signal(context, signal))],
    )
