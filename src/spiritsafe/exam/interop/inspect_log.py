"""Logs of Inspect AI (``.eval`` and ``.json``, format version 2) as practice.

In: a log file. Out: a :class:`~spiritsafe.exam.interop.practice.PracticeRun` with one answer for each planned try: a
sample that failed, or of which the log has nothing, stays in the denominator (Inspect's own metrics leave it out). The
JSON log needs nothing; ``.eval`` is a zip whose members are packed with Zstandard, so it needs ``spiritsafe[inspect]``.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import digest, digest_bytes
from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError, SourceError, SpiritsafeError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.files.record_files import read_file
from spiritsafe.core.records import Attempt, FinishReason, Sampling, Verdict
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
    text_of,
    verdict_of_value,
)

_WHAT = "log of Inspect AI"
_ZSTANDARD = 93  # compression method of the zip format
_LOCAL_HEADER_BYTES = 30
_MOST_UNPACKED_BYTES = 512 << 20
_ATTACHMENT = "attachment://"
_NO_ANSWER = ("invalid_response_format", "no_response")
_NOT_SCORED = ("grader_failed", "scoring_failed")
_NO_MATCH = "Scoring pattern not matched"  # how Inspect's pattern() said it before scores had a reason
_VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_FINISH: Mapping[str, FinishReason] = {"max_tokens": "length", "model_length": "length", "content_filter": "refused"}


def _zstandard(data: bytes, info: zipfile.ZipInfo, path: Path, most_bytes: int) -> bytes:
    """A member packed with Zstandard, which :mod:`zipfile` cannot read before Python 3.14; no more of it than that."""
    try:
        import zstandard  # of an extra: who reads JSON logs need not have it
    except ImportError as error:
        raise SourceError(
            f"{path} is packed with Zstandard, and the package that unpacks it is missing.",
            hint="Run `pip install 'spiritsafe[inspect]'`, or export the log with "
            "`inspect log convert LOG --to json --output-dir DIR`.",
        ) from error
    at = info.header_offset
    name, extra = (int.from_bytes(data[at + place : at + place + 2], "little") for place in (26, 28))
    start = at + _LOCAL_HEADER_BYTES + name + extra
    packed = io.BytesIO(data[start : start + info.compress_size])
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        content = bytes(reader.read(min(info.file_size, most_bytes) + 1))
    except zstandard.ZstdError as error:
        raise as_source_error(path, f"whole {_WHAT}: {info.filename} is damaged") from error
    if len(content) <= most_bytes and (len(content) != info.file_size or zlib.crc32(content) != info.CRC):
        raise as_source_error(path, f"whole {_WHAT}: {info.filename} is damaged")
    return content


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes, path: Path, most_bytes: int) -> bytes:
    """A member; what it says of its size is not believed."""
    if info.compress_type == _ZSTANDARD:
        content = _zstandard(data, info, path, most_bytes)
    elif info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with archive.open(info) as member:
            content = member.read(most_bytes + 1)
    else:
        raise as_source_error(path, _WHAT)
    if len(content) > most_bytes:
        raise SourceError(
            f"{path} unpacks to more than {_MOST_UNPACKED_BYTES >> 20} MiB.",
            hint="Give the log of a run with fewer samples, or without files in its messages.",
        )
    return content


def _members(data: bytes, path: Path) -> dict[str, Any]:
    """JSON of the members that matter; of two of one name the later one counts, as for every zip reader."""
    found: dict[str, Any] = {}
    left = _MOST_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.filename in ("header.json", "_journal/start.json") or info.filename.startswith("samples/"):
                    content = _unpacked(archive, info, data, path, left)
                    left -= len(content)
                    found[info.filename] = parse_json(content, f"{path}, {info.filename},", finite=False)
    except SpiritsafeError:  # some of these are ValueErrors too, and already say what to do
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error) as error:
        raise as_source_error(path, _WHAT) from error
    return found


def _load(data: bytes, path: Path) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """Header and samples."""
    if data[:2] == b"PK":
        members = _members(data, path)
        header = members.get("header.json") or members.get("_journal/start.json")  # the second: it never ended
        samples = [value for name, value in members.items() if name.startswith("samples/")]
    else:
        try:
            header = parse_json(data, path, finite=False)
        except SourceError as error:
            raise as_source_error(path, _WHAT) from error
        samples = header.get("samples") or [] if isinstance(header, dict) else []
    if not isinstance(header, dict) or not isinstance(header.get("eval"), dict):
        raise as_source_error(path, _WHAT)
    if header.get("version") != 2:
        raise CompatibilityError(
            f"{path} is a log of format version {header.get('version')}; version 2 is understood.",
            hint="Convert it with a current Inspect: `inspect log convert`.",
        )
    return header, samples


def _scorer(samples: Iterable[Mapping[str, Any]], wanted: str | None) -> str:
    names = list(dict.fromkeys(str(name) for sample in samples for name in sample.get("scores") or {}))
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    if not names:
        raise CompatibilityError("No sample of this log was scored.", hint="Score it first: `inspect score LOG`.")
    said = "Several scorers graded this log" if wanted is None else f'No scorer "{wanted}" graded this log'
    raise RecipeError(f"{said}: {', '.join(names)}.", hint="Choose one with --scorer NAME.")


def _number(value: Any, scorer: str) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        if value in _VALUES or value.lower() in _VALUES:
            return _VALUES.get(value, _VALUES.get(value.lower(), 0.0))
        try:
            return float(value)
        except ValueError:
            pass
    raise CompatibilityError(
        f"{scorer} gave {json.dumps(value)[:80]}: not one number.", hint="Choose another with --scorer NAME."
    )


def _verdict(sample: Mapping[str, Any], scorer: str, version: str) -> Verdict:
    score = (sample.get("scores") or {}).get(scorer)
    grader = (f"inspect:{scorer}", version)
    if score is None:
        return verdict_of_value(float("nan"), unparsed=False, answer=None, grader=grader)
    value = score.get("value")
    if value is None:  # older logs write the NaN of an unscored sample so
        value = float("nan")
    if score.get("reason") in _NOT_SCORED:
        value = float("nan")
    unparsed = value == "N" or score.get("reason") in _NO_ANSWER or str(score.get("explanation")).startswith(_NO_MATCH)
    answer = None if score.get("answer") is None else str(score["answer"])[:500]
    return verdict_of_value(_number(value, scorer), unparsed=unparsed, answer=answer, grader=grader)


def _finish(sample: Mapping[str, Any], choice: Mapping[str, Any], scorer: str) -> FinishReason:
    if sample.get("error") or (sample.get("output") or {}).get("error"):
        return "error"
    if ((sample.get("scores") or {}).get(scorer) or {}).get("reason") == "refusal":
        return "refused"
    reason = _FINISH.get(str(choice.get("stop_reason")), "stop")
    return "length" if sample.get("limit") and reason == "stop" else reason


def _asked(sample: Mapping[str, Any]) -> str:
    """Digest of question and target; the ids of messages are other ones in every run."""
    asked = sample.get("input")
    if isinstance(asked, list):
        asked = [[message.get("role"), message.get("content")] for message in asked]
    return digest({"input": asked, "target": sample.get("target"), "choices": sample.get("choices")})


def _attached(sample: Mapping[str, Any], text: str) -> str:
    """The text, or the long one that the log keeps apart in its place."""
    if not text.startswith(_ATTACHMENT):
        return text
    return str((sample.get("attachments") or {}).get(text.removeprefix(_ATTACHMENT), text))


def _texts(sample: Mapping[str, Any]) -> tuple[str, ...]:
    """Digest of the question alone."""
    asked = sample.get("input")
    text = last_question(asked) if isinstance(asked, list) else str(asked or "")
    text = _attached(sample, text)
    return (question_digest(text),) if text else ()


def _answer(sample: Mapping[str, Any], blank: Attempt, scorer: str, version: str) -> PracticeAnswer:
    output = sample.get("output") or {}
    choice = (output.get("choices") or [{}])[0]
    text = text_of((choice.get("message") or {}).get("content") or output.get("completion") or "")
    text = _attached(sample, text)
    usage, finish = output.get("usage") or {}, _finish(sample, choice, scorer)
    failure = sample.get("error") or {"message": output.get("error")}
    attempt = Attempt.from_json(
        {
            **blank.to_json(),
            "text": text,
            "finish_reason": finish,
            "num_prompt_tokens": int(usage.get("input_tokens") or 0),
            "num_tokens": int(usage.get("output_tokens") or 0),
            "seconds": float(output.get("time") or 0.0),
            "error": str(failure.get("message") or "unknown")[:500] if finish == "error" else None,
        }
    )
    return PracticeAnswer(
        sample=str(sample.get("id")),
        asked=_asked(sample),
        attempt=attempt,
        verdict=None if finish == "error" else _verdict(sample, scorer, version),
        texts=_texts(sample),
    )


def _sampling(config: Mapping[str, Any]) -> tuple[Sampling, list[str]]:
    """What the log names of it, and what it does not."""
    names = ("temperature", "top_p", "top_k", "max_tokens")
    known = {name: config[name] for name in names if config.get(name) is not None}
    return Sampling.from_json(known), [name for name in names if name not in known]


def _remarks(header: Mapping[str, Any], samples: list[Mapping[str, Any]], unknown: list[str], scorer: str) -> list[str]:
    found = []
    if header.get("status") != "success":
        found.append(f"The run did not finish: its status is {header.get('status')}.")
    if unknown:
        found.append(f"The log names no {', '.join(unknown)}: the provider's own held.")
    edited = sum(bool(((s.get("scores") or {}).get(scorer) or {}).get("history")) for s in samples)
    if edited:
        found.append(f"{edited} scores were edited after the run; the edited ones are counted.")
    if invalid := sum(bool(sample.get("invalidation")) for sample in samples):
        found.append(f"{invalid} samples were invalidated after the run; they are counted as they ended.")
    return found


def read_inspect_log(path: Path, *, scorer: str | None = None) -> PracticeRun:
    """A log as practice.

    Args:
        path: ``.eval`` or ``.json``.
        scorer: Whose scores count, where several graded it.

    Raises:
        SourceError: It cannot be read, is no such log, or needs the extra.
        CompatibilityError: Its format version or its scores are not understood.
        RecipeError: There are several scorers and none was named, or no scorer of that name.
        IntegrityError: It is damaged: a sample is there twice.
    """
    data = read_file(path)
    with reading(path, _WHAT):
        run = _run(data, path, scorer)
    check_whole(run, str(path))
    return run


def _run(data: bytes, path: Path, scorer: str | None) -> PracticeRun:
    header, samples = _load(data, path)
    spec = header["eval"]
    chosen = _scorer(samples, scorer)
    version = str((spec.get("packages") or {}).get("inspect_ai", "unknown"))
    dataset, config = spec.get("dataset") or {}, spec.get("config") or {}
    num_tries = int(config.get("epochs") or 1)
    planned = [str(name) for name in dataset.get("sample_ids") or ()]
    planned = planned or list(dict.fromkeys(str(sample.get("id")) for sample in samples))
    settings = {**(spec.get("model_generate_config") or {}), **((header.get("plan") or {}).get("config") or {})}
    sampling, unknown = _sampling(settings)
    check_planned(len(planned) * num_tries, len(samples), path)
    by_try: dict[tuple[str, int], Mapping[str, Any]] = {}
    for sample in samples:
        place = (str(sample.get("id")), int(sample.get("epoch") or 1) - 1)
        if place in by_try:
            raise IntegrityError(f"{path} holds sample {place[0]} twice.", hint="Export the log again.")
        by_try[place] = sample
    answers = []
    for name in planned:
        for index in range(num_tries):
            blank = Attempt(
                problem_id=digest({"practice": str(spec.get("task")), "sample": name}),
                sample_index=index,
                model=str(spec.get("model")),
                sampling=sampling,
                seed=int(settings.get("seed") or 0),
                text="",
                finish_reason="stop",
            )
            if (name, index) in by_try:
                answers.append(_answer(by_try.pop((name, index)), blank, chosen, version))
            else:
                answers.append(not_run(blank, name))
    if by_try:
        raise IntegrityError(f"{path} holds {len(by_try)} samples that were not planned.", hint="Export the log again.")
    return PracticeRun(
        PracticeHeader(
            tool=f"inspect-ai {version}",
            task=str(spec.get("task")),
            model=str(spec.get("model")),
            scorer=chosen,
            file=path.name,
            file_digest=digest_bytes(data),
            num_problems=len(planned),
            num_tries=num_tries,
            remarks=tuple(_remarks(header, samples, unknown, chosen)),
        ),
        tuple(answers),
    )
