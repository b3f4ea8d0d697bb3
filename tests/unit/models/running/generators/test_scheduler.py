from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.lineage import read_checkpoint
from spiritsafe.models.running.engine.decode_state import NO_EXTRAS, Admission, DecodeState, Extras
from spiritsafe.models.running.engine.runner import Runner
from spiritsafe.models.running.generators.scheduler import Sample, Scheduler


class Counting(Runner):
    """Draws the letter whose place is the sequence's own number of tokens so far, and fails at a given step."""

    def __init__(self, letters: Sequence[int], fails_at: int) -> None:
        self.letters, self.steps_left = torch.tensor(letters), fails_at
        self.busy: list[int] = []
        self.has_ended = False

    def begin(self, num_slots: int, num_positions: int, *, same_weights: bool = False) -> None:
        self.state = DecodeState(num_slots, num_positions, torch.device("cpu"))
        self.has_ended = False

    def end(self) -> None:
        self.has_ended = True

    def admit(self, admissions: Sequence[Admission]) -> list[int]:
        self.state.start(admissions)
        return [0] * len(admissions)

    def move(self, source: int, target: int, num_positions: int) -> None:
        self.state.move(source, target)

    def logits(self, prompt_ids: tuple[int, ...]) -> Iterator[torch.Tensor]:
        yield torch.zeros(len(prompt_ids), 512)

    def advance(self, lengths: Sequence[int], num_steps: int, extras: Extras = NO_EXTRAS) -> None:
        num_slots = len(lengths)
        self.steps_left -= 1
        if self.steps_left == 0:
            raise EndpointError("It died.", hint="")
        self.busy.append(num_slots)
        logits = torch.full((num_slots, 512), -100.0)
        logits[torch.arange(num_slots), self.letters[self.state.steps_B[:num_slots]]] = 0.0
        self.state.record(logits, self.state.sampling(num_slots))


def prompts() -> list[Prompt]:
    user = (Message(role="user", content="go"),)
    return [Prompt(problem_id=f"p{n}", messages=user, num_samples=2, max_tokens=n + 1) for n in range(4)]


@pytest.mark.parametrize("fails_at", [0, 1, 3, 6])
def test_any_runner_is_kept_busy_and_what_it_fails_is_known(fails_at: int, tiny_directory: Path) -> None:
    chat = ChatFormat(tiny_directory)
    letters = chat.text_ids("abcdefgh")
    made: list[Counting] = []

    def make() -> Runner:
        made.append(Counting(letters, fails_at))
        return made[-1]

    checkpoint = read_checkpoint(tiny_directory)
    scheduler = Scheduler(chat, checkpoint, make, max_batch=3, max_context=64)
    under_way: set[Sample] = set()
    texts: dict[Sample, str] = {}
    sampling = Sampling(temperature=0.0, max_tokens=8)
    try:
        for attempt in scheduler.generate(prompts(), sampling, under_way):
            texts[attempt.problem_id, attempt.sample_index] = attempt.text
            assert (attempt.problem_id, attempt.sample_index) not in under_way
        assert fails_at == 0
    except EndpointError:
        assert fails_at > 0
    (runner,) = made
    assert runner.has_ended
    # Of 8 sequences of 1, 1, 2, 2, 3, 3, 4 and 4 tokens on three slots: after each step, who is done leaves.
    assert (len(texts), len(under_way)) == {0: (8, 0), 1: (0, 3), 3: (3, 3), 6: (6, 2)}[fails_at]
    assert all(text == "abcd"[: int(problem[1:]) + 1] for (problem, _), text in texts.items())
    if fails_at == 0:
        assert sum(runner.busy) == 20, "no slot idles before the queue is empty"
        assert len(runner.busy) == 8
        assert [*scheduler.generate(prompts(), sampling)]
        assert made == [runner], "a runner that is large enough is used again"
