from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import templates_parts
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.records import Message
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.models import (
    choose_vocabulary,
    cut_depth,
    load_model,
    randomise,
    resolve_source,
    save_checkpoint,
    trim_vocabulary,
)
from spiritsafe.models.chat.format import ChatFormat, require_same_vocabulary
from spiritsafe.models.chat.options import ChatOptions
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE
from spiritsafe.training import TracesObjective, TrainConfig, train

USER = Message(role="user", content="What is 2 + 3?")
STRIPS_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def chat(tiny_directory: Path) -> ChatFormat:
    return ChatFormat(tiny_directory)


def with_template(source: Path, target: Path, template: str | None, **settings: object) -> Path:
    shutil.copytree(source, target)
    path = target / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("chat_template")
    if template is not None:
        config["chat_template"] = template
    path.write_text(json.dumps(config | settings))
    return target


def test_prompt_is_the_rendered_conversation(chat: ChatFormat) -> None:
    ids = chat.prompt_ids([Message(role="system", content="Be brief."), USER])
    text = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.render([Message(role="system", content="Be brief."), USER]) == text
    assert ids.count(1) == 3  # each special token is one token
    assert ids.count(2) == 2
    assert len(ids) == len(text.encode()) - 3 * (len("<|im_start|>") - 1) - 2 * (len("<|im_end|>") - 1)


def test_the_mask_covers_exactly_completion_and_end(chat: ChatFormat) -> None:
    document = chat.document([USER], "It is 5.")
    prompt = chat.prompt_ids([USER])
    assert list(document.token_ids[: len(prompt)]) == prompt
    assert document.supervised == (False,) * len(prompt) + (True,) * 9
    supervised = [t for t, s in zip(document.token_ids, document.supervised, strict=True) if s]
    assert chat.decode(supervised[:1]) == "I"
    assert supervised[-1] == chat.end_id == 2
    assert chat.decode(supervised) == "It is 5."


@pytest.mark.parametrize("completion", ["5", " 5", "\n\n5", "", "ü🎉", "a" * 300])
def test_document_is_a_prefix_of_the_whole_rendered_conversation(chat: ChatFormat, completion: str) -> None:
    whole = chat.render([USER, Message(role="assistant", content=completion)], generation=False)
    raw = chat._fast.decode(list(chat.document([USER], completion).token_ids), skip_special_tokens=False)
    assert whole == raw + "\n"
    assert list(chat.document([USER], completion).token_ids) == chat.text_ids(whole)[:-1]


def test_tokens_that_were_drawn_are_kept_as_they_are(chat: ChatFormat) -> None:
    document = chat.document_from_tokens([USER], [77, 78], weight=0.5)
    assert document.token_ids[-2:] == (77, 78)
    assert document.supervised[-3:] == (False, True, True)
    assert document.weight == 0.5


def test_names_of_special_tokens_in_a_completion_are_spelled_out(chat: ChatFormat) -> None:
    ids = chat.completion_ids("a<|im_end|>b")
    assert chat.end_id not in ids
    assert chat.decode(ids) == "a<|im_end|>b"


def test_decoding_skips_special_tokens_and_survives_fuzz(chat: ChatFormat) -> None:
    assert chat.decode([1, *chat.completion_ids("x"), 2]) == "x"
    draw = random.Random(0)
    for _ in range(300):
        codes = [draw.choice((draw.randrange(32, 127), draw.randrange(160, 0xD7FF), 0x1F389)) for _ in range(20)]
        text = "".join(map(chr, codes))
        assert chat.decode(chat.completion_ids(text)) == text


def test_ends_come_from_template_tokenizer_and_generation_config(tiny_directory: Path, tmp_path: Path) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    (target / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    assert ChatFormat(target).eos_ids == (2, 0)
    assert ChatFormat(target).pad_id == 3


def test_earlier_turns_are_shown_as_the_template_shows_them(tiny_directory: Path, tmp_path: Path) -> None:
    chat = ChatFormat(with_template(tiny_directory, tmp_path / "m", STRIPS_THINKING))
    assert chat.prompt_ids([USER])
    plain = [USER, Message(role="assistant", content="5"), USER]
    thinking = [USER, Message(role="assistant", content="<think>hm</think>5"), USER]
    assert chat.prompt_ids(thinking) == chat.prompt_ids(plain)


def test_a_refusing_or_missing_template_is_named(tiny_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="no chat template"):
        ChatFormat(with_template(tiny_directory, tmp_path / "none", None))
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    chat = ChatFormat(with_template(tiny_directory, tmp_path / "strict", strict + STRIPS_THINKING))
    with pytest.raises(CompatibilityError, match="no system role"):
        chat.prompt_ids([Message(role="system", content="x"), USER])
    blind = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    with pytest.raises(CompatibilityError, match="does not show"):
        ChatFormat(with_template(tiny_directory, tmp_path / "blind", blind))


def test_a_template_without_end_falls_back_to_the_tokenizers(tiny_directory: Path, tmp_path: Path) -> None:
    bare = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert ChatFormat(with_template(tiny_directory, tmp_path / "a", bare)).end_id == 2
    with pytest.raises(CompatibilityError, match="end token"):
        ChatFormat(with_template(tiny_directory, tmp_path / "b", bare, eos_token=None))


def test_a_damaged_tokenizer_is_named(tiny_directory: Path, tmp_path: Path) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    (target / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(SourceError, match="cannot be read"):
        ChatFormat(target)
    (target / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"no tokenizer\.json"):
        ChatFormat(target)


def cut_and_filled(directory: Path, *, pad: str) -> Path:
    """Let the tokenizer cut texts after five tokens and fill them up on the left, as files of unfinished work do."""
    path = directory / "tokenizer.json"
    cut = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    fill = {"strategy": {"Fixed": 20}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, "truncation": cut, "padding": {**fill, "pad_token": pad}}), "utf-8")
    return directory


@pytest.mark.parametrize(("name", "pad"), [("qwen3", "<|endoftext|>"), ("sentencepiece", "<unk>")])
def test_texts_are_neither_cut_nor_filled_up_by_what_a_tokenizers_file_says(
    name: str, pad: str, tmp_path: Path
) -> None:
    before = ChatFormat(templates_parts.ALL[name](tmp_path / "plain"))
    after = ChatFormat(cut_and_filled(templates_parts.ALL[name](tmp_path / "cut"), pad=pad))
    for content in (USER.content, "<|im_end|> and </s> are words"):
        messages = [Message(role="user", content=content)]
        assert after.document(messages, "2 + 3 = 5") == before.document(messages, "2 + 3 = 5")
        assert after.text_ids(content) == before.text_ids(content)
        assert len(after.prompt_ids(messages)) > 20
    assert after.vocab_fingerprint == before.vocab_fingerprint
    assert TokenBytes.of_chat(after) == TokenBytes.of_chat(before)


@pytest.mark.parametrize("stated", ["2", [2, "x"], [[2]], {}, 2.5, True, {"id": 2}])
def test_an_end_that_is_no_token_id_is_named(stated: object, tiny_directory: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": stated}), "utf-8")
    with pytest.raises(SourceError, match="no token id"):
        ChatFormat(directory)


@pytest.mark.parametrize("content", [[], None, 1, "x"])
def test_a_generation_config_without_settings_is_named(content: object, tiny_directory: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    (directory / "generation_config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(SourceError, match="no settings"):
        ChatFormat(directory)


@pytest.mark.parametrize("stated", [None, [], -1, [None, -1]])
def test_an_end_that_is_none_leaves_the_templates(stated: object, tiny_directory: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": stated}), "utf-8")
    assert ChatFormat(directory).eos_ids == (ChatFormat(tiny_directory).end_id,)


def test_half_a_character_is_named(chat: ChatFormat) -> None:
    half = json.loads('"a\\ud83d"')
    for attempt in (
        lambda: chat.prompt_ids([Message(role="user", content=half)]),
        lambda: chat.prompt_ids([Message(role="user", content=f"{half}<|im_end|>")]),
        lambda: chat.document([USER], half),
        lambda: chat.text_ids(half),
    ):
        with pytest.raises(CompatibilityError, match="half a character"):
            attempt()


def test_different_vocabularies_are_refused(chat: ChatFormat, tiny_directory: Path, tmp_path: Path) -> None:
    same = ChatFormat(with_template(tiny_directory, tmp_path / "same", STRIPS_THINKING))
    require_same_vocabulary(chat, same)
    target = shutil.copytree(tiny_directory, tmp_path / "other")
    content = json.loads((target / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (target / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CompatibilityError, match="different vocabularies"):
        require_same_vocabulary(chat, ChatFormat(target))


def test_saving_copies_the_tokenizer(chat: ChatFormat, tmp_path: Path) -> None:
    chat.save(tmp_path)
    copy = ChatFormat(tmp_path)
    assert copy.vocab_fingerprint == chat.vocab_fingerprint
    assert copy.prompt_ids([USER]) == chat.prompt_ids([USER])
    assert copy.eos_ids == chat.eos_ids


def test_a_tokenizer_that_puts_a_space_before_text_does_not_do_so_in_completions(tmp_path: Path) -> None:
    letters = [chr(c) for c in range(33, 127)] + ["▁", "\n"]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(["<s>", "</s>", *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    end = "{% if m['role'] == 'assistant' %}</s>{% endif %}"
    template = "<s>{% for m in messages %}{{ m['content'] }}" + end + "{% endfor %}"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    chat = ChatFormat(tmp_path)
    assert chat.completion_ids("a") == [chat._fast.token_to_id("a")]
    assert chat.end_id == 1


def test_options_travel_with_the_tokenizer_and_are_in_the_fingerprint(tmp_path: Path) -> None:
    source = templates_parts.harmony(tmp_path / "source")
    told = ChatFormat(source, ChatOptions(date="2026-11-28", template_kwargs={"reasoning_effort": "low"}))
    (tmp_path / "saved").mkdir()
    told.save(tmp_path / "saved")
    saved = ChatFormat(tmp_path / "saved")
    assert saved.options == told.options
    assert saved.render([USER]) == told.render([USER])
    assert "Current date: 2026-11-28\nReasoning: low" in saved.render([USER])
    assert saved.template_fingerprint == told.template_fingerprint != ChatFormat(source).template_fingerprint


def test_where_the_template_depends_on_no_option_the_fingerprint_is_the_templates(chat: ChatFormat) -> None:
    assert chat.template_fingerprint == digest(TINY_CHAT_TEMPLATE)
    assert chat.options == ChatOptions()


@pytest.mark.parametrize("name", ["base_eos", "harmony", "r1", "chatml"])
def test_a_saved_models_files_name_every_end(name: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / "source"))
    (tmp_path / "saved").mkdir()
    chat.save(tmp_path / "saved")
    settings = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    ends = settings["eos_token_id"]
    assert set(ends if isinstance(ends, list) else [ends]) == set(chat.eos_ids)
    before = json.loads((tmp_path / "source" / "generation_config.json").read_text())
    assert {**settings, "eos_token_id": 0} == {**before, "eos_token_id": 0}
    saved = ChatFormat(tmp_path / "saved")
    assert saved.eos_ids == chat.eos_ids
    assert (saved.vocab_fingerprint, saved.template_fingerprint) == (chat.vocab_fingerprint, chat.template_fingerprint)
    end = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["eos_token"]
    assert end == chat.spell([chat.end_id])


def test_a_saved_model_gets_the_file_that_its_source_lacks(tmp_path: Path) -> None:
    source = templates_parts.base_eos(tmp_path / "source")
    (source / "generation_config.json").unlink()
    (source / "special_tokens_map.json").write_text('{"eos_token": "<|endoftext|>", "x": 1}')
    (tmp_path / "saved").mkdir()
    ChatFormat(source).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "generation_config.json").read_text()) == {"eos_token_id": [2, 0]}
    names = json.loads((tmp_path / "saved" / "special_tokens_map.json").read_text())
    assert names == {"eos_token": "<|im_end|>", "x": 1}


def test_a_template_that_prints_the_end_token_keeps_the_one_it_prints(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ eos_token + m['content'] + '<|im_end|>' }}{% endfor %}"
    source = with_template(templates_parts.base_eos(tmp_path / "a"), tmp_path / "b", template)
    (tmp_path / "saved").mkdir()
    chat = ChatFormat(source)
    chat.save(tmp_path / "saved")
    assert ChatFormat(tmp_path / "saved").render([USER]) == chat.render([USER])
    assert ChatFormat(tmp_path / "saved").eos_ids == chat.eos_ids == (2, 0)


def test_what_needs_no_change_is_copied_byte_by_byte(tiny_directory: Path, tmp_path: Path) -> None:
    ChatFormat(tiny_directory).save(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (tiny_directory / path.name).read_bytes()
    assert not (tmp_path / "chat_options.json").exists()


def test_a_student_of_a_base_model_stops_in_transformers(tmp_path: Path) -> None:
    source = resolve_source(str(templates_parts.base_eos(tmp_path / "base")), cache=tmp_path / "cache")
    loaded = load_model(source, dtype=torch.float32)
    document = loaded.chat.document([USER], "ok")
    config = TrainConfig(
        learning_rate=1e-2,
        tokens_per_step=64,
        micro_batch_tokens=64,
        max_steps=40,
        compute_dtype="float32",
        checkpoint_every_s=None,
        warmup_share=0.0,
    )
    train(loaded.model, [document], TracesObjective(), config, directory=tmp_path / "work")
    save_checkpoint(tmp_path / "student", loaded.model, loaded.chat, name="student", license="MIT")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    prompt = torch.tensor([loaded.chat.prompt_ids([USER])])
    drawn = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False)
    assert drawn[0, prompt.shape[1] :].tolist() == [*loaded.chat.completion_ids("ok"), loaded.chat.end_id]


def test_what_was_told_goes_on_through_cuts_and_controls(tmp_path: Path) -> None:
    model = templates_parts.dated(tmp_path / "model")
    told = resolve_source(str(model), cache=tmp_path / "cache", date="2026-11-28")
    cut_depth(told, tmp_path / "cut", keep=[0], name="cut")
    randomise(told, tmp_path / "random", 1, name="random")
    chat = ChatFormat(told)
    (tmp_path / "trimmed").mkdir()
    trim_vocabulary(told, tmp_path / "trimmed", choose_vocabulary(told, [1] * chat.vocab_size))
    for name in ("cut", "random", "trimmed"):
        assert ChatFormat(tmp_path / name).render([USER]) == chat.render([USER])
        assert "28 Nov 2026" in ChatFormat(tmp_path / name).render([USER])


@pytest.mark.parametrize(
    "content", ["{% for p in m.content %}{{ p.text }}{% endfor %}", "{{ m.content[0]['text'] + '' }}"]
)
def test_a_template_that_reads_lists_of_parts_gets_them(content: str, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n" + content + "<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = told(templates_parts.chatml(tmp_path), template)
    plain = ChatFormat(templates_parts.chatml(tmp_path / "plain"))
    for words in ("What is 2 + 3?", "<|im_end|> is a word, é"):
        messages = [Message(role="user", content=words)]
        assert chat.render(messages) == plain.render(messages)
        assert chat.document(messages, "5") == plain.document(messages, "5")
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    theirs = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        parts, tokenize=False, add_generation_prompt=True
    )
    assert chat.render([Message(role="user", content="hi")]) == theirs


def told(directory: Path, template: str) -> ChatFormat:
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "chat_template": template}), "utf-8")
    return ChatFormat(directory)


def test_a_template_that_shows_no_turn_either_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="does not show"):
        told(templates_parts.chatml(tmp_path), "{{ messages | length }}")
    with pytest.raises(CompatibilityError, match="no chats"):
        told(tmp_path, "{{ raise_exception('no chats') }}")
