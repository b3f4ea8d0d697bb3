"""What a recipe says of distilling: from whom, on what, and which of the teacher's signals the student follows.

In: keys of a ``kind = "distil"`` step. Out: a frozen record; a setting that could not take effect is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from spiritsafe.core.records import ModelUse, Record, omit_default
from spiritsafe.distil import DIVERGENCES, LossMix, OnPolicyConfig
from spiritsafe.models import FileGrid
from spiritsafe.pipeline.recipe.made import OTHER_OR_TABLE, Learns, Name, Needs, changed, wanted_of
from spiritsafe.pipeline.recipe.training import BudgetedRecipe, Way


def objectives() -> dict[str, str]:
    """What a student may minimise, by its name in a recipe, and what a report calls it."""
    return {
        **{name: divergence.label for name, divergence in DIVERGENCES.items()},
        "across": "divergence of chunk likelihoods",
    }


def _known_objective(value: object) -> object:
    known = tuple(objectives())
    if value not in known:
        words = f"Input should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise PydanticCustomError("literal_error", "{words}", {"words": words})
    return value


class HiddenRecipe(Record):
    """Match the teacher's hidden states in the first part of training.

    Attributes:
        weight: At the start; it falls to 0 at ``until``.
        pairs: Pairs of layers, one of the student and one of the teacher.
        until: Share of the run after which the match has gone.
        share_of_tokens: Of the supervised tokens that are compared.
        method: How the teacher's stream becomes as wide as the student's; "auto" takes the pruning's index maps.
        calibration: Documents that the match is fitted on.
    """

    weight: float = Field(default=1.0, gt=0.0)
    pairs: int = Field(default=3, ge=1)
    until: float = Field(default=0.5, gt=0.0, le=1.0)
    share_of_tokens: float = Field(default=1.0, gt=0.0, le=1.0)
    method: Literal["auto", "index", "procrustes", "low_rank"] = "auto"
    calibration: int = Field(default=32, ge=1)


Teacher = Annotated[
    Annotated[Name, Tag("[other]")] | Annotated[dict[Name, Name], Tag("[table]")],
    OTHER_OR_TABLE,
]
"""Who is followed: one model, or one for each set."""


class DistilSettings(Record):
    """From whom and how.

    Attributes:
        teacher: A model; or several, each for the sets that it is named for: ``{ python = "py", fortran = "f90" }``.
            Left out where ``signal`` says it.
        learns: Data sets (their solutions) and sets of answers; with a number, at most so many of each.
        signal: A captured signal of the teacher (``kind = "capture"``); left out: the teacher reads along.
        objective: A divergence from the teacher's whole distribution, or "across": chunk likelihoods between different
            tokenizers.
        beta: Of the generalised Jensen-Shannon divergence "jsd".
        ce_share: Share of the cross-entropy in the loss; the rest is the divergence.
        temperature: Of both distributions in the divergence.
        hidden: Match hidden states as well.
        on_policy: Let the student write what it learns from; ``train`` then says how, and this how much. Of several
            teachers that of a set reads the answers to its problems.
    """

    teacher: Teacher | None = None
    learns: Learns
    signal: Name | None = None
    objective: Annotated[
        str, BeforeValidator(_known_objective), WithJsonSchema({"type": "string", "enum": [*objectives()]})
    ] = "forward_kl"
    beta: float = Field(default=0.5, gt=0.0, lt=1.0)
    ce_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    temperature: float = Field(default=1.0, gt=0.0)
    hidden: HiddenRecipe | None = None
    on_policy: OnPolicyConfig | None = None

    @model_validator(mode="after")
    def _signals_take_effect(self) -> Self:
        if (self.teacher is None) == (self.signal is None):
            raise ValueError("give teacher (a model that reads along) or signal (what a capture step kept of it)")
        if self.objective == "across":
            useless = changed(self, {"temperature", "signal", "hidden", "on_policy"})
            if useless:
                raise ValueError(f'{", ".join(useless)}: no effect with objective "across", leave it out')
        if self.objective != "jsd" and self.beta != 0.5:
            raise ValueError('beta has an effect with objective "jsd" only: leave it out')
        if self.signal is not None:
            served = [f'"{name}"' for name, divergence in DIVERGENCES.items() if not divergence.needs_whole_vocabulary]
            if f'"{self.objective}"' not in served or self.temperature != 1.0:
                raise ValueError(f"a captured signal serves objective {' or '.join(served)} at temperature 1 only")
            if self.hidden is not None or self.on_policy is not None:
                raise ValueError("hidden states and on-policy answers need a live teacher")
        if isinstance(self.teacher, dict):
            self._check_teachers(self.teacher)
        if self.on_policy is not None:
            policy = self.on_policy
            if policy.share == 1.0 and policy.weights.drops_some:
                raise ValueError("weights of 0 need traces to fall back to: set on_policy.share below 1")
            if policy.seed != 0:
                raise ValueError(
                    "on_policy.seed has no effect: the recipe's seed gives each student its own, leave it out"
                )
        return self

    def _check_teachers(self, teachers: dict[str, str]) -> None:
        wanted = set(wanted_of(self.learns))
        if set(teachers) != wanted:
            raise ValueError(f"teacher names sets {', '.join(sorted(teachers))}, learns {', '.join(sorted(wanted))}")
        if self.objective == "across" or self.hidden is not None:
            raise ValueError("several teachers are for divergences between distributions: no across or hidden")

    @property
    def teachers(self) -> tuple[str, ...]:
        """Models that are followed live."""
        if self.teacher is None:
            return ()
        return tuple(dict.fromkeys(self.teacher.values())) if isinstance(self.teacher, dict) else (self.teacher,)

    @property
    def mix(self) -> LossMix:
        """The loss over distributions."""
        weights = {self.objective: 1.0 - self.ce_share, "ce": self.ce_share}
        return LossMix(**weights, temperature=self.temperature, jsd_beta=self.beta)


class DistilRecipe(DistilSettings, BudgetedRecipe):
    """A student follows its teacher.

    Attributes:
        name: Of the model that it makes.
        from: The model that it goes on from: a cut of the teacher, or a small model of its own.
        grid: Learn on the numbers that a GGUF file of this type holds ("q4_0" and so on), so that a ``quantise`` step
            to the same type loses little. What is made is the weights behind them, in float32.
    """

    kind: Literal["distil"] = "distil"
    grid: FileGrid | None = omit_default(None)

    @model_validator(mode="before")
    @classmethod
    def _kept_whole_behind_a_grid(cls, values: Any) -> Any:
        is_open = isinstance(values, dict) and values.get("grid") is not None and "save_dtype" not in values
        return {**values, "save_dtype": "float32"} if is_open else values

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        self.refuse_seeds()
        if self.grid is not None and self.lora is not None:
            raise ValueError("grid needs all weights to learn: leave lora out")
        if self.grid is not None and self.save_dtype != "float32":
            raise ValueError(
                "weights behind a grid are kept in float32, or rounding moves what was learnt: leave save_dtype out"
            )
        if self.on_policy is not None:
            if self.budget is not None:
                raise ValueError("budget has no effect with on_policy, which is rounds long")
            if self.train.is_limited:
                raise ValueError(
                    "max_steps, max_epochs, max_tokens have no effect with on_policy, which is rounds long"
                )
        return self

    @property
    def way(self) -> Way:
        """What the default learning rate depends on."""
        return super().way if self.grid is None else "grid"

    @property
    def needs(self) -> Needs:
        """Its start, teachers, sets, a signal."""
        needs = super().needs
        return replace(
            needs,
            models=(*needs.models, *self.teachers),
            sets=tuple(wanted_of(self.learns)),
            signals=() if self.signal is None else (self.signal,),
            reads=(*needs.reads, *self.teachers),
            follows=() if self.objective == "across" else self.teachers,
            used_as=(*needs.used_as, *((teacher, self._signals) for teacher in self.teachers)),
            learnt=tuple(wanted_of(self.learns)),
        )

    @property
    def _signals(self) -> tuple[ModelUse, ...]:
        return ("logits",) if self.hidden is None else ("logits", "hidden_states")

    def one_of(self, name: str, one: Callable[[str], str]) -> Self:
        """With the names of single models."""
        teacher = self.teacher
        if isinstance(teacher, dict):
            teacher = {key: one(model) for key, model in teacher.items()}
        elif teacher is not None:
            teacher = one(teacher)
        return super().one_of(name, one).model_copy(update={"teacher": teacher})
