"""The Generator protocol: the only thing exams, rollouts and tasks know of a model.

Local engine, subprocess, OpenAI-compatible endpoint and fake all look like this. In: :class:`Prompt` and
:class:`Sampling`. Out: :class:`Attempt`, in any order, one for each sample asked, failures included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, Message, Prompt, Record, Sampling

TokenSpread = tuple[float, float, float]
"""A token's log-probability; mean and standard deviation of that of the next token, drawn from the model itself."""


class GeneratorInfo(Record):
    """What a Generator says of itself.

    Attributes:
        digest: Checkpoint digest for local weights; for an endpoint the digest of its URL and model name, because
            nobody outside can know which weights answer.
        kind: "local": weights on this machine, prompts do not leave it; "remote": an operator sees the prompts.
    """

    name: str
    digest: str
    kind: str
    has_token_ids: bool = False
    has_logprobs: bool = False


class Generator(Protocol):
    """A source of completions."""

    def describe(self) -> GeneratorInfo:
        """What this Generator is; cheap."""
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw ``prompt.num_samples`` completions for each prompt.

        Yields each Attempt as it finishes, in any order; ``(problem_id, sample_index)`` identifies it, with
        ``sample_index`` counting from ``prompt.first_sample``. A completion that cannot be had is an Attempt whose
        ``finish_reason`` is "error", not an exception.

        Raises:
            EndpointError: The whole source is unusable (wrong key, unknown host), so no attempt is worth making.
            CompatibilityError: A prompt has a ``prefix``, and this source cannot go on after a given beginning.
        """
        ...

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Natural-log probability of each token of each completion given its conversation.

        Raises:
            CompatibilityError: This source cannot score.
        """
        ...

    def close(self) -> None:
        """Give memory, processes and connections back."""
        ...


@runtime_checkable
class Announcing(Protocol):
    """A Generator that says of each sample when it is about to leave, so that nobody is asked twice after a kill."""

    def generate_announced(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        before: Callable[[str, int], None],
        not_asked: Callable[[str, int], None],
    ) -> Iterator[Attempt]:
        """As :meth:`Generator.generate`; calls ``before(problem_id, sample_index)`` before a sample is first sent.

        Calls ``not_asked`` of one that was given up before a byte of an answer came (refused, or never reached), before
        its failed attempt is handed over; where the whole source is unusable, there may be no such attempt. The calls
        may come from another thread than the caller's; what they raise ends the generation.
        """
        ...


@runtime_checkable
class Listing(Protocol):
    """A Generator that is told, with an answer's tokens, which others would have been likely (top-k)."""

    def take_listing(self, problem_id: str, sample_index: int) -> JSON:
        """The listing of an answer that was handed over; None where there is none. It is forgotten with this call."""
        ...


@runtime_checkable
class Budgeted(Protocol):
    """A Generator that may use so much and no more."""

    def count_earlier(self, what: str, num_prompt_tokens: int, num_tokens: int) -> None:
        """What a piece of work had used before this Generator took it up; told of each piece once, later ones are idle.

        Args:
            what: Which piece.
            num_prompt_tokens: Tokens of prompts.
            num_tokens: Tokens of completions.
        """
        ...


@runtime_checkable
class Located(Protocol):
    """A Generator that says what computes its answers, so that nobody mixes two platforms' without a word."""

    def platform(self) -> Platform | None:
        """What computes; None where nobody can know."""
        ...


@runtime_checkable
class SpreadScoring(Protocol):
    """A Generator that also says what log-probability it expected, for scores that compare with it (Min-K%++)."""

    def score_spread(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[TokenSpread, ...]]:
        """As :meth:`Generator.score`, with the mean and standard deviation over the vocabulary beside each token.

        Raises:
            CompatibilityError: This source cannot score, or not with spreads.
        """
        ...


_ADDRESSES = "spiritsafe.generators"


def generator_at(address: str, model: str, api_key_env: str | None = None) -> Generator:
    """The model at an address such as ``http://127.0.0.1:8000/v1``; close it after use.

    It comes from whichever installed package answers for the address's scheme. Packages say so by entry points of the
    group ``spiritsafe.generators``: a function of these three. So rooms that know of models no more than this protocol
    can ask one.

    Args:
        address: Where.
        model: Its name there.
        api_key_env: Name of the variable that holds a key.

    Raises:
        RecipeError: No package answers for such an address, or it is none.
    """
    scheme = address.partition(":")[0].lower()
    found = {point.name: point for point in entry_points(group=_ADDRESSES)}
    if scheme not in found:
        raise RecipeError(
            f'"{address}" is no address of a model.',
            hint=f"Begin it with {' or '.join(f'{name}://' for name in sorted(found)) or 'http://'}.",
        )
    generator: Generator = found[scheme].load()(address, model, api_key_env)
    return generator
