"""Sample files of lm-evaluation-harness: what the real package wrote (tests/golden/foreign), and planted damage."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from places import TESTS

from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError, SourceError, SpiritsafeError
from spiritsafe.exam.interop.lm_eval_log import read_lm_eval_samples
from spiritsafe.exam.interop.practice import compare_practice, score_practice

FOREIGN = TESTS / "golden" / "foreign"


def samples_of(name: str) -> Path:
    (path,) = (FOREIGN / f"lm-eval-{name}").glob("samples_*.jsonl")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy to damage; the sample file's path."""
    source = samples_of("a")
    shutil.copytree(source.parent, tmp_path / "copy")
    return tmp_path / "copy" / source.name


def rewrite(path: Path, change: Any) -> None:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)), "utf-8")


def test_a_real_file_is_read() -> None:
    run = read_lm_eval_samples(samples_of("a"), filter_name="strict")
    assert [answer.status for answer in run.answers] == ["correct", "correct", "wrong", *["unparsed"] * 4]
    assert run.header.tool.startswith("lm-eval 0.4.")
    assert (run.header.task, run.header.model, run.header.scorer) == ("sums", "a", "exact_match,strict")
    assert run.answers[3].attempt.text == "I would rather not say."
    assert run.answers[0].attempt.sampling.max_tokens == 64
    assert any("does not record how an answer ended" in remark for remark in run.header.remarks)


def test_its_score_is_the_harness_own() -> None:
    for name in "ab":
        for filter_name in ("strict", "loose"):
            (results,) = samples_of(name).parent.glob("results_*.json")
            theirs = json.loads(results.read_text("utf-8"))["results"]["sums"][f"exact_match,{filter_name}"]
            run = read_lm_eval_samples(samples_of(name), filter_name=filter_name)
            assert score_practice(run).accuracy.value == pytest.approx(theirs)


def test_two_real_runs_are_compared() -> None:
    a, b = (read_lm_eval_samples(samples_of(name), filter_name="strict") for name in "ab")
    found = compare_practice(a, b)
    assert found.difference.value == pytest.approx((2 - 5) / 7)
    assert (found.num_first_better, found.num_second_better) == (1, 4)


def test_several_filters_and_metrics_need_a_choice(folder: Path) -> None:
    with pytest.raises(RecipeError, match="strict, loose"):
        read_lm_eval_samples(folder)
    with pytest.raises(RecipeError, match="middle"):
        read_lm_eval_samples(folder, filter_name="middle")
    rewrite(folder, lambda rows: [{**row, "metrics": ["exact_match", "f1"], "f1": 0.5} for row in rows])
    with pytest.raises(RecipeError, match="exact_match, f1"):
        read_lm_eval_samples(folder, filter_name="strict")
    partial = read_lm_eval_samples(folder, filter_name="strict", metric="f1")
    scores = score_practice(partial)
    assert (scores.accuracy.value, scores.mean_score) == (0.0, 0.5)


def test_planned_problems_without_a_row_are_failed(folder: Path) -> None:
    rewrite(folder, lambda rows: [row for row in rows if row["doc_id"] not in (2, 6)])
    run = read_lm_eval_samples(folder, filter_name="strict")
    assert [answer.sample for answer in run.answers if answer.status == "error"] == ["2", "6"]
    assert score_practice(run).accuracy.n == 7


def test_a_choice_among_endings_is_the_likeliest_one(folder: Path) -> None:
    (results,) = folder.parent.glob("results_*.json")
    value = json.loads(results.read_text("utf-8"))
    value["configs"]["sums"]["output_type"] = "multiple_choice"
    results.write_text(json.dumps(value), "utf-8")
    arguments = {f"gen_args_{i}": {"arg_0": "2 + 3 =", "arg_1": text} for i, text in enumerate([" four", " five"])}
    answers = [[["-3.5", "False"]], [["-0.5", "True"]]]
    rewrite(
        folder,
        lambda rows: [
            {
                **row,
                "filter": "none",
                "arguments": arguments,
                "resps": answers,
                "filtered_resps": [a[0] for a in answers],
            }
            for row in rows[:7]
        ],
    )
    run = read_lm_eval_samples(folder)
    assert run.answers[0].attempt.text == " five"
    assert run.answers[0].status == "correct"
    assert run.answers[6].status == "wrong"  # nothing is parsed here, so nothing is unparsed


def test_the_results_file_is_needed(folder: Path, tmp_path: Path) -> None:
    (results,) = folder.parent.glob("results_*.json")
    elsewhere = tmp_path / "r.json"
    results.rename(elsewhere)
    with pytest.raises(SourceError, match="is not beside"):
        read_lm_eval_samples(folder, filter_name="strict")
    assert read_lm_eval_samples(folder, results=elsewhere, filter_name="strict").header.model == "a"
    for content in ("{", "[]", json.dumps({"n-samples": {"other": {}}})):
        elsewhere.write_text(content, "utf-8")
        with pytest.raises(SourceError):
            read_lm_eval_samples(folder, results=elsewhere, filter_name="strict")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda rows: [*rows, rows[0]], IntegrityError),
        (lambda rows: [{**row, "exact_match": "yes"} for row in rows], CompatibilityError),
        (lambda rows: [{**row, "exact_match": 3.0} for row in rows], CompatibilityError),
        (lambda rows: [{"doc_id": 1}], SourceError),
        (lambda rows: [], SourceError),
    ],
)
def test_what_is_no_sample_file_is_refused(folder: Path, change: Any, error: type[Exception]) -> None:
    rewrite(folder, change)
    with pytest.raises(error):
        read_lm_eval_samples(folder, filter_name="strict")


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, [1]], ids=repr)
@pytest.mark.parametrize("name", ["doc_id", "metrics", "resps", "filtered_resps", "filter", "exact_match", "doc_hash"])
def test_whatever_stands_there_is_read_or_refused_in_plain_words(folder: Path, name: str, junk: Any) -> None:
    rewrite(folder, lambda rows: [{**rows[0], name: junk}, *rows[1:]])
    with suppress(SpiritsafeError):  # anything else escapes
        read_lm_eval_samples(folder, filter_name="strict")


def test_another_name_is_refused(folder: Path) -> None:
    other = folder.with_name("answers.jsonl")
    folder.rename(other)
    with pytest.raises(SourceError, match="samples_<task>_<time>"):
        read_lm_eval_samples(other)
