"""A model in a child process, as a Generator: JSON lines on its stdin and stdout.

In: a command, such as ``python -m spiritsafe.models.running.generators.worker DIRECTORY``. Out: Attempts. Rooms that
must not import torch reach local weights this way; any program that speaks the protocol will do::

    {"op":"describe"}             → {"info":{…}}, perhaps "platform":{…}, perhaps "notes":["…"] for the user
    {"op":"generate","prompts":[…],"sampling":{…}}           → {"attempt":{…}}* {"done":N}
    {"op":"score","conversations":[[…]],"completions":[…]}   → {"scores":[[…]]}
    {"op":"score_spread", as "score"}                        → {"spreads":[[[logprob,mean,deviation]]]}
    {"op":"close"}                                           → end of process
    any failure                                              → {"error":{"type":…,"message":…,"hint":…}}

The child gets a process group of its own, which :meth:`PipeGenerator.close` ends; when this process is killed
instead, the child sees its stdin end and should exit.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar, final

from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError, SpiritsafeError, error_from_fields
from spiritsafe.core.generator import GeneratorInfo, TokenSpread
from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.core.text.lengths import within_limits

_MOST_NOTES = 8
_NOTE_CHARACTERS = 1000
_RecordT = TypeVar("_RecordT", Attempt, GeneratorInfo, Platform)


@final
class PipeGenerator:
    """A Generator at the other end of a pipe. The child starts with the first question.

    Not for several threads at once. A ``generate`` that is not read to its end is finished (and thrown away) before
    the next question is put.

    Args:
        command: Program and arguments.
        start_timeout_s: Most seconds until the child has described itself: loading weights takes a while.
        silence_timeout_s: Most seconds between two answers.
        close_timeout_s: Seconds given to the child to end by itself before it is killed.
        tell: Hears what the child says that its user should know of the model.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        start_timeout_s: float = 600.0,
        silence_timeout_s: float = 600.0,
        close_timeout_s: float = 5.0,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._command = list(command)
        self._start_timeout_s = start_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._close_timeout_s = close_timeout_s
        self._tell = tell or (lambda message: None)
        self._child: ChildProcess | None = None
        self._info: GeneratorInfo | None = None
        self._platform: Platform | None = None
        self._turn = 0
        self._is_answering = False
        self._closed = False

    def describe(self) -> GeneratorInfo:
        """What the child says of itself; starts it.

        Raises:
            EndpointError: It does not start, or does not answer in time.
        """
        if self._info is None:
            self._ensure_started()
        if self._info is None:
            raise EndpointError(f"{self._name} did not describe itself.", hint="Check the command.")
        return self._info

    def platform(self) -> Platform | None:
        """What the child says that it computes on; starts it.

        Raises:
            EndpointError: It does not start, or does not answer in time.
        """
        self.describe()
        return self._platform

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw every sample in the child; attempts come as the child sends them, cut to their limits.

        Raises:
            EndpointError: The child died, fell silent, or answered something that was not asked.
            SpiritsafeError: Whatever the child reports, as the same class.
        """
        waiting = {
            (prompt.problem_id, index)
            for prompt in prompts
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples)
        }
        num_asked, limits = len(waiting), {prompt.problem_id: prompt.token_limit(sampling) for prompt in prompts}
        self._ask(
            {"op": "generate", "prompts": [prompt.to_json() for prompt in prompts], "sampling": sampling.to_json()}
        )
        turn = self._turn
        while True:
            if turn != self._turn:
                raise ProcedureError(
                    "The worker was asked something else before all attempts were read.",
                    hint="Read one generate() to its end before the next question.",
                )
            answer = self._answer(self._silence_timeout_s, last="done")
            if "done" in answer:
                if waiting or answer["done"] != num_asked:
                    raise self._nonsense(f"it says it is done, {len(waiting)} of {num_asked} attempts are missing")
                return
            attempt = self._record(Attempt, answer.get("attempt"))
            key = (attempt.problem_id, attempt.sample_index)
            if key not in waiting:
                raise self._nonsense(f"an attempt at {key[0]}, sample {key[1]}, which nobody waits for")
            waiting.remove(key)
            yield within_limits(attempt, limits[attempt.problem_id], sampling.stop)

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Log-probabilities from the child's weights.

        Raises:
            EndpointError: The child died, fell silent or answered nonsense.
            SpiritsafeError: Whatever the child reports, as the same class.
        """
        scores = self._scored("score", "scores", conversations, completions)
        try:
            return [tuple(float(value) for value in row) for row in scores]
        except (TypeError, ValueError):
            raise self._nonsense("scores that are no numbers") from None

    def score_spread(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[TokenSpread, ...]]:
        """The same with what the child's weights expected; see :class:`spiritsafe.core.generator.SpreadScoring`.

        Raises:
            EndpointError: The child died, fell silent or answered nonsense.
            SpiritsafeError: Whatever the child reports, as the same class; a CompatibilityError if it cannot.
        """
        spreads = self._scored("score_spread", "spreads", conversations, completions)
        try:
            return [
                tuple((float(own), float(mean), float(deviation)) for own, mean, deviation in row) for row in spreads
            ]
        except (TypeError, ValueError):
            raise self._nonsense("spreads that are no numbers") from None

    def _scored(
        self, operation: str, last: str, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[Any]:
        """One answer a completion."""
        self._ask(
            {
                "op": operation,
                "conversations": [[message.to_json() for message in turns] for turns in conversations],
                "completions": list(completions),
            }
        )
        scores = self._answer(self._silence_timeout_s, last=last).get(last)
        if not isinstance(scores, list):
            raise self._nonsense("scores that are no list")
        if len(scores) != len(completions):
            raise self._nonsense(f"{len(scores)} scores for {len(completions)} completions")
        return scores

    def close(self) -> None:
        """End the child and everything it started; a second call does nothing."""
        self._closed = True
        self._turn += 1
        child, self._child = self._child, None
        if child is not None:
            with suppress(TimeoutError):  # it hangs, and is ended all the same
                child.send(b'{"op":"close"}\n', 0.0)
            child.stop(self._close_timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _name(self) -> str:
        line = shlex.join(self._command)
        return f"The worker `{line if len(line) <= 200 else line[:199] + '…'}`"

    def _ensure_started(self) -> ChildProcess:
        if self._closed:
            raise ProcedureError("This pipe generator is closed.", hint="Make a new one.")
        if self._child is None:
            try:
                self._child = ChildProcess(self._command)
            except SpiritsafeError:
                raise
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                raise EndpointError(
                    f"{self._name} cannot be started: {getattr(error, 'strerror', None) or error}.",
                    hint="Check that the program exists and may be executed.",
                ) from error
            self._child.send(b'{"op":"describe"}\n', self._start_timeout_s)
            described = self._answer(self._start_timeout_s, last="info")
            self._info = self._record(GeneratorInfo, described.get("info"))
            notes = described.get("notes")
            for note in notes[:_MOST_NOTES] if isinstance(notes, list) else []:
                self._tell(str(note)[:_NOTE_CHARACTERS])
            platform = described.get("platform")
            self._platform = None if platform is None else self._record(Platform, platform)
        return self._child

    def _ask(self, question: dict[str, Any]) -> None:
        """Put a question, after what an earlier one left unread is out of the way."""
        child = self._ensure_started()
        while self._is_answering:
            left_over = self._receive(child, self._silence_timeout_s)
            self._is_answering = left_over.keys().isdisjoint(("done", "scores", "spreads", "error"))
        self._turn += 1
        self._is_answering = True
        try:
            child.send(json.dumps(question).encode("ascii") + b"\n", self._silence_timeout_s)
        except TimeoutError:
            raise self._silent(self._silence_timeout_s) from None

    def _answer(self, timeout_s: float, *, last: str) -> dict[str, Any]:
        """The child's next answer to the question put; one that holds the key ``last`` is the last.

        Raises:
            EndpointError: There is none, in time or ever, or it is no JSON object.
            SpiritsafeError: The child reports an error.
        """
        if self._child is None:
            raise ProcedureError("This pipe generator is closed.", hint="Make a new one.")
        answer = self._receive(self._child, timeout_s)
        if "error" in answer:
            self._is_answering = False
            raise error_from_fields(answer["error"], hint=f"It was started as {shlex.join(self._command)}.")
        if last in answer:
            self._is_answering = False
        return answer

    def _receive(self, child: ChildProcess, timeout_s: float) -> dict[str, Any]:
        try:
            line = child.receive(timeout_s)
        except TimeoutError:
            raise self._silent(timeout_s) from None
        if line is None:
            raise self._died(child)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._nonsense(f"a line that is no JSON object: {line[:80]!r}")
        return answer

    def _silent(self, timeout_s: float) -> EndpointError:
        hint = "It may hang, or need more time: look at its last lines, then try again."
        return self._broken(f"said nothing for {timeout_s:g} s", hint)

    def _record(self, kind: type[_RecordT], value: Any) -> _RecordT:
        try:
            return kind.from_json(value)
        except IntegrityError as error:
            raise self._nonsense(error.message) from error

    def _nonsense(self, what: str) -> EndpointError:
        return self._broken(f"answered nonsense: {what}", "Check that the command is a spiritsafe worker.")

    def _died(self, child: ChildProcess) -> EndpointError:
        return self._broken(*child.ending())

    def _broken(self, how: str, hint: str) -> EndpointError:
        """The child is of no use any more: end it, and say how it went, with the last lines of its stderr."""
        child, self._child = self._child, None
        self._is_answering = False
        tail = ""
        if child is not None:
            child.stop(0.0)
            tail = child.stderr_tail()
        shown = f" Its last lines were:\n{tail}\n" if tail else ""
        return EndpointError(f"{self._name} {how}.{shown}", hint=hint)
