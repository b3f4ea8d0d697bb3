from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from heard import Heard
from places import SUPPORT
from stranger_models import write_mixtral
from tiny_training import counting_documents, one_thread, tiny_decoder

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import (
    BudgetError,
    CompatibilityError,
    IntegrityError,
    NumericalError,
    RecipeError,
    StorageError,
)
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, DrawnCompletion, PackedBatch
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.running.generators.this_platform import this_platform
from spiritsafe.models.transformers_backend.model import TransformersModel
from spiritsafe.training import LossResult, TracesObjective, TrainConfig, TrainResult, loop, train
from spiritsafe.training.checkpoints import writer as checkpoint_writer
from spiritsafe.training.checkpoints.state import STATE_FILE
from spiritsafe.training.distributed import processes as parallel
from spiritsafe.training.loop import METRICS_FILE

CONFIG = TrainConfig(
    learning_rate=1e-2,
    tokens_per_step=150,
    micro_batch_tokens=60,
    max_steps=12,
    checkpoint_every_steps=5,
    checkpoint_every_s=None,
    compute_dtype="float32",
)
DOCUMENTS = counting_documents(40)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def run(directory: Path, model: Decoder | None = None, **changes: object) -> tuple[Decoder, TrainResult]:
    model = model or tiny_decoder()
    config = TrainConfig.model_validate(CONFIG.model_dump(exclude_unset=True) | changes)
    return model, train(model, DOCUMENTS, TracesObjective(), config, directory=directory)


def same_weights(a: Decoder, b: Decoder) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def without_times(result: TrainResult) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "tokens_per_s")} for row in result.curve]


def test_training_learns_and_reports(tmp_path: Path) -> None:
    _, result = run(tmp_path, max_steps=60, micro_batch_tokens=1000)
    first, last = result.curve[0], result.curve[-1]
    assert first["loss"] > 4.0
    assert result.final_loss == last["loss"] < 2.5
    assert last["ce"] == pytest.approx(last["loss"], rel=1e-5)
    assert last["accuracy"] > first["accuracy"]
    assert result.steps == 60
    assert result.tokens == sum(row["tokens"] for row in result.curve)
    assert result.supervised_tokens == result.tokens - 2 * 40 * (
        result.tokens // sum(len(d.token_ids) for d in DOCUMENTS)
    )
    assert result.seconds > 0
    assert 0.99 < first["changed_share"] <= 1.0
    assert 0.0 < first["update_ratio"] < 0.1
    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert lines == list(result.curve)
    assert [row["step"] for row in lines] == list(range(1, 61))


def test_one_micro_batch_or_eight_give_the_same_model(tmp_path: Path) -> None:
    small, many = run(tmp_path / "8", micro_batch_tokens=30)
    large, one = run(tmp_path / "1", micro_batch_tokens=1000)
    for p, q in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=2e-5)
    for a, b in zip(many.curve, one.curve, strict=True):
        assert a["tokens"] == b["tokens"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from tiny_training import counting_documents, tiny_decoder
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.checkpoints import state, writer as checkpoint_writer

def sitting(where, directory):
    save, saves = torch.save, []
    checkpoint_writer.fits_twice = lambda num_bytes: "thread" in where
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    class Dying:
        def __init__(self, sealing):
            self.sealing, self.left = sealing, int(where.rpartition(" ")[2])
        def write(self, data):
            self.left -= 1
            if not self.left:
                self.sealing.write(data[: len(data) // 2])
                self.sealing._file.flush()
                die()
            return self.sealing.write(data)
        def flush(self):
            pass
    def save_and_die(content, sealing):
        saves.append(sealing)
        save(content, Dying(sealing) if len(saves) == 2 and "write" in where else sealing)
        if len(saves) == 2 and "rename" in where:
            die()
    torch.save = save_and_die
    def evaluate(model, step):
        if step == 8 and where == "between checkpoints":
            die()
        return {{}}
    config = TrainConfig.model_validate_json({config!r})
    train(tiny_decoder(), counting_documents(40), TracesObjective(), config, directory=directory, evaluate=evaluate)

for where in {places!r}:
    process = os.fork()
    if process == 0:
        sitting(where, Path({directory!r}) / where)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""
PLACES = [
    "between checkpoints",
    "at write 1",
    "at write 40",
    "before the rename",
    *(f"in the thread, at write {number}" for number in (1, 2, 17, 60)),
    "in the thread, before the rename",
]


def test_killed_and_resumed_equals_unbroken_bit_for_bit(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"eval_every": 1})
    code = KILLED.format(
        tests=str(SUPPORT), places=PLACES, config=config.model_dump_json(exclude_unset=True), directory=str(tmp_path)
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert killed.stdout.split() == [str(-signal.SIGKILL)] * len(PLACES), killed.stderr
    unbroken, expected = run(tmp_path / "unbroken")
    for place in PLACES:
        lines = (tmp_path / place / METRICS_FILE).read_text().splitlines()
        assert len(lines) in (
            {"between checkpoints": (7,)}.get(place) or ((10, 11, 12) if "thread" in place else (10,))
        )
        resumed, result = run(tmp_path / place)
        assert same_weights(unbroken, resumed)
        rows = [{k: v for k, v in row.items() if k != "evaluation"} for row in without_times(result)]
        assert rows == without_times(expected)
        # What the second sitting did not repeat (the checkpoint is of step 5) is as the first one wrote it.
        assert list(result.curve[:5]) == [json.loads(line) for line in lines[:5]]
        assert result.curve[5] != json.loads(lines[5])
        assert sorted(path.name for path in (tmp_path / place).iterdir()) == [METRICS_FILE, STATE_FILE]


@pytest.mark.parametrize("is_copied", [True, False])
def test_an_interrupt_leaves_a_whole_checkpoint_and_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_copied: bool
) -> None:
    monkeypatch.setattr(checkpoint_writer, "fits_twice", lambda num_bytes: is_copied)
    write, begun, interrupted = checkpoint_writer.write_state, threading.Event(), threading.Event()

    def slow(directory: Path, state: Mapping[str, Any], **more: Any) -> None:
        begun.set()
        if is_copied:
            assert interrupted.wait(60)
        write(directory, state, **more)

    def evaluate(model: LanguageModel, step: int) -> Mapping[str, float]:
        if step == 7:
            assert begun.wait(60)
            interrupted.set()  # the checkpoint of step 5 is being written
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(checkpoint_writer, "write_state", slow)
    config = CONFIG.model_copy(update={"eval_every": 1})
    with pytest.raises(KeyboardInterrupt):
        train(tiny_decoder(), DOCUMENTS, TracesObjective(), config, directory=tmp_path / "a", evaluate=evaluate)
    assert not [thread for thread in threading.enumerate() if thread.name == "checkpoint"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [METRICS_FILE, STATE_FILE]
    resumed, result = run(tmp_path / "a")
    unbroken, expected = run(tmp_path / "b")
    assert same_weights(unbroken, resumed)
    rows = [{k: v for k, v in row.items() if k != "evaluation"} for row in without_times(result)]
    assert rows == without_times(expected)


@pytest.mark.parametrize("is_copied", [True, False])
def test_a_full_disk_stops_training_and_the_checkpoint_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_copied: bool
) -> None:
    monkeypatch.setattr(checkpoint_writer, "fits_twice", lambda num_bytes: is_copied)
    write, steps = checkpoint_writer.write_state, []

    def full(directory: Path, state: Mapping[str, Any], **more: Any) -> None:
        steps.append(state["step"])
        if state["step"] == 10:
            raise StorageError("state.pt cannot be written.", hint="Make room.")
        write(directory, state, **more)

    monkeypatch.setattr(checkpoint_writer, "write_state", full)
    with pytest.raises(StorageError, match=r"state\.pt cannot be written"):
        run(tmp_path / "a")
    assert steps[:2] == [5, 10]
    monkeypatch.undo()
    assert torch.load(tmp_path / "a" / STATE_FILE, weights_only=True)["step"] == 5
    assert same_weights(run(tmp_path / "a")[0], run(tmp_path / "b")[0])


def test_another_processor_goes_on_and_says_so_and_another_number_format_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sitting(compute_dtype: str = "float32", **elsewhere: str) -> list[str]:
        heard = Heard()
        here = this_platform("cpu", torch.float32 if compute_dtype == "float32" else torch.bfloat16)
        monkeypatch.setattr(loop, "this_platform", lambda device, dtype: here.model_copy(update=elsewhere))
        config = CONFIG.model_copy(update={"compute_dtype": compute_dtype})
        train(tiny_decoder(), DOCUMENTS, TracesObjective(), config, directory=tmp_path, events=heard)
        return heard.warnings

    assert sitting() == []
    assert sitting() == []
    (said,) = sitting(processor="Another", instructions="AVX2")
    assert "figures may differ in their last bits" in said
    assert "Another, AVX2" in said
    with pytest.raises(CompatibilityError, match="begun in float32"):
        sitting("bfloat16")


def test_auto_is_what_it_came_to_and_both_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRITSAFE_BF16", "on")
    run(tmp_path, compute_dtype="auto")
    run(tmp_path, compute_dtype="bfloat16")  # the same computation by its name
    monkeypatch.setenv("SPIRITSAFE_BF16", "off")
    with pytest.raises(CompatibilityError, match="begun in bfloat16"):
        run(tmp_path, compute_dtype="auto")
    run(tmp_path, compute_dtype="bfloat16")


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first, before = run(tmp_path)
    second, after = run(tmp_path)
    assert same_weights(first, second)
    assert before == after


def test_checkpoints_by_time_change_nothing_and_none_can_be_asked(tmp_path: Path) -> None:
    by_time, _ = run(tmp_path / "a", checkpoint_every_steps=None, checkpoint_every_s=1e-9)
    without, _ = run(tmp_path / "b", checkpoint_every_steps=None, checkpoint_every_s=None)
    assert same_weights(by_time, without)
    assert (tmp_path / "a" / STATE_FILE).exists()
    assert [p.name for p in (tmp_path / "b").iterdir()] == [METRICS_FILE]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path, max_steps=5)
    config = CONFIG.model_copy(update={"max_steps": 5})
    with pytest.raises(IntegrityError, match="another run"):
        run(tmp_path, max_steps=5, learning_rate=2e-2)
    with pytest.raises(IntegrityError, match="another run"):
        run(tmp_path, tiny_decoder(seed=1), max_steps=5)
    with pytest.raises(IntegrityError, match="another run"):
        train(tiny_decoder(), DOCUMENTS[1:], TracesObjective(), config, directory=tmp_path)
    with pytest.raises(IntegrityError, match="another run"):
        train(tiny_decoder(), DOCUMENTS, Poisoned(0, "loss"), config, directory=tmp_path)


def test_who_computes_is_no_part_of_a_run_but_must_be_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match='parallel = "ddp" needs several processes'):
        run(tmp_path / "a", parallel="ddp")
    assert not (tmp_path / "a").exists()
    first, before = run(tmp_path / "a")
    monkeypatch.setattr(parallel, "is_torchrun", lambda: True)  # as torchrun --nproc-per-node 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    for mode in ("ddp", "fsdp"):
        second, after = run(tmp_path / "a", parallel=mode)
        assert before == after
        assert same_weights(first, second)


def test_evaluations_are_kept_with_their_steps(tmp_path: Path) -> None:
    seen: list[int] = []

    def evaluate(model: LanguageModel, step: int) -> Mapping[str, float]:
        model.eval()
        seen.append(step)
        return {"score": step / 2}

    model = tiny_decoder()
    config = CONFIG.model_copy(update={"eval_every": 5})
    result = train(model, DOCUMENTS, TracesObjective(), config, directory=tmp_path, evaluate=evaluate)
    assert seen == [5, 10, 12]
    assert {row["step"]: row["evaluation"] for row in result.curve if "evaluation" in row} == {
        5: {"score": 2.5},
        10: {"score": 5.0},
        12: {"score": 6.0},
    }


class Poisoned:
    """Cross-entropy whose loss or gradient goes bad at one call."""

    def __init__(self, call: int, kind: str) -> None:
        self.calls = 0
        self.steps: tuple[int, ...] = ()
        self.call = call
        self.kind = kind

    shares_prefixes = True

    def describe(self) -> dict[str, JSON]:
        return {"objective": "poisoned"}

    def at_step(self, step: int, num_steps: int) -> None:
        self.steps = (*self.steps, step)

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        result = TracesObjective()(model, batch, normaliser)
        self.calls += 1
        if self.calls != self.call:
            return result
        if self.kind == "loss":
            return LossResult(loss=result.loss * float("nan"))
        gradient = next(model.parameters()).grad
        assert gradient is not None
        gradient[0, 0] = float("inf")
        return result


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_number_that_is_none_stops_the_run_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    config = CONFIG.model_copy(update={"micro_batch_tokens": 1000, "checkpoint_every_steps": 100})
    expected = tiny_decoder()
    train(expected, DOCUMENTS, Poisoned(0, kind), CONFIG.model_copy(update={"max_steps": 12}), directory=tmp_path / "a")
    model = tiny_decoder()
    with pytest.raises(NumericalError, match="Step 4") as caught:
        train(model, DOCUMENTS, Poisoned(4, kind), config, directory=tmp_path / "b")
    saved = json.loads((tmp_path / "b" / "bad-step-000004.json").read_text())
    assert "bad-step-000004.json" in caught.value.hint
    (micro,) = saved["micro_batches"]
    for document in micro["documents"]:
        assert tuple(document["token_ids"]) in {d.token_ids for d in DOCUMENTS}
    assert saved["parameters_with_bad_gradients"] == (["embedding.weight"] if kind == "gradient" else [])
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    # The three good steps were saved: a healthy repetition continues behind them.
    resumed = tiny_decoder()
    healthy = Poisoned(0, kind)
    result = train(resumed, DOCUMENTS, healthy, config, directory=tmp_path / "b")
    assert (healthy.calls, result.steps) == (9, 12)
    assert healthy.steps == tuple(range(3, 12))


def test_what_is_known_of_a_draw_is_saved_with_a_bad_batch(tmp_path: Path) -> None:
    draws = [
        DrawnCompletion(logprobs=(-0.1, float("nan")), advantage=-2.0, group=3),
        DrawnCompletion(advantage=0.5, group=1),
    ]
    documents = [Document(token_ids=(1, 2, 3), supervised=(False, True, True), drawn=drawn) for drawn in draws]
    with pytest.raises(NumericalError, match="Step 1"):
        train(tiny_decoder(), documents, Poisoned(1, "loss"), CONFIG, directory=tmp_path)
    (micro,) = json.loads((tmp_path / "bad-step-000001.json").read_text())["micro_batches"]
    assert sorted((document["drawn"] for document in micro["documents"]), key=lambda drawn: drawn["group"]) == [
        {"logprobs": [], "advantage": "0.5", "group": 1},
        {"logprobs": ["-0.1", "nan"], "advantage": "-2.0", "group": 3},
    ]


def test_sharing_a_system_prompt_changes_nothing_but_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = (50, 51, 52, 53, 54, 55, 56, 57)
    documents = [
        Document(token_ids=(*prompt, *d.token_ids), supervised=(*(False for _ in prompt), *d.supervised))
        for d in DOCUMENTS
    ]
    config = CONFIG.model_copy(update={"micro_batch_tokens": 150})
    curves, sizes = [], []
    for shares in (True, False):
        monkeypatch.setattr(Decoder, "shares_prefixes", shares)
        model = tiny_decoder()
        seen: list[int] = []
        model.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].num_tokens))
        result = train(model, documents, TracesObjective(), config, directory=tmp_path / str(shares))
        sizes.append(sum(seen))
        curves.append(result.curve)
    assert sizes[0] < 0.8 * sizes[1]
    for mine, other in zip(*curves, strict=True):
        assert mine["tokens"] == other["tokens"]
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


def test_bfloat16_computes_in_the_copy_and_still_learns(tmp_path: Path) -> None:
    _, result = run(tmp_path, compute_dtype="bfloat16", max_steps=60, micro_batch_tokens=1000)
    assert result.final_loss < 2.5
    assert result.curve[-1]["changed_share"] < 0.9  # of the copy that computes


def test_small_updates_outlive_a_training_in_bfloat16(tmp_path: Path) -> None:
    start = tiny_decoder()
    model, _ = run(tmp_path, compute_dtype="bfloat16", learning_rate=1e-6, max_steps=2)
    moved = torch.cat([(a != b).flatten() for a, b in zip(start.parameters(), model.parameters(), strict=True)])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert moved.float().mean() > 0.97
    in_half = [
        (a.bfloat16() != b.bfloat16()).flatten() for a, b in zip(start.parameters(), model.parameters(), strict=True)
    ]
    assert torch.cat(in_half).float().mean() < 0.2


def test_unusable_documents_and_directories_are_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="micro_batch_tokens"):
        run(tmp_path / "a", micro_batch_tokens=10)
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        run(tmp_path / "file" / "run")


def test_gradients_are_given_back(tmp_path: Path) -> None:
    model, _ = run(tmp_path)
    assert all(p.grad is None for p in model.parameters())


class Hungry(TracesObjective):
    """Finds no memory for more than so many tokens at a time, from the seventh step on."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.step = most, 0

    def at_step(self, step: int, num_steps: int) -> None:
        self.step = step

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        if self.step >= 6 and batch.num_tokens > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 23068672 bytes.")
        return super().__call__(model, batch, normaliser)


def test_out_of_memory_is_no_defect_and_less_at_once_goes_on(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="Memory ran out") as raised:
        train(tiny_decoder(), DOCUMENTS, Hungry(45), CONFIG, directory=tmp_path / "a")
    assert "micro_batch_tokens" in raised.value.hint
    assert (tmp_path / "a" / STATE_FILE).is_file()
    smaller = CONFIG.model_copy(update={"micro_batch_tokens": 45})
    model = tiny_decoder()
    resumed = train(model, DOCUMENTS, Hungry(45), smaller, directory=tmp_path / "a")
    unbroken, whole = run(tmp_path / "b")
    assert [row["step"] for row in resumed.curve] == list(range(1, 13))
    assert resumed.final_loss == pytest.approx(whole.final_loss, rel=1e-4)
    for ours, theirs in zip(model.parameters(), unbroken.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [],
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines],
        lambda lines: ["5", *lines[1:]],
        lambda lines: ["{}", *lines[1:]],
        lambda lines: ['{"step": 1}', *lines[1:]],
    ],
)
def test_metrics_that_lack_what_was_done_are_refused(tmp_path: Path, damage: Callable[[list[str]], list[str]]) -> None:
    config = CONFIG.model_copy(update={"max_steps": 3, "checkpoint_every_steps": 1})
    train(tiny_decoder(), DOCUMENTS, TracesObjective(), config, directory=tmp_path)
    path = tmp_path / METRICS_FILE
    path.write_text("".join(line + "\n" for line in damage(path.read_text().splitlines())))
    with pytest.raises(IntegrityError, match=f"{METRICS_FILE} does not hold each of the 3 steps") as caught:
        train(tiny_decoder(), DOCUMENTS, TracesObjective(), config, directory=tmp_path)
    assert f"delete {STATE_FILE}" in caught.value.hint


def test_metrics_are_on_disk_before_the_checkpoint_that_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[tuple[int, bool]]()

    def append(path: Path, row: Any, *, sync: bool = False) -> None:
        synced.append((row["step"], sync))

    monkeypatch.setattr(loop, "append_line", append)
    config = CONFIG.model_copy(update={"max_steps": 5, "checkpoint_every_steps": 2})
    train(tiny_decoder(), DOCUMENTS, TracesObjective(), config, directory=tmp_path)
    assert synced == [(1, False), (2, True), (3, False), (4, True), (5, True)]


def test_a_mixture_of_experts_trains_with_its_balancing_loss_and_another_weight_is_another_run(tmp_path: Path) -> None:
    def run(directory: Path, coefficient: float) -> TrainResult:
        path = write_mixtral(directory / "model", router_aux_loss_coef=coefficient)
        model = TransformersModel(path, dtype=torch.float32, device="cpu")
        config = CONFIG.model_copy(update={"max_epochs": None, "max_steps": 2, "checkpoint_every_steps": 1})
        return train(model, counting_documents(6), TracesObjective(), config, directory=tmp_path / "training")

    for row in run(tmp_path / "one", 0.5).curve:
        assert row["loss"] == pytest.approx(row["ce"] + 0.5 * row["balance_loss"], rel=1e-5)
        assert row["balance_loss"] > 1.9  # two of four experts: 2 where all are used alike
    with pytest.raises(IntegrityError, match="another run"):
        run(tmp_path / "other", 0.25)
