from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spiritsafe.core.errors import IntegrityError, StorageError
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.optimiser import AdamW
from spiritsafe.training.state import STATE_FILE, discard_state, load_state, save_state, weights_fingerprint
from tiny_training import tiny_decoder

CONFIG = TrainConfig(learning_rate=1e-2, tokens_per_step=1, micro_batch_tokens=1, max_steps=1)


def trained(dtype: torch.dtype, steps: int = 3) -> tuple[torch.nn.Module, AdamW]:
    model = tiny_decoder()
    optimiser = AdamW(model, CONFIG, dtype)
    advance(optimiser, steps, first=0)
    return model, optimiser


def advance(optimiser: AdamW, steps: int, *, first: int) -> None:
    for step in range(first, first + steps):
        for gradient in optimiser.gradients:
            gradient.normal_(generator=torch.Generator().manual_seed(step))
        optimiser.update(1e-2, float(optimiser.gradient_norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, dtype: torch.dtype) -> None:
    unbroken, optimiser = trained(dtype)
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    torch.manual_seed(77)
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    expected_draw = torch.rand(3)
    advance(optimiser, 2, first=3)
    restored = tiny_decoder()
    other = AdamW(restored, CONFIG, dtype)
    assert load_state(tmp_path, other, fingerprint="f") == 3
    assert torch.equal(torch.rand(3), expected_draw)
    advance(other, 2, first=3)
    for mine, theirs in zip(restored.parameters(), unbroken.parameters(), strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, theirs)
    assert sorted(p.name for p in tmp_path.iterdir()) == [STATE_FILE]


def test_no_file_means_step_zero(tmp_path: Path) -> None:
    _, optimiser = trained(torch.float32, steps=0)
    assert load_state(tmp_path, optimiser, fingerprint="f") == 0


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    _, optimiser = trained(torch.float32)
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    with pytest.raises(IntegrityError, match="another run"):
        load_state(tmp_path, optimiser, fingerprint="g")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    _, optimiser = trained(torch.float32)
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:-1000] if damage is None else damage)
    with pytest.raises(IntegrityError, match="not a readable checkpoint"):
        load_state(tmp_path, optimiser, fingerprint="f")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, optimiser = trained(torch.float32)
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    before = (tmp_path / STATE_FILE).read_bytes()

    def full_disk(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        save_state(tmp_path, optimiser, step=4, fingerprint="f")
    assert (tmp_path / STATE_FILE).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_discard_deletes_once_and_forgives_twice(tmp_path: Path) -> None:
    _, optimiser = trained(torch.float32)
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    discard_state(tmp_path)
    discard_state(tmp_path)
    assert not list(tmp_path.iterdir())


def test_fingerprint_tells_models_apart() -> None:
    prints = {
        weights_fingerprint(tiny_decoder()),
        weights_fingerprint(tiny_decoder()),
        weights_fingerprint(tiny_decoder(seed=1)),
        weights_fingerprint(tiny_decoder(layers=1)),
    }
    assert len(prints) == 3


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    _, optimiser = trained(torch.float32)
    (tmp_path / f".{STATE_FILE}.abc.tmp").write_bytes(b"half")
    save_state(tmp_path, optimiser, step=3, fingerprint="f")
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]
    (tmp_path / f".{STATE_FILE}.def.tmp").write_bytes(b"half")
    discard_state(tmp_path)
    assert list(tmp_path.iterdir()) == []
