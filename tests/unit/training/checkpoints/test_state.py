from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_decoder

from spiritsafe.core.errors import CompatibilityError, IntegrityError, StorageError
from spiritsafe.core.process.platforms import Platform
from spiritsafe.training.checkpoints.state import (
    STATE_FILE,
    Resumed,
    RunIdentity,
    discard_state,
    load_state,
    snapshot,
    weights_fingerprint,
    write_state,
)
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.optimiser import STATE_KINDS, AdamW

CONFIG = TrainConfig(learning_rate=1e-2, tokens_per_step=1, micro_batch_tokens=1, max_steps=1)
HERE = Platform(device="cpu", processor="A", instructions="AVX512", threads=1, torch="2.13", compute_dtype="float32")
RUN = RunIdentity(fingerprint="f", unsealed="old", platform=HERE)


def elsewhere(**changes: Any) -> RunIdentity:
    return RunIdentity(fingerprint="f", unsealed="old", platform=HERE.model_copy(update=changes))


def trained(dtype: torch.dtype = torch.float32, steps: int = 3) -> tuple[torch.nn.Module, AdamW]:
    model = tiny_decoder()
    optimiser = AdamW(model, CONFIG, dtype)
    advance(optimiser, steps, first=0)
    return model, optimiser


def advance(optimiser: AdamW, steps: int, *, first: int) -> None:
    for step in range(first, first + steps):
        for gradient in optimiser.gradients:
            gradient.normal_(generator=torch.Generator().manual_seed(step))
        optimiser.update(1e-2, float(optimiser.gradient_norm()))


def save_state(directory: Path, optimiser: AdamW, identity: RunIdentity, *, step: int) -> None:
    write_state(directory, snapshot(optimiser, identity, step=step))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, dtype: torch.dtype) -> None:
    unbroken, optimiser = trained(dtype)
    save_state(tmp_path, optimiser, RUN, step=3)
    torch.manual_seed(77)
    save_state(tmp_path, optimiser, RUN, step=3)
    expected_draw = torch.rand(3)
    advance(optimiser, 2, first=3)
    restored = tiny_decoder()
    other = AdamW(restored, CONFIG, dtype)
    assert load_state(tmp_path, other, RUN) == Resumed(step=3, platforms=(HERE,))
    assert torch.equal(torch.rand(3), expected_draw)
    advance(other, 2, first=3)
    for mine, theirs in zip(restored.parameters(), unbroken.parameters(), strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, theirs)
    assert sorted(p.name for p in tmp_path.iterdir()) == [STATE_FILE]


def test_a_copy_is_what_it_was_when_it_was_made(tmp_path: Path) -> None:
    _, optimiser = trained()
    save_state(tmp_path / "then", optimiser, RUN, step=3)
    state = snapshot(optimiser, RUN, step=3, copied=True)
    held = {kind: [tensor.data_ptr() for tensor in getattr(optimiser, kind)] for kind in STATE_KINDS}
    assert all(t.data_ptr() != own for kind in STATE_KINDS for t, own in zip(state[kind], held[kind], strict=True))
    assert optimiser.state_bytes == sum(tensor.nbytes for kind in STATE_KINDS for tensor in state[kind])
    advance(optimiser, 2, first=3)
    write_state(tmp_path / "later", state)
    then, later = (torch.load(tmp_path / when / STATE_FILE, weights_only=True) for when in ("then", "later"))
    assert then.keys() == later.keys()
    assert all(torch.equal(a, b) for kind in STATE_KINDS for a, b in zip(then[kind], later[kind], strict=True))


def test_no_file_means_step_zero(tmp_path: Path) -> None:
    _, optimiser = trained(steps=0)
    assert load_state(tmp_path, optimiser, RUN) == Resumed()


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
    with pytest.raises(IntegrityError, match="another run"):
        load_state(tmp_path, optimiser, RunIdentity(fingerprint="g", unsealed="f", platform=HERE))


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:-1000] if damage is None else damage)
    with pytest.raises(IntegrityError, match=f"{STATE_FILE} is damaged"):
        load_state(tmp_path, optimiser, RUN)


def test_a_changed_bit_anywhere_is_found_and_nothing_is_restored(tmp_path: Path) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
    path = tmp_path / STATE_FILE
    good = path.read_bytes()
    other = AdamW(tiny_decoder(), CONFIG, torch.float32)
    before = [master.clone() for master in other.masters]
    places = {*range(0, len(good), len(good) // 60), *range(len(good) - 120, len(good))}  # the seal byte by byte
    for place in sorted(places):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(IntegrityError, match="is damaged") as caught:
            load_state(tmp_path, other, RUN)
        assert "Delete it" in caught.value.hint
    assert all(torch.equal(a, b) for a, b in zip(before, other.masters, strict=True))
    path.write_bytes(good)
    assert load_state(tmp_path, other, RUN).step == 3


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
    before = (tmp_path / STATE_FILE).read_bytes()
    torch_save = torch.save

    class Full:
        """A file on a disk that is full after 9 kB."""

        def __init__(self, inner: Any) -> None:
            self.inner, self.room = inner, 9000

        def write(self, data: memoryview) -> int:
            self.room -= len(data)
            if self.room < 0:
                raise OSError(28, "No space left on device")
            return int(self.inner.write(data))

        def flush(self) -> None: ...

    def full_disk(state: object, sealing: Any) -> None:
        sealing._file = Full(sealing._file)
        torch_save(state, sealing)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(StorageError, match="No space left") as caught:
        save_state(tmp_path, optimiser, RUN, step=4)
    assert "free some space" in caught.value.hint
    assert (tmp_path / STATE_FILE).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_another_platform_goes_on_and_says_so_once(tmp_path: Path) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
    there = elsewhere(processor="B", instructions="AVX2")
    resumed = load_state(tmp_path, optimiser, there)
    assert resumed.note is not None
    assert "begun on A, AVX512, 1 thread, torch 2.13, float32 and goes on on B, AVX2" in resumed.note
    write_state(tmp_path, snapshot(optimiser, there, step=4, before=resumed.platforms))
    again = load_state(tmp_path, optimiser, there)
    assert (again.platforms, again.note) == ((HERE, there.platform), None)
    back = load_state(tmp_path, optimiser, RUN)
    assert back.note is not None


def test_another_number_format_is_refused_before_anything_is_restored(tmp_path: Path) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
    other = AdamW(tiny_decoder(), CONFIG, torch.float32)
    before = [master.clone() for master in other.masters]
    with pytest.raises(CompatibilityError, match=r"begun in float32 .* go on in bfloat16") as caught:
        load_state(tmp_path, other, elsewhere(compute_dtype="bfloat16"))
    assert 'compute_dtype = "float32"' in caught.value.hint
    assert "SPIRITSAFE_BF16=off" in caught.value.hint
    assert all(torch.equal(a, b) for a, b in zip(before, other.masters, strict=True))


def test_a_checkpoint_of_an_earlier_version_goes_on_and_its_platform_is_unknown(tmp_path: Path) -> None:
    _, optimiser = trained()
    state = snapshot(optimiser, RUN, step=3)
    old = {name: state[name] for name in ("step", "num_updates", "names", *STATE_KINDS)}
    torch.save(old | {"format": 1, "fingerprint": "old", "rng": state["rng"][0], "rng_cuda": []}, tmp_path / STATE_FILE)
    other = AdamW(tiny_decoder(), CONFIG, torch.float32)
    resumed = load_state(tmp_path, other, RUN)
    assert (resumed.step, resumed.platforms) == (3, (None,))
    assert resumed.note is not None
    assert "was not recorded" in resumed.note
    assert all(torch.equal(a, b) for a, b in zip(optimiser.masters, other.masters, strict=True))
    with pytest.raises(IntegrityError, match="another run"):
        load_state(tmp_path, other, RunIdentity(fingerprint="old", unsealed="f", platform=HERE))


def test_every_process_takes_up_its_own_random_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, optimiser = trained()
    draws = []
    states = []
    for seed in (5, 6):
        torch.manual_seed(seed)
        states.append((torch.get_rng_state(), None))
        draws.append(torch.rand(3))
    monkeypatch.setattr(type(optimiser.parallel), "gather", lambda self, value: states)
    state = snapshot(optimiser, RUN, step=3)
    monkeypatch.undo()
    write_state(tmp_path, state)
    for rank, expected in ((0, draws[0]), (1, draws[1]), (2, draws[0])):
        monkeypatch.setattr(type(optimiser.parallel), "require_same", lambda self, value, *, what: None)
        monkeypatch.setattr(type(optimiser.parallel), "on_main", lambda self, work: work())
        optimiser.parallel = type(optimiser.parallel)(rank=rank, size=3)
        load_state(tmp_path, optimiser, RUN)
        assert torch.equal(torch.rand(3), expected)


def test_discard_deletes_once_and_forgives_twice(tmp_path: Path) -> None:
    _, optimiser = trained()
    save_state(tmp_path, optimiser, RUN, step=3)
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
    _, optimiser = trained()
    (tmp_path / f".{STATE_FILE}.abc.tmp").write_bytes(b"half")
    save_state(tmp_path, optimiser, RUN, step=3)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]
    (tmp_path / f".{STATE_FILE}.def.tmp").write_bytes(b"half")
    discard_state(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_of_an_earlier_version_are_damage_and_nothing_is_restored(tmp_path: Path) -> None:
    """No digest guards them: what an unpickler makes of them is KeyError, OSError, AssertionError and more."""
    _, optimiser = trained()
    path = tmp_path / STATE_FILE
    state = {**snapshot(optimiser, RUN, step=3), "format": 1, "fingerprint": RUN.unsealed}
    del state["platforms"]
    torch.save(state, path)
    good = path.read_bytes()
    other = AdamW(tiny_decoder(), CONFIG, torch.float32)
    before = [master.clone() for master in other.masters]
    rng = random.Random(0)
    refused = 0
    for place in rng.sample(range(len(good)), 40) + rng.sample(range(2500), 160):  # names and shapes stand in front
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << rng.randrange(8))]) + good[place + 1 :])
        try:
            load_state(tmp_path, other, RUN)
        except IntegrityError:
            refused += 1
            assert all(torch.equal(a, b) for a, b in zip(before, other.masters, strict=True))
        else:
            for master, value in zip(other.masters, before, strict=True):
                master.copy_(value)
    assert refused > 50


@pytest.mark.parametrize(
    "change",
    [
        {"step": "3"},
        {"num_updates": None},
        {"moments": None},
        {"moments": []},
        {"masters": [torch.zeros(1)] * 99},
        {"rng": None},
        {"rng": []},
        {"rng_cuda": 1},
    ],
)
def test_a_checkpoint_without_all_that_is_restored_is_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    _, optimiser = trained()
    write_state(tmp_path, {**snapshot(optimiser, RUN, step=3), **change})
    with pytest.raises(IntegrityError, match=f"{STATE_FILE} is damaged"):
        load_state(tmp_path, AdamW(tiny_decoder(), CONFIG, torch.float32), RUN)
