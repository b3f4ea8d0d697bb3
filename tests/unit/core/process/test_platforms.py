from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.core.process.platforms import (
    PLATFORMS_FILE,
    Platform,
    Platforms,
    continue_in,
    continued,
    other_text,
    read_platforms,
)

A = Platform(device="cpu", processor="Zen 4", instructions="AVX512", threads=2, torch="2.13", compute_dtype="bfloat16")
B = A.model_copy(update={"processor": "Haswell", "instructions": "AVX2", "threads": 1})
GPU = Platform(device="NVIDIA H100", torch="2.13", compute_dtype="bfloat16")


class Heard:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        assert kind == "warning"
        self.warnings.append(str(values["message"]))


def test_a_platform_in_one_line() -> None:
    assert A.text() == "Zen 4, AVX512, 2 threads, torch 2.13, bfloat16"
    assert B.text() == "Haswell, AVX2, 1 thread, torch 2.13, bfloat16"
    assert GPU.text() == "NVIDIA H100, torch 2.13, bfloat16"


@pytest.mark.parametrize(
    "changes", [{"processor": "x"}, {"instructions": "x"}, {"threads": 3}, {"torch": "2.14"}, {"device": "x"}]
)
def test_whatever_decides_the_last_bits_is_another_platform(changes: dict[str, object]) -> None:
    said = other_text([A], A.model_copy(update=changes), what="The training")
    assert said is not None
    assert said.startswith("The training was begun on Zen 4, AVX512, 2 threads, torch 2.13, bfloat16 and goes on on ")
    assert other_text([A, A], A, what="It") is None
    assert other_text([], A, what="It") is None


@pytest.mark.parametrize("known", [(A,), (None, A), (A, None)])
def test_another_number_format_is_refused(known: Platforms) -> None:
    with pytest.raises(CompatibilityError, match=r"begun in bfloat16 .* go on in float32") as caught:
        other_text(known, B.model_copy(update={"compute_dtype": "float32"}), what="It")
    assert "SPIRITSAFE_BF16=on" in caught.value.hint
    assert caught.value.hint.endswith("Or begin in another directory.")
    with pytest.raises(CompatibilityError) as caught:
        other_text([B.model_copy(update={"compute_dtype": "float32"})], A, what="It", has_setting=True)
    assert "SPIRITSAFE_BF16=off" in caught.value.hint
    assert 'Set compute_dtype = "float32" in the recipe' in caught.value.hint


def test_where_no_format_is_chosen_none_is_refused() -> None:
    said = other_text([A], B.model_copy(update={"compute_dtype": ""}), what="It")
    assert said is not None


def test_an_unknown_beginning_is_said_and_not_refused() -> None:
    said = other_text([None], A, what="It")
    assert said is not None
    assert "begun on a processor that was not recorded" in said


def test_a_row_of_platforms_has_no_repetitions() -> None:
    assert continued((), A) == (A,)
    assert continued((A,), A) == (A,)
    assert continued(continued((A,), B), A) == (A, B, A)


def test_a_folder_remembers_who_worked_in_it(tmp_path: Path) -> None:
    heard = Heard()
    assert read_platforms(tmp_path) == ()
    assert continue_in(tmp_path, A, what="It", is_begun=False, events=heard) == (A,)
    assert continue_in(tmp_path, A, what="It", is_begun=True, events=heard) == (A,)
    assert heard.warnings == []
    assert continue_in(tmp_path, B, what="It", is_begun=True, events=heard) == (A, B)
    assert len(heard.warnings) == 1
    continue_in(tmp_path, B, what="It", is_begun=True, events=heard)
    assert len(heard.warnings) == 1  # it was said when it happened, and stands in the file
    with pytest.raises(CompatibilityError):
        continue_in(tmp_path, A.model_copy(update={"compute_dtype": "float32"}), what="It", is_begun=True, events=heard)
    assert read_platforms(tmp_path) == (A, B)
    # nothing to go on from: what is remembered is of something that is gone
    assert continue_in(tmp_path, GPU, what="It", is_begun=False, events=heard) == (GPU,)
    assert read_platforms(tmp_path) == (GPU,)


def test_a_folder_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    heard = Heard()
    assert continue_in(tmp_path, A, what="It", is_begun=True, events=heard) == (None, A)
    assert len(heard.warnings) == 1
    assert read_platforms(tmp_path) == (None, A)


@pytest.mark.parametrize("text", ['{"a": 1}', '[{"device": "cpu"}]', "7"])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / PLATFORMS_FILE).write_text(text)
    with pytest.raises(IntegrityError):
        read_platforms(tmp_path)
