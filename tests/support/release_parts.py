"""A small but whole release: files that sat a sealed exam, their paper, ledger and certificates, a teacher beside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exam_parts import Stage, ToyModel, make_stage

from spiritsafe.core.canonical import digest
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.exam.records.registration import Claim
from spiritsafe.release import (
    FileCertificate,
    FileDivergence,
    Release,
    ReleasedExam,
    ReleasedFile,
    ReleaseDuty,
    ReleasePlan,
    SigningKey,
)
from spiritsafe.stats import Estimate

LICENCE = "Apache License, Version 2.0 (a short one)\n"
BANNER = "Built with Llama"
NOTICE = "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc."
NAME = "Llama-toy"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FileModel(ToyModel):
    """A toy model whose digest is that of a file, as of a GGUF file that answers."""

    data: bytes = b""
    directory: Any = None

    def describe(self) -> GeneratorInfo:
        own = sha256(self.data)
        if self.directory is not None:
            own = digest({name: sha256(data) for name, data in self.directory.items()})
        return GeneratorInfo(name=self.name, digest=own, kind="local")


FILES = {"toy-q8_0": b"GGUF" + bytes(range(256)) * 8, "toy-q4_0": b"GGUF" + bytes(range(256)) * 4}
DIRECTORY = {"config.json": b'{"model_type": "llama"}', "model.safetensors": bytes(range(255, -1, -1)) * 16}
SKILLS = {"toy-q8_0": 0.8, "toy-q4_0": 0.5, "toy": 0.8}


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, confidence=0.95, n=40, method="test")


@dataclass
class ReleaseParts:
    """The plan, the stage that it came from, and the key that signs it."""

    stage: Stage
    plan: ReleasePlan
    key: SigningKey

    def changed(self, sources: dict[str, Path | bytes] | None = None, **fields: Any) -> ReleasePlan:
        """The plan with other fields of the record."""
        record = Release.from_json({**self.plan.release.to_json(), **fields})
        return ReleasePlan(release=record, sources={**self.plan.sources, **(sources or {})})


def _lineage() -> tuple[Checkpoint, ...]:
    base = Parent(name="meta-llama/Llama-3.2-1B", digest="hf:abc", license="LicenseRef-llama3.2", used_as=("weights",))
    teacher = Parent(name="teacher", digest=sha256(b"teacher"), license="MIT", used_as=("outputs", "logits"))
    made: dict[str, Any] = {"license": "LicenseRef-llama3.2", "num_parameters": 1_000, "recipe": sha256(b"recipe")}
    own = digest({name: sha256(data) for name, data in DIRECTORY.items()})
    student = Checkpoint(name="toy", digest=own, weight_bytes=4096, parents=(base, teacher), **made)
    parent = Parent(name="toy", digest=own, license="LicenseRef-llama3.2", used_as=("weights",))
    files = [
        Checkpoint(name=name, digest=sha256(data), weight_bytes=len(data), parents=(parent,), **made)
        for name, data in FILES.items()
    ]
    return (*files, student)


def make_release(root: Path, *, count: int = 24) -> ReleaseParts:
    """Everything that :func:`spiritsafe.release.write_release` needs, with real certificates."""
    stage = make_stage(root, count=count)
    teacher = stage.certificate(FileModel(name="teacher", skill=0.9, data=b"teacher"), name="teacher")
    models = {name: FileModel(name=name, skill=SKILLS[name], data=data) for name, data in FILES.items()}
    models["toy"] = FileModel(name="toy", skill=SKILLS["toy"], directory=DIRECTORY)
    sources: dict[str, Path | bytes] = {
        "LICENSE": LICENCE.encode(),
        "NOTICE": f"{NAME}\n\n{NOTICE}\n".encode(),
        "licences/llama3.2.txt": b"The terms\n",
        "exams/sums/teacher.certificate.json": root / "teacher" / "certificate.json",
        "exams/sums/paper.json": stage.papers / "paper.json",
        "exams/sums/sealed.age": stage.papers / "sealed.age",
    }
    files = []
    claim = Claim(kind="no worse than", reference=teacher.content_digest, margin=0.2)
    for name, model in models.items():
        claims: dict[str, Any] = {"reference": teacher, "claim": claim} if name == "toy" else {}
        stage.certificate(model, name=name, **claims)
        path = f"exams/sums/{name}.certificate.json"
        sources[path] = root / name / "certificate.json"
        own: dict[str, Any] = {"path": f"{name}.gguf", "file_type": name[4:].upper(), "bits_per_weight": 8.5}
        if name == "toy":
            own = {"path": "hf", "parts": tuple(DIRECTORY), "file_type": "BF16"}
            sources |= {f"hf/{part}": data for part, data in DIRECTORY.items()}
        else:
            place = root / f"{name}.gguf"
            place.write_bytes(FILES[name])
            sources[f"{name}.gguf"] = place
        files.append(
            ReleasedFile(
                name=name,
                digest=model.describe().digest,
                num_bytes=0,
                divergences=(FileDivergence(text="in task", kl=estimate(0.02), against="toy"),),
                memory_bytes=300_000_000,
                tokens_per_s=97.3,
                measured_on="EPYC, 1 thread",
                certificates=(FileCertificate(exam="sums", path=path),),
                **own,
            )
        )
    sources["exams/ledger.jsonl"] = stage.ledger.path
    exam = ReleasedExam(
        name="sums",
        task=stage.task.name,
        paper="exams/sums/paper.json",
        ledger="exams/ledger.jsonl",
        sealed="exams/sums/sealed.age",
        others=("exams/sums/teacher.certificate.json",),
    )
    duties = [
        ("name_prefix", "Llama", None),
        ("banner", BANNER, None),
        ("notice", NOTICE, None),
        ("copy", "Llama 3.2 Community License", "licences/llama3.2.txt"),
        ("pass_on", "the Acceptable Use Policy", None),
    ]
    release = Release(
        name=NAME,
        version="1.0",
        date="2026-11-29",
        about="Sums of two numbers.",
        repository="ada/Llama-toy",
        license="LicenseRef-llama3.2",
        files=tuple(files),
        lineage=_lineage(),
        exams=(exam,),
        duties=tuple(
            ReleaseDuty(
                kind=kind, text=text, source="Llama 3.2, 1.b.i", date="2026-11-29", models=("Llama-3.2-1B",), path=path
            )
            for kind, text, path in duties
        ),
        texts=("LICENSE", "NOTICE", "licences/llama3.2.txt"),
        base_models=("meta-llama/Llama-3.2-1B",),
        base_model_relation="finetune",
        datasets=("openai/gsm8k",),
        languages=("en",),
        architecture="llama",
        context_length=2048,
        recipe=sha256(b"recipe"),
    )
    return ReleaseParts(stage=stage, plan=ReleasePlan(release=release, sources=sources), key=SigningKey.generate())
