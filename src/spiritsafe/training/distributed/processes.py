"""Several processes that train one model together, as ``torchrun`` starts them.

In: torchrun's environment. Out: a :class:`Parallel`, which knows this process's place and speaks to the others; without
torchrun it is alone and every call is free. Gradients and losses of the processes add up, because the divisor of a
step's loss is known before any of them begins; so nothing is averaged and nothing depends on who took which document.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from spiritsafe.core.errors import CompatibilityError, ProcedureError, RecipeError, SpiritsafeError
from spiritsafe.training.config import ParallelMode

_T = TypeVar("_T")

_TIMEOUT = timedelta(hours=1)
"""How long one process waits in a call that all make. A dead one is noticed at once, by its closed connections."""

_POLLS_S = (0.001, 0.01, 0.1)
"""Pauses between looks at the board, the last one for ever."""

_BUCKET_BYTES = 32 << 20
"""Small gradients travel together in pieces of about this size."""

_GRACE_S = 2.0
"""How long a process whose connection broke looks for another's reason."""

_FAILURE = "spiritsafe/failure"


@final
class Fate:
    """How a block that all processes run together ends.

    Attributes:
        is_agreed: Set before raising an error that every process raises at the same place, so that none is waited for.
    """

    def __init__(self) -> None:
        self.is_agreed = False

    def is_shared(self, error: BaseException) -> bool:
        """Whether every process raises this error at the same place."""
        return self.is_agreed or error is _SESSION.refusal


def _is_broken_connection(error: BaseException) -> bool:
    """Whether a call failed because the other side is gone; gloo has no error type of its own."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))


def _sum_bucket(tensors: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])


@final
class _Session:
    """The process group of this process's life, and the board on which a failing process leaves its reason."""

    def __init__(self) -> None:
        self._board: Store | None = None
        self._num_works = 0
        self._is_over = False
        self.refusal: BaseException | None = None

    def join(self) -> None:
        """Join torchrun's group, once.

        Raises:
            ProcedureError: The group broke up after an error.
        """
        if self._is_over:
            raise ProcedureError(
                "The processes of this run have parted after an error.", hint="Run the same torchrun command again."
            )
        if dist.is_initialized():
            return
        local_rank, num_here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        has_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= num_here
        if has_gpus:
            torch.cuda.set_device(local_rank)
        store, rank, size = next(iter(rendezvous("env://", timeout=_TIMEOUT)))
        # Objects and CPU tensors travel by gloo also where gradients travel by nccl.
        backend = "cpu:gloo,cuda:nccl" if has_gpus and dist.is_nccl_available() else "gloo"
        self._board = PrefixStore("board", store)
        dist.init_process_group(
            backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=_TIMEOUT
        )
        atexit.register(self._leave)

    def announce(self) -> None:
        """Tell the others that the main process has done what it did alone."""
        self._num_works += 1
        if self._board is not None:
            self._board.set(f"work/{self._num_works}", "done")

    def await_main(self) -> None:
        """Wait for that, without the limit of time that calls have.

        Raises:
            DistNetworkError: Another process has failed.
        """
        self._num_works += 1
        if self._board is None:
            return
        pauses = iter(_POLLS_S)
        while not self._board.check([f"work/{self._num_works}"]):
            if self.failure() is not None:
                raise dist.DistNetworkError("another process has failed")
            time.sleep(next(pauses, _POLLS_S[-1]))

    def publish(self, rank: int, error: BaseException) -> None:
        """Leave the reason of a failure; the first one stays."""
        if self._board is None:
            return
        hint = (
            error.hint
            if isinstance(error, SpiritsafeError)
            else "That process's own output says more (`spiritsafe --verbose` shows it)."
        )
        record = {"rank": rank, "error": type(error).__name__, "message": str(error), "hint": hint}
        self._board.compare_set(_FAILURE, "", json.dumps(record))

    def failure(self) -> dict[str, str | int] | None:
        """The reason that a process left, if one did and the board still stands (torchrun itself holds it)."""
        try:
            if self._board is None or not self._board.check([_FAILURE]):
                return None
            record: dict[str, str | int] = json.loads(self._board.get(_FAILURE))
        except dist.DistError:
            return None
        return record

    def hang_up(self) -> None:
        """Close the connections, so that whoever waits for this process is told."""
        self._is_over = True
        self._leave()

    def _leave(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


_SESSION = _Session()


@final
@dataclass(frozen=True, kw_only=True)
class Parallel:
    """This process among those of the run. All processes must make the same calls in the same order.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all are here."""
        if self.size > 1:
            self.gather(None)

    def gather(self, value: _T) -> list[_T]:
        """Everybody's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[_T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # each None was replaced

    def broadcast(self, value: _T) -> _T:
        """The main process's value."""
        if self.size == 1:
            return value
        values = [value if self.is_main else None]
        dist.broadcast_object_list(values, src=0)
        return values[0]  # type: ignore[return-value]  # the main process's value has replaced None

    def on_main(self, work: Callable[[], _T], *, refusals: tuple[type[SpiritsafeError], ...] = ()) -> _T:
        """Let the main process alone do something, however long; everybody gets what it returned.

        Args:
            refusals: Errors that, raised by it, every process raises: they stay together, and may go on after it.
        """
        if self.size == 1:
            return work()
        value, refusal = None, None
        if self.is_main:
            try:
                value = work()
            except refusals as error:
                refusal = (type(error), error.message, error.hint)
            _SESSION.announce()
        else:
            _SESSION.await_main()
        value, refusal = self.broadcast((value, refusal))
        if refusal is not None:
            kind, message, hint = refusal
            _SESSION.refusal = kind(message, hint=hint)
            raise _SESSION.refusal
        return value  # type: ignore[return-value]  # as in broadcast

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def sum_all_(self, tensors: Sequence[Tensor]) -> None:
        """Add up many tensors of one dtype over the processes, in place; small ones travel together."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        num_bytes = 0
        for tensor in tensors:
            if tensor.nbytes >= _BUCKET_BYTES and tensor.is_contiguous():
                dist.all_reduce(tensor)
                continue
            bucket.append(tensor)
            num_bytes += tensor.nbytes
            if num_bytes >= _BUCKET_BYTES:
                _sum_bucket(bucket)
                bucket, num_bytes = [], 0
        if bucket:
            _sum_bucket(bucket)

    def require_same(self, value: object, *, what: str) -> None:
        """Refuse to go on when the processes hold different values.

        Raises:
            CompatibilityError: They do.
        """
        values = self.gather(value)
        different = [rank for rank, other in enumerate(values) if other != values[0]]
        if different:
            raise CompatibilityError(
                f"Processes {different} differ from process 0 in {what}: {values[different[0]]!r}, not {values[0]!r}.",
                hint="Start every process with the same command, on the same files and the same kind of machine.",
            )

    def require_own_gpu(self, device: torch.device) -> None:
        """Refuse models of several processes on one GPU, which could not speak to each other.

        Raises:
            CompatibilityError: Two processes hold their models on the same GPU.
        """
        if self.size == 1 or device.type != "cuda":
            return
        gpus = self.gather(str(torch.cuda.get_device_properties(device).uuid))
        shared = [rank for rank, gpu in enumerate(gpus) if gpu in gpus[:rank]]
        if shared:
            first = gpus.index(gpus[shared[0]])
            raise CompatibilityError(
                f"The models of processes {first} and {shared[0]} are on the same GPU.",
                hint='Load each on a GPU of its own: torch.device("cuda", int(os.environ["LOCAL_RANK"])).',
            )

    @contextmanager
    def shared_fate(self) -> Iterator[Fate]:
        """An error in the block reaches every process, with its message; nobody is left waiting.

        The process that fails says why, raises its own error and hangs up; after that this process can join no other
        run. The others' calls then break, and raise a :class:`ProcedureError` with the reason.
        """
        fate = Fate()
        if self.size == 1:
            yield fate
            return
        try:
            yield fate
        except BaseException as error:
            if fate.is_shared(error):
                raise
            if not _is_broken_connection(error):
                _SESSION.publish(self.rank, error)
                _SESSION.hang_up()
                raise
            other = self._failure_of_another(error)
            _SESSION.hang_up()
            raise other from error

    def _failure_of_another(self, error: BaseException) -> ProcedureError:
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            reason = _SESSION.failure()
            if reason is not None and reason["error"] == "KeyboardInterrupt":
                return ProcedureError(
                    f"Process {reason['rank']} was told to stop.", hint="Run the same torchrun command again to go on."
                )
            if reason is not None:
                return ProcedureError(
                    f"Process {reason['rank']} stopped this run: {reason['error']}: {reason['message']}",
                    hint=str(reason["hint"]),
                )
            time.sleep(0.05)
        said = (
            str(error).strip().partition("\n")[0].rstrip(".")
        )  # the connection's own fault, if it is one, stands here
        return ProcedureError(
            f"Another process of this run is gone without a word, or the connection to it failed: {said}.",
            hint="If it was killed, or the machine ran out of memory, torchrun's last lines say so, and the same "
            "command goes on from the newest checkpoint.",
        )


def is_torchrun() -> bool:
    """Whether torchrun started this process."""
    return dist.is_torchelastic_launched()


def current_parallel() -> Parallel:
    """This process's place: among torchrun's, or alone. The first call joins the group; it is left at exit.

    A group that the caller has made with ``torch.distributed.init_process_group`` is used as it is.

    Raises:
        ProcedureError: The group broke up after an error.
    """
    if is_torchrun() and int(os.environ["WORLD_SIZE"]) > 1:
        _SESSION.join()
    if not dist.is_initialized():
        return Parallel()
    return Parallel(rank=dist.get_rank(), size=dist.get_world_size())


def choose_mode(wish: ParallelMode, parallel: Parallel, device: torch.device) -> ParallelMode:
    """How the processes share the work: "auto" where there is one, else "ddp" or "fsdp".

    Raises:
        RecipeError: Several processes were asked for, but torchrun did not start this one.
        CompatibilityError: Models on GPUs, but not a GPU for each process, or GPUs that cannot speak to each other.
    """
    if parallel.size == 1:
        if wish != "auto" and not (is_torchrun() or dist.is_initialized()):
            raise RecipeError(
                f'parallel = "{wish}" needs several processes, and this is one.',
                hint='Start it with `torchrun --nproc-per-node N`, or leave parallel at "auto".',
            )
        return "auto"
    if device.type == "mps":
        raise CompatibilityError(
            "Several processes cannot share an Apple GPU.", hint='Start one process, or set engine.device to "cpu".'
        )
    if device.type == "cuda" and "nccl" not in dist.get_backend_config():
        raise CompatibilityError(
            f"{parallel.size} processes train on CUDA, but this machine has {torch.cuda.device_count()} GPUs.",
            hint="Start no more processes a machine than it has GPUs.",
        )
    return "ddp" if wish == "auto" else wish
