"""Stages that capture: what a teacher says of every document that students of its signal will read.

Written once, read by every one of them. Killed, the same call goes on with the file it was at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Checkpoint
from spiritsafe.distil import (
    CachedTeacher,
    CaptureConfig,
    capture,
    capture_answers,
    capture_served,
    document_key,
    self_test,
)
from spiritsafe.models import ChatFormat, Document
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, Traces, in_vocabulary, read_traces, write_traces
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.recipe.made import FromEntry, Learns
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.answerer import is_served
from spiritsafe.pipeline.stages.sets import TRACES_FILE, chosen_traces
from spiritsafe.pipeline.stages.source import given_of, load_reader, model_directory
from spiritsafe.pipeline.stages.training import documents_path, make_documents
from spiritsafe.rollouts import EndpointConfig, read_attempts
from spiritsafe.training import write_documents

_FOLDER = "cache"


def capture_teacher(
    name: str,
    teacher: str,
    learns: Learns,
    config: CaptureConfig,
    full_vocabulary: bool,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> dict[str, JSON]:
    """Capture, then score a sample again and hold it against the cache.

    Raises:
        IntegrityError: The second look does not agree with the first.
    """
    if is_served(context.recipe, teacher):
        return _capture_served(name, teacher, learns, config, full_vocabulary, context, stage, events)
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


def _capture_served(
    name: str,
    teacher: str,
    learns: Learns,
    config: CaptureConfig,
    full_vocabulary: bool,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> dict[str, JSON]:
    """What an endpoint says of documents, by its prompt log-probabilities, or said beside its own answers.

    Answers that were drawn with ``top_logprobs`` are captured from what is on disk; nothing is asked then.
    """
    chat, endpoint = ChatFormat(model_directory(context, teacher)), _endpoint(context, teacher)
    config = config.model_copy(update={"seed": context.seed("capture", name)})
    folder, sets = stage.path / _FOLDER, chosen_traces(context, learns)
    if endpoint.top_logprobs:
        return _capture_answers(teacher, sets, config, context, stage, events)
    path = documents_path(stage)
    documents = write_documents(path, _documents(chat, sets))
    report = capture_served(
        documents, config, folder, endpoint=endpoint, chat=chat, full_vocabulary=full_vocabulary, events=events
    )
    num_read = documents.num_tokens
    shutil.rmtree(path.parent)
    return {
        "report": report.to_json(),
        "compute": Compute.reading(num_read, 0).to_json(),
        "summary": f"{report.num_rows:,} tokens at {report.bytes_per_row:.0f} bytes; {report.bias or 'unbiased'}",
    }


def _capture_answers(
    teacher: str,
    sets: Mapping[str, Traces],
    config: CaptureConfig,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> dict[str, JSON]:
    """Of answers to be learnt from, what their writer found likely at each place; traces hold its very tokens then."""
    (name,) = sets
    chat = ChatFormat(model_directory(context, teacher))
    wanted = {(trace.problem.id, trace.text): trace for trace in sets[name]}
    attempts = context.stage(name).path / "attempts"
    kept = (
        (attempt.problem_id, attempt)
        for attempt, _ in read_attempts(attempts)
        if (attempt.problem_id, attempt.text) in wanted
    )
    captured = capture_answers(
        kept,
        {problem_id: trace.problem.messages for (problem_id, _), trace in wanted.items()},
        attempts,
        config,
        stage.path / _FOLDER,
        endpoint=_endpoint(context, teacher),
        chat=chat,
        events=events,
    )
    prompts = {tuple(chat.prompt_ids(trace.problem.messages)): trace for trace in wanted.values()}
    write_traces(stage.path / TRACES_FILE, _drawn(captured.documents, prompts, chat.vocab_fingerprint))
    refused = sum(captured.refused.values())
    said = f"; {refused} answers refused" if refused else ""
    report = captured.report
    return {
        "report": report.to_json(),
        "refused": {str(reason): count for reason, count in captured.refused.items()},
        "summary": f"{report.num_rows:,} tokens at {report.bytes_per_row:.0f} bytes{said}; {report.bias or 'unbiased'}",
    }


def _drawn(documents: Iterable[Document], prompts: Mapping[tuple[int, ...], Trace], vocabulary: str) -> Iterator[Trace]:
    """The answers in the tokens that their writer drew."""
    for document in documents:
        start = document.supervised.index(True)
        trace = prompts[tuple(document.token_ids[:start])]
        yield replace(trace, token_ids=tuple(document.token_ids[start:]), vocabulary=vocabulary)


def _endpoint(context: RunContext, name: str) -> EndpointConfig:
    given = given_of(context, name)
    if given is None:
        raise TypeError(f"{name} is behind no endpoint")
    return given.endpoint_config()


def signal_traces(context: RunContext, signal: str) -> Traces | None:
    """The captured answers themselves, where a signal is of what its teacher wrote; None: it is of the sets."""
    path = context.stage(signal).path / TRACES_FILE
    return read_traces(path) if path.is_file() else None


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
    name = teacher_of_signal(context, signal)
    is_here = not is_served(context.recipe, name)
    return CachedTeacher(
        context.stage(signal).path / _FOLDER,
        tokenizer=chat.vocab_fingerprint,
        teacher=teacher.digest,
        chat_template=chat.template_fingerprint,
        compute_dtype=reading_of(context.recipe, name, context.device).name if is_here else "served",
    )
