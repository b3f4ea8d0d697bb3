from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import templates_parts
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.markers import Marked, Markers

NAMES = ("<|im_start|>", "<|im_end|>", "<|pad|>")


def byte_markers(names: Sequence[str] = NAMES, inner: Sequence[str] = (), **flags: bool) -> tuple[Tokenizer, Markers]:
    vocabulary = {token: index for index, token in enumerate((*names, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    fast = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(name, special=True, normalized=False, **flags) for name in names])
    return fast, Markers(fast, json.loads(fast.to_str()), names, inner)


def spelled(markers: Markers, fast: Tokenizer, content: str, around: str = "<|im_start|>{}<|im_end|>") -> list[int]:
    (turn,), stand_ins = markers.cover([{"role": "user", "content": content}], beside=around)
    ids = markers.encode(Marked(around.format(turn["content"]), stand_ins))
    assert fast.decode(ids, skip_special_tokens=False) == around.format(content)
    return ids


def test_names_in_contents_are_words_and_the_templates_own_are_tokens() -> None:
    fast, markers = byte_markers()
    for content in (
        "<|im_end|>",
        "a<|im_end|><|im_start|>b",
        "<|<|im_end|>im_end|>",
        "<|im_end",
        "|>",
        "",
        "<|pad|>" * 9,
    ):
        ids = spelled(markers, fast, content)
        assert [token for token in ids if token < len(NAMES)] == [0, 1]


def test_clean_text_is_encoded_by_the_tokenizer_itself_and_by_its_copy_alike() -> None:
    fast, markers = byte_markers()
    for text in ("<|im_start|>a<|im_end|>", "", "plain", "<|im_start|>é🎉\n"):
        assert markers.encode(Marked(text, {})) == fast.encode(text, add_special_tokens=False).ids
    _, copied = byte_markers()
    own = [("<|im_start|>", True), ("a < b <|im_end|>", False), ("<|im_end|>", True)]
    assert [token for token in copied.encode_own(own) if token < len(NAMES)] == [0, 1]


def test_a_token_that_swallows_blanks_does_so_beside_names_too() -> None:
    fast, markers = byte_markers(rstrip=True)
    ids = markers.encode(Marked("<|im_end|> \n\U0010fffd|pad|>", {0x10FFFD: "<"}))
    assert ids == [
        1,
        *fast.encode("<", add_special_tokens=False).ids,
        *fast.encode("|pad|>", add_special_tokens=False).ids,
    ]


def test_private_characters_stay_what_they_are() -> None:
    fast, markers = byte_markers()
    for number in (0xF0000, 0xF0001, 0xF0002, 0xF0003, 0x10FFFD, 0x10FFFC, 0x10FFFB, 0xE000):
        ids = spelled(markers, fast, f"{chr(number)}<|im_end|>{chr(number)}")
        assert [token for token in ids if token < len(NAMES)] == [0, 1]
        assert fast.decode(markers.encode_own([(f"{chr(number)}<|pad|>", False)])) == f"{chr(number)}<|pad|>"


def test_markers_of_thoughts_act_in_an_assistants_text_only() -> None:
    names = (*NAMES, "<think>")
    fast, markers = byte_markers(names, inner=("<think>",))
    for role, count in (("user", 0), ("assistant", 1)):
        (turn,), stand_ins = markers.cover([{"role": role, "content": "<think><|pad|>"}], beside="")
        ids = markers.encode(Marked(turn["content"], stand_ins))
        assert ids.count(3) == count
        assert 2 not in ids
        assert fast.decode(ids, skip_special_tokens=False) == "<think><|pad|>"


def test_a_name_that_the_vocabulary_itself_holds_is_cut_apart() -> None:
    pieces = [("<unk>", 0.0), ("</s>", -1.0), *((character, -9.0) for character in "ab</s>")]
    fast = Tokenizer(models.Unigram(list(dict.fromkeys(pieces)), unk_id=0))
    fast.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    markers = Markers(fast, json.loads(fast.to_str()), ["</s>"], ())
    (turn,), stand_ins = markers.cover([{"role": "user", "content": "a</s>b"}], beside="")
    ids = markers.encode(Marked(turn["content"] + "</s>", stand_ins))
    assert ids.count(1) == 1
    assert ids[-1] == 1
    assert "".join(str(fast.id_to_token(token)) for token in ids) == "a</s>b</s>"


def test_a_special_token_of_one_character_cannot_be_written_as_text() -> None:
    fast = Tokenizer(models.Unigram([("<unk>", 0.0), ("§", -1.0), ("a", -2.0)], unk_id=0))
    fast.add_special_tokens([AddedToken("§", special=True, normalized=False)])
    markers = Markers(fast, json.loads(fast.to_str()), ["§"], ())
    (turn,), stand_ins = markers.cover([{"role": "user", "content": "a§"}], beside="")
    with pytest.raises(CompatibilityError, match="cannot be written as text"):
        markers.encode(Marked(turn["content"], stand_ins))


def test_wordlike_names_are_found_where_they_stand() -> None:
    fast, markers = byte_markers(("PAD", "END"))
    (turn,), stand_ins = markers.cover([{"role": "user", "content": "PAD PA DEND"}], beside="")
    ids = markers.encode(Marked(turn["content"] + "END", stand_ins))
    assert [token for token in ids if token < 2] == [1]
    assert fast.decode(ids, skip_special_tokens=False) == "PAD PA DENDEND"


CLEAN = (
    "2 + 2 = 4?\n\n#### 4",
    " lead and trail \n",
    "é 🎉 東京",
    "",
    "a < b > c",
    "[x] <b>i</b>",
    "</",
    "|> x|",
    "i in er",
)


@pytest.mark.parametrize("name", sorted(templates_parts.ALL))
def test_clean_contents_have_the_ids_that_transformers_gives(name: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
    draw = random.Random(name)
    for _ in range(30):
        roles = draw.choice((["user"], ["user", "assistant", "user"], ["system", "user"]))
        messages = [Message(role=role, content=draw.choice(CLEAN)) for role in roles]  # type: ignore[arg-type]
        text = chat.render(messages)  # with the fixed date
        assert chat.prompt_ids(messages) == tokenizer.encode(text, add_special_tokens=False)
        # The same through the renamed copy: stand-ins that stand for themselves force it.
        marked = Marked(text + "\U0010fffd", {0x10FFFD: draw.choice(chat._markers._names)})
        assert chat._markers.encode(marked)[: len(chat.prompt_ids(messages)) - 2] == chat.prompt_ids(messages)[:-2]
