from __future__ import annotations

from record_parts import PROBLEM

from spiritsafe.core.canonical import digest
from spiritsafe.core.records import Sampling
from spiritsafe.exam.records.paper import PaperProblem, PaperProtocol, SealedHalf, Stratum


def test_commitment_depends_on_index_salt_and_every_word():
    base = PaperProblem(index=0, salt="00" * 16, problem=PROBLEM)
    others = [
        PaperProblem(index=1, salt="00" * 16, problem=PROBLEM),
        PaperProblem(index=0, salt="01" * 16, problem=PROBLEM),
        PaperProblem(index=0, salt="00" * 16, problem=PROBLEM.model_copy(update={"facts": {"answer": 2}})),
    ]
    assert base.commitment == digest(base.to_json()).removeprefix("sha256:")
    assert len({base.commitment, *(other.commitment for other in others)}) == 4


def test_a_sealed_half_does_not_print_itself():
    half = SealedHalf(
        bank_root="00" * 32, secret="12" * 32, problems=(PaperProblem(index=0, salt="00" * 16, problem=PROBLEM),)
    )
    for text in (repr(half), str(half), f"{half}"):
        assert "secret words" not in text
        assert "12" * 32 not in text


def test_protocol_and_stratum_come_back() -> None:
    for record in (
        PaperProtocol(sampling=Sampling(), num_tries=2),
        Stratum(name="s", task="t", num_problems=3, num_public=1),
    ):
        assert type(record).from_json(record.to_json()) == record
