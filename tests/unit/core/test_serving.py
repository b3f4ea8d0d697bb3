from __future__ import annotations

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Message
from spiritsafe.core.serving import Accepted, Ended, Failed, Form, Job, ServedModel

PROMPTS: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}], "text": "hi", "token_ids": [1]}


@pytest.mark.parametrize("given", [(), ("messages", "text"), ("text", "token_ids"), tuple(PROMPTS)])
def test_a_job_has_one_prompt(given: tuple[str, ...]) -> None:
    with pytest.raises(IntegrityError, match="exactly one"):
        Job.from_json({name: PROMPTS[name] for name in given})
    for name, value in PROMPTS.items():
        assert Job.from_json({name: value}).max_tokens is None


@pytest.mark.parametrize(
    "wrong",
    [{"seed": 1 << 63}, {"seed": -1}, {"temperature": -0.1}, {"top_p": 0}, {"top_logprobs": 21}, {"max_tokens": -1},
     {"repetition_penalty": 0}, {"presence_penalty": 2.5}, {"unknown": 1}, {"temperature": float("nan")}],
)  # fmt: skip
def test_what_no_worker_could_do_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match=next(iter(wrong))):
        Job.from_json({"text": "x", **wrong})


def test_all_that_goes_through_the_pipe_comes_out_as_it_went_in() -> None:
    model = ServedModel(name="m", digest="sha256:" + "0" * 64, kind="file", context=8, max_prompt_bytes=9, vocab_size=3)
    asked = (Message(role="user", content="é\u2028"),)
    job = Job(messages=asked, form=Form(kind="schema", source="{}"), seed=2**63 - 1)
    for record in (
        model,
        job,
        Accepted(num_prompt_tokens=3, answered_by=model),
        Ended(reason="calls", num_tokens=2),
        Failed(fault="asker", message="no", param="text"),
    ):
        assert type(record).from_json(record.to_json()) == record
