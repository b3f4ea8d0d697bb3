import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import CompatibilityError, EndpointError, ProcedureError
from spiritsafe.core.generator import Generator, SpreadScoring
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.rollouts import PipeGenerator

WORKER = """
import json, os, signal, sys, time
def say(**value):
    print(json.dumps(value), flush=True)
def attempt(prompt, index, sampling):
    return {"problem_id": prompt["problem_id"], "sample_index": index, "model": "sha256:w", "sampling": sampling,
            "seed": prompt["seed"], "text": prompt["messages"][0]["content"] + "!", "finish_reason": "stop",
            "token_ids": [1, 2], "logprobs": [-0.5, -0.25], "num_tokens": 2}
def keys(prompts):
    for prompt in prompts:
        for index in range(prompt["first_sample"], prompt["first_sample"] + prompt["num_samples"]):
            yield prompt, index
print("loading", file=sys.stderr, flush=True)
for line in sys.stdin:
    q = json.loads(line)
    if q["op"] == "describe":
        say(info={"name": "worker", "digest": "sha256:w", "kind": "local", "has_token_ids": True, "has_logprobs": True})
    elif q["op"] == "generate":
        asked = list(keys(q["prompts"]))
        BEFORE
        for prompt, index in reversed(asked):
            say(attempt=attempt(prompt, index, q["sampling"]))
        say(done=len(asked))
    elif q["op"] == "score":
        say(scores=[[-1.0] * len(c) for c in q["completions"]])
    elif q["op"] == "close":
        print("bye", file=sys.stderr)
        break
"""


def prompt(name: str = "p", num_samples: int = 2, first_sample: int = 0) -> Prompt:
    messages = (Message(role="user", content="hi é"),)
    return Prompt(problem_id=name, messages=messages, num_samples=num_samples, first_sample=first_sample, seed=5)


@contextmanager
def worker(path: Path, before: str = "pass", code: str = WORKER, **more: Any) -> Iterator[PipeGenerator]:
    script = path / "worker.py"
    script.write_text(code.replace("BEFORE", textwrap.indent(before, " " * 8).strip()), encoding="utf-8")
    with PipeGenerator(
        [sys.executable, str(script)], **{"start_timeout_s": 30.0, "silence_timeout_s": 30.0, **more}
    ) as it:
        yield it


def test_it_is_a_generator(tmp_path: Path) -> None:
    with worker(tmp_path) as generator:
        as_protocol: Generator = generator
        assert as_protocol.describe().digest == "sha256:w"
        sampling = Sampling(temperature=0.5, stop=("ê",))
        attempts = list(as_protocol.generate([prompt("a", 2, 3), prompt("b", 1)], sampling))
        assert [(a.problem_id, a.sample_index) for a in attempts] == [("b", 0), ("a", 4), ("a", 3)]
        assert {(a.text, a.sampling, a.seed, a.logprobs) for a in attempts} == {("hi é!", sampling, 5, (-0.5, -0.25))}
        assert as_protocol.score([prompt().messages] * 2, ["ab", ""]) == [(-1.0, -1.0), ()]
        assert len(list(as_protocol.generate([prompt()], sampling))) == 2


def test_what_is_to_be_known_of_the_model_is_told_once_and_bounded(tmp_path: Path) -> None:
    notes = WORKER.replace("say(info=", "say(notes=['as it is', 'x' * 5000, 3] * 9, info=")
    told: list[str] = []
    with worker(tmp_path, code=notes, tell=told.append) as generator:
        generator.describe()
        generator.score([prompt().messages], ["a"])
    assert told[:3] == ["as it is", "x" * 1000, "3"]
    assert len(told) == 8
    with worker(tmp_path, code=WORKER.replace("say(info=", "say(notes='no list', info=")) as generator:
        assert generator.describe().name == "worker"


def test_a_child_that_writes_more_than_its_limit_is_cut(tmp_path: Path) -> None:
    longer = WORKER.replace('prompt["messages"][0]["content"] + "!"', '"Let me think. " * 9000')
    with worker(tmp_path, code=longer) as generator:
        one = prompt(num_samples=1).model_copy(update={"max_tokens": 8})
        (attempt,) = generator.generate([one], Sampling(max_tokens=16))
    assert (len(attempt.text), attempt.finish_reason) == (8 * 128, "length")


def test_the_child_starts_with_the_first_question_and_ends_with_close(tmp_path: Path) -> None:
    flag = tmp_path / "started"
    with worker(tmp_path, code=f"open({str(flag)!r}, 'w').close()\n{WORKER}") as generator:
        assert not flag.exists()
        generator.describe()
        assert flag.exists()
    with pytest.raises(ProcedureError, match="closed"):
        list(generator.generate([prompt()], Sampling()))
    generator.close()


def test_attempts_arrive_one_by_one(tmp_path: Path) -> None:
    read = tmp_path / "read"
    wait = f"while not os.path.exists({str(read)!r}): time.sleep(0.01)"
    with worker(tmp_path, before=f"say(attempt=attempt(*asked.pop(), q['sampling']))\n{wait}") as generator:
        arriving = generator.generate([prompt()], Sampling())
        next(arriving)
        read.touch()  # the other is answered now, and not before


@pytest.mark.parametrize(
    ("before", "words", "hint"),
    [
        ("print('out of luck', file=sys.stderr); sys.exit(3)", "ended with exit status 3.*out of luck", "last lines"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL.*loading", "out of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV", "last lines"),
        ("raise RuntimeError('boom')", "exit status 1.*boom", "last lines"),
    ],
)
def test_the_death_of_the_child(tmp_path: Path, before: str, words: str, hint: str) -> None:
    with worker(tmp_path, before=before) as generator:
        with pytest.raises(EndpointError, match=f"(?s){words}") as caught:
            list(generator.generate([prompt()], Sampling()))
        assert hint in caught.value.hint


def test_death_after_some_attempts_keeps_those(tmp_path: Path) -> None:
    with worker(tmp_path, before="say(attempt=attempt(*asked.pop(), q['sampling'])); sys.exit(1)") as generator:
        arriving = generator.generate([prompt()], Sampling())
        assert next(arriving).sample_index == 1
        with pytest.raises(EndpointError, match="exit status 1"):
            next(arriving)
        assert generator.score([], []) == []  # the next question starts a new child


def test_silence_is_not_waited_for(tmp_path: Path) -> None:
    with worker(tmp_path, before="time.sleep(600)", silence_timeout_s=0.2) as generator:
        started = time.monotonic()
        with pytest.raises(EndpointError, match=r"said nothing for 0\.2 s"):
            list(generator.generate([prompt()], Sampling()))
        assert time.monotonic() - started < 10
    with (
        worker(tmp_path, code="import time\ntime.sleep(600)", start_timeout_s=0.2) as generator,
        pytest.raises(EndpointError, match="said nothing"),
    ):
        generator.describe()


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("print('hello', flush=True)", "no JSON object.*hello"),
        ("print('[' * 100000, flush=True)", "no JSON object"),
        ("say(attempt=attempt(*asked[0], q['sampling']))", "which nobody waits for"),
        ("asked.pop()", "1 of 2 attempts are missing"),
        ("say(attempt={'text': 'x'})", "not a valid Attempt|Not a valid Attempt"),
        ("say(hm=1)", "Not a valid Attempt"),
    ],
)
def test_nonsense(tmp_path: Path, before: str, words: str) -> None:
    with (
        worker(tmp_path, before=before) as generator,
        pytest.raises(EndpointError, match=f"(?s)answered nonsense.*({words})"),
    ):
        list(generator.generate([prompt()], Sampling()))


def test_what_the_worker_reports_is_raised_as_the_same_error(tmp_path: Path) -> None:
    report = "say(error={'type': 'CompatibilityError', 'message': 'too long', 'hint': 'Shorten it.'}); continue"
    with worker(tmp_path, before=report) as generator:
        with pytest.raises(CompatibilityError, match="too long") as caught:
            list(generator.generate([prompt()], Sampling()))
        assert caught.value.hint == "Shorten it."
        assert generator.score([prompt().messages], ["x"]) == [(-1.0,)]  # it lives on
    for odd in ("{'type': 'SystemExit', 'message': 'm'}", "'m'", "{}", "{'type': ['x']}"):
        with worker(tmp_path, before=f"say(error={odd}); continue") as generator, pytest.raises(EndpointError):
            list(generator.generate([prompt()], Sampling()))


def test_an_abandoned_question_does_not_disturb_the_next(tmp_path: Path) -> None:
    with worker(tmp_path) as generator:
        abandoned = generator.generate([prompt("a", 50)], Sampling())
        next(abandoned)
        assert {a.problem_id for a in generator.generate([prompt("b")], Sampling())} == {"b"}
        with pytest.raises(ProcedureError, match="something else"):
            next(abandoned)


def test_a_command_that_cannot_start() -> None:
    for command in (["/no-such-program"], ["/"], ["a\0b"]):
        with PipeGenerator(command) as generator, pytest.raises(EndpointError, match="cannot be started"):
            generator.describe()


def test_bad_scores(tmp_path: Path) -> None:
    for bad in ("[]", "[['x']]", "None", "[3]"):
        code = WORKER.replace('scores=[[-1.0] * len(c) for c in q["completions"]]', f"scores={bad}")
        with worker(tmp_path, code=code) as generator, pytest.raises(EndpointError, match="nonsense"):
            generator.score([prompt().messages], ["x"])


SPREADING = WORKER.replace(
    'say(scores=[[-1.0] * len(c) for c in q["completions"]])',
    'say(**({"spreads": [[[-1.0, -2.0, 0.5]] * len(c) for c in q["completions"]]} if q["op"] == "score_spread" else '
    '{"scores": [[-1.0] * len(c) for c in q["completions"]]}))',
).replace('q["op"] == "score"', 'q["op"].startswith("score")')


def test_spreads(tmp_path: Path) -> None:
    with worker(tmp_path, code=SPREADING) as generator:
        assert isinstance(generator, SpreadScoring)
        assert generator.score_spread([prompt().messages], ["ab"]) == [((-1.0, -2.0, 0.5),) * 2]
        assert generator.score([prompt().messages], ["ab"]) == [(-1.0, -1.0)]


def test_bad_spreads(tmp_path: Path) -> None:
    for bad in ("[]", "[[[1.0, 2.0]]]", "[['xyz']]", "None", "[3]"):
        code = SPREADING.replace('[[[-1.0, -2.0, 0.5]] * len(c) for c in q["completions"]]', bad)
        with worker(tmp_path, code=code) as generator, pytest.raises(EndpointError, match="nonsense"):
            generator.score_spread([prompt().messages], ["x"])


def test_a_worker_may_say_where_it_computes(tmp_path: Path) -> None:
    with worker(tmp_path) as silent:
        assert silent.platform() is None
    here = Platform(device="cpu", torch="2")
    with worker(tmp_path, code=WORKER.replace("say(info=", f"say(platform={here.to_json()!r}, info=")) as told:
        assert told.platform() == here
    with (
        worker(tmp_path, code=WORKER.replace("say(info=", "say(platform=7, info=")) as broken,
        pytest.raises(EndpointError, match="nonsense"),
    ):
        broken.platform()
