"""Steps that release: files of a model, its certificates, what its licences ask, in one signed directory.

In: a model, files that were made of it, and the exams that they sat. Out: ``release``, which a stranger verifies with
``spiritsafe release verify``. It is made when all exams were sat.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, Self, final

from pydantic import Field

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.duties import planned_duties
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import FromEntry, Makes, Name, Needs
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.release import ReleaseWish, default_title, make_release
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Words
from spiritsafe.release import check_name

_TITLE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"


@final
@register_kind("steps")
class ReleaseStep(FromEntry, Step):
    """One directory with everything that somebody else needs.

    Attributes:
        name: Of the step.
        from: The model that is released.
        files: Files of it, made by ``quantise`` steps.
        weights: Whether the Hugging Face directory goes along, besides the files.
        title: What the release is called; the recipe's and the model's name when left out, behind the prefix that a
            licence asks for.
        version: Of the release.
        about: What the model is for, in a sentence.
        languages: That it speaks, as ISO 639 codes.
        texts: Licence texts and notices to go along that do not lie beside the given models' weights.
        recipe: Whether the recipe's text goes along. It names your servers and files; its digest stands there anyway.
    """

    makes: ClassVar[Makes] = "release"
    follows_exams: ClassVar[bool] = True
    kind: Literal["release"] = "release"
    files: tuple[Name, ...] = ()
    weights: bool = True
    title: str | None = Field(default=None, pattern=_TITLE)
    version: str = Field(default="1.0", pattern=r"^[0-9A-Za-z.+-]{1,40}$")
    about: str = ""
    languages: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    recipe: bool = False

    @property
    def needs(self) -> Needs:
        """Models whose files go in; nothing is computed with them."""
        return Needs(models=(self.origin, *self.files), takes_files=self.files)

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        update: dict[str, Any] = {"name": name, "origin": one(self.origin), "files": tuple(map(one, self.files))}
        return self.model_copy(update=update)

    @property
    def wish(self) -> ReleaseWish:
        """What its stage is asked for."""
        return ReleaseWish(
            model=self.origin,
            files=self.files,
            weights=self.weights,
            title=self.title,
            version=self.version,
            about=self.about,
            languages=self.languages,
            texts=self.texts,
            recipe=self.recipe,
        )

    def words(self, node: Node) -> Words:
        """What goes in."""
        parts = [*(["its weights"] if self.weights else []), *self.files]
        return Words(line=f"{node.name}: {self.origin} as {', '.join(parts) or 'nothing'}")

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Files of another model, nothing to release, a name that a licence forbids."""
        found = []
        for name in self.files:
            made = forecast.recipe.node(name)
            if not made.is_file:
                found.append(f"{node.name}: {name} is no file: make one of it with a quantise step")
            elif made.recipe.needs.weights != self.origin:
                found.append(f"{node.name}: {name} is a file of {made.recipe.needs.weights}, not of {self.origin}")
        if not self.weights and not self.files:
            found.append(f"{node.name}: nothing is released: name files, or leave out weights = false")
        duties = planned_duties(forecast).get(self.origin)
        if self.title is not None and duties is not None:
            try:
                check_name(self.title, duties)
            except RecipeError as error:
                found.append(f"{node.name}: {error.message} {error.hint}".rstrip("."))
        called = "" if self.title or duties is None else default_title(forecast.recipe, self.origin, duties)
        if called and not re.fullmatch(_TITLE, called):
            found.append(f"{node.name}: it would be called {called}, which is too long: give it a title")
        return found

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One, behind all exams."""
        settings: dict[str, JSON] = {"made": self.to_json()}
        after = (*self.needs.models, *(stage for exam in recipe.exams for stage in (exam.seal_stage, exam.stage)))
        return [
            StageSpec(
                name=node.name,
                work=partial(make_release, self.wish),
                settings=settings,
                after=tuple(dict.fromkeys(after)),
                is_exact=True,
            )
        ]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """What it holds."""
        return "released", str(context.stage(node.name).result()["summary"])
