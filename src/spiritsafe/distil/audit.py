"""Before step 1: do student and teacher read the same bytes, and does the student learn what it should?

In: both chat formats, conversations with their completions, and the documents made of them. Out: an
:class:`DocumentAudit` with the evidence (prompt bytes side by side, first and last supervised token, counts) and its
findings. A "stop" means training would be wrong; :meth:`DocumentAudit.require` refuses it. Its
tests are the field's classic failures: another role header in the teacher's template, no end token, labels not shifted,
a supervised prompt, a doubled BOS, white space lost at the border.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message, Record
from spiritsafe.models import ChatFormat, Document, Use
from spiritsafe.training import document_digests, document_lengths, supervised_counts

_CONTEXT_BYTES = 24
_SHOWN = 60


@final
@dataclass(frozen=True, kw_only=True)
class AuditExample:
    """A conversation that a document was made of.

    Attributes:
        completion: What the student shall learn to say; None when ``token_ids`` are what a model drew.
        token_ids: The drawn tokens, taken over as they are.
        turns: Places of earlier turns of the assistant that are learnt as well.
    """

    messages: Sequence[Message]
    completion: str | None = None
    token_ids: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()


@final
class AuditFinding(Record):
    """One thing found.

    Attributes:
        severity: "stop": training would be wrong. "note": worth knowing.
        code: A name that does not change, such as ``end-not-supervised``.
        message: What was found, with the first document that shows it.
        hint: What to do next.
        num_documents: How many documents show it.
    """

    severity: Literal["stop", "note"]
    code: str
    message: str
    hint: str
    num_documents: int = 0


def audit_documents(
    student_chat: ChatFormat,
    teacher_chat: ChatFormat | None,
    examples: Sequence[AuditExample],
    documents: Sequence[Document],
    *,
    micro_batch_tokens: int | None = None,
    max_context: int | None = None,
    teaches_end: bool = True,
    same_tokens: bool = True,
) -> DocumentAudit:
    """Look at what will be trained on, before it is.

    Args:
        student_chat: How the student reads.
        teacher_chat: How the teacher reads; None when nobody else reads the documents.
        examples: What the documents were made of, in their order; empty leaves out what needs the conversations.
        documents: What will be trained on.
        micro_batch_tokens: Longest document that fits a micro-batch.
        max_context: Longest document that the models take.
        teaches_end: Whether completions are whole, so that each document must end in a supervised end token. False for
            answers that may have been stopped by a limit.
        same_tokens: Whether teacher and student must read the same tokens, as all but cross-tokenizer distillation
            asks; False turns a difference between their prompts into a note.

    Raises:
        CompatibilityError: There are examples, but not one for each document; or a template refuses a conversation.
    """
    if examples and len(examples) != len(documents):
        raise CompatibilityError(
            f"{len(examples)} examples were given for {len(documents)} documents.",
            hint="Give the conversation of each document, in the same order, or none at all.",
        )
    findings = _Findings()
    prompt = _compare_prompts(student_chat, teacher_chat, examples, same_tokens, findings)
    if student_chat.note:
        hint = "Nothing, if the model was trained so; else use the template that it was published with."
        findings.add("note", "template-differs", student_chat.note, hint)
    num_ends = 0
    for index, document in enumerate(documents):  # one at a time: there may be more of them than memory
        num_ends += _teaches_end(document, student_chat)
        _check_labels(index, document, student_chat, teaches_end, findings)
        _check_size(index, document, micro_batch_tokens, max_context, findings)
        if examples:
            _check_border(index, document, examples[index], student_chat, findings)
    _check_duplicates(documents, findings)
    learnt = [[t for t, f in zip(d.token_ids, d.supervised, strict=False) if f] for d in documents[:1]]
    ids = learnt[0] if learnt else []
    lengths = document_lengths(documents)
    return DocumentAudit(
        prompt=prompt,
        num_documents=len(documents),
        num_tokens=int(lengths.sum()),
        num_supervised=int(supervised_counts(documents).sum()),
        longest=int(lengths.max(initial=0)),
        first_supervised=student_chat.spell([ids[0]]) if ids else "",
        last_supervised=student_chat.spell([ids[-1]]) if ids else "",
        ends_supervised=num_ends,
        findings=findings.sorted(),
    )


@final
class _Findings:
    """Findings by code; the first document of a kind is shown, the others are counted."""

    def __init__(self) -> None:
        self._found: dict[str, AuditFinding] = {}

    def add(self, severity: Literal["stop", "note"], code: str, message: str, hint: str) -> None:
        known = self._found.get(code)
        if known is None:
            self._found[code] = AuditFinding(severity=severity, code=code, message=message, hint=hint, num_documents=1)
        else:
            self._found[code] = known.model_copy(update={"num_documents": known.num_documents + 1})

    def sorted(self) -> tuple[AuditFinding, ...]:
        """Stops first."""
        counted = [
            f.model_copy(update={"message": f"{f.message} ({f.num_documents} such documents.)"})
            if f.num_documents > 1
            else f
            for f in self._found.values()
        ]
        return tuple(sorted(counted, key=lambda f: f.severity != "stop"))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}")


@final
class PromptComparison(Record):
    """The first example's prompt as student and teacher read it.

    Attributes:
        student: Text that the student reads.
        teacher: Text that the teacher reads; None without a teacher.
        first_difference: Offset in UTF-8 bytes of the first byte that differs; None when all are equal.
        same_tokens: Whether the token ids agree; None without a teacher.
    """

    student: str
    teacher: str | None = None
    first_difference: int | None = None
    same_tokens: bool | None = None

    def lines(self) -> list[str]:
        """Both sides around the first difference, one under the other."""
        if self.teacher is None:
            return [f"prompt     {_shown(self.student)}"]
        if self.first_difference is None:
            size = len(self.student.encode())
            return [f"prompt     {size} bytes, the same for student and teacher: {_shown(self.student)}"]
        start = max(0, self.first_difference - _CONTEXT_BYTES)
        rows = [f"prompts    differ from byte {self.first_difference} on:"]
        for name, text in (("student", self.student), ("teacher", self.teacher)):
            around = text.encode()[start : self.first_difference + _CONTEXT_BYTES].decode("utf-8", "replace")
            rows.append(f"  {name}  …{around!r}")
        return rows


@final
class DocumentAudit(Record):
    """What training would really do.

    Attributes:
        prompt: The first example's prompt, side by side.
        num_tokens: Of all documents.
        num_supervised: Tokens that are learnt; the first of a document never is.
        longest: Tokens of the longest document.
        first_supervised: The first learnt token of the first document, as text.
        ends_supervised: Documents that teach an end token as their last.
        findings: Worst first.
    """

    prompt: PromptComparison | None
    num_documents: int
    num_tokens: int
    num_supervised: int
    longest: int
    first_supervised: str
    last_supervised: str
    ends_supervised: int
    findings: tuple[AuditFinding, ...] = ()

    @property
    def supervised_share(self) -> float:
        """Share of tokens that are learnt."""
        return self.num_supervised / self.num_tokens if self.num_tokens else 0.0

    @property
    def stops(self) -> tuple[AuditFinding, ...]:
        """Findings with which training must not start."""
        return tuple(finding for finding in self.findings if finding.severity == "stop")

    def text(self) -> str:
        """A few lines for a reader."""
        rows = [] if self.prompt is None else self.prompt.lines()
        rows.append(f"learnt     from {self.first_supervised!r} to {self.last_supervised!r} in the first document")
        rows.append(
            f"documents  {self.num_documents:,} of {self.num_tokens:,} tokens, longest {self.longest:,}; "
            f"{self.supervised_share:.1%} of tokens learnt; {self.ends_supervised:,} teach their end token"
        )
        rows += [f"{finding.severity:<11}{finding.message} {finding.hint}" for finding in self.findings]
        return "\n".join(rows)

    def require(self) -> None:
        """Refuse to train on documents that must not be trained on.

        Raises:
            CompatibilityError: There is a "stop"; message and hint are its own.
        """
        if self.stops:
            worst = self.stops[0]
            more = len(self.stops) - 1
            also = f" ({more} more: {', '.join(f.code for f in self.stops[1:])}.)" if more else ""
            raise CompatibilityError(f"{worst.message}{also}", hint=worst.hint)


def _compare_prompts(
    student: ChatFormat,
    teacher: ChatFormat | None,
    examples: Sequence[AuditExample],
    must_agree: bool,
    findings: _Findings,
) -> PromptComparison | None:
    """Every prompt is compared; the first that differs is shown, or else the first of all."""
    shown: PromptComparison | None = None
    severity: Literal["stop", "note"] = "stop" if must_agree else "note"
    for index, example in enumerate(examples):
        ours = student.render(example.messages)
        if teacher is None:
            return PromptComparison(student=ours)
        theirs = teacher.render(example.messages)
        agree = student.prompt_ids(example.messages) == teacher.prompt_ids(example.messages)
        offset = _first_difference(ours.encode(), theirs.encode())
        found = PromptComparison(student=ours, teacher=theirs, first_difference=offset, same_tokens=agree)
        if offset is not None:
            findings.add(
                severity,
                "prompts-differ",
                f"Student and teacher read different prompts: from byte {offset} on in example {index}.",
                "Give both the same chat_template.jinja (copy the student's into the teacher's directory).",
            )
        elif not agree:
            findings.add(
                severity,
                "prompt-tokens-differ",
                f"Student and teacher cut the same prompt into different tokens in example {index}.",
                'Use one tokenizer for both, or distil across tokenizers (objective "across").',
            )
        if shown is None or (shown.first_difference is None and offset is not None):
            shown = found
    return shown


def _first_difference(ours: bytes, theirs: bytes) -> int | None:
    if ours == theirs:
        return None
    pairs = zip(ours, theirs, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))


def _teaches_end(document: Document, chat: ChatFormat) -> bool:
    return bool(document.supervised) and document.supervised[-1] and document.token_ids[-1] in chat.eos_ids


def _check_labels(index: int, document: Document, chat: ChatFormat, teaches_end: bool, findings: _Findings) -> None:
    """What a document alone shows: flags, ids, end token, BOS."""
    ids, flags = document.token_ids, document.supervised
    if len(ids) != len(flags) or not any(flags[1:]):
        findings.add(
            "stop",
            "nothing-supervised",
            f"Document {index} has nothing to learn from.",
            "Leave it out; a completion of at least its end token is needed.",
        )
        return
    if min(ids) < 0 or max(ids) >= chat.vocab_size:
        findings.add(
            "stop",
            "outside-vocabulary",
            f"Document {index} holds token {max(ids) if min(ids) >= 0 else min(ids)}, outside the student's "
            f"vocabulary of {chat.vocab_size}.",
            "Tokenize the documents with the student's own tokenizer.",
        )
        return
    if not _teaches_end(document, chat):
        findings.add(
            "stop" if teaches_end else "note",
            "end-not-supervised",
            f"Document {index} does not teach an end token as its last: it ends in {chat.spell([ids[-1]])!r}"
            f"{'' if flags[-1] else ', unsupervised'}.",
            "Add the end of turn to the completion and supervise it, or the student will not learn to stop.",
        )
    bos = chat.bos_id
    if bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos:
        findings.add(
            "stop",
            "double-bos",
            f"Document {index} begins with {chat.spell([bos])!r} twice.",
            "The chat template writes it already: tokenize the rendered text without adding special tokens.",
        )


def _check_size(
    index: int, document: Document, micro_batch_tokens: int | None, max_context: int | None, findings: _Findings
) -> None:
    length = len(document.token_ids)
    if micro_batch_tokens is not None and length > micro_batch_tokens:
        findings.add(
            "stop",
            "longer-than-micro-batch",
            f"Document {index} has {length} tokens; micro_batch_tokens is {micro_batch_tokens}.",
            f"Set micro_batch_tokens to {length} or more, or leave long documents out; none is cut silently.",
        )
    if max_context is not None and length > max_context:
        findings.add(
            "stop",
            "longer-than-context",
            f"Document {index} has {length} tokens; the context is {max_context}.",
            "Leave long documents out, or choose a model with a longer context.",
        )


def _check_border(index: int, document: Document, example: AuditExample, chat: ChatFormat, findings: _Findings) -> None:
    """Where the prompt ends and the completion begins: labels there, and the tokens on both sides."""
    if example.turns:
        _check_turns(index, document, example, chat, findings)
        return
    prompt, wanted = _wanted(document, example, chat)
    ids = document.token_ids
    if len(ids) < len(prompt) and prompt[: len(ids)] == ids:
        findings.add(
            "stop", "cut", f"Document {index} ends inside its prompt.", "Leave the document out, or allow longer ones."
        )
    elif ids[: len(prompt)] != prompt:
        findings.add(
            "stop",
            "prompt-not-rendered",
            f"Document {index} does not begin with the prompt that the student's chat format renders.",
            "Make documents with the student's ChatFormat, so that it is asked as it will be asked later.",
        )
    else:
        _check_shift(index, document.supervised, len(prompt), findings)
        completion = ids[len(prompt) :]
        if example.completion is not None:
            _check_completion(index, prompt, completion, wanted, example, example.completion, chat, findings)
        elif completion != tuple(example.token_ids):
            _changed(index, "tokens that were drawn", findings)


def _check_turns(index: int, document: Document, example: AuditExample, chat: ChatFormat, findings: _Findings) -> None:
    """A document that learns earlier turns as well must be what the chat format makes of the conversation."""
    if example.completion is None:
        made = chat.document_from_tokens(example.messages, example.token_ids, turns=example.turns)
    else:
        made = chat.document(example.messages, example.completion, turns=example.turns)
    if document.token_ids != made.token_ids:
        _changed(index, "conversation with its earlier turns", findings)
    elif document.supervised != made.supervised:
        wrong = sum(ours != theirs for ours, theirs in zip(document.supervised, made.supervised, strict=True))
        findings.add(
            "stop",
            "turns-not-supervised",
            f"Document {index} has {wrong} labels that are not those of the turns to be learnt.",
            "Build documents with ChatFormat.document(…, turns=…).",
        )


def _wanted(
    document: Document, example: AuditExample, chat: ChatFormat
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The prompt and completion that a document should hold; drawn tokens are what they are."""
    if example.completion is None:
        return tuple(chat.prompt_ids(example.messages)), None
    uses: tuple[Use, ...] = ("learn", "align")
    turns = [chat.turn_ids(example.messages, example.completion, use=use) for use in uses]
    num_prompt = next((place for place, flag in enumerate(document.supervised) if flag), 0)
    prompt, own = next((turn for turn in turns if len(turn[0]) == num_prompt), turns[0])
    return tuple(prompt), tuple(own)


def _check_completion(
    index: int,
    prompt: tuple[int, ...],
    completion: tuple[int, ...],
    own: tuple[int, ...] | None,
    example: AuditExample,
    wanted: str,
    chat: ChatFormat,
    findings: _Findings,
) -> None:
    """Whether the completion is still the text that it was made of, and where a joint tokenization would cut."""
    body = completion[:-1] if completion and completion[-1] in chat.eos_ids else completion
    text = chat.spell((*prompt, *body)).removeprefix(chat.spell(prompt))
    if body != own and not _same_text(text, wanted):
        if body == completion and len(text) < len(wanted) and wanted.startswith(text):
            findings.add(
                "stop",
                "cut",
                f"Document {index} ends inside its completion, after {_shown(text[-_SHOWN // 2 :])}.",
                "Leave the document out, or allow longer ones; a cut answer teaches to stop anywhere.",
            )
        else:
            _changed(index, f"completion: {_shown(wanted)} became {_shown(text)}", findings)
    elif _same_text(text, wanted) and chat.text_ids(chat.render(example.messages) + wanted) != [*prompt, *body]:
        findings.add(
            "note",
            "border-merges",
            f"Document {index}: prompt and completion tokenized together give other tokens than one after the other.",
            "Nothing to do for training and sampling with this program, which both keep the border; a server that "
            "tokenizes the joined text sees other tokens.",
        )


def _same_text(ours: str, wanted: str) -> bool:
    """Up to Unicode's composed form, which some tokenizers (Qwen's) make first."""
    return unicodedata.normalize("NFC", ours) == unicodedata.normalize("NFC", wanted)


def _check_shift(index: int, flags: Sequence[bool], num_prompt: int, findings: _Findings) -> None:
    """Flags must be False over the prompt and True from its end on; anything else has a name."""
    num_early, num_late = sum(flags[:num_prompt]), sum(not flag for flag in flags[num_prompt:])
    if num_early == 1 and flags[num_prompt - 1]:
        findings.add(
            "stop",
            "labels-shifted",
            f"Document {index} supervises the last token of its prompt: its labels stand one token too early.",
            "A flag says that the model is trained to produce this token; the shift to the position before it is made "
            "when documents are packed.",
        )
    elif num_early:
        findings.add(
            "stop",
            "prompt-supervised",
            f"Document {index} supervises {num_early} tokens of its prompt.",
            "Supervise the completion only; build documents with ChatFormat.document.",
        )
    elif num_late and not flags[num_prompt]:
        findings.add(
            "stop",
            "labels-shifted",
            f"Document {index} does not supervise the first token of its completion: its labels stand too late.",
            "A flag says that the model is trained to produce this token; supervise the completion from its first.",
        )
    elif num_late:
        findings.add(
            "note",
            "completion-not-supervised",
            f"Document {index} leaves {num_late} tokens of its completion out of the loss.",
            "Nothing, if that is meant.",
        )


def _changed(index: int, what: str, findings: _Findings) -> None:
    findings.add(
        "stop",
        "completion-changed",
        f"Document {index} does not hold its {what}.",
        "Tokenize completions without stripping white space or normalising text; keep drawn tokens as they are.",
    )


def _check_duplicates(documents: Sequence[Document], findings: _Findings) -> None:
    num_repeated = len(documents) - len(np.unique(document_digests(documents)))
    if num_repeated:
        findings.add(
            "note",
            "duplicates",
            f"{num_repeated} of {len(documents)} documents repeat another one token for token.",
            "Leave them out, unless the repetition is meant as a weight.",
        )
