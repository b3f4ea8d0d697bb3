"""Load balancing of a mixture of experts, as transformers' own forward adds it to a loss.

In: a configuration that transformers runs. Out: how its routers' logits become the auxiliary loss (Switch Transformer,
arXiv 2101.03961, equations 4 to 6), or a sentence for the user where there is none.

The tokens that it is taken over are all of a micro-batch, prompts included and padding excluded, all layers together;
it is no sum over documents, so a micro-batch's loss is not the mean of its halves' losses.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor
from transformers import AutoModelForCausalLM

from spiritsafe.models.transformers_backend.sizes import num_experts_of

_COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")
_TAKES = ["gate_logits", "num_experts", "top_k", "attention_mask"]
_UNBALANCED = (
    "Nothing keeps its experts evenly used while it is trained here: {why}. What its publisher balanced it by, such as "
    "DeepSeek-V3's bias on each expert, stays as it is; after long training some experts may hardly be chosen."
)


@final
@dataclass(frozen=True, kw_only=True)
class RouterLoss:
    """The auxiliary loss of a family.

    Attributes:
        coefficient: Its weight beside the other loss, by the configuration.
        num_chosen: Experts that a token passes through.
        function: Transformers' own.
    """

    coefficient: float
    num_chosen: int
    function: Callable[..., Tensor]

    def __call__(self, logits_LNE: tuple[Tensor, ...]) -> Tensor:
        """The loss, without its coefficient, of each layer's logits ``[N, E]``: E experts, N tokens, no padding."""
        return self.function(logits_LNE, logits_LNE[0].shape[-1], self.num_chosen)


def router_loss_of(config: Any) -> tuple[RouterLoss | None, str]:
    """The loss of a configuration's family, and a sentence for the user; "" for a model without experts.

    Args:
        config: Of the transformers library.
    """
    text = config.get_text_config()
    num_experts, num_chosen = num_experts_of(text.to_dict())
    if num_experts < 2:
        return None, ""
    known = AutoModelForCausalLM._model_mapping
    family: Any = known[type(config)] if type(config) in known else known[type(text)]
    function = getattr(sys.modules[family.__module__], "load_balancing_loss_func", None)
    given = {name: getattr(text, name, None) for name in _COEFFICIENTS}
    name, coefficient = next(((name, value) for name, value in given.items() if value is not None), ("", 0.0))
    if function is None or "router_logits" not in (getattr(family, "_can_record_outputs", None) or {}):
        why = "transformers has no balancing loss for its family"
    elif not num_chosen or list(inspect.signature(function).parameters) != _TAKES:
        why = "its family computes a balancing loss of its own kind"
    elif not coefficient:
        why = f"{name} is 0" if name else "its configuration names no coefficient of a balancing loss"
    else:
        loss = RouterLoss(coefficient=float(coefficient), num_chosen=num_chosen, function=function)
        return loss, f"Training adds its load-balancing loss ({name} = {coefficient:g})."
    return None, _UNBALANCED.format(why=why)
