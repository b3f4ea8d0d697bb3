"""Texts that go along with a release: what is known is there, what is not is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.release import duties_of, licence_paths, licence_texts, record_duties, whole_licence


def _model(name: str, licence: str, *parents: Checkpoint, used: str = "weights") -> Checkpoint:
    digest = "sha256:" + f"{sum(map(ord, name)):064x}"
    known = tuple(
        Parent.from_json({"name": p.name, "digest": p.digest, "license": p.license, "used_as": [used]}) for p in parents
    )
    return Checkpoint(name=name, digest=digest, license=licence, num_parameters=1, weight_bytes=1, parents=known)


def test_an_apache_student_of_a_mit_teacher_has_both_texts_and_says_whose() -> None:
    base, teacher = _model("SmolLM2-135M-Instruct", "Apache-2.0"), _model("DeepSeek-R1", "MIT")
    student = _model("student", "Apache-2.0", base)
    duties = duties_of([student, base, teacher])
    texts = licence_texts("sums-student", "Apache-2.0", duties, [])
    assert b"Version 2.0, January 2004" in bytes(texts["LICENSE"])
    assert b"SmolLM2-135M-Instruct" in bytes(texts["NOTICE"])
    assert b"not legal advice" in bytes(texts["NOTICE"])
    written = record_duties(duties, "sums-student", licence_paths("Apache-2.0", duties))
    assert {duty.path for duty in written if duty.kind == "copy"} <= set(texts)
    own = licence_texts("sums", "MIT", duties_of([_model("sums", "MIT", _model("DeepSeek-R1", "MIT"))]), [])
    assert b"the authors of DeepSeek-R1" in bytes(own["LICENSE"])


def test_a_llama_student_needs_the_text_and_shows_the_banner(tmp_path: Path) -> None:
    base = _model("Llama-3.1-8B-Instruct", "LicenseRef-llama3.1")
    student = _model("student", "LicenseRef-llama3.1", base)
    duties = duties_of([student, base])
    with pytest.raises(SourceError) as refused:
        licence_texts("Llama-student", student.license, duties, [])
    assert "goes along" in refused.value.message
    assert "https://" in refused.value.hint
    text = tmp_path / "llama3.1.txt"
    text.write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "utf-8")
    texts = licence_texts("Llama-student", student.license, duties, [("llama3.1", text)])
    assert texts["LICENSE"] == text
    paths = licence_paths(student.license, duties)
    assert set(paths.values()) == {"LICENSE"}
    written = {duty.kind: duty.text for duty in record_duties(duties, "Llama-student", paths)}
    assert written["name_prefix"] == "Llama"
    assert written["banner"] == "Built with Llama"
    assert written["notice"].startswith("Llama 3.1 is licensed under")
    assert b"Llama 3.1 is licensed under" in bytes(texts["NOTICE"])


def test_texts_of_no_licence_that_has_to_go_along_go_along_as_well(tmp_path: Path) -> None:
    """A notice, and the copyright of a second holder under the same licence; a copy of the same text does not."""
    model = _model("base", "MIT")
    paths = {name: tmp_path / name for name in ("NOTICE-base", "mit.txt", "LICENSE-adapter", "again.txt")}
    for name, path in paths.items():
        path.write_text("Copyright Ada\n" if name in ("mit.txt", "again.txt") else f"Copyright {name}\n", "utf-8")
    found = [("MIT", paths["mit.txt"])]
    texts = licence_texts("x", "MIT", duties_of([model]), found, list(paths.items()))
    assert texts["LICENSE"] == paths["mit.txt"]
    assert set(texts) == {"LICENSE", "NOTICE", "licences/NOTICE-base", "licences/LICENSE-adapter"}
    two = [("NOTICE-base", paths["NOTICE-base"]), ("NOTICE-base", paths["LICENSE-adapter"])]
    with pytest.raises(SourceError, match="Two texts of x are called NOTICE-base"):
        licence_texts("x", "MIT", duties_of([model]), found, two)


def test_the_licence_of_a_whole_names_that_of_every_part() -> None:
    """A base with adapters of others: what the hub is told may not be the freest of them."""
    base, adapter = _model("base", "MIT OR Apache-2.0"), _model("adapter", "CC-BY-NC-4.0")
    teacher = _model("teacher", "LicenseRef-llama3.1")
    made = _model("student", "MIT OR Apache-2.0", base, adapter)
    learnt = [_model("student", "MIT OR Apache-2.0", teacher, used="outputs").parents[0], *made.parents]
    lineage = [made.model_copy(update={"parents": tuple(learnt)}), base, adapter, teacher]
    assert whole_licence(made.license, duties_of(lineage), lineage) == "(MIT OR Apache-2.0) AND CC-BY-NC-4.0"
    plain = [_model("student", "Apache-2.0", _model("base", "Apache-2.0"))]
    assert whole_licence("Apache-2.0", duties_of(plain), plain) == "Apache-2.0"
    told = _model("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "MIT")
    assert whole_licence("MIT", duties_of([told]), [told]) == "MIT AND LicenseRef-llama3.1"
