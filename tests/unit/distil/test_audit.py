from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import templates_parts
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.distil.audit import AuditExample, DocumentAudit, audit_documents
from spiritsafe.models import ChatFormat, Document
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE, write_byte_tokenizer

PROMPT = (Message(role="user", content="How much is 2+3?"),)
END = 2
"""The byte tokenizer's ``<|im_end|>``."""


def chat_format(directory: Path, **config: Any) -> ChatFormat:
    directory.mkdir()
    write_byte_tokenizer(directory, max_length=1024)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | config), "utf-8")
    return ChatFormat(directory)


@pytest.fixture
def chat(tmp_path: Path) -> ChatFormat:
    return chat_format(tmp_path / "student")


def audited(chat: ChatFormat, document: Document, completion: str = " 5", **more: Any) -> DocumentAudit:
    example = AuditExample(messages=PROMPT, completion=completion)
    return audit_documents(chat, None, [example], [document], **more)


def codes(report: DocumentAudit) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in report.findings]


def with_flags(document: Document, *changed: int) -> Document:
    """The same document with some of its flags turned over."""
    flags = list(document.supervised)
    for index in changed:
        flags[index] = not flags[index]
    return Document(token_ids=document.token_ids, supervised=tuple(flags))


def test_a_right_document_has_nothing_to_say(chat: ChatFormat) -> None:
    document = chat.document(PROMPT, " 5")
    report = audited(chat, document, micro_batch_tokens=100, max_context=100)
    assert report.findings == ()
    report.require()
    assert (report.first_supervised, report.last_supervised) == (" ", "<|im_end|>")
    assert (report.num_supervised, report.ends_supervised, report.longest) == (3, 1, len(document.token_ids))
    assert report.supervised_share == 3 / len(document.token_ids)
    assert DocumentAudit.from_json(report.to_json()) == report
    text = report.text()
    assert "<|im_start|>user" in text
    assert "from ' ' to '<|im_end|>'" in text
    assert len(text.splitlines()) <= 5


def test_a_role_colon_in_the_teachers_template_is_found_to_the_byte(chat: ChatFormat, tmp_path: Path) -> None:
    colon = TINY_CHAT_TEMPLATE.replace("message['role'] + '\\n'", "message['role'] + ':\\n'")
    assert colon != TINY_CHAT_TEMPLATE
    teacher = chat_format(tmp_path / "teacher", chat_template=colon)
    example = AuditExample(messages=PROMPT, completion=" 5")
    report = audit_documents(chat, teacher, [example], [chat.document(PROMPT, " 5")])
    assert codes(report) == [("stop", "prompts-differ")]
    assert report.prompt is not None
    assert report.prompt.first_difference == len("<|im_start|>user")
    assert report.prompt.same_tokens is False
    text = report.text()
    assert f"differ from byte {len('<|im_start|>user')} on" in text
    assert "user:\\n" in text
    with pytest.raises(CompatibilityError, match="different prompts") as error:
        report.require()
    assert "chat_template.jinja" in error.value.hint
    across = audit_documents(chat, teacher, [example], [chat.document(PROMPT, " 5")], same_tokens=False)
    assert codes(across) == [("note", "prompts-differ")]
    across.require()


def test_the_same_prompt_in_other_tokens_is_found(chat: ChatFormat, tmp_path: Path) -> None:
    teacher_directory = tmp_path / "teacher"
    shutil.copytree(chat.directory, teacher_directory)
    other = json.loads((teacher_directory / "tokenizer.json").read_text("utf-8"))
    other["model"]["vocab"] |= {"ow": 260}
    other["model"]["merges"] = [["o", "w"]]
    (teacher_directory / "tokenizer.json").write_text(json.dumps(other), "utf-8")
    example = AuditExample(messages=PROMPT, completion=" 5")
    report = audit_documents(chat, ChatFormat(teacher_directory), [example], [chat.document(PROMPT, " 5")])
    assert codes(report) == [("stop", "prompt-tokens-differ")]
    assert report.prompt is not None
    assert report.prompt.first_difference is None


def test_a_missing_end_token_is_a_stop_unless_answers_may_be_cut(chat: ChatFormat) -> None:
    document = chat.document_from_tokens(PROMPT, chat.completion_ids(" 5"))
    report = audited(chat, document)
    assert codes(report) == [("stop", "end-not-supervised")]
    assert "'5'" in report.findings[0].message
    assert codes(audited(chat, document, teaches_end=False)) == [("note", "end-not-supervised")]
    unlearnt = with_flags(chat.document(PROMPT, " 5"), -1)
    assert ("stop", "end-not-supervised") in codes(audited(chat, unlearnt))


def test_labels_that_are_not_shifted_are_found_in_both_directions(chat: ChatFormat) -> None:
    right = chat.document(PROMPT, " 5")
    start = right.supervised.index(True)
    early = with_flags(right, start - 1)
    assert ("stop", "labels-shifted") in codes(audited(chat, early))
    early_and_short = with_flags(right, start - 1, -1)  # every label one to the left
    assert {("stop", "labels-shifted"), ("stop", "end-not-supervised")} == set(codes(audited(chat, early_and_short)))
    assert codes(audited(chat, with_flags(right, start))) == [("stop", "labels-shifted")]


def test_a_supervised_prompt_is_found(chat: ChatFormat) -> None:
    right = chat.document(PROMPT, " 5")
    whole = Document(token_ids=right.token_ids, supervised=(True,) * len(right.token_ids))
    report = audited(chat, whole)
    assert codes(report) == [("stop", "prompt-supervised")]
    assert f"{right.supervised.index(True)} tokens of its prompt" in report.findings[0].message
    middle = with_flags(right, right.supervised.index(True) + 1)
    assert codes(audited(chat, middle)) == [("note", "completion-not-supervised")]


def test_a_doubled_bos_is_found(tmp_path: Path) -> None:
    chat = chat_format(tmp_path / "model", bos_token="<|endoftext|>")
    template = "{{ '<|endoftext|>' }}" + TINY_CHAT_TEMPLATE
    twice = chat_format(tmp_path / "twice", bos_token="<|endoftext|>", chat_template="{{ bos_token }}" + template)
    assert codes(audited(chat, chat.document(PROMPT, " 5"))) == []
    report = audited(twice, twice.document(PROMPT, " 5"))
    assert codes(report) == [("stop", "double-bos")]
    assert "'<|endoftext|>' twice" in report.findings[0].message


def test_white_space_eaten_at_the_border_is_found(chat: ChatFormat) -> None:
    stripped = chat.document(PROMPT, "5")
    report = audited(chat, stripped, completion=" 5")
    assert codes(report) == [("stop", "completion-changed")]
    assert "' 5' became '5'" in report.findings[0].message
    # drawn tokens are held against themselves
    drawn = tuple(chat.completion_ids(" 5"))
    example = AuditExample(messages=PROMPT, token_ids=(*drawn, END))
    same, other = (chat.document_from_tokens(PROMPT, [*ids, END]) for ids in (drawn, drawn[1:]))
    assert audit_documents(chat, None, [example], [same]).findings == ()
    assert codes(audit_documents(chat, None, [example], [other])) == [("stop", "completion-changed")]


def test_a_merge_across_the_border_is_noted(tmp_path: Path) -> None:
    directory = tmp_path / "merging"
    directory.mkdir()
    write_byte_tokenizer(directory, max_length=1024)
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
    vocabulary = {t: i for i, t in enumerate((*special, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary | {":Ġ": 260}, merges=[(":", "Ġ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(directory / "tokenizer.json"))
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["chat_template"] = TINY_CHAT_TEMPLATE.replace("assistant\\n' }}", "assistant:' }}")
    path.write_text(json.dumps(config), "utf-8")
    chat = ChatFormat(directory)
    report = audited(chat, chat.document(PROMPT, " 5"))
    assert codes(report) == [("note", "template-differs"), ("note", "border-merges")]
    report.require()


def test_long_cut_and_foreign_documents_are_found(chat: ChatFormat) -> None:
    right = chat.document(PROMPT, " 5")
    length = len(right.token_ids)
    assert codes(audited(chat, right, micro_batch_tokens=length - 1)) == [("stop", "longer-than-micro-batch")]
    assert codes(audited(chat, right, max_context=length - 1)) == [("stop", "longer-than-context")]
    cut = Document(token_ids=right.token_ids[:-2], supervised=right.supervised[:-2])
    assert ("stop", "cut") in codes(audited(chat, cut))
    foreign = Document(token_ids=(*right.token_ids[:-1], 9999), supervised=right.supervised)
    assert codes(audited(chat, foreign))[0] == ("stop", "outside-vocabulary")
    no_prompt = chat.document((Message(role="user", content="Hello"),), " 5")
    assert codes(audited(chat, no_prompt)) == [("stop", "prompt-not-rendered")]
    nothing = Document(token_ids=right.token_ids, supervised=(False,) * length)
    assert ("stop", "nothing-supervised") in codes(audited(chat, nothing))


def test_many_documents_are_counted_and_repetitions_noted(chat: ChatFormat) -> None:
    document = chat.document(PROMPT, " 5")
    bad = chat.document_from_tokens(PROMPT, chat.completion_ids(" 7"))
    report = audit_documents(chat, None, [], [document, document, bad, document])
    assert codes(report) == [("stop", "end-not-supervised"), ("note", "duplicates")]
    assert report.findings[0].num_documents == 1
    assert "2 of 4 documents" in report.findings[1].message
    assert (report.num_documents, report.ends_supervised) == (4, 3)
    twice = audit_documents(chat, None, [], [bad, chat.document_from_tokens(PROMPT, chat.completion_ids(" 8"))])
    assert twice.findings[0].num_documents == 2
    assert "2 such documents" in twice.findings[0].message
    with pytest.raises(CompatibilityError, match="1 examples were given for 2 documents"):
        audit_documents(chat, None, [AuditExample(messages=PROMPT)], [document, bad])


@pytest.mark.parametrize("name", sorted(templates_parts.ALL))
def test_documents_of_every_family_pass(name: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
    texts = ["2 + 3 = 5\n#### 5", "<think>\nhm\n</think>\n\n#### 5"]
    examples = [AuditExample(messages=PROMPT, completion=text) for text in texts]
    for use in ("learn", "align"):
        documents = [chat.document(PROMPT, text, use=use) for text in texts]  # type: ignore[arg-type]
        report = audit_documents(chat, None, examples, documents)
        assert [code for severity, code in codes(report) if severity == "stop"] == []
    drawn = [chat.document_from_tokens(PROMPT, [*chat.completion_ids(text), chat.end_id]) for text in texts]
    examples = [AuditExample(messages=PROMPT, token_ids=d.token_ids[d.supervised.index(True) :]) for d in drawn]
    assert [code for severity, code in codes(audit_documents(chat, None, examples, drawn)) if severity == "stop"] == []


def test_another_completion_is_found_in_every_family(tmp_path: Path) -> None:
    for name in ("r1", "qwen3", "harmony"):
        chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
        example = AuditExample(messages=PROMPT, completion="<think>a</think>5")
        report = audit_documents(chat, None, [example], [chat.document(PROMPT, "<think>b</think>5")])
        assert ("stop", "completion-changed") in codes(report)
