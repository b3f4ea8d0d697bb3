"""A complete recipe with comments, from what was found in data, models and machine.

In: data, a teacher, a student, as somebody names them. Out: the text of a TOML file that loads and can be planned. A
served teacher answers the prompts and the student learns its answers; a teacher whose weights are here reads along, on
the answers that the data have or on its own.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.text.safe_text import one_line
from spiritsafe.models import decoder_config
from spiritsafe.pipeline.plan.costs import predicted_memory
from spiritsafe.pipeline.plan.draft.found import (
    FoundData,
    FoundModel,
    find_data,
    find_model,
    share_vocabulary,
    toml_text,
)
from spiritsafe.pipeline.plan.known import forecast_of
from spiritsafe.pipeline.plan.memory import planned_device
from spiritsafe.pipeline.plan.peak_memory import available_bytes
from spiritsafe.pipeline.recipe.load import recipe_of

_COMMENT_AT = 38
_MOST_EXAM, _LEAST_EXAM = 400, 20
_ENDLESS_EXAM = 200
_MOST_HELD_OUT, _LEAST_HELD_OUT = 256, 5
_SERVED_TOKENS, _LOCAL_TOKENS = 1024, 512
"""Of an answer where the data have none to go by."""
_LEAST_TOKENS = 64
_TURN_TOKENS = 16
"""Of a turn's marks."""
_MOST_CHARACTERS = 5
"""Of a teacher's token: what it says in so many of its tokens may be more of the student's."""
_STEP = 64


def draft_recipe(
    data: str,
    *,
    teacher: str,
    student: str,
    cache: Path,
    teacher_model: str | None = None,
    api_key_env: str | None = None,
) -> str:
    """Write a recipe.

    Args:
        data: A file, a folder or a pattern; ``org/name`` of a hub set; or a task.
        teacher: A server's URL, or any reference to a model.
        student: Any reference to a model.
        cache: Where small files of models go.
        teacher_model: The server's name of the teacher; None: it is asked.
        api_key_env: Variable with the server's key.

    Raises:
        TaskError: The data are of no known form.
        SourceError: They cannot be read.
        RecipeError: The server's URL is none, or the variable is not set.
    """
    found = find_data(data)
    draft = _Draft(
        data=found,
        teacher=find_model(teacher, cache=cache, model=teacher_model, api_key_env=api_key_env),
        student=find_model(student, cache=cache),
        api_key_env=api_key_env,
    )
    text = draft.text()
    full, available = _peak(text, cache)
    config = draft.student.config
    if full is None or available is None or full <= available or config is None:
        return text
    took = f"{full / 1e9:.1f} GB to train all weights, {available / 1e9:.1f} GB here"
    if decoder_config(config.config) is None:
        return draft.text(memory=f"{took}: a smaller student, or a larger machine")
    adapters, _ = _peak(draft.text(lora="lora = { rank = 16 }"), cache)
    if adapters is not None and adapters > available:
        took = f"{took}, {adapters / 1e9:.1f} GB with adapters: a smaller student, or a larger machine"
    return draft.text(lora="lora = { rank = 16 }", memory=took)


def _peak(text: str, cache: Path) -> tuple[int | None, int | None]:
    """What the student's training is predicted to take, and what is free; None: not known."""
    recipe = recipe_of(tomllib.loads(text))
    forecast, _, _ = forecast_of(recipe, cache=cache)
    return predicted_memory(forecast).get("student"), available_bytes(planned_device(recipe))


@final
@dataclass(frozen=True, kw_only=True)
class _Draft:
    """What was found, and the text that it comes to."""

    data: FoundData
    teacher: FoundModel
    student: FoundModel
    api_key_env: str | None

    def text(self, *, lora: str = "", memory: str = "") -> str:
        """The recipe.

        Args:
            lora: A line that says how adapters are trained; "": all weights learn.
            memory: What is to be known of that.
        """
        parts = [self._head(), self._models(), self._data_table(), self._sample(), self._learn(lora, memory)]
        parts += [self._measure(), self._exam()]
        return "\n".join("\n".join(part) + "\n" for lines in parts if (part := list(lines)))

    @property
    def _is_served(self) -> bool:
        return self.teacher.kind == "served"

    @property
    def _teacher_answers(self) -> bool:
        """A teacher behind an endpoint can do nothing else; one that is here does where the data have no answers."""
        return self._is_served or not self.data.has_solutions

    @property
    def _num_exam(self) -> int:
        """Problems of an exam; 0: none is held."""
        if not self.data.verifies:
            return 0
        if self.data.sizes is None:
            return _ENDLESS_EXAM
        count = min(_MOST_EXAM, self.data.sizes["exam"] // 2 * 2)
        return count if count >= _LEAST_EXAM else 0

    @property
    def _num_held_out(self) -> int:
        """Rows that are measured on; 0: none."""
        if not self.data.has_solutions:
            return 0
        count = _MOST_HELD_OUT if self.data.sizes is None else min(_MOST_HELD_OUT, self.data.sizes["dev"])
        return count if count >= _LEAST_HELD_OUT else 0

    def _own_tokens(self) -> int:
        """Of an answer of the student: half as much again as the longest of the data, within its context."""
        return self._within(self._wanted(), self._room())

    def _teacher_tokens(self) -> int:
        """Of an answer of the teacher, in its tokens: the student must be able to read it."""
        if share_vocabulary(self.teacher, self.student):
            return self._own_tokens()
        room = self._room() * self.data.characters_per_token(self.student.chat) / _MOST_CHARACTERS
        return self._within(self._wanted(), int(room))

    def _wanted(self) -> int:
        longest = self.data.answer_tokens(self.student.chat)
        wanted = _rounded(1.5 * longest) if longest else _LOCAL_TOKENS
        return max(wanted, _SERVED_TOKENS) if self._is_served else wanted

    def _room(self) -> int:
        return self._context() - self.data.prompt_tokens(self.student.chat) - _TURN_TOKENS

    def _within(self, wanted: int, room: int) -> int:
        return max(_LEAST_TOKENS, min(wanted, room // _STEP * _STEP))

    def _context(self) -> int:
        config = self.student.config
        return int(config.config.get("max_position_embeddings") or 1 << 20) if config is not None else 1 << 20

    def _head(self) -> Iterator[str]:
        yield "# `spiritsafe plan FILE` says what this takes, `spiritsafe run FILE` does it."
        yield f'name = "{self.data.name}-student"'
        summary = (
            f"{self.student.reference} learns from {self.teacher.model or self.teacher.reference} on {self.data.name}."
        )
        yield f"summary = {toml_text(summary)}"
        yield _line("seed = 0", "of everything random; another seed is another run")
        if self._num_exam or (self._teacher_answers and not self._is_served):
            needed = self.data.prompt_tokens(self.student.chat) + max(self._own_tokens(), self._teacher_tokens())
            context = min(_rounded(needed), max(self._context(), _LEAST_TOKENS))
            yield _line(f"engine = {{ max_context = {context} }}", "the longest prompt with an answer")

    def _models(self) -> Iterator[str]:
        teacher, student = self.teacher, self.student
        yield "[models.teacher]"
        if self._is_served:
            yield f"endpoint = {toml_text(teacher.reference)}"
            yield from (f"# {one_line(note)}" for note in teacher.notes)
            yield _line(f"model = {toml_text(teacher.model)}", "the server's name of it")
            key = "OPENAI_API_KEY" if self.api_key_env is None else self.api_key_env
            yield _line(
                f'{"# " * (self.api_key_env is None)}api_key_env = "{key}"', "variable that holds the server's key"
            )
            yield _line('# licence = "MIT"', "of the served model: it binds the student")
            yield _line('reasoning = "keep"', 'thoughts are learnt as <think>…</think>; "drop" leaves them out')
            yield _line("max_concurrency = 16", "questions at once")
            yield _line("# budget = { tokens = 2_000_000 }", "the most that it may use")
        else:
            yield _line(f"source = {toml_text(teacher.reference)}", "; ".join(teacher.notes))
        yield ""
        yield _line("[models.base]", "what the student starts from")
        yield _line(f"source = {toml_text(student.reference)}", "; ".join(student.notes))

    def _data_table(self) -> Iterator[str]:
        yield _line(f"[data.{self.data.name}]", self.data.about)
        yield self.data.key

    def _sample(self) -> Iterator[str]:
        if not self._teacher_answers:
            return
        yield _line("[[steps]]", "the teacher answers; what was answered is kept, whatever happens")
        yield 'kind = "sample"'
        yield 'name = "answers"'
        yield 'from = "teacher"'
        yield f'on = ["{self.data.name}"]'
        if self.data.verifies:
            yield _line("num_samples = 4", "attempts at each problem, of which one right one is kept")
            yield _line('keep = "verified"', "what the verifier accepts")
        else:
            yield _line('keep = "all"', "every answer that came to its end: nothing here can grade them")
        said = "more for a teacher that thinks long" if self._is_served else "most of an answer"
        yield _line(f"sampling = {{ temperature = 0.7, max_tokens = {self._teacher_tokens()} }}", said)

    def _learn(self, lora: str, memory: str) -> Iterator[str]:
        if self._is_served:
            yield _line("[[steps]]", "the student learns the answers")
            yield 'kind = "tune"'
            yield 'name = "student"'
            yield 'from = "base"'
        else:
            yield _line("[[steps]]", "the student follows the teacher's distributions, token by token")
            yield 'kind = "distil"'
            yield 'name = "student"'
            yield 'from = "base"'
            yield 'teacher = "teacher"'
        yield self._learns()
        if not self._is_served:
            yield from self._objective()
        if lora:
            yield _line(lora, memory)
        elif memory:
            yield f"# {memory}"
        yield _line("# train = { max_epochs = 2 }", "two passes; rate and batch by the size of model and data")

    def _learns(self) -> str:
        if not self._teacher_answers:
            return _line(f'learns = ["{self.data.name}"]', "the answers of the data")
        both = f'or ["answers", "{self.data.name}"]: the data\'s own answers as well' if self.data.has_solutions else ""
        return _line('learns = ["answers"]', both)

    def _objective(self) -> Iterator[str]:
        is_known = self.teacher.chat is not None and self.student.chat is not None
        if is_known and not share_vocabulary(self.teacher, self.student):
            yield _line('objective = "across"', "their tokens differ: likelihoods of pieces of text are compared")
        elif not is_known:
            yield _line('# objective = "across"', "where the two have different tokens")
        yield _line("ce_share = 0.2", "of the loss: the answers themselves")

    def _measure(self) -> Iterator[str]:
        if not self._num_held_out:
            yield "# Nothing is measured: too few rows with an answer are held out."
            return
        yield _line("[[steps]]", "on rows that nothing was trained on; practice, no certificate")
        yield 'kind = "measure"'
        yield 'name = "held-out"'
        yield 'from = ["base", "student"]'
        yield f'on = ["{self.data.name}"]'
        what = (
            ["nll", "kl:teacher"] if not self._is_served and share_vocabulary(self.teacher, self.student) else ["nll"]
        )
        yield _line(
            f"what = {json.dumps(what)}",
            "likelihood of the data's answers" + ", divergence from the teacher" * (len(what) > 1),
        )
        yield f"problems = {self._num_held_out}"

    def _exam(self) -> Iterator[str]:
        if not self.data.verifies:
            yield "# No exam: nothing here can tell right answers from wrong ones. Tasks can: `spiritsafe tasks list`."
            return
        if not self._num_exam:
            yield f"# No exam: {self.data.sizes['exam'] if self.data.sizes else 0} problems are too few for a score."
            return
        yield _line("[[exams]]", "sealed before anything is trained; of problems that no step can draw")
        yield f"task = {toml_text(self.data.spec)}"
        yield _line(f"problems = {self._num_exam}", "half public, half sealed")
        yield 'sits = ["base", "student"]'
        yield f"sampling = {{ temperature = 0.0, max_tokens = {self._own_tokens()} }}"


def _line(said: str, comment: str) -> str:
    return f"{said:<{_COMMENT_AT - 1}} # {one_line(comment)}" if comment else said


def _rounded(count: float) -> int:
    return -(-int(count) // _STEP) * _STEP
