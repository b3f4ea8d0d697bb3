"""The exams of a release: each certificate is verified as the exam room does, with paper and ledger from the directory.

In: a :class:`ReleaseCase` and an exam that its record names. Out: a sentence, or an error that names the certificate.
"""

from __future__ import annotations

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import Materials, verification_of
from spiritsafe.release.contents import RELEASE_FILE, ReleasedExam
from spiritsafe.release.verification.case import GOOD_RELEASE, ReleaseCase, require_that


def _reference(case: ReleaseCase, path: str, others: list[str]) -> str | None:
    """The certificate that this one's claim compares with, where it goes along."""
    claim = case.certificate(path).registration.claim
    if claim is None or claim.reference is None:
        return None
    for other in others:
        certificate = case.certificate(other)
        if claim.reference in (certificate.content_digest, certificate.registration.content_digest):
            return other
    return None


def check_exam(case: ReleaseCase, exam: ReleasedExam) -> str:
    """Verify all certificates of an exam.

    Raises:
        IntegrityError: Naming the certificate, and the step of ``exam verify`` that failed.
    """
    own = [one.path for file in case.release.files for one in file.certificates if one.exam == exam.name]
    paths = [*own, *exam.others]
    require_that(
        bool(paths), f"{RELEASE_FILE} names the exam {quoted_name(exam.name)}, of which there is no certificate."
    )
    for path in exam.paths:
        case.read(path)  # a plain file of this release, of a bounded size
    for path in paths:
        task = case.certificate(path).paper.task
        require_that(
            task == exam.task, f"{path} is of {quoted_name(task)}, and {RELEASE_FILE} says {quoted_name(exam.task)}."
        )
        reference = _reference(case, path, paths)
        materials = Materials(
            certificate=case.directory / path,
            paper=case.directory / exam.paper,
            ledger=case.directory / exam.ledger,
            sealed=case.directory / exam.sealed if exam.sealed else None,
            reference=case.directory / reference if reference else None,
            overlaps=[case.directory / one for one in exam.overlaps],
            memories=[case.directory / one for one in exam.memories],
        )
        failed = next((step for step in verification_of(materials).steps if not step.ok), None)
        if failed is not None:
            raise IntegrityError(
                f"{path} does not verify: step {failed.number} ({failed.name}): {failed.detail}", hint=GOOD_RELEASE
            )
    return f"{exam.name}: {len(paths)} certificates verify, {len(own)} of files in this release"
