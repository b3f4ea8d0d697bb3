"""The examinee's process: what weights behind a pipe are given, and what they could reach all the same."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from exam_parts import SAMPLING, make_stage

from spiritsafe.core.process.children.pool import ChildPool, Handler
from spiritsafe.exam import register, sit
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.rollouts import PipeGenerator

SPY = """
import json, os, sys

def say(**value):
    print(json.dumps(value), flush=True)

def targets():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    return found

seen = {"argv": sys.argv, "environ": dict(os.environ), "files": targets(), "lines": [], "uid": os.getuid(),
        "pid": os.getpid(), "modules": sorted(sys.modules)}
INFO = {"name": "spy", "digest": "sha256:" + "5" * 64, "kind": "local"}
for line in sys.stdin:
    seen["lines"].append(line)
    question = json.loads(line)
    if question["op"] == "describe":
        say(info=INFO)
    elif question["op"] == "generate":
        count = 0
        for prompt in question["prompts"]:
            for index in range(prompt["first_sample"], prompt["first_sample"] + prompt["num_samples"]):
                say(attempt={"problem_id": prompt["problem_id"], "sample_index": index, "model": INFO["digest"],
                             "sampling": question["sampling"], "seed": prompt["seed"], "text": "The answer is 1.",
                             "finish_reason": "stop", "num_prompt_tokens": 3, "num_tokens": 3, "seconds": 0.1})
                count += 1
        say(done=count)
    elif question["op"] == "close":
        break
open(sys.argv[1], "w").write(json.dumps(seen))
"""


class Sitting:
    """A sitting of a program that writes down all it was given."""

    def __init__(self, root: Path) -> None:
        self.stage = stage = make_stage(root, count=8)
        self.key = root / "keys" / "examiner.key"
        stage.examiner.save(self.key)
        script, report = root / "spy.py", root / "report.json"
        script.write_text(SPY)
        with PipeGenerator([sys.executable, str(script), str(report)], start_timeout_s=30.0) as generator:
            info = generator.describe()
            registration = register(
                ledger=stage.ledger,
                paper=stage.paper,
                maker=stage.maker,
                model_name="spy",
                model_digest=info.digest,
                sampling=SAMPLING,
                hypothesis="none",
            )
            sit(
                paper=stage.papers,
                registration=registration,
                generator=generator,
                task=stage.task,
                ledger=stage.ledger,
                examiner=stage.examiner,
                directory=root / "sitting",
            )
        self.seen: dict[str, Any] = json.loads(report.read_text())


EXPORTED = {"MYKEY": "sk-abc", "HF_TOKEN": "hf_abc", "OPENAI_API_KEY": "sk-def", "HTTPS_PROXY": "http://me:pw@proxy"}


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sitting]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in EXPORTED.items():
            patch.setenv(name, value)
        yield Sitting(tmp_path_factory.mktemp("examinee"))


def test_weights_sit_in_another_process_without_key_ledger_or_answers(sitting: Sitting) -> None:
    stage, seen = sitting.stage, sitting.seen
    assert seen["pid"] != os.getpid()
    everything = json.dumps([seen["argv"], seen["environ"], seen["lines"]])
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    secret = json.loads(sitting.key.read_text())
    for needle in (secret["signing_secret"], secret["age_identity"], sealed.secret, "answer\\", "facts", "salt"):
        assert needle not in everything, needle
    held = [name for name in seen["files"] if str(stage.root) in name]
    assert held == [], "an open file of the exam was inherited"
    assert not any(name.startswith("spiritsafe") for name in seen["modules"])


def test_keys_that_the_shell_exports_reach_neither_weights_nor_graders(
    sitting: Sitting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "telling.py").write_text("import os\ndef make():\n    return lambda _: dict(os.environ)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in EXPORTED.items():
        monkeypatch.setenv(name, value)
    with closing(ChildPool(max_children=1)) as pool:
        told = pool.call(Handler("telling", "make"), None)
    for environment in (sitting.seen["environ"], told):
        assert environment["PATH"]
        assert not EXPORTED.keys() & environment.keys()
        assert not any(value in json.dumps(environment) for value in EXPORTED.values())


def test_questions_come_one_part_at_a_time_and_hold_the_problem_only(sitting: Sitting) -> None:
    asked = [json.loads(line) for line in sitting.seen["lines"]]
    prompts = [prompt for question in asked for prompt in question.get("prompts", [])]
    assert len(prompts) == 8
    fields = {"problem_id", "messages", "num_samples", "first_sample", "seed"}
    assert all({key for key, value in prompt.items() if value not in (None, "", [])} <= fields for prompt in prompts)


def test_it_runs_as_the_same_user_so_only_a_program_that_is_trusted_may_hold_the_weights(sitting: Sitting) -> None:
    """What is not defended: a malicious *program* (not weights) could read the key file of the user it runs as.

    Weights are data: spiritsafe's worker reads safetensors only and runs no code that comes with a model. For a program
    of somebody else, put it behind an endpoint on another user or machine.
    """
    assert sitting.seen["uid"] == os.getuid() == sitting.key.stat().st_uid
    assert sitting.key.stat().st_mode & 0o077 == 0
