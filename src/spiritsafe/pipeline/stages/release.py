"""Releases of a run: a model, its files, certificates and duties, gathered into one signed directory.

In: finished stages. Out: ``release`` in the step's folder, as :func:`spiritsafe.release.write_release` writes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.digests import LINEAGE
from spiritsafe.core.records import Checkpoint
from spiritsafe.exam import PAPER_FILE, SEALED_FILE, host_software, load_paper
from spiritsafe.models import (
    ChatFormat,
    file_facts,
    read_model_config,
    read_tensor_table,
    source_texts,
    this_platform,
    true_name,
)
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.data import DataRecipe
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.schema import ExamRecipe, Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.exam import certificate_path, ledger_path, paper_path
from spiritsafe.pipeline.stages.source import given_of, lineage_of, model_directory
from spiritsafe.pipeline.step import step_of
from spiritsafe.release import (
    RELEASE_FILES,
    Duties,
    FileCertificate,
    FileDivergence,
    Release,
    ReleasedExam,
    ReleasedFile,
    ReleasePlan,
    SigningKey,
    check_duties,
    check_name,
    duties_of,
    is_release_path,
    licence_paths,
    licence_texts,
    recognise_chat,
    record_duties,
    suggested_name,
    whole_licence,
    write_release,
)
from spiritsafe.report import FileFigures

_FOLDER = "release"
_BESIDE = "model"
_RECIPE = "recipe.toml"


@final
@dataclass(frozen=True, kw_only=True)
class ReleaseWish:
    """What is to be released.

    Attributes:
        model: Of the run.
        files: Models of the run that are files of it.
        weights: Whether its Hugging Face directory goes along.
        title: What it is called; None: by recipe and model.
        texts: Paths of licence texts and notices that go along.
        recipe: Whether the recipe's text goes along.
    """

    model: str
    files: tuple[str, ...]
    weights: bool
    title: str | None
    version: str
    about: str
    languages: tuple[str, ...]
    texts: tuple[str, ...]
    recipe: bool


def releases_of(recipe: Recipe) -> list[Node]:
    """The releases that a recipe asks for."""
    return [node for node in recipe.made if node.recipe.makes == "release"]


def release_directory(context: RunContext, name: str) -> Path:
    """Where a release of this run lies."""
    return context.stage(name).path / _FOLDER


def release_key_path(context: RunContext) -> Path:
    """The key that signs a run's releases, mode 0600."""
    return context.run.path / "keys" / "release.pem"


def default_title(recipe: Recipe, model: str, duties: Duties) -> str:
    """What a release of a model is called where nobody says: by recipe and model, behind what a licence asks for."""
    return suggested_name(f"{recipe.name}-{model}", duties)


def make_release(wish: ReleaseWish, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Gather, check duties and name, write and sign.

    Raises:
        RecipeError: A licence forbids the release, or its name.
        SourceError: A licence's text is missing.
    """
    plan = _Gathering(wish, context).plan()
    shutil.rmtree(stage.path / _FOLDER, ignore_errors=True)  # of an attempt that was killed behind it
    release = write_release(stage.path / _FOLDER, plan, SigningKey.load_or_create(release_key_path(context)))
    count = sum(len(file.certificates) for file in release.files)
    return {"name": release.name, "summary": f"{release.name}: {len(release.files)} models, {count} certificates"}


@final
class _Gathering:
    """What a release is made of, found in a run."""

    def __init__(self, wish: ReleaseWish, context: RunContext) -> None:
        self._wish = wish
        self._context = context
        self._directory = model_directory(context, wish.model)
        self._own = lineage_of(context, wish.model)
        self._lineage = tuple({one.content_digest: one for one in self._ancestry()}.values())
        self._duties = duties_of(self._lineage)
        check_duties(self._duties)
        self._licence = whole_licence(self._own.license, self._duties, self._lineage)
        self._title = wish.title or default_title(context.recipe, wish.model, self._duties)
        check_name(self._title, self._duties)
        self._sources: dict[str, Path | bytes] = {}

    def _ancestry(self) -> Iterator[Checkpoint]:
        """The model, its files, and every model of the run that it comes from.

        Models that training did not change have one digest and parents of their own: all of them count.
        """
        yield self._own
        for name in self._wish.files:
            yield lineage_of(self._context, name)
        known: dict[str, list[Checkpoint]] = {}
        for node in self._context.recipe.all_models:
            one = lineage_of(self._context, node.name)
            known.setdefault(one.digest, []).append(one)
        waiting, seen = [self._own.digest], set[str]()
        while waiting:
            digest = waiting.pop(0)
            if digest not in seen:
                seen.add(digest)
                for one in known.get(digest, ()):
                    yield one
                    waiting += [parent.digest for parent in one.parents]

    def plan(self) -> ReleasePlan:
        """Everything that :func:`write_release` needs."""
        context, recipe = self._context, self._context.recipe
        config, chat = read_model_config(self._directory), ChatFormat(self._directory)
        files = tuple(self._files())
        texts = tuple(self._texts())
        exams = tuple(self._exam(exam) for exam in self._exams())
        if self._wish.recipe:
            self._sources[_RECIPE] = context.run.path / _RECIPE
        recognised = recognise_chat(chat.render)
        release = Release(
            name=self._title,
            version=self._wish.version,
            date=datetime.now(UTC).date().isoformat(),
            about=self._wish.about or recipe.summary,
            license=self._licence,
            files=files,
            lineage=self._lineage,
            exams=exams,
            duties=record_duties(self._duties, self._title, licence_paths(self._licence, self._duties)),
            texts=texts,
            base_models=tuple(self._hub_bases()),
            base_model_relation="finetune" if self._wish.model not in recipe.models else None,
            datasets=tuple(one.hub for one in recipe.data.values() if isinstance(one, DataRecipe) and one.hub),
            languages=self._wish.languages,
            architecture=str(config.get("model_type", "")),
            context_length=int(config.get("max_position_embeddings", 0)) or None,
            recipe=context.run.hash,
            recipe_file=_RECIPE if self._wish.recipe else None,
            software=host_software(),
        )
        ggufs = [file.path for file in files if not file.parts]
        chats = dict.fromkeys(ggufs, recognised) if recognised is not None else {}
        return ReleasePlan(release=release, sources=self._sources, chats=chats)

    def _exams(self) -> list[ExamRecipe]:
        """Those that something released sat."""
        return [exam for exam in self._context.recipe.exams if self._released & set(self._sat(exam))]

    @property
    def _released(self) -> set[str]:
        return {self._wish.model, *self._wish.files} if self._wish.weights else set(self._wish.files)

    def _sat(self, exam: ExamRecipe) -> list[str]:
        return self._context.recipe.examinees(exam)

    def _files(self) -> Iterator[ReleasedFile]:
        if self._wish.weights:
            parts = sorted(path.name for path in self._directory.iterdir() if path.is_file() and path.name != LINEAGE)
            # a given model may have a card of its own; a disk that knows no case takes readme.md for the release's
            own = {name.casefold() for name in RELEASE_FILES}
            folder = _BESIDE if any(part.casefold() in own for part in parts) else "."
            if odd := [part for part in parts if not is_release_path(part)]:
                raise SourceError(
                    f"{self._directory / odd[0]} has a name that no file of a release has.",
                    hint="Rename it to letters, digits and . _ + - without a dot at the beginning, and run again.",
                )
            inside = "" if folder == "." else f"{folder}/"
            self._sources |= {f"{inside}{part}": self._directory / part for part in parts}
            yield ReleasedFile(
                name=self._wish.model,
                path=folder,
                parts=tuple(parts),
                digest=self._own.digest,
                num_bytes=0,
                file_type=_stored_type(self._directory),
                certificates=tuple(self._certificates(self._wish.model)),
            )
        for name in self._wish.files:
            node = self._context.recipe.node(name)
            figures = step_of(node).figures(self._context, node)
            if figures is None:
                raise SourceError(f"{name} is no file.", hint="Name steps of the kind quantise.")
            place = model_directory(self._context, name) / figures.file
            path = true_name(file_facts(place), self._title)
            if path in self._sources:  # another one of this type: one of them learnt to be it, for example
                path = true_name(file_facts(place), f"{self._title}-{name}")
            self._sources[path] = place
            yield ReleasedFile(
                name=name,
                path=path,
                digest=lineage_of(self._context, name).digest,
                num_bytes=0,
                file_type=figures.type,
                bits_per_weight=figures.bits_per_weight,
                substituted_share=figures.substituted_share,
                divergences=tuple(self._divergences(figures)),
                memory_bytes=figures.memory_bytes,
                tokens_per_s=figures.tokens_per_s,
                measured_on=this_platform("cpu").text() if figures.memory_bytes else "",
                certificates=tuple(self._certificates(name)),
            )

    def _divergences(self, figures: FileFigures) -> Iterator[FileDivergence]:
        if figures.kl is not None:
            yield FileDivergence(text="general", kl=figures.kl, against=self._own.name)

    def _certificates(self, name: str) -> Iterator[FileCertificate]:
        for exam in self._context.recipe.exams:
            if name in self._sat(exam):
                yield FileCertificate(exam=exam.name, path=self._put_certificate(exam, name))

    def _put_certificate(self, exam: ExamRecipe, name: str) -> str:
        path = f"exams/{exam.name}/{name}.certificate.json"
        self._sources[path] = certificate_path(self._context, exam, name)
        return path

    def _exam(self, exam: ExamRecipe) -> ReleasedExam:
        folder = f"exams/{exam.name}"
        paper = paper_path(self._context, exam)
        self._sources |= {
            f"{folder}/{PAPER_FILE}": paper / PAPER_FILE,
            f"{folder}/{SEALED_FILE}": paper / SEALED_FILE,
            f"{folder}/ledger.jsonl": ledger_path(self._context),
        }
        return ReleasedExam(
            name=exam.name,
            task=load_paper(paper).header.task,  # with all its parameters, and no path of here
            paper=f"{folder}/{PAPER_FILE}",
            sealed=f"{folder}/{SEALED_FILE}",
            ledger=f"{folder}/ledger.jsonl",
            others=tuple(self._put_certificate(exam, n) for n in self._sat(exam) if n not in self._released),
        )

    def _hub_bases(self) -> Iterator[str]:
        for given in self._context.recipe.models.values():
            if isinstance(given, GivenRecipe) and str(given.source).startswith("hf:"):
                yield str(given.source).removeprefix("hf:").partition("@")[0]

    def _texts(self) -> Iterator[str]:
        """Licence texts and notices: what lies beside the weights that are inside, then what the recipe names."""
        found: list[tuple[str, Path]] = []
        others: list[tuple[str, Path]] = []
        inside = self._inside()
        for name in self._context.recipe.models:
            given, one = given_of(self._context, name), lineage_of(self._context, name)
            if given is None or given.source is None or one.digest not in inside:
                continue
            texts = [text for place in (given.adapter, given.source) if place for text in source_texts(place)]
            found += [(one.license, text) for text in reversed(texts) if not text.stem.lower().startswith("notice")]
            others += [(f"{name}-{text.name}", text) for text in texts]
        named = [Path(text) for text in self._wish.texts]
        found += [(text.stem, text) for text in named]
        others += [(text.name, text) for text in named]
        for path, text in licence_texts(self._title, self._licence, self._duties, found, others).items():
            self._sources[path] = text
            yield path

    def _inside(self) -> set[str]:
        """Digests of the models whose weights are inside, itself among them."""
        found, waiting = set[str](), [self._own.digest]
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                made = (one for one in self._lineage if one.digest == digest)
                waiting += [parent.digest for one in made for parent in one.parents if "weights" in parent.used_as]
        return found


def _stored_type(directory: Path) -> str:
    """The type of most of a directory's weights."""
    sizes: dict[str, int] = {}
    for tensor in read_tensor_table(directory).values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.num_bytes
    return max(sizes, key=lambda dtype: sizes[dtype])
