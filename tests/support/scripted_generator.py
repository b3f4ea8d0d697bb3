"""A Generator that goes on after a given beginning: one character is one token, what comes next is a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling


class Scripted:
    """``mind(prompt)`` is all that the model would write from there to the end of its turn."""

    def __init__(self, mind: Callable[[Prompt], str]) -> None:
        self.mind = mind
        self.calls: list[list[Prompt]] = []
        self.closed = False

    def describe(self) -> GeneratorInfo:
        return GeneratorInfo(name="scripted", digest="sha256:scripted", kind="local", has_logprobs=True)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        self.calls.append(list(prompts))
        for prompt in prompts:
            limit = prompt.token_limit(sampling)
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                text, count, finish = self.write(self.mind(prompt), sampling.stop, limit)
                yield Attempt(
                    problem_id=prompt.problem_id, sample_index=index, model="sha256:scripted", sampling=sampling,
                    seed=prompt.seed, text=text, finish_reason=finish, num_tokens=count, seconds=0.5,
                    logprobs=(-1.0,) * count, num_prompt_tokens=10 + len(prompt.prefix),
                )  # fmt: skip

    @staticmethod
    def write(text: str, stop: Sequence[str], limit: int) -> tuple[str, int, str]:
        ends = [(text.index(one) + len(one), text.index(one)) for one in stop if one and one in text]
        needed, shown = min(ends, default=(len(text) + 1, len(text)))  # without a stop string: an end token
        return (text[:shown], needed, "stop") if needed <= limit else (text[:limit], limit, "length")

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        return [(-1.0,) * len(text) for text in completions]

    def close(self) -> None:
        self.closed = True
