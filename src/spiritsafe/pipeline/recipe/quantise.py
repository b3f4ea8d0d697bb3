"""What a recipe says of quantising: the file type, the text by which roundings are weighed, what is learnt on its grid.

In: keys of a ``kind = "quantise"`` step. Out: a frozen record; a setting that could not take effect is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from spiritsafe.distil import OnPolicyConfig
from spiritsafe.models import FILE_TYPES, FileGrid, FileTypeName
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.recipe.made import (
    MOST_REPEATS,
    BudgetRecipe,
    FromEntry,
    Learns,
    Makes,
    Name,
    Needs,
    changed,
    each_once,
    wanted_of,
)
from spiritsafe.pipeline.recipe.training import DevRecipe, TrainRecipe

_NOT_WEIGHED = ("f32", "f16", "bf16", "q8_0")
"""Types whose rounding no importance changes."""


class QuantiseRecipe(FromEntry):
    """A GGUF file out of a model, which answers and sits exams as that very file.

    Attributes:
        name: Of the file model. Nothing goes on from its weights: steps that train name the model that it is of.
        from: The model that is stored.
        to: File type: "f16", "q8_0", "q4_0" and so on; llama.cpp's K- and IQ-types ("q4_k_m") need
            ``pip install 'spiritsafe[gguf]'``.
        calibrate: Sets whose texts tell which columns of a matrix matter (an importance matrix); llama.cpp then rounds
            by it.
        calibration: Documents that importance is measured on, of all these sets together.
        learns: Learn on the file's grid before it is written (quantisation-aware distillation): the model follows its
            own unquantised distributions on these sets, a part of them of general text, so that the file says what the
            model says. For "q8_0", "q5_1", "q5_0", "q4_1" and "q4_0".
        on_policy: Let the model, as the file holds it, write a share of what it learns from.
        train: How it learns; at most 5e-5 unless it says ``learning_rate``.
        repeat: Make so many files, alike but for the seed; they are called name-1, name-2 and so on.
        dev: Points of accuracy on the learning curve, of the model as the file holds it.
        budget: Learn for as many operations as another model took.
    """

    makes: ClassVar[Makes] = "file"
    kind: Literal["quantise"] = "quantise"
    to: FileTypeName
    calibrate: tuple[Name, ...] = ()
    calibration: int = Field(default=128, ge=1)
    learns: Learns | None = None
    on_policy: OnPolicyConfig | None = None
    train: TrainRecipe = TrainRecipe()
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    dev: DevRecipe | None = None
    budget: BudgetRecipe | None = None

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        each_once(self.calibrate)
        if useless := changed(
            self, {"on_policy", "train", "repeat", "dev", "budget"} if self.learns is None else set()
        ):
            raise ValueError(f"{', '.join(useless)}: an effect with learns only, leave it out")
        if self.learns is not None and self.to not in get_args(FileGrid):
            raise ValueError(
                f"learns is for {', '.join(get_args(FileGrid))}: nothing can be learnt on the grid of {self.to}"
            )
        if self.calibrate and (self.learns is not None or self.to in _NOT_WEIGHED):
            why = "with learns, whose grid is the plain one" if self.learns is not None else f"on {self.to}"
            raise ValueError(f"calibrate has no effect {why}: leave it out")
        if not self.calibrate and FILE_TYPES[self.to].needs_importance:
            raise ValueError(f"{self.to} is rubbish without importance: name sets in calibrate")
        if not self.calibrate and changed(self, {"calibration"}):
            raise ValueError("calibration: an effect with calibrate only, leave it out")
        self._check_learning()
        return self

    def _check_learning(self) -> None:
        """What a distillation with these keys is told."""
        table = self.distil_table()
        try:
            if table is not None:
                DistilRecipe.model_validate(table)
        except ValidationError as error:
            said = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
            raise ValueError("; ".join(said)) from error

    @property
    def needs(self) -> Needs:
        """What is stored, and what that is measured or learnt on."""
        budget = () if self.budget is None else (self.budget.of,)
        sets = self.calibrate if self.learns is None else tuple(wanted_of(self.learns))
        return replace(super().needs, sets=sets, waits_for=budget)

    @property
    def times(self) -> int:
        """Its repetitions."""
        return self.repeat

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        budget = None if self.budget is None else self.budget.model_copy(update={"of": one(self.budget.of)})
        return super().one_of(name, one).model_copy(update={"repeat": 1, "budget": budget})

    def distil_table(self) -> dict[str, Any] | None:
        """What it learns as the table of a ``distil`` step: the model is its own teacher. None where nothing learns."""
        if self.learns is None:
            return None
        keys = ("learns", "on_policy", "train", "dev", "budget")
        return {
            **{key: getattr(self, key) for key in keys},
            "name": self.name,
            "from": self.origin,
            "teacher": self.origin,
            "grid": self.to,
        }
