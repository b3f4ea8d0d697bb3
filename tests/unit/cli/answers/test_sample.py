"""``spiritsafe sample``: any model answers a task's problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from called import call
from click.testing import CliRunner
from rich.console import Console
from routing_parts import routed_directory
from tiny_gguf import write_gguf

from spiritsafe.cli import models
from spiritsafe.cli.answers import sample
from spiritsafe.cli.model_options import Patience, open_any_generator
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.errors import BudgetError, CompatibilityError, IntegrityError, RecipeError, SourceError
from spiritsafe.core.files.digests import digest_model
from spiritsafe.core.records import Checkpoint
from spiritsafe.models import write_tiny
from spiritsafe.rollouts import RemoteGenerator, read_endpoint_config
from spiritsafe.rollouts.test_time.records import ComputeCurve


def test_sample_with_local_weights_in_their_own_process(tiny_run: Path, tmp_path: Path) -> None:
    text = call(
        sample.command, "arith:sums", "--model", str(tiny_run / "stages" / "09-teacher" / "model"),
        "--out", str(tmp_path / "attempts"), "--problems", "3", "--max-tokens", "8",
    )  # fmt: skip
    assert "3 attempts at 3 problems" in text
    assert "accuracy" in text
    assert "[" in text.split("accuracy")[1]


@pytest.mark.parametrize("kind", ["directory", "tiny", "gguf", "file"])
def test_sample_takes_every_reference_to_a_model(kind: str, tmp_path: Path) -> None:
    (plain := tmp_path / "plain").mkdir()
    write_tiny(plain, seed=1)
    write_gguf(tmp_path / "x.gguf")
    file = str(tmp_path / "x.gguf")
    model = {"directory": str(plain), "tiny": "tiny:0?context=512", "gguf": f"gguf:{file}", "file": file}[kind]
    text = call(
        sample.command, "arith:sums", "--model", model, "--out", str(tmp_path / "attempts"), "--problems", "2",
        "--max-tokens", "4",
    )  # fmt: skip
    assert "2 attempts at 2 problems" in text
    assert sorted(path.name for path in plain.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_a_model_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no seed"):
        call(sample.command, "arith:sums", "--model", "tiny:x", "--out", str(tmp_path / "attempts"))
    assert not (tmp_path / "attempts").exists()


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
    [(None, None, None), (Path("m"), "http://127.0.0.1:1", "x"), (None, "http://127.0.0.1:1", None)],
)
def test_exactly_one_model_must_be_named(model: Path | None, endpoint: str | None, name: str | None) -> None:
    with pytest.raises(RecipeError):
        open_any_generator(model, endpoint, name, None)


def test_patience_is_for_endpoints() -> None:
    with pytest.raises(RecipeError, match="for endpoints"):
        open_any_generator(Path("m"), None, None, None, patience=Patience(timeout_s=5.0))
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


def _config(tmp_path: Path, url: str, more: str = "") -> str:
    path = tmp_path / "teacher.toml"
    path.write_text(f'endpoint = "{url}"\nmodel = "m"\n{more}')
    return str(path)


def test_an_endpoint_may_be_said_in_a_file(tmp_path: Path, fake_endpoint: Any) -> None:
    endpoint = fake_endpoint(lambda body: "#### 4")
    more = "extra_body = { priority = 3 }\nmax_tries = 2\nbudget = { tokens = 900_000 }\n"
    config = _config(tmp_path, endpoint.url, more)
    asked = (
        "arith:sums?terms=2&digits=1",
        "--problems",
        "3",
        "--out",
        str(tmp_path / "a"),
        "--endpoint-config",
        config,
    )
    assert "3 attempts at 3 problems" in call(sample.command, *asked)
    assert [(seen.body["model"], seen.body["priority"]) for seen in endpoint.requests] == [("m", 3)] * 3
    for option in (["--endpoint", endpoint.url], ["--endpoint-model", "m"], ["--concurrency", "3"], ["--thinks"]):
        with pytest.raises(RecipeError, match="Both --endpoint-config and another option"):
            call(sample.command, *asked, *option)
    with pytest.raises(RecipeError, match="No single model"):
        call(sample.command, *asked, "--model", "m")


def test_a_budget_that_is_used_up_says_how_to_go_on(tmp_path: Path, fake_endpoint: Any) -> None:
    endpoint = fake_endpoint(lambda body: "#### 4")
    asked = ("arith:sums?terms=2&digits=1", "--problems", "9", "--out", str(tmp_path / "a"), "--max-tokens", "16")
    config = _config(tmp_path, endpoint.url, "max_concurrency = 1\nbudget = { tokens = 150 }")
    done = CliRunner().invoke(sample.command, [*asked, "--endpoint-config", config])
    assert isinstance(done.exception, BudgetError)
    num_answers = len(endpoint.requests)
    assert 0 < num_answers < 9
    config = _config(tmp_path, endpoint.url, "max_concurrency = 1\nbudget = { tokens = 15000 }")
    assert "9 attempts at 9 problems" in call(sample.command, *asked, "--endpoint-config", config)
    assert len(endpoint.requests) == 9


@pytest.mark.parametrize(
    "said", ["extra_body = { a = 1 }", 'reasoning = "drop"', "budget = { tokens = 5 }", "top_logprobs = 3"]
)
def test_an_exam_takes_nothing_that_its_registration_does_not_hold(tmp_path: Path, said: str) -> None:
    config = read_endpoint_config(Path(_config(tmp_path, "http://127.0.0.1:9", said)))
    given = {"endpoint": config.endpoint, "endpoint_model": config.model, "api_key_env": None}
    patience = Patience(endpoint=config)
    with pytest.raises(RecipeError, match=f"An exam's endpoint cannot have {said.split()[0]}"):
        open_any_generator(None, **given, patience=patience, registered="sha256:x")
    open_any_generator(None, **given, patience=patience).close()
    plain = read_endpoint_config(Path(_config(tmp_path, "http://127.0.0.1:9", "timeout_s = 9.0\nthinks = true")))
    generator = open_any_generator(None, **given, patience=Patience(endpoint=plain), registered="x", num_questions=40)
    assert isinstance(generator, RemoteGenerator)
    assert (generator._config.timeout_s, generator._config.concurrency, generator._config.thinks) == (9.0, 2, True)
    assert generator.describe().digest == plain.digest


def test_waiting_for_an_endpoint_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    sink = TerminalSink(Console(stderr=True, force_terminal=False, width=200))
    generator = open_any_generator(None, "http://127.0.0.1:9", "m", None, events=sink)
    assert isinstance(generator, RemoteGenerator)
    generator._endpoint._waiting.trouble("HTTP 429", 99.0)
    assert "! Waiting for http://127.0.0.1:9/v1/chat/completions: HTTP 429; it asks for a wait of 99 s." in (
        capsys.readouterr().err
    )


def test_a_routed_system_is_opened_when_all_of_its_models_are_what_they_were(tmp_path: Path) -> None:
    directory = routed_directory(tmp_path / "run")
    generator = open_any_generator(directory, None, None, None)  # no worker starts before anybody is asked
    assert generator.describe().digest == digest_model(directory)
    with pytest.raises(CompatibilityError, match="several models"):
        generator.score([()], [""])
    generator.close()
    weights = tmp_path / "run" / "stages" / "02-large" / "model" / "weights.bin"
    weights.write_text("changed", "utf-8")
    with pytest.raises(IntegrityError, match=r"^large, which"):
        open_any_generator(directory, None, None, None)
