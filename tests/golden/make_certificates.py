"""Makes the certificates of this folder: one story on one paper. They were made once and must verify for ever.

Run as ``PYTHONPATH=src:tests:tests/unit/exam python tests/golden/make_certificates.py DIRECTORY``. The keys are made
anew, so another run gives other files: add new kinds in a new folder and leave the published ones as they are.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from exam_parts import ToyModel, make_stage

from spiritsafe.exam import accept_dispute, file_dispute, open_paper, publish_answers, reissue, rerun, reveal
from spiritsafe.exam.records.registration import Claim
from spiritsafe.ledger import KeyPair
from spiritsafe.stats.sequential.design import StopRule
from spiritsafe.tasks import load_task

COUNT = 24


def adder(name: str, limit: int) -> ToyModel:
    """Adds right where the sum is below a limit."""

    def reply(prompt, _):
        question = prompt.messages[-1].content.replace("- ", "-").replace("+ ", "+")
        total = sum(map(int, re.findall(r"[+-]?\d+", question)))
        return f"#### {total if total < limit else 0}", "stop"

    return ToyModel(name=name, reply=reply)


def make(directory: Path) -> None:
    """The whole life of a paper."""
    work = Path(tempfile.mkdtemp())
    stage = make_stage(work, count=COUNT, task=load_task("arith:sums?terms=2&digits=1-2"))
    plain = stage.certificate(adder("plain", 60), name="plain")
    claim = Claim(kind="score at least", score=0.5)
    stop = StopRule(num_problems=COUNT // 2, num_looks=3)
    claimed = stage.certificate(adder("claimed", 1000), name="claimed", claim=claim, stop=stop)
    if claimed.result.ending != "stopped by rule":
        raise SystemExit("the rule did not end the sitting; raise COUNT")
    wrong = next(o for o in plain.result.outcomes if (o.half, o.status) == ("sealed", "wrong"))
    dispute = file_dispute(
        certificate=plain, ledger=stage.ledger, author=KeyPair.generate("Dora Disputer"), index=wrong.index,
        proposed="correct", reason="The sum is right.",
    )  # fmt: skip
    reveal(
        paper=stage.papers, registration=plain.registration, journal=work / "plain" / "answers.jsonl",
        examiner=stage.examiner, ledger=stage.ledger, index=wrong.index, reason="disputed",
        output=work / "revealed.json",
    )  # fmt: skip
    accept_dispute(
        certificate=plain, ledger=stage.ledger, examiner=stage.examiner, dispute=dispute.content_digest,
        status="correct", reason="The key was wrong.",
    )  # fmt: skip
    first = work / "plain" / "certificate.json"
    reissue(
        first, paper=stage.papers, ledger=stage.ledger, examiner=stage.examiner, output=work / "reissued.json"
    )  # fmt: skip
    rerun(
        first, paper=stage.papers, generator=adder("plain", 60), task=stage.task, ledger=stage.ledger,
        runner=KeyPair.generate("Sam Stranger"), output=work / "rerun.json",
    )  # fmt: skip
    opened = work / "opened"
    open_paper(
        paper=stage.papers, examiner=stage.examiner, ledger=stage.ledger, reason="a fixture", directory=opened
    )  # fmt: skip
    for name, certificate in (("plain", plain), ("claimed", claimed)):
        publish_answers(
            paper=stage.papers, certificate=certificate, journal=work / name / "answers.jsonl",
            examiner=stage.examiner, ledger=stage.ledger, directory=opened,
        )  # fmt: skip
    (directory / "opened").mkdir(parents=True)
    for source, target in (
        (stage.papers / "paper.json", "paper.json"), (stage.ledger.path, "ledger.jsonl"),
        (first, "plain.certificate.json"), (work / "claimed" / "certificate.json", "claimed.certificate.json"),
        (work / "reissued.json", "reissued.certificate.json"), (work / "revealed.json", "revealed.json"),
        (work / "rerun.json", "rerun.json"),
        *((path, f"opened/{path.name}") for path in sorted(opened.glob("*.json"))),
    ):  # fmt: skip
        shutil.copy(source, directory / target)
    shutil.rmtree(work)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
