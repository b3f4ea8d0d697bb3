"""An engine without a model that ends its jobs when it is closed, and a program that serves two of them.

``python ending_engine.py FOLDER SECONDS`` serves ``slow``, which says one word and then waits until it is closed, and
``quick``, which answers at once; the address is printed when it answers. What ``slow`` says ends when the file ``go``
is in the folder; keys are those of ``keys.toml`` there. SECONDS is the time limit of the end.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from spiritsafe import serve
from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Failed, Job, JobEvent, Part, ServedModel


class EndingEngine:
    """A :class:`~spiritsafe.core.serving.ServedEngine`."""

    def __init__(self, model: ServedModel, *, is_slow: bool) -> None:
        self.model, self.is_slow = model, is_slow
        self.jobs: list[Job] = []
        self.free, self.closed, self.begun = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def describe(self) -> ServedModel:
        return self.model

    async def run(self, job: Job) -> AsyncIterator[JobEvent]:
        self.jobs.append(job)
        yield Accepted(num_prompt_tokens=10, num_cached=4)
        yield AnswerPiece(parts=(Part(kind="text", text="one"),))
        self.begun.set()
        if self.is_slow:
            waiting = [asyncio.create_task(event.wait()) for event in (self.free, self.closed)]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            if not self.free.is_set():
                yield Failed(fault="model", message="The worker was ended.", code="failed")
                return
        yield AnswerPiece(parts=(Part(kind="text", text=" two"),))
        yield Ended(reason="stop", num_tokens=3)

    async def count(self, job: Job) -> int | Failed:
        return 10

    async def close(self) -> None:
        self.closed.set()


def ending_model(name: str) -> ServedModel:
    return ServedModel(
        name=name, digest="sha256:" + "cd" * 32, kind="weights", context=512, max_prompt_bytes=4096, vocab_size=100
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Silent:
    def begin(self, label: str) -> None:
        pass

    def end(self, summary: str | None = None) -> None:
        pass


async def _main(folder: Path, timeout_s: float) -> None:
    keys = serve.KeyRing(folder / "keys.toml") if (folder / "keys.toml").exists() else None
    settings = serve.ServerSettings(
        keys=keys,
        usage=serve.UsageLedger(folder / "usage.sqlite"),
        queues=serve.QueueLimits(places=2),
        shutdown_timeout_s=timeout_s,
    )
    engines = {name: EndingEngine(ending_model("whatever"), is_slow=name == "slow") for name in ("slow", "quick")}
    models = [serve.ModelToServe(name=name, start=lambda one=one: one) for name, one in engines.items()]

    async def free() -> None:
        while not (folder / "go").exists():
            await asyncio.sleep(0.01)
        engines["slow"].free.set()

    opened = serve.open_port("127.0.0.1", 0)
    freeing = asyncio.create_task(free())
    whole = await serve.serve(models, opened, settings, watcher=_Silent(), ready=lambda _: _say(serve.url_of(opened)))
    freeing.cancel()
    _say("whole" if whole else "ended")


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), float(sys.argv[2])))
