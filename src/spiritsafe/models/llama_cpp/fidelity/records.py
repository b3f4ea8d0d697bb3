"""What was found when a GGUF file was held against the model it was made of, and whether that will do.

In: nothing; these are data. Out: :class:`Fidelity`, and the error of :func:`require_faithful` where a file tokenises
otherwise, or is further from its parent than rounding to its type explains.
"""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.stats import Estimate

KL_BOUNDS = {"f32": 1e-6, "f16": 1e-4, "bf16": 1e-3}
"""File type → most nats that its mean KL divergence may be; quantised types have no bound.

An f32 file is the model itself: a millionth is for sums in another order. llama.cpp rounds the inputs of a layer to the
type of its weights, so a bfloat16 model, stored as it is, still differs by about a tenth of its bound.
"""

TIE_TOLERANCES = {"f32": 1e-3, "f16": 0.02, "bf16": 0.25}
"""File type → how far below the parent's best logit a token may be that the file prefers, and still be a tie."""

_SHOWN = 80


@final
class TokenDifference(Record):
    """A text that is not the same tokens everywhere.

    Attributes:
        text: Of the text, or of a rendered conversation.
        parses_special: Whether names of special tokens in it were obeyed.
        parent: Token ids by the parent's tokenizer.
        header: By the tokenizer that is rebuilt from the file's header, and that answers in exams.
        llama_cpp: By llama.cpp, which most users of the file have; None where it was not asked.
    """

    text: str
    parses_special: bool
    parent: tuple[int, ...]
    header: tuple[int, ...]
    llama_cpp: tuple[int, ...] | None


@final
class TokenFidelity(Record):
    """Whether texts are the same tokens.

    Attributes:
        seed: Of the corpus.
        num_texts: Texts compared, each with names of special tokens obeyed and spelled out.
        num_conversations: Conversations compared, as the chat templates render them.
        missing: Characters that the parent's vocabulary cannot spell, which were left out of the texts.
        num_different: Comparisons that differ.
        first: Some of them.
        parent_ends: Tokens that end a completion, by the parent.
        header_ends: By the file's header.
    """

    seed: int
    num_texts: int
    num_conversations: int
    missing: str
    num_different: int
    first: tuple[TokenDifference, ...]
    parent_ends: tuple[int, ...]
    header_ends: tuple[int, ...]


@final
class LogitFidelity(Record):
    """How near the file's next-token distributions are, over some documents.

    Attributes:
        num_documents: Documents; intervals are over them, as tokens of one document stand or fall together.
        num_tokens: Places where a next token was predicted.
        kl: Mean of KL(parent ‖ file) over them, in nats.
        largest_kl: The largest.
        agreement: Share of places where both find the same token likeliest.
    """

    num_documents: int
    num_tokens: int
    kl: Estimate
    largest_kl: float
    agreement: Estimate


@final
class GreedyDifference(Record):
    """Where a greedy answer of the file leaves its parent's, and not for a tie.

    Attributes:
        prompt: Place of the prompt.
        position: Tokens of the answer up to there.
        parent: The parent's token.
        file: The file's.
        margin: By how much the parent prefers its own, in logits.
    """

    prompt: int
    position: int
    parent: int
    file: int
    margin: float


@final
class GreedyFidelity(Record):
    """Whether greedy answers are the same tokens.

    Attributes:
        num_prompts: Prompts.
        num_tokens: Tokens of the parent's answers, each compared with what the file would take in its place.
        tolerance: Of ties, in logits of the parent.
        num_ties: Differences within it.
        num_different: Differences beyond it.
        first: Some of these.
    """

    num_prompts: int
    num_tokens: int
    tolerance: float
    num_ties: int
    num_different: int
    first: tuple[GreedyDifference, ...]


@final
class Fidelity(Record):
    """A GGUF file beside the model it was made of.

    Attributes:
        parent: Digest of the model directory.
        file: Digest of the file.
        file_type: What the file says it is.
        llama_cpp: Its build.
        tokens: Whether texts are the same tokens.
        general: Distributions on text of no task.
        in_task: On documents of the task; None: none were given.
        kl_bound: Most nats that the means may be; None: no bound, as for quantised types.
        greedy: Of f32, f16 and bf16 files.
    """

    format: Literal["spiritsafe.fidelity/1"] = "spiritsafe.fidelity/1"
    parent: str
    file: str
    file_type: str
    llama_cpp: str
    tokens: TokenFidelity
    general: LogitFidelity
    in_task: LogitFidelity | None = None
    kl_bound: float | None = Field(default=None, gt=0.0)
    greedy: GreedyFidelity | None = None


def require_faithful(fidelity: Fidelity) -> None:
    """Check that a file is the model it was made of, as far as its type can hold it.

    Raises:
        CompatibilityError: The first thing in which it is not.
    """
    for failure in (_token_failure(fidelity.tokens), _kl_failure(fidelity), _greedy_failure(fidelity.greedy)):
        if failure is not None:
            raise CompatibilityError(
                f"The {fidelity.file_type} file is not the model it was made of: {failure}.",
                hint="Do not publish it. Write it again from the directory; if that gives the same, this model's "
                "tokenizer or architecture is not one that GGUF holds as it is.",
            )


def _token_failure(tokens: TokenFidelity) -> str | None:
    if tokens.num_different:
        first = tokens.first[0]
        others = [("the file's header", first.header), ("llama.cpp", first.llama_cpp)]
        name, ids = next((name, ids) for name, ids in others if ids is not None and ids != first.parent)
        place = next(
            place for place in range(len(ids) + 1) if ids[place : place + 1] != first.parent[place : place + 1]
        )
        text = first.text if len(first.text) <= _SHOWN else f"{first.text[:_SHOWN]}…"
        return (
            f"{text!r} is {_ids(first.parent, place)} by the parent's tokenizer and {_ids(ids, place)} by {name} "
            f"({tokens.num_different} of {2 * tokens.num_texts + tokens.num_conversations} comparisons differ)"
        )
    if set(tokens.parent_ends) != set(tokens.header_ends):
        return (
            f"the parent's answers end with tokens {list(tokens.parent_ends)}, the file's with "
            f"{list(tokens.header_ends)}"
        )
    return None


def _ids(ids: tuple[int, ...], place: int) -> str:
    """Some ids around the first difference."""
    shown = ", ".join(map(str, ids[max(0, place - 2) : place + 4]))
    return f"[{'… ' if place > 2 else ''}{shown}{' …' if place + 4 < len(ids) else ''}]"


def _kl_failure(fidelity: Fidelity) -> str | None:
    for what, found in (("general text", fidelity.general), ("text of the task", fidelity.in_task)):
        if found is not None and fidelity.kl_bound is not None and not found.kl.value <= fidelity.kl_bound:
            return (
                f"its distributions on {what} are {found.kl.value:.2g} nats from the parent's, where rounding to "
                f"{fidelity.file_type} explains {fidelity.kl_bound:.0e}"
            )
    return None


def _greedy_failure(greedy: GreedyFidelity | None) -> str | None:
    if greedy is None or not greedy.num_different:
        return None
    first = greedy.first[0]
    return (
        f"its greedy answer to prompt {first.prompt} has token {first.file} at place {first.position}, where the "
        f"parent prefers {first.parent} by {first.margin:.3g} logits (so {greedy.num_different} of "
        f"{greedy.num_tokens} tokens)"
    )
