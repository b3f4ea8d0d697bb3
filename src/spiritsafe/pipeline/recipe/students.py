"""What a recipe says of one student: how it is cut, what it learns from, and which of the teacher's signals it follows.

In: the tables of a recipe's ``[[students]]``. Out: frozen records; a setting that could not take effect is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from spiritsafe.core.records import Record
from spiritsafe.distil import DIVERGENCES, LossMix, OnPolicyConfig
from spiritsafe.models import Quantisation
from spiritsafe.pipeline.recipe.template import TemplateRecipe
from spiritsafe.training import TrainConfig

MOST_REPEATS = 100
"""Models alike but for the seed: each is a node of the plan, with costs of its own to tell."""


def changed(record: Record) -> set[str]:
    """Fields that are not at their default: a setting written out as its default asks for nothing."""
    fields = type(record).model_fields
    return {name for name, field in fields.items() if getattr(record, name) != field.get_default()}


def objectives() -> dict[str, str]:
    """What a student may minimise, by its name in a recipe, and what a report calls it."""
    return {
        "traces": "cross-entropy on traces",
        **{name: divergence.label for name, divergence in DIVERGENCES.items()},
        "across": "divergence of chunk likelihoods",
    }


def _known_objective(value: object) -> object:
    known = tuple(objectives())
    if value not in known:
        words = f"Input should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise PydanticCustomError("literal_error", "{words}", {"words": words})
    return value


class BudgetRecipe(Record):
    """Train for as many operations as another model took: equal compute.

    What counts is what was spent on each itself (drawing answers, a live teacher's reading, training), not on what it
    was made of. Limits of ``train`` that are nearer still hold, so give one that is far away.

    Attributes:
        of: A model that is made before this one.
        share: Of its operations.
    """

    of: str
    share: float = Field(default=1.0, gt=0.0)


class HiddenRecipe(Record):
    """Match the teacher's hidden states in the first part of training.

    Attributes:
        weight: At the start; it falls to 0 at ``until``.
        pairs: Pairs of layers, one of the student and one of the teacher.
        until: Share of the run after which the match has gone.
        share_of_tokens: Of the supervised tokens that are compared.
        method: How the teacher's stream becomes as wide as the student's; "auto" takes the pruning's index maps.
    """

    weight: float = Field(default=1.0, gt=0.0)
    pairs: int = Field(default=3, ge=1)
    until: float = Field(default=0.5, gt=0.0, le=1.0)
    share_of_tokens: float = Field(default=1.0, gt=0.0, le=1.0)
    method: Literal["auto", "index", "procrustes", "low_rank"] = "auto"


class CutRecipe(Record):
    """How a student is cut from the teacher; students with the same cut share one.

    Attributes:
        share: Most of the teacher's bytes it may have, at the same quantisation and context.
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
        vocabulary: "full", or "seen": only tokens that the training documents use, and those these are made of. The
            student is smaller and knows nothing else.
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
        if self.share is not None and self.max_bytes is not None:
            raise ValueError("give share or max_bytes, not both")
        useless = {"candidates", "race_steps", "cut_kv_heads"} & changed(self)
        if self.shape == "depth" and useless:
            raise ValueError(f'{", ".join(sorted(useless))}: an effect with shape = "race" only, leave it out')
        return self


_CUT_FIELDS = frozenset(CutRecipe.model_fields)


class StudentRecipe(TemplateRecipe, CutRecipe):
    """One rung of the ladder: cut from the taught teacher, or a model of another family, then distilled.

    Attributes:
        name: Its name in the report and in its certificate.
        teacher: The model that it is cut from and follows: "teacher", or the name of a step.
        source: Start from this model instead of a cut of the teacher; its tokenizer and family may differ. The name
            of a student or step is that model.
        date: The day that the chat template of a ``source`` takes for today, as "2026-11-28".
        template_kwargs: Options of the chat template of a ``source``, such as ``{ enable_thinking = false }``.
        repeat: Train so many students, alike but for the seed; they are called name-1, name-2 and so on.
        start: "teacher" keeps the teacher's weights in what is left; "random" draws new ones of the same shape, as a
            control.
        traces: What it learns from: "worked" solutions, the taught teacher's verified "sampled" attempts, sets of
            answers that steps make.
        problems: Most documents; they are shuffled by the seed.
        objective: "traces" (cross-entropy), a divergence from the teacher's full distribution, or "across": chunk
            likelihoods between different tokenizers, for a student with a ``source`` of its own.
        beta: Of the generalised Jensen–Shannon divergence "jsd".
        ce_share: Share of the cross-entropy in the loss; the rest is the divergence. Has no effect with "traces".
        temperature: Of both distributions in the divergence.
        signal: The teacher "live" beside the student, or "cached" once for all students.
        hidden: Match hidden states as well.
        on_policy: Let the student write what it learns from; ``train`` then says how, and this how much.
        budget: Train for as many operations as another model took.
        train: How to train.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    teacher: str = "teacher"
    source: str | None = None
    repeat: int = Field(default=1, ge=1, le=MOST_REPEATS)
    start: Literal["teacher", "random"] = "teacher"
    traces: tuple[str, ...] = Field(default=("worked", "sampled"), min_length=1)
    problems: int = Field(ge=1)
    objective: Annotated[str, BeforeValidator(_known_objective)] = "forward_kl"
    beta: float = Field(default=0.5, gt=0.0, lt=1.0)
    ce_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    temperature: float = Field(default=1.0, gt=0.0)
    signal: Literal["live", "cached"] = "live"
    hidden: HiddenRecipe | None = None
    on_policy: OnPolicyConfig | None = None
    budget: BudgetRecipe | None = None
    train: TrainConfig

    @model_validator(mode="after")
    def _options_take_effect(self) -> Self:
        if self.objective == "traces":
            useless: frozenset[str] | set[str] = {
                "ce_share",
                "temperature",
                "beta",
                "signal",
                "hidden",
                "on_policy",
            } & changed(self)
            if useless:
                raise ValueError(f'{", ".join(sorted(useless))}: no effect with objective "traces", leave it out')
        if self.source is None and self.share is None and self.max_bytes is None:
            raise ValueError("give share or max_bytes: the budget of the cut")
        if self.source is None and self.tells_template:
            raise ValueError("date, template_kwargs: a student that is cut has its teacher's; set them in [source]")
        if self.source is not None:
            useless = (_CUT_FIELDS - {"calibration"} | {"start"}) & changed(self)
            if self.hidden is None:
                useless |= {"calibration"} & changed(self)
            elif self.hidden.method == "index":
                raise ValueError("a student with a source of its own has no index map: match by procrustes")
            if useless:
                raise ValueError(f"{', '.join(sorted(useless))}: no effect on a student with a source of its own")
        if self.objective == "across":
            if self.source is None:
                raise ValueError('objective "across" is for a student with a source of its own')
            useless = {"temperature", "signal", "hidden", "on_policy"} & changed(self)
            if useless:
                raise ValueError(f'{", ".join(sorted(useless))}: no effect with objective "across", leave it out')
        if self.objective != "jsd" and "beta" in changed(self):
            raise ValueError('beta has an effect with objective "jsd" only: leave it out')
        if self.signal == "cached":
            if self.teacher != "teacher" or not set(self.traces) <= {"worked", "sampled"}:
                raise ValueError("the cache holds what the taught teacher says of worked and sampled traces")
            served = [f'"{name}"' for name, divergence in DIVERGENCES.items() if not divergence.needs_whole_vocabulary]
            if f'"{self.objective}"' not in served or self.temperature != 1.0:
                raise ValueError(f"a cached signal serves objective {' or '.join(served)} at temperature 1 only")
            if self.hidden is not None or self.on_policy is not None:
                raise ValueError("hidden states and on-policy answers need a live teacher")
            if self.vocabulary != "full":
                raise ValueError("a cached signal is in the teacher's whole vocabulary")
        if self.on_policy is not None:
            self._check_on_policy(self.on_policy)
            if self.budget is not None:
                raise ValueError("budget has no effect with on_policy, which is rounds long")
        if self.train.seed != 0:
            raise ValueError("train.seed has no effect: the recipe's seed gives each student its own, leave it out")
        if self.start == "random" and self.hidden is not None and self.hidden.method == "index":
            raise ValueError("a random student has no channels of the teacher's: match them by procrustes")
        return self

    def _check_on_policy(self, policy: OnPolicyConfig) -> None:
        if self.train.max_steps != policy.num_steps:
            raise ValueError(f"set train.max_steps to {policy.num_steps}: rounds × steps_per_round of on_policy")
        if self.train.max_epochs is not None or self.train.max_tokens is not None:
            raise ValueError("max_epochs and max_tokens have no effect with on_policy, which is rounds long")
        if policy.share == 1.0 and policy.weights.drops_some:
            raise ValueError("weights of 0 need traces to fall back to: set on_policy.share below 1")
        if policy.seed != 0:
            raise ValueError("on_policy.seed has no effect: the recipe's seed gives each student its own, leave it out")

    @property
    def cut(self) -> CutRecipe:
        """How it is cut."""
        return CutRecipe.model_validate({name: getattr(self, name) for name in _CUT_FIELDS})

    @property
    def copies(self) -> tuple[StudentRecipe, ...]:
        """The students that this entry stands for, each with a name of its own."""
        if self.repeat == 1:
            return (self,)
        names = [f"{self.name}-{number}" for number in range(1, self.repeat + 1)]
        return tuple(self.model_copy(update={"name": name, "repeat": 1}) for name in names)

    @property
    def mix(self) -> LossMix:
        """The loss over distributions."""
        weights = {self.objective: 1.0 - self.ce_share, "ce": self.ce_share}
        return LossMix(**weights, temperature=self.temperature, jsd_beta=self.beta)
