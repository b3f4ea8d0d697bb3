"""Verification of a release: one changed byte anywhere, one file too many or too few, and the file is named."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.exam import StepResult
from spiritsafe.release import RELEASE_STEPS, SigningKey, require_release, verify_release


def failed(directory: Path, **given: Any) -> StepResult:
    steps = verify_release(directory, **given)
    assert [step.number for step in steps] == list(range(1, len(RELEASE_STEPS) + 1))
    bad = [step for step in steps if not step.ok]
    assert bad, "nothing was found"
    assert all(step.detail == f"not reached: step {bad[0].number} failed" for step in bad[1:])
    with pytest.raises(IntegrityError, match=rf"Step {bad[0].number} \("):
        require_release(steps)
    return bad[0]


def test_a_release_holds(released: Any) -> None:
    steps = verify_release(released.directory)
    assert [step for step in steps if not step.ok] == []
    require_release(steps)
    assert released.parts.key.public.fingerprint in steps[0].detail
    assert "whose it is, that does not say" in steps[0].detail


def test_one_flipped_byte_anywhere_is_named_with_its_file(copied: Callable[[], Path]) -> None:
    directory = copied()
    luck = random.Random(5)
    paths = [path for path in directory.rglob("*") if path.is_file()]
    assert len(paths) == 23
    for path in paths:
        data = path.read_bytes()
        places = {0, len(data) - 1, len(data) // 2, *(luck.randrange(len(data)) for _ in range(5))}
        path.unlink()  # a model's file is a link to the one it came from
        for place in places:
            changed = bytearray(data)
            changed[place] ^= 1 << luck.randrange(8)
            path.write_bytes(changed)
            assert path.relative_to(directory).as_posix() in failed(directory).detail, (path, place)
        path.write_bytes(data[:-1])
        assert path.name in failed(directory).detail
        path.write_bytes(data)
    assert all(step.ok for step in verify_release(directory))


def test_each_byte_of_the_key_is_guarded(copied: Callable[[], Path]) -> None:
    directory = copied()
    key = directory / "signing-key.pem"
    data = key.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        key.write_bytes(changed)
        detail = failed(directory).detail
        assert "signing-key.pem" in detail, (place, detail)


def _link(directory: Path) -> None:
    (directory / "toy-q8_0.gguf").rename(directory.parent / "toy-q8_0.gguf")
    (directory / "toy-q8_0.gguf").symlink_to(directory.parent / "toy-q8_0.gguf")


def _folder_link(directory: Path) -> None:
    (directory / "hf").rename(directory.parent / "hf")
    (directory / "hf").symlink_to(directory.parent / "hf", target_is_directory=True)


def _pipe(directory: Path) -> None:
    (directory / "LICENSE").unlink()
    os.mkfifo(directory / "LICENSE")


def _signature_pipe(directory: Path) -> None:
    (directory / "model.sig").unlink()
    os.mkfifo(directory / "model.sig")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "hf" / "extra.bin").write_bytes(b"x"), "not signed: hf/extra.bin"),
        (lambda d: (d / "hf" / ".hidden").write_bytes(b"x"), "not signed: hf/.hidden"),
        (lambda d: (d / "pickle\n1. ok.bin").write_bytes(b"x"), "not signed: pickle⟨U+000A⟩1. ok.bin"),
        (lambda d: (d / "LICENSE").unlink(), "missing: LICENSE"),
        (lambda d: (d / "LICENSE").rename(d / "LICENCE"), "missing: LICENSE; not signed: LICENCE"),
        (lambda d: (d / "folder").mkdir(), "folder (an empty folder)"),
        (_link, "toy-q8_0.gguf (a link)"),
        (_folder_link, "hf (a link)"),
        (_pipe, "LICENSE (a pipe)"),
        (_signature_pipe, "model.sig"),
        (lambda d: (d / "model.sig").unlink(), "model.sig"),
        (lambda d: (d / "model.sig").write_bytes(b"[" * 1_000_000), "model.sig"),
    ],
)
def test_what_is_there_too_much_or_is_missing_is_named(copied: Callable[[], Path], change: Any, words: str) -> None:
    directory = copied()
    change(directory)
    step = failed(directory)
    assert step.number == (1 if words == "model.sig" else 2)
    assert words in step.detail


def test_a_signature_without_end_is_not_read(copied: Callable[[], Path]) -> None:
    directory = copied()
    with (directory / "model.sig").open("r+b") as file:
        file.truncate(1 << 40)
    assert "model.sig has more than" in failed(directory).detail


def test_what_downloads_leave_is_told_and_passed_over(copied: Callable[[], Path]) -> None:
    directory = copied()
    (directory / ".gitattributes").write_text("*.gguf filter=lfs\n")
    (directory / ".cache" / "huggingface").mkdir(parents=True)
    (directory / ".cache" / "huggingface" / "x.lock").write_text("")
    steps = verify_release(directory)
    assert all(step.ok for step in steps)
    assert "not looked at, as downloads write it: .cache, .gitattributes" in steps[1].detail


def test_the_makers_key_from_elsewhere(released: Any, tmp_path: Path) -> None:
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    own.write_bytes(released.parts.key.public.pem)
    other.write_bytes(SigningKey.generate().public.pem)
    assert "with the key that was given" in verify_release(released.directory, public_key=own)[0].detail
    beside = released.directory / "signing-key.pem"
    assert "whose it is" in verify_release(released.directory, public_key=beside)[0].detail
    assert failed(released.directory, public_key=other).name == "signature"
    for directory, key in ((tmp_path / "missing", own), (released.directory, tmp_path / "missing")):
        with pytest.raises(SourceError):
            verify_release(directory, public_key=key)


def test_it_loads_nothing_heavy(released: Any) -> None:
    code = f"""
import sys
from pathlib import Path
from spiritsafe.release import verify_release
assert all(step.ok for step in verify_release(Path({str(released.directory)!r})))
heavy = {{"torch", "transformers", "gguf", "huggingface_hub", "safetensors", "tokenizers", "jinja2"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
