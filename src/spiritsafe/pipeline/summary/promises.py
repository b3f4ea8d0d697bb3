"""What may be relied on in a run's certificates: each is verified once more, with all that lies in the run's directory.

In: a certificate of the run. Out: its promises for the report. Witnesses, trusted keys and re-runs are for others to
give; the report says which promises wait for them.
"""

from __future__ import annotations

from spiritsafe.exam import SEALED_FILE, Materials, trust_page, verification_of
from spiritsafe.exam.records import Certificate, Promise
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.schema import ExamRecipe
from spiritsafe.pipeline.stages.exam import certificate_path, ledger_path, paper_path


def promises_of(context: RunContext, exam: ExamRecipe, name: str, certificate: Certificate) -> tuple[Promise, ...]:
    """All promises of the certificate that the model of this name has of an exam.

    Raises:
        SourceError: A file of the run is missing.
    """
    paper, ledger = paper_path(context, exam), ledger_path(context)
    file = certificate_path(context, exam, name)
    verified = verification_of(Materials(certificate=file, paper=paper, ledger=ledger, sealed=paper / SEALED_FILE))
    return trust_page(verified.certificate or certificate, verified.steps, entries=verified.entries).promises
