"""What a verification is given: the files, keys and the task that a stranger has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.tasks import Task


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """The files of one verification; what is not given is not checked, and its step says so.

    Attributes:
        paper: ``paper.json`` or its directory.
        ledger: The ledger file, for completeness of what the certificate reports.
        result: ``result.json``.
        sealed: ``sealed.age`` (its digest is checked; nothing is decrypted).
        reference: The certificate that the claim compares with.
        revealed: Answers that were opened in disputes.
        overlaps: Reports of what stands in training files; checked against the ledger.
        memories: Reports of signs of memory; checked against the ledger.
        reruns: Counter-signed reports of others who asked again.
        witnesses: What other keepers saw of the ledger: their ledgers, or cosigned checkpoints.
        witness_keys: Verifier keys (``name+id+base64``) of those whose checkpoints count.
        trusted_keys: Key ids of examiners that the verifier trusts.
        opened: ``paper.json`` of a retired paper, or its directory; answers that lie beside it are graded again.
        items: What past sittings taught, by which the problems of a shorter sitting were chosen.
        task: Grades published answers; None: the paper's, as far as this installation has it.
    """

    certificate: Path
    paper: Path | None
    ledger: Path | None = None
    result: Path | None = None
    sealed: Path | None = None
    reference: Path | None = None
    revealed: Sequence[Path] = ()
    overlaps: Sequence[Path] = ()
    memories: Sequence[Path] = ()
    reruns: Sequence[Path] = ()
    witnesses: Sequence[Path] = ()
    witness_keys: Sequence[str] = ()
    trusted_keys: Collection[str] = ()
    opened: Path | None = None
    items: Path | None = None
    task: Task | None = None
