"""Logs of Inspect AI: what the real package wrote (tests/golden/foreign), and what a log could hold beside."""

from __future__ import annotations

import builtins
import copy
import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from places import TESTS

from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError, SourceError, SpiritsafeError
from spiritsafe.exam.interop.inspect_log import read_inspect_log
from spiritsafe.exam.interop.practice import compare_practice, score_practice

FOREIGN = TESTS / "golden" / "foreign"


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places_in(item, (*path, key)))]


def with_junk(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """A copy with one place replaced."""
    if not path:
        return junk
    copied = copy.copy(value)
    copied[path[0]] = with_junk(value[path[0]], path[1:], junk)
    return copied


def statuses(path: Path, **options: Any) -> list[str]:
    return [answer.status for answer in read_inspect_log(path, **options).answers]


def test_a_real_log_is_read_with_every_status() -> None:
    run = read_inspect_log(FOREIGN / "sums-a.json")
    assert [answer.status for answer in run.answers] == [
        "correct", "correct", "wrong", "unparsed", "refused", "truncated", "error",
    ]  # fmt: skip
    assert run.header.tool.startswith("inspect-ai 0.3.")
    assert (run.header.task, run.header.model, run.header.scorer) == ("sums", "mockllm/model", "pattern")
    assert run.answers[0].attempt.text == "ANSWER: 5"
    assert run.answers[0].verdict is not None
    assert run.answers[0].verdict.answer == "5"
    assert run.answers[0].attempt.num_tokens == 4
    assert run.answers[0].attempt.sampling.temperature == 0.0
    assert run.answers[0].attempt.sampling.max_tokens == 64
    assert run.answers[6].attempt.error == "RuntimeError('the tool fell over')"
    assert any("top_p" in remark for remark in run.header.remarks)


def test_the_failed_sample_is_in_our_denominator_and_not_in_theirs() -> None:
    path = FOREIGN / "sums-a.json"
    theirs = json.loads(path.read_text("utf-8"))["results"]["scores"][0]
    assert theirs["metrics"]["accuracy"]["value"] == pytest.approx(2 / 6)
    accuracy = score_practice(read_inspect_log(path)).accuracy
    assert (accuracy.value, accuracy.n) == (pytest.approx(2 / 7), 7)


def test_a_halted_run_counts_what_was_never_asked() -> None:
    run = read_inspect_log(FOREIGN / "halted.json")
    assert len(run.answers) == 7
    assert [answer.status for answer in run.answers][2:] == ["error"] * 5
    assert run.answers[6].asked is None
    assert any("did not finish" in remark for remark in run.header.remarks)


def test_epochs_are_tries() -> None:
    run = read_inspect_log(FOREIGN / "epochs.json")
    assert (run.header.num_problems, run.header.num_tries) == (2, 2)
    assert {(a.sample, a.attempt.sample_index) for a in run.answers} == {("1", 0), ("1", 1), ("2", 0), ("2", 1)}
    assert score_practice(run).accuracy.method == "Korn-Graubard, unseen problems allowed for"


def test_two_real_runs_are_compared() -> None:
    a, b = (read_inspect_log(FOREIGN / f"sums-{name}.json") for name in "ab")
    found = compare_practice(a, b)
    assert found.difference.value == pytest.approx((2 - 5) / 7)
    assert (found.num_first_better, found.num_second_better) == (1, 4)


def test_the_packed_log_reads_as_the_json_log() -> None:
    pytest.importorskip("zstandard")
    packed, plain = read_inspect_log(FOREIGN / "sums-a.eval"), read_inspect_log(FOREIGN / "sums-a.json")
    assert packed.answers == plain.answers
    assert packed.header.remarks == plain.header.remarks


def test_a_damaged_packed_log_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    good = (FOREIGN / "sums-a.eval").read_bytes()
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        member = next(info for info in archive.infolist() if info.filename.startswith("samples/"))
    broken = bytearray(good)
    broken[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 0xFF
    path = tmp_path / "log.eval"
    path.write_bytes(bytes(broken))
    with pytest.raises(SourceError, match="damaged"):
        read_inspect_log(path)


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "zstandard":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError) as caught:
        read_inspect_log(FOREIGN / "sums-a.eval")
    assert "pip install 'spiritsafe[inspect]'" in caught.value.hint
    assert read_inspect_log(FOREIGN / "sums-a.json").answers  # which needs nothing


def test_a_log_packed_otherwise_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads((FOREIGN / "sums-a.json").read_text("utf-8"))
    path = tmp_path / "old.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps({"version": 2, "eval": whole["eval"]}))
        for sample in whole["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    assert statuses(path) == statuses(FOREIGN / "sums-a.json")
    assert any("did not finish" in remark for remark in read_inspect_log(path).header.remarks)  # it has no header


# ---- a small log, written by hand

LOG: dict[str, Any] = {
    "version": 2,
    "status": "success",
    "eval": {
        "task": "t", "model": "m", "dataset": {"sample_ids": ["x"]}, "config": {}, "packages": {"inspect_ai": "9"},
    },
    "samples": [
        {
            "id": "x", "epoch": 1, "input": "?", "target": "5",
            "output": {"choices": [{"message": {"content": "5"}, "stop_reason": "stop"}]},
            "scores": {"match": {"value": "C", "answer": "5"}},
        }
    ],
}  # fmt: skip


def written(path: Path, change: Any) -> Path:
    log = copy.deepcopy(LOG)
    change(log)
    path.write_text(json.dumps(log), "utf-8")  # NaN is written as Inspect writes it
    return path


@pytest.mark.parametrize(
    ("value", "status", "score"),
    [
        ("C", "correct", 1.0), ("I", "wrong", 0.0), ("P", "wrong", 0.5), ("N", "unparsed", 0.0), (1, "correct", 1.0),
        (0.25, "wrong", 0.25), (True, "correct", 1.0), (False, "wrong", 0.0), ("yes", "correct", 1.0),
        ("0.5", "wrong", 0.5), (float("nan"), "unscored", 0.0), (None, "unscored", 0.0),
    ],
)  # fmt: skip
def test_values_of_scorers(tmp_path: Path, value: Any, status: str, score: float) -> None:
    path = written(tmp_path / "log.json", lambda log: log["samples"][0]["scores"]["match"].update(value=value))
    (answer,) = read_inspect_log(path).answers
    assert answer.status == status
    assert answer.verdict is not None
    assert answer.verdict.score == score


@pytest.mark.parametrize("value", [7, -1, {"a": 1}, [1, 0], "blue"])
def test_what_is_not_one_score_is_refused(tmp_path: Path, value: Any) -> None:
    path = written(tmp_path / "log.json", lambda log: log["samples"][0]["scores"]["match"].update(value=value))
    with pytest.raises(CompatibilityError):
        read_inspect_log(path)


def test_an_error_outweighs_a_score_and_a_limit_cuts_off(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    assert statuses(written(path, lambda log: log["samples"][0].update(error={"message": "boom"}))) == ["error"]
    assert statuses(written(path, lambda log: log["samples"][0]["output"].update(error="boom"))) == ["error"]

    def cut(log: Any) -> None:
        log["samples"][0].update(limit={"type": "token", "limit": 9})
        log["samples"][0]["scores"]["match"]["value"] = "I"

    assert statuses(written(path, cut)) == ["truncated"]
    assert statuses(written(path, lambda log: log["samples"][0].update(scores={"other": {"value": "C"}}))) == [
        "correct"
    ]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("invalid_response_format", "unparsed"), ("no_response", "unparsed"), ("refusal", "refused"),
        ("grader_failed", "unscored"), ("scoring_failed", "unscored"), ("my own", "wrong"), (None, "wrong"),
    ],
)  # fmt: skip
def test_reasons_of_scores(tmp_path: Path, reason: str | None, status: str) -> None:
    change = {"value": "I", "reason": reason}
    path = written(tmp_path / "log.json", lambda log: log["samples"][0]["scores"]["match"].update(change))
    assert statuses(path) == [status]


def test_a_sample_without_a_score_is_unscored(tmp_path: Path) -> None:
    def second(log: Any) -> None:
        log["samples"].append({**copy.deepcopy(log["samples"][0]), "id": "y", "scores": None})
        log["eval"]["dataset"]["sample_ids"].append("y")

    assert statuses(written(tmp_path / "log.json", second)) == ["correct", "unscored"]


def test_several_scorers_need_a_choice(tmp_path: Path) -> None:
    path = written(tmp_path / "log.json", lambda log: log["samples"][0]["scores"].update(second={"value": "I"}))
    with pytest.raises(RecipeError, match="match, second"):
        read_inspect_log(path)
    with pytest.raises(RecipeError, match="third"):
        read_inspect_log(path, scorer="third")
    assert statuses(path, scorer="second") == ["wrong"]


def test_attachments_parts_and_edits(tmp_path: Path) -> None:
    def change(log: Any) -> None:
        sample = log["samples"][0]
        sample["attachments"] = {"abc": "a long text"}
        sample["output"]["choices"][0]["message"]["content"] = [
            {"type": "reasoning", "reasoning": "hm"},
            {"type": "text", "text": "attachment://abc"},
        ]
        sample["scores"]["match"]["history"] = [{"value": "I"}]
        sample["invalidation"] = {"author": "me"}

    run = read_inspect_log(written(tmp_path / "log.json", change))
    assert run.answers[0].attempt.text == "a long text"
    assert any("1 scores were edited" in remark for remark in run.header.remarks)
    assert any("1 samples were invalidated" in remark for remark in run.header.remarks)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda log: log.update(version=1), CompatibilityError),
        (lambda log: log.update(eval=None), SourceError),
        (lambda log: log["samples"].append(log["samples"][0]), IntegrityError),
        (lambda log: log["eval"]["dataset"].update(sample_ids=["z"]), IntegrityError),
        (lambda log: log["samples"][0].update(epoch=2), IntegrityError),
        (lambda log: log["samples"][0].update(scores=None), CompatibilityError),
        (lambda log: log.update(samples=[]), CompatibilityError),
    ],
)
def test_what_is_no_whole_log_is_refused(tmp_path: Path, change: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_inspect_log(written(tmp_path / "log.json", change))


@pytest.mark.parametrize("junk", [None, 3, -1, "x", [], {}, [1], {"a": 1}], ids=repr)
def test_whatever_stands_there_is_read_or_refused_in_plain_words(tmp_path: Path, junk: Any) -> None:
    path = tmp_path / "log.json"
    read = 0
    for place in places_in(LOG):
        path.write_text(json.dumps(with_junk(LOG, place, junk)), "utf-8")
        with suppress(SpiritsafeError):  # anything else escapes
            read += bool(read_inspect_log(path).answers)
    assert read > 0


def test_messages_are_compared_without_their_ids(tmp_path: Path) -> None:
    def ask(name: str, text: str) -> Any:
        return lambda log: log["samples"][0].update(input=[{"id": name, "role": "user", "content": text}])

    first, second, third = (
        read_inspect_log(written(tmp_path / f"{number}.json", ask(*asked)))
        for number, asked in enumerate([("a", "?"), ("b", "?"), ("a", "!")])
    )
    assert compare_practice(first, second).difference.value == 0
    with pytest.raises(CompatibilityError):
        compare_practice(first, third)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"PK\x03\x04 no zip", b"\xff\xfe"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.eval"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        read_inspect_log(path)
