"""Two wishes that several interfaces know by names of their own: whether a model thinks, and how its answer begins.

In: what a body says of them. Out: the fields ``thinking`` and ``prefix`` of a job, or a :class:`Refusal`.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.records import Message
from spiritsafe.core.serving import ServedModel
from spiritsafe.serve.refusals import Refusal


def thinking_of(wish: bool | None, model: ServedModel, param: str) -> bool | None:
    """What a job says of thoughts.

    Args:
        wish: None: as the model does unasked.
        param: The field that says it.

    Raises:
        Refusal: The model cannot.
    """
    if wish is not None and wish != model.thinks and not model.switches_thinking:
        raise Refusal(
            f"{model.name} {'does not think' if wish else 'thinks; that cannot be turned off'}.",
            hint="Leave it out, or choose another model.",
            param=param,
            code="unsupported_value",
        )
    return wish


def with_beginning(messages: Sequence[Message], param: str) -> tuple[tuple[Message, ...], str]:
    """A conversation whose last turn is the beginning of the answer: what stands before it, and the beginning.

    Args:
        param: The last turn, as the body has it.

    Raises:
        Refusal: There is nothing before it, or it calls tools.
    """
    *before, last = messages
    if not before or last.tool_calls:
        said = "The last turn calls tools: its text" if before else "There is no turn before it: an answer"
        raise Refusal(
            f"{said} cannot be gone on from.",
            hint="End with a turn of the user.",
            param=param,
            code="unsupported_value",
        )
    return tuple(before), last.content
