"""Small whole models whose chat templates are built like those of well-known families, for tests of every room.

Each function writes a random model of two layers, a tokenizer of bytes with the family's markers, and a template with
the family's structure, into a directory that it makes; it returns the directory, which can be a recipe's
``source.model``. The same seed gives the same bytes. ``ALL`` maps names to functions.

==================  =================================================================================================
``chatml``          no trap: what ``tiny:<seed>`` has
``dated``           prints today's date with ``strftime_now`` unless it is given a ``date_string`` (Llama-3.2, gpt-oss)
``r1``              the generation prompt opens ``<think>``; earlier and last turns are shown without their thoughts;
                    turn markers are added tokens that are not special (DeepSeek-R1 and its distilled models)
``qwq``             the generation prompt opens ``<think>``; the last turn is shown as it is, earlier ones are trimmed
``qwen3``           reads ``enable_thinking``; puts an empty thought into the last turn where there is none (Qwen3)
``harmony``         channels made of special tokens; another end for the last turn than for earlier ones; prints a
                    date and reads ``reasoning_effort`` (gpt-oss)
``sentencepiece``   Metaspace and byte fallback, no generation prompt, spaces around turns (Llama-2, Mistral)
``hermes``          tools in the system's turn, calls and results between tags; marks what the assistant wrote (Qwen2.5)
``calls_as_text``   arguments as JSON text only, no content beside a call; calls have their own end (R1, Llama-3)
``base_eos``        ChatML whose tokenizer and generation_config end texts with ``<|endoftext|>`` (Qwen2.5 base)
==================  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from spiritsafe.core.files.atomic import read_json, write_json, write_text
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE, write_byte_tokenizer

__all__ = [
    "ALL",
    "CALLS_AS_TEXT",
    "DATED",
    "HARMONY",
    "HERMES",
    "LLAMA2",
    "QWEN3",
    "QWQ",
    "R1",
    "base_eos",
    "calls_as_text",
    "chatml",
    "dated",
    "harmony",
    "hermes",
    "qwen3",
    "qwq",
    "r1",
    "sentencepiece",
]

_CONTEXT = 1024

DATED = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    '{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "1 Jan 1970" %}{%- endif %}'
    "{%- endif %}{{- '<|im_start|>system\\nToday Date: ' + date_string + '\\n' }}"
    "{%- if messages[0].role == 'system' %}{{- messages[0].content|trim }}"
    "{%- set messages = messages[1:] %}{%- endif %}{{- '<|im_end|>\\n' }}{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content|trim + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

R1 = (
    "{%- set ns = namespace(system='') -%}{%- for m in messages -%}{%- if m['role'] == 'system' -%}"
    "{%- set ns.system = m['content'] -%}{%- endif -%}{%- endfor -%}{{ bos_token }}{{ ns.system }}"
    "{%- for m in messages -%}{%- if m['role'] == 'user' -%}{{ '<U>' + m['content'] }}{%- endif -%}"
    "{%- if m['role'] == 'assistant' -%}{%- set content = m['content'] -%}{%- if '</think>' in content -%}"
    "{%- set content = content.split('</think>')[-1] -%}{%- endif -%}{{ '<A>' + content + eos_token }}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<A><think>\\n' }}{%- endif -%}"
)

QWQ = (
    "{%- for m in messages %}{%- if m.role != 'assistant' %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- else %}{%- set content = m.content %}"
    "{%- if not loop.last %}{%- set content = m.content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)

QWEN3 = (
    "{%- set ns = namespace(open=true, last=messages|length - 1) %}{%- for m in messages[::-1] %}"
    "{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.open and m.role == 'user' and not "
    "(m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}"
    "{%- set ns.open = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{%- for m in messages %}"
    "{%- if m.role != 'assistant' %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- else %}"
    "{%- set content = m.content %}{%- set reasoning = '' %}{%- if m.reasoning_content is defined %}"
    "{%- set reasoning = m.reasoning_content %}{%- elif '</think>' in content %}"
    "{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last and (loop.last or reasoning) %}{{- '<|im_start|>assistant\\n<think>\\n' + "
    "reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}{%- else %}"
    "{{- '<|im_start|>assistant\\n' + content }}{%- endif %}{{- '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{%- endif %}"
)

HARMONY = (
    "{%- macro system() -%}{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'medium' %}{%- endif %}"
    "{{- 'Current date: ' + strftime_now('%Y-%m-%d') + '\\nReasoning: ' + reasoning_effort }}{%- endmacro -%}"
    "{{- '<|start|>system<|message|>' + system() + '<|end|>' }}"
    "{%- if messages[0].role == 'system' %}"
    "{{- '<|start|>developer<|message|># Instructions\\n\\n' + messages[0].content + '\\n\\n<|end|>' }}"
    "{%- set messages = messages[1:] %}{%- endif %}{%- for m in messages -%}{%- if m.role == 'assistant' -%}"
    "{%- if '<|channel|>analysis<|message|>' in m.content %}"
    "{{- raise_exception('Give the thinking field.') }}{%- endif %}"
    "{%- if loop.last and not add_generation_prompt %}{%- if 'thinking' in m %}"
    "{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{%- endif %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}{%- else %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{%- endif %}{%- else -%}"
    "{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant' }}{%- endif -%}"
)

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system_message = '<<SYS>>\\n' + messages[0]['content'] | trim + '\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate.') }}{% endif %}"
    "{% if loop.index0 == 0 %}{% set content = system_message + m['content'] %}{% else %}"
    "{% set content = m['content'] %}{% endif %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}{% else %}"
    "{{ ' ' + content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)


HERMES = (
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- if messages[0].role == 'system' %}"
    "{{- messages[0].content + '\\n\\n' }}{%- endif %}{{- '<tools>' }}"
    "{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}{{- '\\n</tools><|im_end|>\\n' }}"
    "{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}"
    "{%- endif %}{%- for m in messages %}{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- elif m.role == 'assistant' %}"
    "{{- '<|im_start|>assistant\\n' }}{%- generation %}{%- if m.content %}{{- m.content }}{%- endif %}"
    "{%- for call in m.tool_calls %}{%- if m.content or not loop.first %}{{- '\\n' }}{%- endif %}"
    '{{- \'<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>' }}"
    "{%- endgeneration %}{{- '\\n' }}{%- elif m.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

CALLS_AS_TEXT = (
    "{%- for tool in tools or [] %}{{- '<T>' + tool.function.name + ': ' + tool.function.description }}{%- endfor %}"
    "{%- set ns = namespace(waits=false) %}{%- for m in messages %}"
    "{%- if ns.waits and m.role != 'tool' %}{{- raise_exception('A call has no result.') }}{%- endif %}"
    "{%- set ns.waits = false %}{%- if m.role == 'assistant' and m.content is none %}"
    "{%- set ns.waits = true %}{%- for call in m.tool_calls %}"
    "{{- '<A>' + call['function']['name'] + ' ' + call['function']['arguments'] + '<C>' }}{%- endfor %}"
    "{%- elif m.role == 'assistant' %}{{- '<A>' + m.content + '<|im_end|>' }}"
    "{%- elif m.role == 'tool' %}{{- '<R>' + m.content }}{%- else %}{{- '<U>' + m.content }}{%- endif %}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<A>' }}{%- endif %}"
)


def chatml(directory: Path, *, seed: int = 0) -> Path:
    """A model without a trap."""
    return _byte_model(directory, TINY_CHAT_TEMPLATE, seed=seed)


def dated(directory: Path, *, seed: int = 0) -> Path:
    """A model whose template prints a date."""
    return _byte_model(directory, DATED, seed=seed)


def r1(directory: Path, *, seed: int = 0) -> Path:
    """A model that is asked behind an open ``<think>``, and whose own turns are shown without thoughts."""
    ordinary = ("<think>", "</think>", "<U>", "<A>")
    return _byte_model(directory, R1, seed=seed, ordinary=ordinary, bos="<|im_start|>", eos="<|endoftext|>")


def qwq(directory: Path, *, seed: int = 0) -> Path:
    """A model that is asked behind an open ``<think>``, and whose last turn is shown as it is."""
    return _byte_model(directory, QWQ, seed=seed, ordinary=("<think>", "</think>"))


def qwen3(directory: Path, *, seed: int = 0) -> Path:
    """A model that may think, or be told not to."""
    ordinary = ("<think>", "</think>", "<tool_response>", "</tool_response>")
    return _byte_model(directory, QWEN3, seed=seed, ordinary=ordinary)


def harmony(directory: Path, *, seed: int = 0) -> Path:
    """A model that speaks on channels."""
    markers = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")
    return _byte_model(directory, HARMONY, seed=seed, special=markers, bos=None, eos="<|return|>")


def hermes(directory: Path, *, seed: int = 0) -> Path:
    """A model that calls tools between tags."""
    ordinary = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
    return _byte_model(directory, HERMES, seed=seed, ordinary=ordinary)


def calls_as_text(directory: Path, *, seed: int = 0) -> Path:
    """A model whose calls end otherwise than its answers."""
    directory = _byte_model(directory, CALLS_AS_TEXT, seed=seed, special=("<A>", "<U>", "<R>", "<T>", "<C>"))
    settings = read_json(directory / "generation_config.json")
    ends = [settings["eos_token_id"], Tokenizer.from_file(str(directory / "tokenizer.json")).token_to_id("<C>")]
    write_json(directory / "generation_config.json", {**settings, "eos_token_id": ends})
    return directory


def base_eos(directory: Path, *, seed: int = 0) -> Path:
    """A base model with a ChatML template: its files name ``<|endoftext|>`` as the only end."""
    return _byte_model(directory, TINY_CHAT_TEMPLATE, seed=seed, bos=None, eos="<|endoftext|>", pad="<|endoftext|>")


def sentencepiece(directory: Path, *, seed: int = 0) -> Path:
    """A model whose tokenizer puts ``▁`` for spaces and before texts, with a byte for what it does not know."""
    directory.mkdir(parents=True, exist_ok=True)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    merges = [("▁", letter) for letter in "abcdefghijklmnopqrstuvwxyz"] + [("i", "n"), ("▁", "in"), ("e", "r")]
    names += ["".join(pair) for pair in merges]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=False))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _CONTEXT,
        "clean_up_tokenization_spaces": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "chat_template": LLAMA2,
    }
    write_json(directory / "tokenizer_config.json", config)
    _write_model(directory, len(names), {"bos_token_id": 1, "eos_token_id": 2}, seed=seed)
    return directory


def _byte_model(
    directory: Path,
    template: str,
    *,
    seed: int,
    special: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    bos: str | None = "<|im_start|>",
    eos: str = "<|im_end|>",
    pad: str = "<|pad|>",
) -> Path:
    """A model with the tiny tokenizer, more added tokens and another template.

    Args:
        directory: Made if missing.
        template: The chat template.
        seed: Of the weights.
        special: Added tokens that are special.
        ordinary: Added tokens that are not: they leave their names in decoded text.
        bos: Name of the first token; None: the tokenizer has none.
        eos: Name of the end token that tokenizer and generation_config state.
        pad: Name of the padding token.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_byte_tokenizer(directory, max_length=_CONTEXT)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in ordinary])
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=False))
    names: dict[str, Any] = {"eos_token": eos, "pad_token": pad} | ({} if bos is None else {"bos_token": bos})
    config = read_json(directory / "tokenizer_config.json")
    if bos is None:
        del config["bos_token"]
    write_json(directory / "tokenizer_config.json", {**config, **names, "chat_template": template})
    ids = {f"{role}_id": tokenizer.token_to_id(name) for role, name in names.items()}
    _write_model(directory, tokenizer.get_vocab_size(with_added_tokens=True), ids, seed=seed)
    return directory


def _write_model(directory: Path, vocab_size: int, ids: dict[str, int], *, seed: int) -> None:
    config = DecoderConfig.from_hf(
        {
            "model_type": "llama",
            "vocab_size": vocab_size,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": _CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            **ids,
        }
    )
    Decoder(config, seed=derive_seed("templates", seed)).save_weights(directory)
    write_json(directory / "generation_config.json", {**ids, "temperature": 0.6, "do_sample": True})


ALL: dict[str, Callable[..., Path]] = {
    "chatml": chatml,
    "dated": dated,
    "r1": r1,
    "qwq": qwq,
    "qwen3": qwen3,
    "harmony": harmony,
    "sentencepiece": sentencepiece,
    "base_eos": base_eos,
    "hermes": hermes,
    "calls_as_text": calls_as_text,
}
"""Every kind by its name."""
