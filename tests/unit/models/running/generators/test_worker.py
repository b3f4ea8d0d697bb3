from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from file_models import file_model_of
from stranger_models import write_stray_llama

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.running.generators import worker
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.running.generators.worker import answer, serve_generator
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import load_model
from spiritsafe.rollouts.generators.pipe import PipeGenerator

PROMPT = Prompt(problem_id="p", messages=(Message(role="user", content="hi"),), num_samples=2)
SAMPLING = Sampling(max_tokens=4)


class Failing:
    """A Generator that breaks in the middle."""

    def describe(self) -> GeneratorInfo:
        raise ZeroDivisionError("oops")

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        yield Attempt(
            problem_id="p", sample_index=0, model="m", sampling=sampling, seed=0, text="", finish_reason="stop"
        )
        raise CompatibilityError("does not fit", hint="take another")

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        return [(-1.5, -0.5)]

    def close(self) -> None:
        pass


def talk(*requests: Any) -> list[dict[str, Any]]:
    replies = io.StringIO()
    serve_generator(Failing(), [r if isinstance(r, str) else json.dumps(r) for r in requests], replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_a_failure_is_a_line_and_the_worker_goes_on() -> None:
    generate = {"op": "generate", "prompts": [PROMPT.to_json()], "sampling": SAMPLING.to_json()}
    attempt, error, scores = talk(
        generate, {"op": "score", "conversations": [[PROMPT.messages[0].to_json()]], "completions": ["x"]}
    )
    assert attempt["attempt"]["problem_id"] == "p"
    assert error == {"error": {"type": "CompatibilityError", "message": "does not fit", "hint": "take another"}}
    assert scores == {"scores": [[-1.5, -0.5]]}


def test_who_gives_no_spreads_says_so() -> None:
    (reply,) = talk({"op": "score_spread", "conversations": [], "completions": []})
    assert reply["error"]["type"] == "CompatibilityError"
    assert "no spreads" in reply["error"]["message"]


def test_spreads_are_the_engines(tiny_directory: Path) -> None:
    generator = LocalGenerator(load_model(tiny_directory, dtype=torch.float32))
    request = {"conversations": [[PROMPT.messages[0].to_json()]], "completions": ["ok"]}
    (reply,) = answer(generator, {"op": "score_spread", **request})
    (row,) = generator.score_spread([PROMPT.messages], ["ok"])
    assert reply == {"spreads": [[pytest.approx(token) for token in row]]}


def test_an_unexpected_failure_is_named() -> None:
    (reply,) = talk({"op": "describe"})
    assert reply["error"]["type"] == "ZeroDivisionError"
    assert "oops" in reply["error"]["message"]


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ("{half", "not JSON"),
        ("[1]", "not a JSON object"),
        ({"op": "fly"}, "fly"),
        ({"op": "generate", "prompts": []}, "sampling"),
        ({"op": "generate", "prompts": [{"x": 1}], "sampling": {}}, "Prompt"),
    ],
)
def test_nonsense_is_answered(request_: Any, what: str) -> None:
    (reply,) = talk(request_)
    assert reply["error"]["type"] == "IntegrityError"
    assert what in reply["error"]["message"]


def test_close_ends_it() -> None:
    assert talk("", {"op": "close"}, {"op": "describe"}) == []


def test_answers_are_the_engines(tiny_directory: Path) -> None:
    generator = LocalGenerator(load_model(tiny_directory, dtype=torch.float32))
    lines = list(answer(generator, {"op": "generate", "prompts": [PROMPT.to_json()], "sampling": SAMPLING.to_json()}))
    assert lines[-1] == {"done": 2}
    expected = {a.sample_index: a.token_ids for a in generator.generate([PROMPT], SAMPLING)}
    found = [Attempt.from_json(line["attempt"]) for line in lines[:-1]]
    assert {a.sample_index: a.token_ids for a in found} == expected


def test_the_process(tiny_directory: Path) -> None:
    requests = [
        {"op": "describe"},
        {"op": "generate", "prompts": [PROMPT.to_json()], "sampling": SAMPLING.to_json()},
        {"op": "score", "conversations": [[{"role": "user", "content": "hi"}]], "completions": ["ok"]},
        {"op": "close"},
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "spiritsafe.models.running.generators.worker",
            str(tiny_directory),
            "--device",
            "cpu",
            "--dtype",
            "float32",
        ],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        timeout=120,
    )
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert replies[0]["info"]["name"] == "tiny-7"
    assert replies[0]["platform"]["compute_dtype"] == "float32"
    assert [next(iter(reply)) for reply in replies] == ["info", "attempt", "attempt", "done", "scores"]
    assert len(replies[-1]["scores"][0]) == 2


def test_a_missing_model_is_reported_on_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = io.StringIO()
    monkeypatch.setattr(worker, "take_stdout", lambda: replies)
    assert worker.main([str(tmp_path / "absent"), "--device", "cpu"]) == 1
    assert json.loads(replies.getvalue())["error"]["type"] == "SourceError"


def test_what_is_to_be_known_of_the_model_comes_with_its_description(tmp_path: Path) -> None:
    source = resolve_source(str(write_stray_llama(tmp_path / "m", my_note="mine")), cache=tmp_path / "cache")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "spiritsafe.models.running.generators.worker",
            str(source),
            "--device",
            "cpu",
            "--dtype",
            "float32",
        ],
        input='{"op": "describe"}\n{"op": "close"}\n',
        capture_output=True,
        text=True,
        timeout=120,
    )
    (reply,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert set(reply) == {"info", "notes", "platform"}
    assert "my_note" in reply["notes"][0]


def test_a_worker_without_memory_says_what_to_do() -> None:
    class Hungry(Failing):
        def describe(self) -> GeneratorInfo:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000000 bytes.")

    replies = io.StringIO()
    serve_generator(Hungry(), ['{"op": "describe"}'], replies)
    error = json.loads(replies.getvalue())["error"]
    assert error["type"] == "BudgetError"
    assert "max_batch" in error["hint"]


def test_a_gguf_file_is_served_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    directory = file_model_of(tmp_path / "file")
    command = [sys.executable, "-m", "spiritsafe.models.running.generators.worker", str(directory)]
    with PipeGenerator(command) as generator:
        attempts = list(generator.generate([PROMPT], SAMPLING))
        assert generator.describe().digest == digest_file(directory / "x.gguf") == attempts[0].model
        platform = generator.platform()
        assert platform is not None
        assert platform.instructions.startswith("llama.cpp")
        (row,) = generator.score_spread([PROMPT.messages], ["hello"])
        assert row
    with PipeGenerator([*command, "--dtype", "float32"]) as generator, pytest.raises(CompatibilityError, match="dtype"):
        generator.describe()


_ANSWERS = """
import sys
from spiritsafe.models.running.generators import worker
code = worker.main([sys.argv[1], "--device", "cpu"])
sys.exit(code or int("torch._dynamo" in sys.modules))
"""


def test_a_worker_opens_and_answers_without_loading_the_compiler(tiny_directory: Path) -> None:
    generate = {"op": "generate", "prompts": [PROMPT.to_json()], "sampling": SAMPLING.to_json()}
    done = subprocess.run(
        [sys.executable, "-c", _ANSWERS, str(tiny_directory)],
        input=json.dumps(generate) + "\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"done": 2}
