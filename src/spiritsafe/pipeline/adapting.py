"""Steps that train a low-rank correction: adapters on before training, folded into the weights after.

In: a loaded model. Out: the same model, with adapters and again without; in the stage ``adapter``, in peft's layout.
What goes on and sits the exam is a plain model.
"""

from __future__ import annotations

import torch

from spiritsafe.core.rundir import StageDirectory
from spiritsafe.models import LoadedModel, LoraConfig, add_lora, merge_lora, save_lora
from spiritsafe.pipeline.context import RunContext

__all__ = ["begin_lora", "end_lora"]


def begin_lora(config: LoraConfig | None, context: RunContext, loaded: LoadedModel, *, name: str) -> None:
    """Freeze the weights and put adapters on; None leaves the model as it is.

    Args:
        config: Of the adapters.
        context: The run, whose seed decides how they begin.
        loaded: What will be trained.
        name: Of the step.

    Raises:
        CompatibilityError: The model is not of the Decoder's family.
    """
    if config is not None:
        add_lora(loaded.model, config.model_copy(update={"seed": context.seed("lora", name)}))


def end_lora(
    config: LoraConfig | None, context: RunContext, stage: StageDirectory, loaded: LoadedModel, *, name: str
) -> None:
    """Keep the adapters, and fold them into float32 weights: half precision would swallow what they learnt.

    Args:
        config: None: there are none.
        context: The run.
        stage: Where they are kept.
        loaded: What was trained.
        name: Of the step.
    """
    if config is not None:
        save_lora(
            stage.path / "adapter",
            loaded.model,
            base=loaded.checkpoint,
            name=f"{context.recipe.name}-{name}-adapter",
            license=loaded.checkpoint.license,
            recipe=context.run.hash,
        )
        loaded.model.to(torch.float32)
        merge_lora(loaded.model)
