"""The whole process: a model that is loaded, jobs that are drawn, and how it ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import templates_parts
import torch
from file_models import file_model_of

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.core.serving import Failed, ServedModel
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.running.serving import worker
from spiritsafe.models.running.serving.opening import open_served
from spiritsafe.models.transformers_backend.loading import load_model

HI = {"role": "user", "content": "hi"}


class Talk(NamedTuple):
    """A worker and what is said to it."""

    process: subprocess.Popen[bytes]

    def say(self, *requests: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        for request in requests:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        return dict(json.loads(line))

    def events(self, *jobs: int) -> dict[int, list[tuple[str, dict[str, Any]]]]:
        """All that is told until these jobs are over."""
        found: dict[int, list[tuple[str, dict[str, Any]]]] = {}
        left = set(jobs)
        while left:
            for job_id, name, value in self.hear().get("events", []):  # else it says that it lives
                found.setdefault(job_id, []).append((name, value))
                if name in ("ended", "failed", "count"):
                    left.discard(job_id)
        return found


@contextmanager
def started(directory: Path, *options: str) -> Iterator[Talk]:
    """A worker, which ends when its input does."""
    command = [sys.executable, "-m", "spiritsafe.models.running.serving.worker", str(directory), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Talk(process)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    directory = templates_parts.qwen3(tmp_path_factory.mktemp("qwen3"), seed=1)
    write_lineage(directory, name="small", license="MIT")
    with started(directory, "--device", "cpu", "--dtype", "float32", "--max-batch", "4") as talk:
        yield talk
        talk.say({"op": "close"})
        assert talk.process.wait(60) == 0


def run_job(job_id: int, **job: Any) -> dict[str, Any]:
    return {"op": "run", "id": job_id, "job": {"messages": [HI], **job}}


def text_of(events: list[tuple[str, dict[str, Any]]], kind: str = "text") -> str:
    parts = [part for name, value in events if name == "piece" for part in value.get("parts", [])]
    return "".join(part["text"] for part in parts if part["kind"] == kind)


def test_it_says_what_it_is(talk: Talk) -> None:
    talk.say({"op": "describe"})
    model = ServedModel.model_validate(talk.hear()["described"])
    assert (model.name, model.kind, model.context, model.thinks, model.shows_tools) == (
        "small",
        "weights",
        1024,
        True,
        True,
    )
    assert "float32" in model.platform


def test_the_answer_is_the_engines_own(talk: Talk, tmp_path: Path) -> None:
    """Greedy, beside others: the text that the Generator gives, and prompts that were there are not computed again."""
    directory = templates_parts.qwen3(tmp_path / "same", seed=1)
    write_lineage(directory, name="small", license="MIT")
    generator = LocalGenerator(load_model(directory, dtype=torch.float32))
    prompt = Prompt(problem_id="p", messages=(Message(role="user", content="hi"),))
    (attempt,) = generator.generate([prompt], Sampling(temperature=0.0, max_tokens=40))
    jobs = {"max_tokens": 40, "temperature": 0.0, "cache_key": "k"}
    talk.say(*[run_job(place, **jobs) for place in range(6)])
    events = talk.events(*range(6))
    (count,) = [value for name, value in events[0] if name == "ended"]
    assert count["num_tokens"] == attempt.num_tokens
    for told in events.values():
        assert text_of(told) == attempt.text
    talk.say(run_job(9, **jobs))
    assert talk.events(9)[9][0] == ("accepted", {"num_prompt_tokens": 21, "num_cached": 20})


def test_a_form_is_held_to_and_a_tool_is_called(talk: Talk) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    asked = {**HI, "tools": [json.dumps(tool)]}
    no_thoughts = {"max_tokens": 300, "logit_bias": [], "temperature": 0.0}
    talk.say(
        run_job(20, form={"kind": "schema", "source": json.dumps(schema)}, messages=[], text="x", **no_thoughts),
        run_job(21, messages=[asked], tool_choice="required", parallel_tool_calls=False, **no_thoughts),
        run_job(22, form={"kind": "regex", "source": "("}),
    )
    events = talk.events(20, 21, 22)
    assert json.loads(text_of(events[20])) in ({"n": 1}, {"n": 2})
    ((name, value),) = events[22]
    assert (name, Failed.model_validate(value).param) == ("failed", "form")
    ended = events[21][-1][1]
    if ended["reason"] == "calls":  # a random model may think to its end
        assert text_of(events[21], "call") == "look"
        assert json.loads(text_of(events[21], "arguments")) in ({"n": 1}, {"n": 2})
    else:
        assert ended["num_thought_tokens"] == 300


@pytest.mark.parametrize("thinking", [None, False])
def test_a_begun_answer_goes_on_as_the_model_would_have(talk: Talk, thinking: bool | None) -> None:
    letters = [[token, 60.0] for token in range(68, 84)]  # a to p
    job = {"temperature": 0.0, "logit_bias": letters, "ignore_end": True, "thinking": thinking}
    talk.say(
        run_job(1, max_tokens=20, **job), {"op": "count", "id": 2, "job": {"messages": [HI], "thinking": thinking}}
    )
    events = talk.events(1, 2)
    whole = text_of(events[1])
    assert len(whole) == 20
    talk.say(run_job(1, max_tokens=13, prefix=whole[:7], **job))
    begun = talk.events(1)[1]
    assert text_of(begun) == whole[7:]
    assert begun[0][1]["num_prompt_tokens"] == events[2][0][1]["num_tokens"] + 7  # a letter is a token


def test_a_long_answer_is_cancelled_and_the_slot_is_free(talk: Talk) -> None:
    long = {"max_tokens": 900, "ignore_end": True}
    talk.say(*[run_job(place, **long) for place in range(30, 34)], run_job(34, max_tokens=1))
    talk.hear()
    talk.say(*[{"op": "cancel", "id": place} for place in range(30, 34)])
    events = talk.events(34)
    assert not any(name == "ended" for place in range(30, 34) for name, _ in events.get(place, []))


def test_a_prompt_is_scored(talk: Talk) -> None:
    talk.say(run_job(40, messages=[], text="abc", max_tokens=0, echo=True, top_logprobs=1))
    tokens = [token for _, value in talk.events(40)[40] for token in value.get("tokens", [])]
    assert [token["drawn"]["text"] for token in tokens] == ["a", "b", "c"]
    assert tokens[0]["drawn"]["logprob"] is None
    assert all(token["top"][0]["logprob"] >= token["drawn"]["logprob"] for token in tokens[1:])


def test_it_ends_when_nobody_asks_any_more(tiny_directory: Path) -> None:
    with started(tiny_directory, "--device", "cpu") as talk:
        talk.say(run_job(1, max_tokens=900, ignore_end=True))
        talk.hear()
        assert talk.process.stdin is not None
        talk.process.stdin.close()
        assert talk.process.wait(60) == 0


def test_a_missing_model_is_reported_on_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(worker, "take_stdout", lambda: replies)
    assert worker.main([str(tmp_path / "absent"), "--device", "cpu"]) == 1
    assert json.loads(replies.buffer.getvalue())["error"]["type"] == "SourceError"  # type: ignore[attr-defined]


def test_a_gguf_file_is_served_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    directory = file_model_of(tmp_path / "file")
    with started(directory, "--max-batch", "2", "--max-context", "128") as talk:
        talk.say({"op": "describe"}, run_job(1, max_tokens=5), {"op": "count", "id": 2, "job": {"text": "hello"}})
        model = ServedModel.model_validate(talk.hear()["described"])
        assert (model.kind, model.context) == ("file", 128)
        events = talk.events(1, 2)
        assert events[1][-1][0] == "ended"
        assert events[2][0][1]["num_tokens"] > 0
    with pytest.raises(CompatibilityError, match="dtype"):
        open_served(directory, dtype=torch.float32)
