from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spiritsafe.models.interface.byte_alphabet import BYTE_OF_CHARACTER


def test_it_is_the_alphabet_of_the_tokenizers_library() -> None:
    assert sorted(BYTE_OF_CHARACTER) == sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab=dict(BYTE_OF_CHARACTER), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = "".join(map(chr, range(0x800)))
    assert bytes(tokenizer.encode(text).ids) == text.encode()
