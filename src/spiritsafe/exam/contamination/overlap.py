"""Overlap: the examiner looks for the paper's problems in training files, and only hashes and counts leave.

In: a paper with its sealed half, training files of any size, the examiner's key. Out: ``overlap.json``, signed, and a
ledger entry of kind ``overlap``; the access stands in the ledger before the sealed half is opened. Run it in a process
of its own, as a sitting: sealed problems exist in the clear in its memory only.

1. Paper is in the ledger; the access goes into the ledger; the sealed half is decrypted in memory.
2. As many control problems (and twins) are drawn from the same exam bucket, none of them on the paper.
3. Each file is read once; words are compared as they are, and with every number masked.
4. Findings, verdict and statements follow from the hits (:mod:`spiritsafe.exam.contamination.overlap_report`).
5. The report's digest goes into the ledger; only then the report is written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import ProcedureError, RecipeError, TaskError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.record_files import write_record
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Problem
from spiritsafe.exam.contamination.index import FoundRun, ProblemIndex
from spiritsafe.exam.contamination.overlap_report import (
    FORMS,
    OVERLAP_KINDS,
    Controls,
    findings_of,
    statements_of_overlap,
    verdict_of,
)
from spiritsafe.exam.contamination.shingles import SEPARATOR, Hashes, WordHashes, words_of
from spiritsafe.exam.contamination.signed_report import OverlapEntry
from spiritsafe.exam.contamination.training_files import TrainingFile
from spiritsafe.exam.entries.accesses import AccessEntry, enter_access
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.paper.bank import Bank, draw_controls, draw_twins
from spiritsafe.exam.paper.files import check_task, keyed_salt, load_paper, open_sealed, paper_entry
from spiritsafe.exam.paper.split import halves, num_places
from spiritsafe.exam.records.contamination import (
    FileSeen,
    OverlapForm,
    OverlapHit,
    OverlapKind,
    OverlapReport,
    SignedOverlap,
)
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem, PublicPaper
from spiritsafe.exam.records.result import Half
from spiritsafe.exam.records.terms import MOST_OVERLAPS
from spiritsafe.exam.results.certificate import host_software
from spiritsafe.ledger import KeyPair, Ledger, utc_now
from spiritsafe.tasks import Task

NGRAM = 13
"""Words in a run, as in GPT-3's decontamination (arXiv 2005.14165, appendix C)."""

LEAST_WORDS_INSIDE = 8
"""A shorter problem inside a longer text may be a piece of another one (``2 + 3 =`` ends ``1 + 2 + 3 =``): it counts as
"n-grams", which is held against controls, and as verbatim only where it is a message or field of its own."""

ENOUGH_NGRAMS = 0.5
NEAR = 0.5


_SHINGLE = 3
_LEAST_SHARED = 2  # of so few problems a common line may be the problem
_BLOCK_WORDS = 1 << 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapTerms:
    """How to look.

    Attributes:
        about: Whose training files they are said to be.
        ngram: Words in a run.
        mask_names: Mask capitalised words too.
        most: How often the paper may be compared with training files, all askers together; stands in the access entry.
    """

    about: str = ""
    ngram: int = NGRAM
    mask_names: bool = False
    most: int = MOST_OVERLAPS


@final
@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for: the paper's problems by place, then controls, then the controls' twins."""

    problems: tuple[Problem, ...]
    num_places: int
    controls: tuple[int, ...]
    control_twins: tuple[int, ...]


def questions_of(problems: Sequence[Problem]) -> list[str]:
    """The problems' own words: what the model is shown, without system prompts and lines that most of them share.

    Such a line says how to mark the answer; who leaks a problem may leave it out.
    """
    shown = [
        [line for m in problem.messages if m.role != "system" for line in m.content.splitlines()]
        for problem in problems
    ]
    counts = Counter(line for lines in shown for line in set(lines))
    shared = {line for line, count in counts.items() if count > max(_LEAST_SHARED, len(problems) / 2)}
    return ["\n".join([line for line in lines if line not in shared] or lines) for lines in shown]


def overlap(
    *,
    paper: Path,
    files: Sequence[Path],
    task: Task,
    examiner: KeyPair,
    ledger: Ledger,
    output: Path,
    terms: OverlapTerms | None = None,
    events: EventSink | None = None,
) -> SignedOverlap:
    """Look for all problems of a paper in training files, and sign what was found.

    Args:
        paper: Directory of ``paper.json`` and ``sealed.age``.
        files: JSON lines or plain text.
        examiner: A key that opens the sealed half; signs.
        ledger: Holds the paper; gets an access entry and the report's digest.
        terms: Run length, masking, whose files.

    Raises:
        RecipeError: No file, one twice, or a run of no words.
        ProcedureError: The paper is not in the ledger, the task is another, or it was compared as often as it may be.
        IntegrityError: The paper is damaged, or sealed to another key.
        SourceError: A file cannot be read, or is no text.
        StorageError: Ledger or report cannot be written.
    """
    terms, events = terms or OverlapTerms(), events or NullSink()
    if not files or len({path.resolve() for path in files}) != len(files) or terms.ngram < 1:
        raise RecipeError("Nothing to compare.", hint="Name each training file once, and runs of at least one word.")
    opened = [TrainingFile(path) for path in files]  # a missing file must not cost an access
    public = load_paper(paper)
    header = public.header
    check_task(public, task)
    paper_entry(ledger, public)
    # 1: on record before the sealed half is open, so that no look is unseen
    _enter_access(ledger, header, examiner, terms)
    sealed = open_sealed(paper, public, examiner)
    # 2
    wanted = _wanted(public, sealed.problems, task, sealed.secret, events)
    hasher = WordHashes(mask_names=terms.mask_names)
    words = [hasher(words_of(question)) for question in questions_of(wanted.problems)]
    sizes = [both.shape[1] for both in words]
    looked = {form: _index(words, row, terms) for row, form in enumerate(FORMS)}
    # 3
    seen: list[FileSeen] = []
    best: dict[tuple[OverlapForm, OverlapKind, int], tuple[float, int, FoundRun]] = {}
    for number, file in enumerate(opened):
        num_words = _read(file, hasher, list(looked.values()), events)
        seen.append(
            FileSeen(
                name=file.path.name,
                digest=file.digest,
                num_bytes=file.num_bytes,
                layout=file.layout,
                num_words=num_words,
            )
        )
        for form, index in looked.items():
            _keep(best, form, index.take(), sizes, number)
    # 4
    hits = tuple(_hits(best, wanted, header, words, sealed.secret, seen))
    report = _report(header, wanted, best, hits, seen, words, terms, examiner)
    signed = SignedOverlap(report=report, signature=examiner.sign("overlap", report.canonical()))
    told = {"report": report.content_digest, "about": report.about, "verdict": report.verdict}
    # 5: a report that exists is on record
    OverlapEntry.append(ledger, header, examiner, files=[file.digest for file in report.files], **told)
    write_record(output, signed)
    return signed


_PURPOSE = "overlap with training files"


def _enter_access(ledger: Ledger, header: PaperHeader, examiner: KeyPair, terms: OverlapTerms) -> None:
    reader = GeneratorInfo(
        name="overlap check", digest=digest({"overlap check": examiner.public.key_id[:16]}), kind="local"
    )
    purpose = f"{_PURPOSE}{f' of {terms.about}' if terms.about else ''}"

    def not_too_often(log: PaperLog) -> None:
        if (done := count_overlaps(log)) >= terms.most:
            raise ProcedureError(
                f"This paper was compared with training files {done} times; the limit is {terms.most}.",
                hint="Each report helps to find sealed problems one by one. --most raises the limit, which then "
                "stands in the ledger.",
            )

    enter_access(
        ledger,
        header,
        range(num_places(header)),
        reader,
        examiner,
        purpose=purpose,
        registration=header.paper_id,  # of no registration's sitting
        what=f"compared them with training files ({purpose})",
        most=terms.most,
        guard=not_too_often,
    )


def count_overlaps(log: PaperLog) -> int:
    """How often a paper was opened to be compared with training files, reports that were not made included."""
    accesses = log.of(AccessEntry, sitting=log.header.paper_id)
    return sum(entry.text("purpose").startswith(_PURPOSE) for entry in accesses)


def _wanted(paper: PublicPaper, sealed: Sequence[PaperProblem], task: Task, secret: str, events: EventSink) -> _Wanted:
    header = paper.header
    placed = {place.index: place.problem for place in (*paper.problems, *sealed)}
    own = [placed[place] for place in range(num_places(header))]
    taken = {problem.id for problem in own}
    strata = [(s.name, s.num_problems) for s in header.strata] or [("", header.num_problems)]
    bank = draw_controls(task, strata, secret=secret, taken=taken)
    if bank is None:
        return _Wanted(tuple(own), len(own), (), ())
    twins = _control_twins(bank, secret, taken, events) if header.num_twins else None
    sizes = tuple(len(stratum.problems) for stratum in bank.strata)
    return _Wanted((*own, *bank.problems, *(twins or ())), len(own), sizes, sizes if twins is not None else ())


def _control_twins(bank: Bank, secret: str, taken: set[str], events: EventSink) -> tuple[Problem, ...] | None:
    """None when the family has too few twins left: the paper's then stand without controls."""
    try:
        return draw_twins(bank, secret=secret, events=events, label="overlap control twin", taken=taken)
    except TaskError:
        return None


def _index(words: Sequence[Hashes], row: int, terms: OverlapTerms) -> ProblemIndex:
    return ProblemIndex([both[row].copy() for both in words], ngram=terms.ngram, shingle=_SHINGLE, near=NEAR)


def _read(file: TrainingFile, hasher: WordHashes, indexes: Sequence[ProblemIndex], events: EventSink) -> int:
    """Stream a file through the indexes, block by block; return how many words it has."""
    longest = max(1, *(index.longest for index in indexes))
    border = np.full((len(FORMS), 1), SEPARATOR, dtype=np.uint64)
    parts: list[Hashes] = []
    lengths: dict[int, int] = {}
    size = num_words = 0
    went_on = False
    for text, goes_on in file.passages():
        hashes = hasher(words_of(text))
        num_words += hashes.shape[1]
        if not goes_on and not went_on:
            lengths[size] = hashes.shape[1]
        went_on = goes_on
        parts += [hashes] if goes_on else [hashes, border]
        size += hashes.shape[1] + (not goes_on)
        if size >= _BLOCK_WORDS:
            block = np.concatenate(parts, axis=1)
            _scan(block, lengths, indexes)
            events.progress(file.num_bytes, None, "bytes")
            tail = block[:, -longest:] if goes_on else border  # what goes on may begin in this block
            parts, lengths, size = [tail], {}, tail.shape[1]
    if parts:
        _scan(np.concatenate(parts, axis=1), lengths, indexes)
    return num_words


def _scan(block: Hashes, lengths: dict[int, int], indexes: Sequence[ProblemIndex]) -> None:
    for row, index in enumerate(indexes):
        index.scan(np.ascontiguousarray(block[row]), lengths)


def _scores(found: FoundRun, num_words: int) -> Iterator[tuple[OverlapKind, float]]:
    """The ways in which it counts as found, with the score of each."""
    if found.verbatim and (found.whole or num_words >= LEAST_WORDS_INSIDE):
        yield "verbatim", 1.0
    if found.ngrams >= ENOUGH_NGRAMS:
        yield "n-grams", found.ngrams
    if found.near >= NEAR:
        yield "near", found.near


def _keep(
    best: dict[tuple[OverlapForm, OverlapKind, int], tuple[float, int, FoundRun]],
    form: OverlapForm,
    found: Sequence[FoundRun],
    sizes: Sequence[int],
    file: int,
) -> None:
    """The best of all files, the first one on a tie."""
    for number, one in enumerate(found):
        for kind, score in _scores(one, sizes[number]):
            old = best.get((form, kind, number))
            if old is None or score > old[0]:
                best[form, kind, number] = (score, file, replace(one, whole=one.whole or bool(old and old[2].whole)))
            elif one.whole and not old[2].whole:
                best[form, kind, number] = (old[0], file, one)


def _hits(
    best: Mapping[tuple[OverlapForm, OverlapKind, int], tuple[float, int, FoundRun]],
    wanted: _Wanted,
    header: PaperHeader,
    words: Sequence[Hashes],
    secret: str,
    files: Sequence[FileSeen],
) -> Iterator[OverlapHit]:
    kinds: tuple[Half, ...] = halves(header)
    for (form, kind, number), (score, file, found) in sorted(best.items(), key=lambda item: (item[0][2], item[0])):
        if number >= wanted.num_places:
            continue
        passage = found.passage if kind == "near" else words[number][FORMS.index(form)].tobytes()
        salt = keyed_salt(secret, "overlap", files[file].digest, form, kind, number)
        yield OverlapHit(
            index=number,
            half=kinds[number],
            form=form,
            kind=kind,
            score=score,
            whole=kind == "verbatim" and found.whole,
            file=file,
            passage=hashlib.sha256(bytes.fromhex(salt) + passage).hexdigest(),
        )


def _found_controls(
    best: Mapping[tuple[OverlapForm, OverlapKind, int], object], first: int, sizes: tuple[int, ...]
) -> Controls:
    """How many controls were found, by stratum, from place ``first`` on."""
    starts = np.cumsum([first, *sizes]).tolist()
    found = {
        (form, kind): tuple(
            sum((form, kind, number) in best for number in range(start, start + size))
            for start, size in zip(starts, sizes, strict=False)
        )
        for form in FORMS
        for kind in OVERLAP_KINDS
    }
    return Controls(sizes, found)


def _report(
    header: PaperHeader,
    wanted: _Wanted,
    best: Mapping[tuple[OverlapForm, OverlapKind, int], object],
    hits: tuple[OverlapHit, ...],
    files: Sequence[FileSeen],
    words: Sequence[Hashes],
    terms: OverlapTerms,
    examiner: KeyPair,
) -> OverlapReport:
    controls = _found_controls(best, wanted.num_places, wanted.controls)
    twins = _found_controls(best, wanted.num_places + sum(wanted.controls), wanted.control_twins)
    findings = findings_of(header, hits, controls, twins)
    sizes = {"num_controls": sum(controls.sizes), "num_control_twins": sum(twins.sizes)}
    return OverlapReport(
        paper_id=header.paper_id,
        about=terms.about,
        files=tuple(files),
        ngram=terms.ngram,
        shingle=_SHINGLE,
        enough_ngrams=ENOUGH_NGRAMS,
        near=NEAR,
        mask_names=terms.mask_names,
        num_short=sum(both.shape[1] < terms.ngram for both in words[: wanted.num_places]),
        num_controls=controls.sizes,
        num_control_twins=twins.sizes,
        findings=findings,
        hits=hits,
        verdict=verdict_of(findings, sizes["num_controls"]),
        statements=statements_of_overlap(header, findings, hits, **sizes),
        finished=utc_now(),
        examiner=examiner.public,
        software=host_software(),
    )
