"""What both modes of bench/contamination/run.py do: seal, train, sit, look for leaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spiritsafe.core.records import Problem, Sampling
from spiritsafe.exam import OverlapTerms, PaperTerms, RegistrationTerms, memory, overlap, register, seal, sit, verify
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.models import load_model, open_generator, read_checkpoint, save_checkpoint
from spiritsafe.tasks import Task
from spiritsafe.training import TracesObjective, TrainConfig, train

__all__ = ["Room", "answer_of", "clean_problems", "fine_tune", "sealed_problems", "summary_of", "write_training_file"]


@dataclass(frozen=True)
class Room:
    """One paper with its ledger and keys. Maker and examiner are two keys of one experimenter, and say so."""

    directory: Path
    task: Task
    paper: PublicPaper
    ledger: Ledger
    examiner: KeyPair
    maker: KeyPair

    @classmethod
    def make(cls, directory: Path, task: Task, *, count: int, twins: bool, secret: bytes) -> Room:
        """Seal a paper in an empty directory."""
        directory.mkdir(parents=True, exist_ok=True)
        keys = {name: KeyPair.load_or_create(directory / f"{name}.key", holder="Experiment") for name in ("e", "m")}
        ledger = Ledger(directory / "ledger.jsonl")
        paper = seal(
            task,
            count=count,
            ledger=ledger,
            directory=directory / "paper",
            examiner=keys["e"],
            terms=PaperTerms(twins=twins),
            secret=secret,
        )
        return cls(directory, task, paper, ledger, keys["e"], keys["m"])

    def examine(
        self, model: Path, name: str, *, max_tokens: int, max_batch: int, training: Sequence[Path], with_memory: bool
    ) -> dict[str, Any]:
        """Sit, certify, verify; look for overlap with the training files, and for memory."""
        generator = open_generator(model, dtype=torch.float32, max_batch=max_batch)
        reports: dict[str, Any] = {}
        try:
            registration = register(
                ledger=self.ledger,
                paper=self.paper,
                maker=self.maker,
                model_name=name,
                model_digest=generator.describe().digest,
                sampling=Sampling(temperature=0.0, max_tokens=max_tokens),
                hypothesis="planted contamination is found, clean training is not",
                num_tries=1,
                terms=RegistrationTerms(),
            )
            work = self.directory / f"{name}.sitting"
            certificate = sit(
                paper=self.directory / "paper",
                registration=registration,
                generator=generator,
                task=self.task,
                ledger=self.ledger,
                examiner=self.examiner,
                directory=work,
            )
            shutil.copy(work / "certificate.json", self.directory / f"{name}.certificate.json")
            if training:
                signed = overlap(
                    paper=self.directory / "paper",
                    files=training,
                    task=self.task,
                    examiner=self.examiner,
                    ledger=self.ledger,
                    output=self.directory / f"{name}.overlap.json",
                    terms=OverlapTerms(about=name),
                )
                reports["overlap"] = {
                    "verdict": signed.report.verdict,
                    "statements": signed.report.statements,
                    "findings": [finding.to_json() for finding in signed.report.findings],
                }
            if with_memory:
                known = memory(
                    paper=self.directory / "paper",
                    generator=generator,
                    task=self.task,
                    examiner=self.examiner,
                    ledger=self.ledger,
                    output=self.directory / f"{name}.memory.json",
                ).report
                reports["memory"] = {
                    "statements": known.statements,
                    "scores": [test.to_json() for test in known.scores],
                    "order": known.order.to_json() if known.order else None,
                }
        finally:
            generator.close()
        steps = verify(
            self.directory / f"{name}.certificate.json",
            paper=self.directory / "paper",
            ledger=self.ledger.path,
            overlaps=[self.directory / f"{name}.overlap.json"] if training else [],
            memories=[self.directory / f"{name}.memory.json"] if with_memory else [],
        )
        bad = [step for step in steps if not step.ok]
        if bad:
            raise RuntimeError(f"{name}: step {bad[0].number} ({bad[0].name}) failed: {bad[0].detail}")
        return {**summary_of(certificate), **reports}


def summary_of(certificate: Certificate) -> dict[str, Any]:
    """What the certificate says of studying."""
    result = certificate.result
    return {
        "public": result.public.accuracy.to_json(),
        "sealed": result.sealed.accuracy.to_json(),
        "twins": result.twins.accuracy.to_json() if result.twins else None,
        "gap": result.gap.to_json(),
        "gap_statement": result.gap_statement,
        "studied": result.studied.to_json() if result.studied else None,
        "studied_statement": result.studied_statement,
        "memory": result.memory.to_json() if result.memory else None,
        "memory_statement": result.memory_statement,
    }


def answer_of(task: Task, problem: Problem) -> str:
    """The final answer alone, in the form that tasks ask for."""
    return f"#### {task.gold(problem)}"


def sealed_problems(room: Room) -> list[Problem]:
    """The sealed half; for planting leaks."""
    sealed = open_sealed(room.directory / "paper", room.paper, room.examiner)
    return [place.problem for place in sealed.problems if place.index < room.paper.header.num_problems]


def clean_problems(task: Task, *, seed: int, count: int) -> list[Problem]:
    """Of the train bucket: none can be on a paper."""
    return list(task.problems("train", seed=seed, count=count))


def write_training_file(path: Path, task: Task, problems: Sequence[Problem]) -> Path:
    """As chat lines."""
    rows = [
        {
            "messages": [
                *(message.to_json() for message in problem.messages),
                {"role": "assistant", "content": answer_of(task, problem)},
            ]
        }
        for problem in problems
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def fine_tune(
    source: Path, target: Path, task: Task, problems: Sequence[Problem], *, name: str, config: TrainConfig
) -> dict[str, Any]:
    """Our own trainer on final answers; returns what it took."""
    loaded = load_model(source, dtype=torch.float32)
    documents = [loaded.chat.document(problem.messages, answer_of(task, problem)) for problem in problems]
    result = train(
        loaded.model, documents, TracesObjective(), config, directory=target.parent / f"{target.name}.training"
    )
    save_checkpoint(target, loaded.model, loaded.chat, name=name, license=read_checkpoint(source).license)
    tokens = [int(row["tokens"]) for row in result.curve]
    return {
        "documents": len(documents),
        "steps": len(tokens),
        "tokens": sum(tokens),
        "last_loss": result.curve[-1]["loss"],
    }
