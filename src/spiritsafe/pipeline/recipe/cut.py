"""What a recipe says of a cut: a smaller model out of a larger one, within a budget of bytes.

In: keys of a ``kind = "cut"`` step. Out: a frozen record; a setting that could not take effect is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.records import Record, omit_default
from spiritsafe.models import Quantisation
from spiritsafe.pipeline.recipe.made import MOST_REPEATS, FromEntry, Needs, Sets, changed
from spiritsafe.pipeline.recipe.training import SaveDtype, TrainRecipe


class CutSettings(Record):
    """How a model is cut.

    Attributes:
        share: Most of its bytes that are left, at the same quantisation and context.
        max_bytes: The same as a number of bytes; give one of the two.
        quantisation: How weights are stored when bytes are counted.
        context: Tokens of key-value cache that count as well.
        shape: "depth" removes whole layers; "race" draws candidates of several shapes under the budget, heals each a
            little and keeps the best.
        candidates: Shapes in a race.
        race_steps: Updates that each of them gets.
        cut_kv_heads: Whether a race may offer shapes with fewer key-value heads (and their query heads).
        criterion: How layers are chosen for removal: "loss" (the removal that raises the loss least, one after the
            other) or "influence" (block influence, arXiv 2403.03853).
        calibration: Documents that the choice is measured on.
        vocabulary: "full", or "seen": only tokens that the sets of ``calibrate`` use, and those these are made of. What
            is left is smaller and knows nothing else.
    """

    share: float | None = Field(default=None, gt=0.0, le=1.0)
    max_bytes: int | None = Field(default=None, ge=1)
    quantisation: Quantisation = "fp32"
    context: int = Field(default=0, ge=0)
    shape: Literal["depth", "race"] = "depth"
    candidates: int = Field(default=4, ge=2)
    race_steps: int = Field(default=8, ge=1)
    cut_kv_heads: bool = False
    criterion: Literal["loss", "influence"] = "loss"
    calibration: int = Field(default=32, ge=1)
    vocabulary: Literal["full", "seen"] = "full"

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.share is None) == (self.max_bytes is None):
            raise ValueError("give share or max_bytes, one of the two: the budget of the cut")
        useless = changed(self, {"candidates", "race_steps", "cut_kv_heads"})
        if self.shape == "depth" and useless:
            raise ValueError(f'{", ".join(useless)}: an effect with shape = "race" only, leave it out')
        return self


class CutRecipe(CutSettings, FromEntry):
    """A smaller model out of a larger one.

    Attributes:
        name: Of the model that it makes.
        from: The model that it is cut from.
        calibrate: Sets that layers are chosen on, and that a race heals on; left out: what those learn that go on
            from it.
        start: "weights" keeps the model's own in what is left; "random" draws new ones of the same shape, as a control.
        repeat: With "random": make so many, alike but for the seed.
        train: How a race heals its candidates.
        save_dtype: Number format of the model that is made: "float32", "bfloat16", or "auto": that of the model it is
            cut from.
    """

    kind: Literal["cut"] = "cut"
    calibrate: Sets
    start: Literal["weights", "random"] = "weights"
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    train: TrainRecipe = TrainRecipe()
    save_dtype: SaveDtype = omit_default("auto")

    @classmethod
    def filled(cls, table: dict[str, Any], steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Calibrated on what those learn that go on from it, where it does not say on what."""
        if table.get("calibrate"):
            return table
        goes_on = [step.get("learns") for step in steps if step.get("from") == table.get("name")]
        learns = [
            name for names in goes_on if isinstance(names, list | dict) for name in names if isinstance(name, str)
        ]
        return {**table, "calibrate": list(dict.fromkeys(learns))} if learns else table

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        useless = changed(self, {"train"}) if self.shape == "depth" else []
        useless += changed(self, {"repeat"}) if self.start == "weights" else []
        if useless:
            raise ValueError(f"{', '.join(useless)}: no effect here, leave it out")
        if self.train.seed != 0:
            raise ValueError("train.seed has no effect: the recipe's seed gives each step its own, leave it out")
        return self

    @property
    def needs(self) -> Needs:
        """What it is cut from, and what that is measured on: of a race the shape is kept, not what healed."""
        needs = replace(super().needs, sets=self.calibrate)
        return replace(needs, used_as=()) if self.start == "random" else needs

    @property
    def times(self) -> int:
        """Its repetitions."""
        return self.repeat

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        return super().one_of(name, one).model_copy(update={"repeat": 1})
