"""What tests of training with several processes run: one program that forks its processes, so that all load once.

``all DIRECTORY`` trains alone, then in pairs under torchrun's own launcher, then in pairs that fail or are killed.
``cuda DIRECTORY`` trains on a GPU, alone or, started by ``torchrun --nproc-per-node 2``, as a pair. Each run leaves its
weights and its curve beside its checkpoint; the tests compare them with one process's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the program is started by its path

import pytest
import torch
from policy_reference import drawn_documents
from tiny_training import counting_documents, tiny_decoder
from torch.distributed import TCPStore
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError, SpiritsafeError, StorageError
from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, PackedBatch
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.reinforce import PolicyLoss, PolicyObjective
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.data.feed import CollectiveFeed
from spiritsafe.training.distributed.fsdp import ShardedModel
from spiritsafe.training.distributed.processes import current_parallel, is_torchrun
from spiritsafe.training.loop import TrainResult, train
from spiritsafe.training.objective import LossResult, Objective, TracesObjective
from spiritsafe.training.optimiser import AdamW

CONFIG = TrainConfig(
    learning_rate=1e-2,
    tokens_per_step=150,
    micro_batch_tokens=60,
    max_steps=6,
    checkpoint_every_steps=3,
    checkpoint_every_s=None,
    eps=1e-3,  # a gradient near zero gives a step near zero, not one of its rounding
    compute_dtype="float32",
)
DOCUMENTS = counting_documents(40)
DRAWN = drawn_documents(5, 6)
"""What a policy drew, for the runs whose name begins with it."""
DEVICE = "cpu"
SNAPSHOT = "at-step-3"
"""Beside a run's directory: a copy of it when three steps were done."""


class Wrapped:
    """The loss on traces, with something else around it."""

    shares_prefixes = True

    def __init__(self, inner: Objective | None = None) -> None:
        self.inner = inner or TracesObjective()
        self.step = 0

    def describe(self) -> dict[str, JSON]:
        return self.inner.describe()

    def at_step(self, step: int, num_steps: int) -> None:
        self.step = step
        self.inner.at_step(step, num_steps)

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        return self.inner(model, batch, normaliser)


class Copying(Wrapped):
    """Copies the run's directory when the checkpoint of step three lies in it."""

    def __init__(self, directory: Path, inner: Objective | None = None) -> None:
        super().__init__(inner)
        self.directory = directory

    def at_step(self, step: int, num_steps: int) -> None:
        super().at_step(step, num_steps)
        if step == 4 and current_parallel().is_main:
            for thread in threading.enumerate():
                if thread.name == "checkpoint":  # it is written while training goes on
                    thread.join()
            shutil.copytree(self.directory, self.directory.with_name(f"{self.directory.name}-{SNAPSHOT}"))


class Layers(Wrapped):
    """Adds half the mean square of the first block's stream at the tokens that have a weight."""

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        result = self.inner(model, batch, normaliser)
        _, (stream_NH,) = model.forward_with_layers(batch, (0,))
        gradient_NH = stream_NH.detach() * (batch.weights_N / normaliser)[:, None]
        stream_NH.backward(gradient_NH)
        return LossResult(loss=result.loss + 0.5 * (gradient_NH * stream_NH.detach()).sum(), means=result.means)


class NanOnRankOne(Wrapped):
    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        result = super().__call__(model, batch, normaliser)
        if self.step == 2 and current_parallel().rank == 1:
            return LossResult(loss=result.loss * float("nan"), means=result.means)
        return result


class Failing(Wrapped):
    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        if self.step == 2 and current_parallel().rank == 1:
            raise CompatibilityError("the teacher is gone", hint="Call it back.")
        return super().__call__(model, batch, normaliser)


class Killed(Wrapped):
    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        if self.step == 4 and current_parallel().rank == 1:
            for thread in threading.enumerate():
                if thread.name == "checkpoint":  # what it wrote counts: the main process seals it
                    thread.join()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(model, batch, normaliser)


def distil() -> Objective:
    teacher = tiny_decoder(seed=11, hidden=48).to(DEVICE)
    return DistilObjective(LiveTeacher(teacher), LossMix(ce=0.25, forward_kl=0.75))


def policy() -> Objective:
    loss = PolicyLoss(method="gspo", clip_low=0.5, clip_high=0.9, kl_weight=0.1)
    return PolicyObjective(loss, reference=tiny_decoder(seed=3).to(DEVICE))


def untied() -> Decoder:
    return tiny_decoder(tie_word_embeddings=False)


def checkpointing() -> Decoder:
    model = tiny_decoder()
    model.activation_checkpointing = True
    return model


def odd_sizes() -> Decoder:
    """A matrix of 33 rows, which two processes cannot halve."""
    return tiny_decoder(hidden=33, head_dim=8)


IDLE: dict[str, Any] = {"tokens_per_step": 10, "max_steps": 3}
"""Settings by which a step has one document, so that one of two processes is idle."""

# name → (model, objective, settings); each is run by one process, and by two in both modes
RUNS: dict[str, tuple[Callable[[], Decoder], Callable[[], Objective], dict[str, Any]]] = {
    "tied-traces": (tiny_decoder, TracesObjective, {}),
    "untied-traces": (untied, TracesObjective, {"max_steps": 3}),
    "tied-distil": (tiny_decoder, distil, {"max_steps": 3}),
    "untied-distil": (untied, distil, {"max_steps": 3}),
    "one-document": (untied, distil, IDLE),
    "one-document-layers": (tiny_decoder, Layers, IDLE),
    "checkpointing": (checkpointing, Layers, {"max_steps": 3}),
    "odd-sizes": (odd_sizes, TracesObjective, {"max_steps": 3}),
    "policy": (tiny_decoder, policy, {"tokens_per_step": 300, "max_steps": 3}),
    "policy-one-document": (untied, policy, IDLE),
    "bfloat16": (tiny_decoder, TracesObjective, {"compute_dtype": "bfloat16", "max_steps": 3}),
}


def wide() -> Decoder:
    """Rows that 8-bit moments take, of which two processes hold a number that is no multiple of a block's."""
    return tiny_decoder(hidden=320, head_dim=16)


EIGHT_BITS: dict[str, Any] = {"eight-bits": (wide, TracesObjective, {"moments": "8bit"})}
"""A rounding may turn a code, so two processes train alike, but not to the last digit."""


def plain(directory: Path, objective: Objective) -> Objective:
    return objective


def run(
    directory: Path, name: str, wrap: Callable[[Path, Objective], Objective] = Copying, **changes: Any
) -> tuple[Decoder, TrainResult]:
    """One training run; weights and curve are written by the main process, a digest of the weights by each."""
    make_model, make_objective, settings = (RUNS | EIGHT_BITS)[name]
    config = TrainConfig.model_validate(CONFIG.model_dump(exclude_unset=True) | settings | changes)
    model = make_model().to(DEVICE)
    documents = DRAWN if name.startswith("policy") else DOCUMENTS
    result = train(model, documents, wrap(directory, make_objective()), config, directory=directory)
    place = current_parallel()
    weights = {key: value.detach().clone() for key, value in model.named_parameters()}
    assert all(p.grad is None for p in model.parameters())
    for key, value in weights.items():
        others = place.gather(value.cpu())
        assert all(torch.equal(others[0], other) for other in others), key
    place.require_same(
        [{k: v for k, v in row.items() if k not in ("seconds", "tokens_per_s")} for row in result.curve], what="curve"
    )
    if place.is_main:
        torch.save(weights, directory / "weights.pt")
        (directory / "curve.json").write_text(json.dumps(list(result.curve)))
    return model, result


def alone(root: Path) -> None:
    """All runs with one process."""
    for name in RUNS:
        run(root / f"{name}-one", name)


def pairs(root: Path) -> None:
    """All runs with two processes, and checkpoints that go on with other processes than wrote them."""
    torch.set_num_threads(1)
    for name in RUNS:
        for mode in ("ddp", "fsdp"):
            run(root / f"{name}-{mode}", name, parallel=mode)
    for source, mode in (("one", "ddp"), ("one", "fsdp"), ("ddp", "fsdp"), ("fsdp", "ddp")):
        target = root / f"{source}-to-{mode}"
        if current_parallel().is_main:
            shutil.copytree(root / f"tied-traces-{source}-{SNAPSHOT}", target)
        current_parallel().barrier()
        run(target, "tied-traces", plain, parallel=mode)
    nothing_but_numbers(root)
    evaluated(root)
    rows()


def alone_again(root: Path) -> None:
    """Checkpoints of two processes go on with one."""
    for source in ("ddp", "fsdp"):
        target = root / f"{source}-to-one"
        shutil.copytree(root / f"tied-traces-{source}-{SNAPSHOT}", target)
        run(target, "tied-traces", plain)


def rows() -> None:
    """A process holds half of each block, and the model is whole again afterwards, to the bit."""
    model, place = odd_sizes().to(DEVICE), current_parallel()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    sharded = ShardedModel(model, torch.float32, place)
    optimiser = AdamW(sharded.module, CONFIG, torch.float32, place)
    for name, master, whole in zip(optimiser.names, optimiser.masters, before, strict=True):
        if name.startswith("blocks."):
            half = -(-whole.shape[0] // 2)
            own = whole[:half] if place.is_main else whole[half:]
            assert torch.equal(master, own), name
            assert model.get_parameter(name).numel() == 0
        else:
            assert torch.equal(master, whole), name
    optimiser.masters[1].zero_()
    sharded.restore(torch.float32)
    for index, (parameter, whole) in enumerate(zip(model.parameters(), before, strict=True)):
        assert torch.equal(parameter, torch.zeros_like(whole) if index == 1 else whole)


def nothing_but_numbers(root: Path) -> None:
    """NaN in one process stops both, with the batch saved and the weights of the step before."""
    for mode in ("ddp", "fsdp"):
        model = tiny_decoder()
        config = CONFIG.model_copy(update={"parallel": mode, "checkpoint_every_steps": 100})
        with pytest.raises(NumericalError, match="Step 3"):
            train(model, DOCUMENTS, NanOnRankOne(), config, directory=root / f"nan-{mode}")
        assert all(bool(torch.isfinite(p).all()) and p.numel() for p in model.parameters())
        resumed = train(model := tiny_decoder(), DOCUMENTS, TracesObjective(), config, directory=root / f"nan-{mode}")
        assert resumed.steps == 6
        if current_parallel().is_main:
            torch.save(dict(model.named_parameters()), root / f"nan-{mode}" / "weights.pt")


def evaluated(root: Path) -> None:
    """The main process evaluates, and has the whole model for it, also where it is spread over both."""
    for mode in ("ddp", "fsdp"):
        calls: list[int] = []

        def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
            calls.append(step)  # noqa: B023  it is called in this turn
            return {"numbers": float(sum(p.numel() for p in model.parameters()))}

        done = train(
            tiny_decoder(),
            DOCUMENTS,
            Wrapped(),
            CONFIG.model_copy(update={"parallel": mode}),
            directory=root / f"evaluated-{mode}",
            evaluate=evaluate,
        )
        assert done.curve[-1]["evaluation"] == {"numbers": float(sum(p.numel() for p in tiny_decoder().parameters()))}
        assert calls == ([6] if current_parallel().is_main else [])


class DrawnFeed:
    """Documents that only the main process may make."""

    num_steps = 2

    def describe(self) -> dict[str, JSON]:
        return {"feed": "drawn"}

    def epoch_of(self, step: int) -> int:
        return 0

    def documents_of(self, step: int, model: LanguageModel) -> list[Document]:
        assert current_parallel().is_main
        return DOCUMENTS[3 * step : 3 * step + 3]


class RefusedFeed(DrawnFeed, CollectiveFeed):
    """The main process finds nothing to learn from, and all of them say so."""

    end_step = 2

    def documents_of(self, step: int, model: LanguageModel) -> list[Document]:
        def nothing() -> list[Document]:
            raise RecipeError("nothing to learn from", hint="Ask other problems.")

        return current_parallel().on_main(nothing, refusals=(RecipeError,))


def unable(model: LanguageModel, step: int) -> dict[str, float]:
    time.sleep(0.3)  # longer than the other process looks without pausing
    raise StorageError("the answers cannot be kept", hint="Make room.")


def attempt(root: Path, *, what: str) -> None:
    """One process's part in an accident; what came out of it is left in a file."""
    rank = os.environ["RANK"]
    torch.set_num_threads(1)
    try:
        match what:
            case "failing-ddp" | "failing-fsdp":
                config = CONFIG.model_copy(update={"parallel": what.removeprefix("failing-")})
                train(tiny_decoder(), DOCUMENTS, Failing(), config, directory=root / what)
            case "evaluating":
                train(tiny_decoder(), DOCUMENTS, Wrapped(), CONFIG, directory=root / what, evaluate=unable)
            case "different":
                train(tiny_decoder(seed=int(rank)), DOCUMENTS, TracesObjective(), CONFIG, directory=root / what)
            case "refused":
                config, model = CONFIG.model_copy(update={"parallel": "fsdp"}), tiny_decoder()
                with pytest.raises(RecipeError, match="nothing to learn from"):
                    train(model, RefusedFeed(), TracesObjective(), config, directory=root / f"{what}-first")
                # the model is whole again, and the processes are still together
                assert all(
                    torch.equal(p, q) for p, q in zip(model.parameters(), tiny_decoder().parameters(), strict=True)
                )
                result = train(model, DOCUMENTS, TracesObjective(), config, directory=root / what)
                (root / f"{what}.{rank}").write_text(str(result.steps))
                return
            case "drawn":
                result = train(tiny_decoder(), DrawnFeed(), TracesObjective(), CONFIG, directory=root / what)
                (root / f"{what}.{rank}").write_text(str(result.tokens))
                return
            case "killed":
                run(root / "resumed", "tied-traces", lambda _, objective: Killed(objective), parallel="ddp")
            case "resumed" | "unbroken":
                run(root / what, "tied-traces", plain, parallel="ddp")
            case "killed-spread":
                run(root / "resumed-spread", "eight-bits", lambda _, objective: Killed(objective), parallel="fsdp")
            case "resumed-spread" | "unbroken-spread":
                run(root / what, "eight-bits", plain, parallel="fsdp")
        (root / f"{what}.{rank}").write_text("done")
    except SpiritsafeError as error:
        (root / f"{what}.{rank}").write_text(f"{type(error).__name__}: {error.diagnostics()}")
    except RuntimeError as error:
        (root / f"{what}.{rank}").write_text(f"{type(error).__name__}: {error}")


def fork(work: Callable[[Path], None], root: Path, **environment: str) -> int:
    """Start a child that does the work and ends; its process id."""
    process = os.fork()
    if process:
        return process
    os.environ.update(environment)
    try:
        work(root)
    except BaseException:  # noqa: BLE001  a forked child must not run its parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def accidents(root: Path) -> None:
    """Pairs of processes without a launcher, which would end the survivor before it can say what it saw."""
    kills = [f"{what}{mode}" for mode in ("", "-spread") for what in ("killed", "resumed", "unbroken")]
    for what in ("failing-ddp", "failing-fsdp", "evaluating", "different", "drawn", "refused", *kills):
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        shared = {
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_RUN_ID": "test",
            "TORCHELASTIC_RESTART_COUNT": "0",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        children = [
            fork(partial(attempt, what=what), root, RANK=rank, LOCAL_RANK=rank, **shared) for rank in ("0", "1")
        ]
        codes = [exit_code(process) for process in children]
        assert codes == ([0, -signal.SIGKILL] if what.startswith("killed") else [0, 0]), (what, codes)


def launch(work: Callable[[Path], None], root: Path) -> None:
    """``torchrun --nproc-per-node 2``, with a function in place of a program."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        monitor_interval=0.1,
    )
    elastic_launch(config, work)(root)


def everything(root: Path) -> None:
    assert exit_code(fork(alone, root)) == 0  # in a child: a process that has run backward must not fork
    launch(pairs, root)
    assert exit_code(fork(alone_again, root)) == 0
    accidents(root)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "cuda":
        DEVICE = "cuda"
        (pairs if is_torchrun() else alone)(Path(sys.argv[2]))
    else:
        everything(Path(sys.argv[2]))
