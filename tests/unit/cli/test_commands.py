"""Each command runs and prints what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from stranger_models import write_mixtral

from spiritsafe.cli import doctor, models, plan, report, run, sample, tasks
from spiritsafe.cli.model_options import Patience, open_any_generator
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.errors import RecipeError, TaskError
from spiritsafe.core.records import Checkpoint
from spiritsafe.rollouts import RemoteGenerator
from spiritsafe.rollouts.test_time.records import ComputeCurve


def call(command: Any, *arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_doctor_names_the_extras() -> None:
    text = call(doctor.command)
    assert "spiritsafe" in text
    assert "extra 'train': torch" in text


def test_plan_prints_the_stages() -> None:
    assert "student   student" in call(plan.command, "tiny")


def test_tasks_list_show_and_audit() -> None:
    assert "arith:sums" in call(tasks.command, "list")
    refused = call(tasks.command, "list", "--refused")
    assert "gym:coin_flip" in refused
    assert "arith:sums" not in refused
    assert "worked solution" in call(tasks.command, "show", "arith:sums", "--count", "1")
    assert call(tasks.command, "audit", "arith:products", "--count", "12").startswith("passed")


def test_tasks_show_tells_what_was_found_and_what_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [("user", "Hi {}"), ("assistant", "Hello."), ("user", "And?\u202e"), ("assistant", "Bye.")]
    rows = [{"messages": [{"role": role, "content": text.format(n)} for role, text in said]} for n in range(40)]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    text = call(tasks.command, "show", f"chat:{data}", "--count", "1")
    assert "format    messages\n" in text
    assert "rows      41 in 1 file\n" in text
    assert "left out  1 with a prompt that was there before, 0 broken\n" in text
    assert " train, " in text
    assert "user: And?⟨U+202E⟩\nreply: Bye.\n" in text
    shown = call(tasks.command, "show", f"chat:{data}", "--count", "1", "--model", "tiny:0")
    assert "<|im_start|>assistant\n«Hello.<|im_end|>»\n<|im_start|>user\nAnd?⟨U+202E⟩<|im_end|>\n" in shown
    assert "«Bye.<|im_end|>»\n(12 of " in shown
    few = call(tasks.command, "show", f"chat:{data}", "--count", "1000")
    assert few.count("reply: Bye.") < 41
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt\n" + "".join(f"What is {n}?\n" for n in range(20)))
    assert "user: What is " in call(tasks.command, "show", f"chat:{prompts}", "--model", "tiny:0")


def test_a_failed_audit_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "constant.jsonl"
    data.write_text("".join(f'{{"question": "Question {n}?", "answer": "0"}}\n' for n in range(60)))
    with pytest.raises(TaskError, match="1 of 1"):
        call(tasks.command, "audit", f"math:{data}", "--count", "12")


def test_models_fetch_list_and_show() -> None:
    directory = call(models.command, "fetch", "tiny:0").strip().splitlines()[-1]
    assert (Path(directory) / "lineage.json").is_file()
    assert "tiny-0" in call(models.command, "list")
    assert "Apache-2.0" in call(models.command, "show", "tiny:0")


def test_models_show_what_runs_a_model(tmp_path: Path) -> None:
    text = call(models.command, "show", str(write_mixtral(tmp_path)))
    assert "active" in text
    assert "transformers' own code" in text
    assert "note" not in call(models.command, "show", "tiny:0")


def test_report_rebuilds_the_page(tiny_run: Path) -> None:
    assert "report.html" in call(report.command, str(tiny_run))


def test_run_says_when_there_is_nothing_to_do(tiny_run: Path) -> None:
    from finished_run import SMALLER

    settings = [part for override in SMALLER for part in ("--set", override)]
    text = call(run.command, "tiny", "--root", str(tiny_run.parent), *settings)
    assert "Nothing to do: all 20 stages" in text


def test_sample_with_local_weights_in_their_own_process(tiny_run: Path, tmp_path: Path) -> None:
    text = call(
        sample.command, "arith:sums", "--model", str(tiny_run / "stages" / "04-teach" / "model"),
        "--out", str(tmp_path / "attempts"), "--problems", "3", "--max-tokens", "8",
    )  # fmt: skip
    assert "3 attempts at 3 problems" in text
    assert "accuracy" in text
    assert "[" in text.split("accuracy")[1]


def test_sample_says_what_thinking_longer_is_worth(tmp_path: Path) -> None:
    model = call(models.command, "fetch", "tiny:0").strip().splitlines()[-1]
    request = [
        "arith:sums", "--model", model, "--out", str(tmp_path / "budgets"),
        "--problems", "3", "--max-tokens", "4", "--budgets", "8,4", "--think-end", "",
    ]  # fmt: skip
    text = call(sample.command, *request)
    lines = [line for line in text.splitlines() if line.startswith("thinking")]
    assert [line.split(":")[0].removeprefix("thinking ≤ ") for line in lines] == [
        f"{cap}, {waits} × Wait" for cap, waits in ((4, 0), (8, 0), (8, 1), (8, 2), (8, 4))
    ]
    assert all("accuracy" in line and "tokens an attempt" in line for line in lines)
    assert len(list((tmp_path / "budgets").iterdir())) == 5
    with pytest.raises(RecipeError, match="Both"):
        call(sample.command, *request, "--samples", "4", "--temperature", "1", "--curve", str(tmp_path / "c.svg"))


@pytest.mark.parametrize("caps", ["", "0", "64,", "-1", "64;128"])
def test_caps_that_are_no_numbers_of_tokens_are_refused(tmp_path: Path, caps: str) -> None:
    done = CliRunner().invoke(sample.command, ["arith:sums", "--out", str(tmp_path / "x"), "--budgets", caps])
    assert done.exit_code == 2
    assert "such as 64,256" in done.output


@pytest.mark.slow
def test_sample_draws_a_curve_of_several_models_and_goes_on_where_it_was(
    tiny_run: Path, tmp_path: Path, fake_endpoint: Any
) -> None:
    models = [str(path.parent) for path in sorted(tiny_run.glob("stages/*/model/lineage.json"))[:2]]
    assert len(models) == 2
    endpoint = fake_endpoint(lambda body: f"#### {body['seed'] % 5}")
    request = [
        "arith:sums?terms=2&digits=1", "--model", models[0], "--model", models[1], "--endpoint", endpoint.url,
        "--endpoint-model", "e", "--out", str(tmp_path / "pools"), "--problems", "4", "--samples", "4",
        "--max-tokens", "6", "--temperature", "1",
    ]  # fmt: skip
    text = call(sample.command, *request, "--curve", str(tmp_path / "c.json"), "--curve", str(tmp_path / "c.svg"))
    curve = ComputeCurve.from_json(json.loads((tmp_path / "c.json").read_text()))
    sizes = [Checkpoint.from_json(json.loads((Path(m) / "lineage.json").read_text())).num_parameters for m in models]
    assert [model.num_parameters for model in curve.models] == [*sizes, None]
    assert curve.num_problems == curve.num_samples == 4
    for model in curve.models[:2]:
        oracle = model.line("oracle")
        assert oracle is not None
        assert [point.num_samples for point in oracle.points] == [1, 2, 4]
        assert oracle.points[-1].flops == pytest.approx(2 * (model.num_parameters or 0) * oracle.points[-1].num_tokens)
    assert "maj@4" in text
    assert f"curve: {tmp_path / 'c.svg'}" in text.replace("\n", "")
    assert len(list((tmp_path / "pools").iterdir())) == 3
    num_requests = len(endpoint.requests)
    assert num_requests == 4 * 4 + 4
    call(sample.command, *request, "--curve", str(tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "c.json").read_bytes()
    assert len(endpoint.requests) == num_requests


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--model", "b"], "twice"),
        (["--samples", "1"], "several different attempts"),
        (["--temperature", "0"], "several different attempts"),
        (["--curve", "c.png"], "c.png"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused_before_anything_is_sampled(
    changes: list[str], words: str, tmp_path: Path
) -> None:
    request = ["arith:sums", "--model", "b", "--out", str(tmp_path / "x"), "--samples", "4", "--temperature", "1"]
    with pytest.raises(RecipeError, match=words):
        call(sample.command, *request, "--curve", "c.svg", *changes)
    assert not (tmp_path / "x").exists()


def test_several_models_need_a_curve_and_a_curve_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Several models"):
        call(sample.command, "arith:sums", "--model", "a", "--model", "b", "--out", str(tmp_path))
    with pytest.raises(RecipeError, match="No model"):
        call(sample.command, "arith:sums", "--out", str(tmp_path), "--curve", "c.svg")


@pytest.mark.parametrize(
    ("model", "endpoint", "name"),
    [(None, None, None), ("m", "http://127.0.0.1:1", "x"), (None, "http://127.0.0.1:1", None)],
)
def test_exactly_one_model_must_be_named(model: str | None, endpoint: str | None, name: str | None) -> None:
    with pytest.raises(RecipeError):
        open_any_generator(model, endpoint, name, None)


def test_patience_is_for_endpoints() -> None:
    with pytest.raises(RecipeError, match="for endpoints"):
        open_any_generator("m", None, None, None, patience=Patience(timeout_s=5.0))
    with pytest.raises(RecipeError, match="for endpoints"):
        call(sample.command, "arith:sums", "--model", "m", "--out", "x", "--problems", "1", "--concurrency", "3")


@pytest.mark.parametrize(
    ("given", "num_questions", "found"),
    [
        (Patience(), None, 32),
        (Patience(), 4000, 32),
        (Patience(), 200, 10),
        (Patience(), 5, 1),
        (Patience(concurrency=64), 5, 64),
    ],
)
def test_few_questions_are_asked_by_few_at_once(given: Patience, num_questions: int | None, found: int) -> None:
    assert given.config(num_questions).concurrency == found


def test_what_is_given_of_patience_is_used() -> None:
    config = Patience(timeout_s=7.0, max_tries=2, concurrency=3).config(1000)
    assert (config.timeout_s, config.max_tries, config.concurrency) == (7.0, 2, 3)
    usual = Patience().config(None)
    assert (usual.timeout_s, usual.max_tries) == (300.0, 6)


def test_waiting_for_an_endpoint_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    sink = TerminalSink(Console(stderr=True, force_terminal=False, width=200))
    generator = open_any_generator(None, "http://127.0.0.1:9", "m", None, events=sink)
    assert isinstance(generator, RemoteGenerator)
    generator._endpoint._waiting.trouble("HTTP 429", 99.0)
    assert "! Waiting for http://127.0.0.1:9/v1/chat/completions: HTTP 429; it asks for a wait of 99 s." in (
        capsys.readouterr().err
    )
