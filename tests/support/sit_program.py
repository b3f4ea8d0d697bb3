"""A sitting against an endpoint in a process of its own, for tests to kill: ``sit_program.py ROOT URL NAME``."""

from __future__ import annotations

import sys
from pathlib import Path

from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam import load_paper, sit, task_of_paper
from spiritsafe.exam.records.registration import Registration
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.rollouts import RemoteConfig, RemoteGenerator

CONCURRENCY = 4


def main(root: Path, url: str, name: str) -> None:
    with RemoteGenerator(url, name, config=RemoteConfig(concurrency=CONCURRENCY)) as generator:
        sit(
            paper=root / "paper",
            registration=Registration.from_json(read_json(root / f"{name}.registration.json")),
            generator=generator,
            task=task_of_paper(load_paper(root / "paper")),
            ledger=Ledger(root / "ledger.jsonl"),
            examiner=KeyPair.load(root / "examiner.json"),
            directory=root / name,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
