"""Sample files of lm-evaluation-harness as practice.

In: ``samples_<task>_<time>.jsonl`` (written with ``--log_samples``) and the ``results_<time>.json`` beside it. Out: a
:class:`~spiritsafe.exam.interop.practice.PracticeRun`. The harness does not record how an answer ended, so nothing can
be told to be refused or truncated; an answer in which its filter found nothing (``[invalid]``) is unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import digest, digest_bytes
from spiritsafe.core.errors import CompatibilityError, RecipeError, SourceError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.files.record_files import read_file
from spiritsafe.core.records import Attempt, Sampling
from spiritsafe.exam.interop.practice import (
    PracticeAnswer,
    PracticeHeader,
    PracticeRun,
    as_source_error,
    check_planned,
    check_whole,
    last_question,
    not_run,
    question_digest,
    reading,
    verdict_of_value,
)

_WHAT = "sample file of lm-evaluation-harness"
_NAME = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_NOTHING_FOUND = "[invalid]"
_NOT_TOLD = (
    "lm-evaluation-harness does not record how an answer ended: refused, cut off and failed ones are among the others."
)


def _rows(data: bytes, path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = [parse_json(line, path, finite=False) for line in data.splitlines() if line.strip()]
    except SourceError as error:
        raise as_source_error(path, _WHAT) from error
    if not rows or not all(isinstance(row, dict) and {"doc_id", "metrics", "resps"} <= row.keys() for row in rows):
        raise as_source_error(path, _WHAT)
    return rows


def _results(path: Path, results: Path | None) -> tuple[str, Mapping[str, Any]]:
    """Task and the content of the results file."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise as_source_error(path, "sample file of lm-evaluation-harness (samples_<task>_<time>.jsonl)")
    beside = results or path.with_name(f"results_{named['time']}.json")
    if not beside.exists():
        raise SourceError(
            f"{beside.name} is not beside {path.name}.",
            hint="It names the model and how many problems were planned: put it there, or name it with --results of "
            "`spiritsafe exam import`.",
        )
    data = read_file(beside)
    try:
        value = parse_json(data, beside, finite=False)
    except SourceError as error:
        raise as_source_error(beside, "results file of lm-evaluation-harness") from error
    if not isinstance(value, dict) or not isinstance(value.get("n-samples"), dict):
        raise as_source_error(beside, "results file of lm-evaluation-harness")
    if named["task"] not in value["n-samples"]:
        raise SourceError(f"{beside.name} is of other tasks than {named['task']}.", hint="Give the run's own results.")
    return named["task"], value


def _choose(names: Sequence[str], wanted: str | None, what: str) -> str:
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    said = f"This file has several {what}s" if wanted is None else f'This file has no {what} "{wanted}"'
    raise RecipeError(f"{said}: {', '.join(names)}.", hint=f"Choose one with --{what} NAME.")


def _first(value: Any) -> str:
    """The first text, however deep it lies."""
    while isinstance(value, list) and value:
        value = value[0]
    return str(value) if value else ""


def _text(row: Mapping[str, Any], kind: str) -> str:
    """What the model wrote; of a choice among given endings, the one it finds likeliest; else nothing."""
    if kind == "generate_until":
        return _first(row["resps"])
    if kind != "multiple_choice":
        return ""
    arguments = list((row.get("arguments") or {}).values())
    likelihoods = [float(_first(response)) for response in row["resps"]]
    best = max(range(len(likelihoods)), key=likelihoods.__getitem__)
    return str(arguments[best].get("arg_1", "")) if best < len(arguments) else ""


def _texts(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Digests of the prompt, and of the longest text of the document that stands in it: the question, most often."""
    arguments = next(iter((row.get("arguments") or {}).values()), None)
    prompt = _first(arguments.get("arg_0")) if isinstance(arguments, dict) else ""
    if prompt.startswith("[{"):  # a chat, as text
        with suppress(SourceError):
            prompt = last_question(parse_json(prompt, "it")) or prompt
    document = row.get("doc")
    values = document.values() if isinstance(document, dict) else ()
    inside = [value for value in values if isinstance(value, str) and value.strip() and value in prompt]
    found = [text for text in (prompt, max(inside, key=len, default="")) if text]
    return tuple(dict.fromkeys(question_digest(text) for text in found))


def _answer(row: Mapping[str, Any], blank: Attempt, kind: str, metric: str, version: str) -> PracticeAnswer:
    value = row.get(metric)
    if not isinstance(value, bool | int | float):
        raise CompatibilityError(
            f"{metric} of problem {row['doc_id']} is not one number.", hint="Choose another with --metric NAME."
        )
    filtered = [_first(response) for response in row.get("filtered_resps") or ()] if kind == "generate_until" else []
    return PracticeAnswer(
        sample=str(row["doc_id"]),
        asked=digest({"doc": row.get("doc_hash"), "target": row.get("target_hash")}),
        attempt=blank.model_copy(update={"text": _text(row, kind)}),
        verdict=verdict_of_value(
            float(value),
            unparsed=bool(filtered) and all(text == _NOTHING_FOUND for text in filtered),
            answer=filtered[0][:500] if filtered else None,
            grader=(f"lm-eval:{metric}", version),
        ),
        texts=_texts(row),
    )


def _sampling(results: Mapping[str, Any], task: str) -> tuple[Sampling, list[str]]:
    given = ((results.get("configs") or {}).get(task) or {}).get("generation_kwargs") or {}
    given = {**given, **((results.get("config") or {}).get("gen_kwargs") or {})}
    names = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_gen_toks": "max_tokens"}
    known = {ours: given[theirs] for theirs, ours in names.items() if given.get(theirs) is not None}
    if "temperature" not in known and given.get("do_sample") is False:
        known["temperature"] = 0.0
    return Sampling.from_json(known), [name for name in names.values() if name not in known]


def read_lm_eval_samples(
    path: Path, *, results: Path | None = None, metric: str | None = None, filter_name: str | None = None
) -> PracticeRun:
    """A sample file as practice.

    Args:
        path: ``samples_<task>_<time>.jsonl``.
        results: ``results_<time>.json``; None: the one beside it.
        metric: Which metric says what is right, where there are several.
        filter_name: Which filter's answers count, where there are several.

    Raises:
        SourceError: A file cannot be read, or is none of the harness's.
        RecipeError: There are several metrics or filters and none was named, or none of that name.
        CompatibilityError: The metric is not a number between 0 and 1.
        IntegrityError: A problem is there twice.
    """
    data = read_file(path)
    with reading(path, _WHAT):
        run = _run(data, path, results, metric, filter_name)
    check_whole(run, str(path))
    return run


def _run(data: bytes, path: Path, results: Path | None, metric: str | None, filter_name: str | None) -> PracticeRun:
    rows = _rows(data, path)
    task, found = _results(path, results)
    chosen_filter = _choose(list(dict.fromkeys(str(row.get("filter", "none")) for row in rows)), filter_name, "filter")
    rows = [row for row in rows if str(row.get("filter", "none")) == chosen_filter]
    chosen = _choose(list(dict.fromkeys(name for row in rows for name in row["metrics"])), metric, "metric")
    version = str(found.get("lm_eval_version", "unknown"))
    sampling, unknown = _sampling(found, task)
    model = str(found.get("model_name") or (found.get("config") or {}).get("model") or "unknown")
    planned = max(len(rows), int(found["n-samples"][task].get("effective") or 0))
    check_planned(planned, len(rows), path)

    def blank(sample: str) -> Attempt:
        return Attempt(
            problem_id=digest({"practice": task, "sample": sample}),
            sample_index=0,
            model=model,
            sampling=sampling,
            seed=0,
            text="",
            finish_reason="stop",
        )

    kind = str(((found.get("configs") or {}).get(task) or {}).get("output_type"))
    answers = [_answer(row, blank(str(row["doc_id"])), kind, chosen, version) for row in rows]
    seen = {answer.sample for answer in answers}
    missing = [name for name in map(str, range(planned)) if name not in seen][: planned - len(rows)]
    answers += [not_run(blank(name), name) for name in missing]
    remarks = [_NOT_TOLD]
    if unknown:
        remarks.append(f"The files name no {', '.join(unknown)}: the harness's or the server's own held.")
    return PracticeRun(
        PracticeHeader(
            tool=f"lm-eval {version}",
            task=task,
            model=model,
            scorer=f"{chosen},{chosen_filter}",
            file=path.name,
            file_digest=digest_bytes(data),
            num_problems=planned,
            num_tries=1,
            remarks=tuple(remarks),
        ),
        tuple(answers),
    )
