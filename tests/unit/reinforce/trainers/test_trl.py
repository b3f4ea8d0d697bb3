"""A task inside TRL: rows and rewards in its form, and one real step of its GRPOTrainer."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parity_task import ParityTask

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.records import Problem
from spiritsafe.reinforce.trainers import trl as module
from spiritsafe.reinforce.trainers.row_grader import PROBLEM_COLUMN
from spiritsafe.reinforce.trainers.trl import TrlReward, answer_text, as_trl_reward, trl_dataset
from spiritsafe.tasks import load_task

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the extra bench (trl) is not installed")

ROWS = [
    {"question": "How many legs have two horses?", "answer": "4 + 4 = 8\n#### 8"},
    {"question": "Half of 3?", "answer": "#### 3/2"},
    *({"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(40)),
]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return f"math:{path}"


@pytest.fixture(scope="module")
def reward(spec: str) -> Iterator[TrlReward]:
    made = as_trl_reward(spec, num_workers=1)
    yield made
    made.close()


def dataset(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
    """The rows, whether or not the package ``datasets`` is there."""

    class Rows:
        class Dataset:
            from_list = staticmethod(list)

    monkeypatch.setattr(module, "import_module", lambda name: Rows)
    return trl_dataset(*arguments, **options)


def test_a_users_own_file_in_two_lines(
    reward: TrlReward, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # a stranger: no recipe, no run, their file and TRL's conventions only
    rows = dataset(monkeypatch, spec)
    task = load_task(spec)
    assert len(rows) == task.sizes()["train"]
    assert {tuple(row) for row in rows} == {("prompt", "problem_id", PROBLEM_COLUMN)}
    drawn = {problem.id: problem for problem in task.problems("train", seed=0, count=None)}
    right = [f"It is\n#### {task.gold(drawn[row['problem_id']])}" for row in rows]
    columns = {PROBLEM_COLUMN: [row[PROBLEM_COLUMN] for row in rows], "trainer_state": object()}
    prompts = [row["prompt"] for row in rows]
    assert reward(prompts, right, completion_ids=[[1]] * len(rows), **columns) == [1.0] * len(rows)
    messages = [[{"role": "assistant", "content": text}] for text in right]
    assert reward(prompts=prompts, completions=messages, completion_ids=[], **columns) == [1.0] * len(rows)
    assert reward(prompts, ["#### -7"] * len(rows), **columns) == [0.0] * len(rows)
    assert reward(prompts, ["I do not know."] * len(rows), **columns) == [0.0] * len(rows)
    thought = f"<think>#### 5</think>{right[0]}"
    assert reward(prompts[:1], [thought], spiritsafe_problem=columns[PROBLEM_COLUMN][:1]) == [1.0]


def test_prompts_are_messages_or_text(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = dataset(monkeypatch, spec, "dev", count=1)
    (plain,) = dataset(monkeypatch, spec, "dev", count=1, conversational=False)
    assert [message["role"] for message in row["prompt"]] == ["user"]
    assert plain["prompt"] == row["prompt"][0]["content"] + "\n"
    with pytest.raises(TaskError, match="not a split to study"):
        dataset(monkeypatch, spec, "exam")


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("as it is", "as it is"),
        ([{"role": "assistant", "content": "one"}], "one"),
        (
            [
                {"role": "assistant", "content": None, "tool_calls": [{}]},
                {"role": "tool", "content": "4"},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            ],
            "ab",
        ),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], ""),
        ([], ""),
    ],
)
def test_what_is_graded_of_a_completion(completion: Any, text: str) -> None:
    assert answer_text(completion) == text


def test_what_could_not_be_graded_is_none_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = dataset(monkeypatch, "parity_task:ParityTask", count=1)
    reward = as_trl_reward("parity_task:ParityTask", num_workers=1, wall_s=1.0, name="mine")
    told: dict[str, Any] = {}
    found = reward(
        [rows[0]["prompt"]] * 4, ["1234567", "hang", "123", "12"], spiritsafe_problem=[rows[0][PROBLEM_COLUMN]] * 4,
        log_metric=told.__setitem__, log_extra=told.__setitem__,
    )  # fmt: skip
    assert found == [1.0, None, None, 0.0]
    assert told["mine/unscored"] == 0.5
    assert told["mine verdict"][2].startswith("unscored: ValueError: three divides it")
    reward.close()


def test_it_has_a_name_and_can_be_pickled(reward: TrlReward, spec: str) -> None:
    assert reward.__name__ == module.short_name(spec)
    copy = pickle.loads(pickle.dumps(reward))
    assert copy.__name__ == reward.__name__
    copy.close()


def test_a_data_set_without_problems_is_refused(reward: TrlReward) -> None:
    with pytest.raises(TaskError, match="carries no problem") as refused:
        reward([""], ["#### 1"], answer=["1"])
    assert "trl_dataset" in refused.value.hint


def test_without_datasets_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SourceError) as missing:
        trl_dataset("arith:sums", count=1)
    assert "pip install trl" in missing.value.hint


STEP = """
import json, sys
import spiritsafe
from spiritsafe.models.sources.tiny import write_tiny
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

folder = Path(sys.argv[1])
write_tiny(folder, seed=1, hidden_size=32, max_context=256)
told = {}
for mode in ("messages", "text"):
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        reward_funcs=spiritsafe.as_trl_reward("parity_task:ParityTask", num_workers=1),
        train_dataset=spiritsafe.trl_dataset("parity_task:ParityTask", count=4, conversational=mode == "messages"),
        args=GRPOConfig(
            output_dir=str(folder / mode), use_cpu=True, bf16=False, per_device_train_batch_size=8, num_generations=8,
            max_completion_length=12, max_steps=1, logging_steps=1, report_to=[], save_strategy="no", seed=3,
        ),
    )
    asked = {}
    for row in trainer.train_dataset:
        prompt = row["prompt"]
        asked[prompt if isinstance(prompt, str) else prompt[-1]["content"]] = row["spiritsafe_problem"]
    trainer.train()
    logs = trainer._logs
    told[mode] = {
        "prompts": list(logs["prompt"]), "completions": list(logs["completion"]), "asked": asked,
        "rewards": {name: list(values) for name, values in logs["rewards"].items()},
        "history": trainer.state.log_history, "extra": {name: list(values) for name, values in logs["extra"].items()},
    }
json.dump(told, Path(sys.argv[2]).open("w"))
"""


@needs_trl
@pytest.mark.slow
def test_what_grpo_trainer_logs_is_what_we_grade(tmp_path: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    model, out = tmp_path / "model", tmp_path / "told.json"
    model.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(model), str(out)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(out.read_text("utf-8"), parse_constant=lambda _: None)  # TRL keeps None as NaN
    for mode in ("messages", "text"):
        check_step(told[mode], is_text=mode == "text")


def check_step(told: dict[str, Any], *, is_text: bool) -> None:
    """TRL's own log of one step, against each completion graded here."""
    name, task, expected = "parity_task_ParityTask", ParityTask(), []
    assert list(told["rewards"]) == [name]
    for prompt, completion in zip(told["prompts"], told["completions"], strict=True):
        assert isinstance(prompt, str) == isinstance(completion, str) == is_text
        problem = Problem.from_json(json.loads(told["asked"][prompt if is_text else prompt[-1]["content"]]))
        status = task.grade(problem, completion if is_text else completion[-1]["content"]).status
        expected.append(None if status == "unscored" else float(status == "correct"))
    assert told["rewards"][name] == expected
    assert {0.0, 1.0, None} == set(expected)  # a random model's texts have every length
    scored = [value for value in expected if value is not None]
    (step,) = (line for line in told["history"] if f"rewards/{name}/mean" in line)
    assert math.isclose(step[f"rewards/{name}/mean"], sum(scored) / len(scored), rel_tol=1e-6)
    assert math.isclose(step[f"{name}/unscored"], expected.count(None) / len(expected), rel_tol=1e-6)
    verdicts = [line.partition(":")[0] for line in told["extra"][f"{name} verdict"]]
    assert [verdict == "unscored" for verdict in verdicts] == [value is None for value in expected]
