"""What is released: files with their lineage, their exams and what their licences ask, as records.

In: what a run measured and certified. Out: :class:`Release`, whose canonical JSON is ``release.json`` in the directory;
card, bill of materials and verification are all made from it and from the certificates that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from spiritsafe.core.canonical import digest
from spiritsafe.core.records import Checkpoint, Digest, Record
from spiritsafe.stats import Estimate

RELEASE_FILE = "release.json"
CARD_FILE = "README.md"
BOM_FILE = "bom.cdx.json"
SIGNATURE_FILE = "model.sig"
KEY_FILE = "signing-key.pem"
LICENCE_FILE = "LICENSE"
NOTICE_FILE = "NOTICE"
RELEASE_FILES = (RELEASE_FILE, CARD_FILE, BOM_FILE, SIGNATURE_FILE, KEY_FILE, LICENCE_FILE, NOTICE_FILE)
"""What a release writes itself, at its top."""

_PART = "[A-Za-z0-9_][A-Za-z0-9._+-]*"
_LONGEST_PATH = 255

ReleasePath = Annotated[
    str, StringConstraints(pattern=rf"^{_PART}(/{_PART})*$", max_length=_LONGEST_PATH, strip_whitespace=False)
]
"""A file in a release, from its top: names that every file system and every shell takes as they are, none hidden."""

HubName = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,96}(/[\w.-]{1,96})?$")]
"""A repository of the hub: ``organisation/name``."""


class ReleaseDuty(Record):
    """What a licence of the lineage asks of whoever publishes, or uses, the release.

    Attributes:
        kind: As the table of licences calls it. Four of them are looked for: "name_prefix" (the release's name begins
            with the text), "banner" (the card shows it), "notice" (NOTICE holds it), "copy" (it goes along, at the
            path).
        text: Word for word where it has to be there; else the duty in words.
        source: Where the licence says so.
        date: When that was read.
        models: For which models of the lineage.
        path: Of a copy that goes along.
    """

    kind: str = Field(pattern=r"^[a-z_]{1,40}$")
    text: str = Field(min_length=1)
    source: str
    date: str
    models: tuple[str, ...] = ()
    path: ReleasePath | None = None


class FileDivergence(Record):
    """How far a file is from the model that it was made from.

    Attributes:
        text: On which text: "in task", "general".
        kl: KL(original ‖ file) a token, in nats.
        against: The original.
    """

    text: str
    kl: Estimate
    against: str


class FileCertificate(Record):
    """A certificate of a file: in which exam, and where it lies."""

    exam: str
    path: ReleasePath


class ReleasedFile(Record):
    """What is loaded as one model: a GGUF file, or the files of a Hugging Face directory.

    Attributes:
        name: As its certificates call it.
        path: The file; of a Hugging Face directory its folder, "." for the release's own top.
        parts: Of a Hugging Face directory: its files, from that folder; of a GGUF file none.
        digest: What its certificates name: the SHA-256 of the GGUF file, or the digest of ``{part: its SHA-256}``.
        num_bytes: Of all its files.
        file_type: "Q8_0", "BF16".
        substituted_share: Of the matrix weights: stored in another type than that.
        memory_bytes: Resident, while it answers.
        tokens_per_s: One answer at a time.
        measured_on: The machine that memory and speed are of.
        is_dominated: See :func:`spiritsafe.release.texts.ladder.is_dominated`.
    """

    name: str = Field(min_length=1)
    path: ReleasePath | Literal["."]
    parts: tuple[ReleasePath, ...] = ()
    digest: Digest
    num_bytes: int = Field(ge=0)
    file_type: str
    bits_per_weight: float | None = Field(default=None, gt=0)
    substituted_share: float | None = Field(default=None, ge=0, le=1)
    divergences: tuple[FileDivergence, ...] = ()
    memory_bytes: int | None = Field(default=None, ge=0)
    tokens_per_s: float | None = Field(default=None, ge=0)
    measured_on: str = ""
    certificates: tuple[FileCertificate, ...] = ()
    is_dominated: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """All its files, from the release's top."""
        folder = "" if self.path == "." else f"{self.path}/"
        return tuple(f"{folder}{part}" for part in self.parts) or (self.path,)

    @model_validator(mode="after")
    def _a_folder_has_parts(self) -> Self:
        if self.path == "." and not self.parts:
            raise ValueError("the parts of a Hugging Face directory are missing")
        return self


class ReleasedExam(Record):
    """An exam, and what a stranger needs to verify its certificates.

    Attributes:
        paper: ``paper.json``.
        sealed: ``sealed.age``.
        others: Certificates of models that are not released: teacher, base, what a claim compares with.
        overlaps: Signed reports of what stands in training files.
        memories: Signed reports of signs of memory.
    """

    name: str = Field(min_length=1)
    task: str
    paper: ReleasePath
    ledger: ReleasePath
    sealed: ReleasePath | None = None
    others: tuple[ReleasePath, ...] = ()
    overlaps: tuple[ReleasePath, ...] = ()
    memories: tuple[ReleasePath, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All its files but the certificates of released ones."""
        sealed = (self.sealed,) if self.sealed else ()
        return (self.paper, self.ledger, *sealed, *self.others, *self.overlaps, *self.memories)


class Release(Record):
    """The file ``release.json``.

    Attributes:
        about: What the models are for, in a few words.
        repository: Where it is published on the hub.
        license: SPDX id, or a ``LicenseRef-``.
        files: The models.
        lineage: Of the released models and of every ancestor of which there is one.
        texts: Licences and notices that go along, ``LICENSE`` first.
        base_models: What they were made from, as the hub names it.
        datasets: What they learned from, as the hub names it.
        languages: ISO 639 codes.
        architecture: ``llama``, as GGUF names it.
        context_length: Tokens that the models were made for.
        learning: How the last step but quantisation taught it.
        recipe: Digest of the resolved recipe.
        recipe_file: The recipe itself.
        others: Files that go along and that nothing above names.
    """

    format: Literal["spiritsafe.release/1"] = "spiritsafe.release/1"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
    version: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    about: str = ""
    repository: HubName | None = None
    license: str = Field(min_length=1)
    files: tuple[ReleasedFile, ...] = Field(min_length=1)
    lineage: tuple[Checkpoint, ...]
    exams: tuple[ReleasedExam, ...] = ()
    duties: tuple[ReleaseDuty, ...] = ()
    texts: tuple[ReleasePath, ...] = (LICENCE_FILE,)
    base_models: tuple[HubName, ...] = ()
    base_model_relation: Literal["adapter", "merge", "quantized", "finetune"] | None = None
    datasets: tuple[HubName, ...] = ()
    languages: tuple[str, ...] = ()
    architecture: str = ""
    context_length: int | None = Field(default=None, ge=1)
    learning: Literal["supervised", "self-supervised", "reinforcement-learning"] = "supervised"
    recipe: Digest | None = None
    recipe_file: ReleasePath | None = None
    software: dict[str, str] = Field(default_factory=dict)
    others: tuple[ReleasePath, ...] = ()

    def named_paths(self) -> Iterator[str]:
        """Every file that the record names, once."""
        certificates = (one.path for file in self.files for one in file.certificates)
        recipe = (self.recipe_file,) if self.recipe_file else ()
        exams = (path for exam in self.exams for path in exam.paths)
        files = (path for file in self.files for path in file.paths)
        yield from dict.fromkeys((*files, *certificates, *exams, *self.texts, *recipe, *self.others))

    def exam(self, name: str) -> ReleasedExam:
        """The exam of a name."""
        return next(exam for exam in self.exams if exam.name == name)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        exams = [exam.name for exam in self.exams]
        paths = [path for file in self.files for path in file.paths]
        certificates = [one.path for file in self.files for one in file.certificates]
        every = (*self.named_paths(), *(path for path in RELEASE_FILES if path not in (LICENCE_FILE, NOTICE_FILE)))
        for what, names in (
            ("exams", exams),
            ("files", paths),
            ("certificates", certificates),
            ("files", every),  # where a file system knows no case, one would take the other's place
        ):
            if len({name.casefold() for name in names}) < len(names):
                raise ValueError(f"two {what} have one name")
        if unknown := {one.exam for file in self.files for one in file.certificates} - set(exams):
            raise ValueError(f"no exam is called {min(unknown)!r}")
        if unknown := {file.digest for file in self.files} - {one.digest for one in self.lineage}:
            raise ValueError(f"there is no lineage of {min(unknown)}")
        if LICENCE_FILE not in self.texts:
            raise ValueError(f"{LICENCE_FILE} is missing")
        return self


def digest_of_parts(digests: Iterable[tuple[str, str]]) -> str:
    """Digest of a Hugging Face directory from those of its files, as ``core.files.digests.digest_directory`` has it."""
    return digest(dict(digests))


def is_release_path(path: str) -> bool:
    """Whether it is a :data:`ReleasePath`."""
    return len(path) <= _LONGEST_PATH and bool(re.fullmatch(rf"{_PART}(/{_PART})*", path))
