"""Graded runs of any kind, in one form: logs of other tools, practice files, attempts of ``sample``, certificates.

In: a path. Out: a :class:`GradedRun`: how each try at each problem ended, and by what its problems can be found again
in another run. What a file is, is seen from the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.errors import CompatibilityError, RecipeError, SourceError, SpiritsafeError
from spiritsafe.core.files.record_files import read_file
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.interop.inspect_log import read_inspect_log
from spiritsafe.exam.interop.lm_eval_log import read_lm_eval_samples
from spiritsafe.exam.interop.practice import PracticeRun, last_question, load_practice, question_digest
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.exam.results.certificate import load_certificate
from spiritsafe.exam.sitting.answers import how_it_ended
from spiritsafe.rollouts import read_endings
from spiritsafe.tasks import Task, load_named

_PRACTICE = b"spiritsafe.practice/"
_CERTIFICATE = b'"spiritsafe.certificate/'
_OURS = "spiritsafe"


@final
@dataclass(frozen=True, slots=True)
class GradedRun:
    """How a model's tries at some problems ended.

    Attributes:
        file: Name of the file or folder.
        words: Model, task, and who graded, for people.
        scorer: Who graded: the tool and its scorer.
        names: Whose names the problems have. Equal names are equal problems only where this is equal, too.
        tries: By the problem's name, how each planned try ended, in order.
        asked: By name, a digest of question and target in its tool's form, where there is one.
        texts: Gives by name the digests that the question is known by in every tool; it may open the task's data.
        num_partial: Tries that earned a part of the marks: they are not right.
        is_practice: Nothing was sealed before it ran.
        remarks: What a reader should know.
    """

    file: str
    words: str
    scorer: str
    names: str
    tries: Mapping[str, tuple[OutcomeStatus, ...]]
    asked: Mapping[str, str]
    texts: Callable[[], Mapping[str, tuple[str, ...]]]
    num_partial: int
    is_practice: bool
    remarks: tuple[str, ...]

    @property
    def num_tries(self) -> int:
        """Planned for each problem."""
        return max(map(len, self.tries.values()))


def read_run(
    path: Path, *, scorer: str | None = None, metric: str | None = None, filter_name: str | None = None
) -> GradedRun:
    """The run in a file or folder.

    Args:
        path: A log of Inspect AI (``.eval``, ``.json``); ``samples_….jsonl`` of lm-evaluation-harness with its results
            file beside it, or the folder that holds just one; a practice file; a folder that ``sample`` filled; or a
            certificate, of which the sealed half counts.
        scorer: Inspect AI: whose scores count.
        metric: lm-evaluation-harness: what says that an answer is right.
        filter_name: lm-evaluation-harness: whose answers count.

    Raises:
        SourceError: It cannot be read, or is nothing of these.
        RecipeError: The file has several scorers, metrics or filters, and none was named.
        CompatibilityError: Its scores are not understood, or a sitting did not ask its whole paper.
        IntegrityError: It is damaged.
    """
    if path.is_dir():
        if (path / "manifest.json").exists():
            return _of_attempts(path)
        path = _only_samples(path)
    if path.suffix == ".jsonl":
        if _PRACTICE in read_file(path)[:4096].partition(b"\n")[0]:
            return _of_practice(load_practice(path), path)
        return _of_practice(read_lm_eval_samples(path, metric=metric, filter_name=filter_name), path)
    if path.suffix == ".json" and _CERTIFICATE in read_file(path):
        return _of_certificate(load_certificate(path), path)
    if path.suffix in (".eval", ".json"):
        return _of_practice(read_inspect_log(path, scorer=scorer), path)
    raise _unknown(path)


def _unknown(path: Path) -> SourceError:
    return SourceError(
        f"{path} is no run that can be compared.",
        hint="Give a log of Inspect AI (.eval, .json), samples_<task>_<time>.jsonl of lm-evaluation-harness, a folder "
        "that `spiritsafe sample` filled, a practice file of `spiritsafe exam import`, or a certificate.",
    )


def _only_samples(folder: Path) -> Path:
    """The one sample file of lm-evaluation-harness in a folder that it wrote."""
    found = sorted(folder.rglob("samples_*.jsonl"))
    if not found:
        raise _unknown(folder)
    if len(found) > 1:
        raise RecipeError(
            f"{folder} holds {len(found)} sample files: {', '.join(file.name for file in found[:4])}.",
            hint="Name the one to compare.",
        )
    return found[0]


def _of_practice(run: PracticeRun, path: Path) -> GradedRun:
    header = run.header
    tries: dict[str, list[OutcomeStatus]] = {}
    for answer in sorted(run.answers, key=lambda answer: answer.attempt.sample_index):
        tries.setdefault(answer.sample, []).append(answer.status)
    texts = {answer.sample: answer.texts for answer in run.answers if answer.texts}
    tool = header.tool.split(" ")[0]
    return GradedRun(
        file=path.name,
        words=f"{header.model} on {header.task} ({header.tool}, {header.scorer})",
        scorer=f"{tool} {header.scorer}",
        names=f"{tool} {header.task}",
        tries={name: tuple(found) for name, found in tries.items()},
        asked={answer.sample: answer.asked for answer in run.answers if answer.asked},
        texts=lambda: texts,
        num_partial=sum(answer.verdict is not None and 0 < answer.verdict.score < 1 for answer in run.answers),
        is_practice=True,
        remarks=header.remarks,
    )


def _of_attempts(folder: Path) -> GradedRun:
    manifest, endings = read_endings(folder)
    model = manifest.model[:19] if manifest.model.startswith("sha256:") else manifest.model
    return GradedRun(
        file=folder.name,
        words=f"model {model} on {manifest.task} ({_OURS} sample, {manifest.verifier})",
        scorer=f"{_OURS} {manifest.verifier}",
        names=_OURS,  # a problem's id is a digest of it
        tries={name: tuple(how_it_ended(*ending) for ending in found) for name, found in endings.items()},
        asked={},
        texts=lambda: _texts_of_task(manifest.task, manifest.seed, set(endings)),
        num_partial=sum(0 < verdict.score < 1 for found in endings.values() for _, verdict in found),
        is_practice=True,
        remarks=(),
    )


def _texts_of_task(name: str, seed: int, wanted: set[str]) -> dict[str, tuple[str, ...]]:
    """Digests of the questions of a task; none where its data are not at hand or it is code of somebody's own."""
    found: dict[str, tuple[str, ...]] = {}
    with suppress(SpiritsafeError):
        task = load_named(name)
        for split in ("train", "dev"):
            found |= _texts_of_split(task, split == "train", seed, wanted)
    return found


def _texts_of_split(task: Task, is_train: bool, seed: int, wanted: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    count = None if task.finite else len(wanted)  # without end: `sample` drew them with the seed that it samples with
    with suppress(SpiritsafeError):  # there are fewer in this split
        for problem in task.problems("train" if is_train else "dev", seed=seed, count=count):
            if problem.id in wanted:
                texts = (problem.canonical_text, last_question([message.to_json() for message in problem.messages]))
                found[problem.id] = tuple(question_digest(text) for text in dict.fromkeys(texts) if text)
    return found


def _of_certificate(certificate: Certificate, path: Path) -> GradedRun:
    result, paper = certificate.result, certificate.paper
    if result.not_asked:
        raise CompatibilityError(
            f"{path} is of a sitting that was not asked its whole paper: "
            + design_of(certificate.registration, paper).left_out_words,
            hint="Compare complete sittings.",
        )
    tries: dict[str, list[OutcomeStatus]] = {}
    for outcome in sorted(result.outcomes, key=lambda outcome: (outcome.index, outcome.sample_index)):
        if outcome.half == "sealed":
            tries.setdefault(str(outcome.index), []).append(outcome.status)
    return GradedRun(
        file=path.name,
        words=f"{result.model_name} on {paper.task} ({_OURS} exam, the sealed half)",
        scorer=f"{_OURS} {paper.verifier}",
        names=f"{_OURS} paper {paper.paper_id}",
        tries={name: tuple(found) for name, found in tries.items()},
        asked={},
        texts=dict,
        num_partial=sum(outcome.half == "sealed" and 0 < outcome.score < 1 for outcome in result.outcomes),
        is_practice=False,
        remarks=("Only the signatures of the certificate were checked: `spiritsafe exam verify` checks the rest.",),
    )
