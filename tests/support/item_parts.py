"""A paper whose problems differ in difficulty, and models that differ in ability, as an item model has them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from exam_parts import Stage, ToyModel, make_stage

from spiritsafe.core.records import FinishReason, Prompt
from spiritsafe.core.seeds import SEED_BITS, derive_seed
from spiritsafe.exam.records.certificate import Certificate

SPREAD = 2.0


def difficulty(problem_id: str) -> float:
    """The same for every model."""
    share = (derive_seed("difficulty", problem_id) + 0.5) / 2**SEED_BITS
    return SPREAD * math.log(share / (1 - share)) / 1.8


def able(ability: float, name: str, **options: Any) -> ToyModel:
    """A model that is right with the chance that the item model gives it; wrong answers are no numbers at times."""

    def reply(prompt: Prompt, index: int) -> tuple[str, FinishReason] | None:
        chance = 1 / (1 + math.exp(difficulty(prompt.problem_id) - ability))
        luck = derive_seed("luck", name, prompt.problem_id, index) / 2**SEED_BITS
        if luck < chance:
            return None  # the skill below: right
        return ("no idea", "stop") if luck < (1 + chance) / 2 else ("", "error")

    return ToyModel(skill=1.1, name=name, reply=reply, **options)


def past_sittings(root: Path, num: int = 20, *, count: int = 60) -> tuple[Stage, list[Certificate]]:
    """A stage, and certificates of models with evenly spread abilities."""
    stage = make_stage(root, count=count)
    abilities = [4.0 * (k + 0.5) / num - 2.0 for k in range(num)]
    return stage, [
        stage.certificate(able(ability, f"past {k}"), name=f"past-{k}") for k, ability in enumerate(abilities)
    ]
