"""What a file is beside the model that it holds, and what it takes to run: measured once, when it is made.

In: a model of the run and a GGUF file of it. Out: ``measured.json`` in the file's stage. It holds seconds and rests on
the processor, so it is no output of the stage, and nothing is made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.records import Record
from spiritsafe.models import (
    Fidelity,
    FileSpeed,
    has_llama_cpp,
    held_bytes,
    measure_fidelity,
    measure_speed,
    read_model_config,
    require_faithful,
)
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.peak_memory import available_bytes
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import model_directory

MEASURED = "measured.json"
_WORKING_SHARE = 1.5
"""Of the weights' bytes: what reading a document with them takes besides."""


@final
class MeasuredFile(Record):
    """What was found.

    Attributes:
        fidelity: None where the whole model does not fit beside, in float32.
        speed: On this machine, at that moment.
    """

    fidelity: Fidelity | None
    speed: FileSpeed


def measure_file(
    context: RunContext, stage: StageDirectory, origin: str, file: Path, events: EventSink
) -> MeasuredFile | None:
    """Hold a file against its model, refuse it where it is another one, and run it.

    Returns:
        None where llama.cpp is not installed.

    Raises:
        CompatibilityError: The file tokenises otherwise, or is further from its model than its type explains.
    """
    if not has_llama_cpp():
        events.metrics("warning", {"message": f"{file.name} was not run: pip install 'spiritsafe[gguf]' does that"})
        return None
    measured = MeasuredFile(fidelity=_fidelity(context, origin, file, events), speed=measure_speed(file))
    write_json(stage.path / MEASURED, measured.to_json())
    return measured


def measured_file(context: RunContext, stage: StageDirectory, origin: str, file: Path) -> MeasuredFile | None:
    """What :func:`measure_file` found; None where it was not measured.

    What another version of this package wrote, or is damaged, is measured again: no digest holds it.

    Raises:
        CompatibilityError: As :func:`measure_file`.
    """
    path = stage.path / MEASURED
    if not path.is_file():
        return None
    try:
        return MeasuredFile.from_json(read_json(path))
    except (IntegrityError, SourceError):
        return measure_file(context, stage, origin, file, context.watcher)


def _fidelity(context: RunContext, origin: str, file: Path, events: EventSink) -> Fidelity | None:
    directory, available = model_directory(context, origin), available_bytes(context.device)
    needed = _WORKING_SHARE * held_bytes(read_model_config(directory), "fp32")
    if available is not None and needed > available:
        said = f"{file.name} was not held against {origin}, which takes {needed / 1e9:,.1f} GB in float32"
        events.metrics("warning", {"message": said})
        return None
    fidelity = measure_fidelity(directory, file, events=events)
    require_faithful(fidelity)
    return fidelity
