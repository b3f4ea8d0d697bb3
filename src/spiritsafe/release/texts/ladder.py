"""The table of a card: every file with its score and interval, its size, and whether another one makes it needless.

In: a release and its certificates. Out: cells by the heads of their columns, and the table's lines; verification
computes the same cells again and looks whether the card has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from spiritsafe.exam.records import Certificate
from spiritsafe.release.contents import Release, ReleasedExam, ReleasedFile
from spiritsafe.release.texts.markdown import code_span, plain_text, table_lines
from spiritsafe.report import memory_text, nats_range, nats_value, score_text, share_text, speed_text

CertificatesByPath = Mapping[str, Certificate]
"""By their paths in the release."""

DOMINATED = (
    "A file is *dominated* when another one here is no larger and answered no fewer of the same sealed problems, "
    "and is smaller or answered more: there is no reason to take it."
)
_FILE, _BYTES, _NOTE = "File", "Bytes", "Note"
_MARK = "dominated"


def _sat(file: ReleasedFile, certificates: CertificatesByPath) -> dict[str, Certificate]:
    """By exam."""
    return {one.exam: certificates[one.path] for one in file.certificates}


def _difference(first: Certificate, second: Certificate) -> float | None:
    """First minus second on the sealed half, where both were asked all of one paper as often; else None.

    On the same problems the mean of the paired differences is the difference of the shares.
    """
    asked = [(one.paper.paper_id, one.registration.num_tries, one.result.not_asked) for one in (first, second)]
    if asked[0] != asked[1] or asked[0][2]:
        return None
    return first.result.sealed.accuracy.value - second.result.sealed.accuracy.value


def is_dominated(file: ReleasedFile, files: tuple[ReleasedFile, ...], certificates: CertificatesByPath) -> bool:
    """Whether another file is no larger and no worse in every exam that this one sat, and better in one of the two."""
    own = _sat(file, certificates)
    for other in files:
        theirs = _sat(other, certificates)
        if other is file or not own or own.keys() - theirs.keys() or other.num_bytes > file.num_bytes:
            continue
        gains = [_difference(theirs[exam], certificate) for exam, certificate in own.items()]
        known = [gain for gain in gains if gain is not None]
        if len(known) == len(gains) and min(known) >= 0 and (max(known) > 0 or other.num_bytes < file.num_bytes):
            return True
    return False


def _score(certificate: Certificate | None) -> str:
    if certificate is None:
        return "–"
    predicted = certificate.result.predicted
    if predicted is not None:
        return f"{score_text(predicted.score)}, predicted"
    return score_text(certificate.result.sealed.accuracy)


def score_head(exam: ReleasedExam) -> str:
    """The head of an exam's column."""
    return f"Score, {plain_text(exam.name, limit=80)}"


def _measures(file: ReleasedFile) -> dict[str, str]:
    cells = {}
    if file.bits_per_weight is not None:
        cells["Bits a weight"] = f"{file.bits_per_weight:.2f}"
    if file.substituted_share is not None:
        cells["In other types"] = share_text(file.substituted_share, 1.0)
    for one in file.divergences:
        cells[f"KL, {plain_text(one.text, limit=40)}"] = f"{nats_value(one.kl)} ({nats_range(one.kl)})"
    if file.memory_bytes is not None:
        cells["Memory"] = memory_text(file.memory_bytes)
    if file.tokens_per_s is not None:
        cells["Tokens/s"] = speed_text(file.tokens_per_s)
    return cells


def file_cells(release: Release, file: ReleasedFile, certificates: CertificatesByPath) -> dict[str, str]:
    """A file's row: what it has, by the heads."""
    sat = _sat(file, certificates)
    shown = file.path if file.path != "." else ", ".join(part for part in file.parts if part.endswith(".safetensors"))
    return {
        _FILE: code_span(shown or file.name),
        "Type": plain_text(file.file_type, limit=40),
        **{score_head(exam): _score(sat.get(exam.name)) for exam in release.exams},
        _BYTES: f"{file.num_bytes:,}",
        **_measures(file),
        **({_NOTE: _MARK} if file.is_dominated else {}),
    }


def other_rows(release: Release, certificates: CertificatesByPath) -> list[dict[str, str]]:
    """The rows of models that are not released and sat the same exams."""
    rows: dict[str, dict[str, str]] = {}
    for exam in release.exams:
        for path in exam.others:
            result = certificates[path].result
            row = rows.setdefault(result.model_digest, {_FILE: plain_text(result.model_name, limit=80), "Type": "–"})
            row[score_head(exam)] = _score(certificates[path])
            row[_NOTE] = "not in this release"
    return list(rows.values())


def ladder_lines(release: Release, certificates: CertificatesByPath) -> list[str]:
    """The table."""
    rows = [file_cells(release, file, certificates) for file in release.files] + other_rows(release, certificates)
    heads = list(dict.fromkeys(head for row in rows for head in row if head != _NOTE))
    if any(_NOTE in row for row in rows):
        heads.append(_NOTE)
    blank = {head: "" if head == _NOTE else "–" for head in heads}
    return table_lines(heads, [list((blank | row).values()) for row in rows])
