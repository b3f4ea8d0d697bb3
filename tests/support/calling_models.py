"""Small whole models whose templates spell calls of tools in the ways of well-known families.

===================  ================================================================================================
``llama3``           one call in a turn, as bare JSON with "parameters", without text beside it
``mistral``          ``[TOOL_CALLS]``, a special token, and a list of JSON objects with ids of nine characters
``deepseek``         several special tokens around each call, the arguments in a block of code
``thinking``         Hermes' tags behind a thought; ``<think>`` is an added token
``xml``              arguments as ``<parameter=a>1</parameter>``, which is no JSON (Qwen3-Coder)
===================  ================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import templates_parts

_BEGIN = "{%- for m in messages %}{%- if m.role == 'assistant' %}{{- '<A>' }}"
_END = (
    "{{- '<|im_end|>' }}{%- elif m.role == 'tool' %}{{- '<R>' + m.content }}{%- else %}"
    "{{- '<U>' + m.content }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<A>' }}{%- endif %}"
)
_TOOLS = "{%- if tools %}{{- '<T>' + (tools | tojson) }}{%- endif %}"

LLAMA3 = (
    _TOOLS
    + _BEGIN
    + "{%- if m.tool_calls %}{%- if m.tool_calls | length != 1 %}{{- raise_exception('Only one call!') }}{%- endif %}"
    "{%- set f = m.tool_calls[0].function %}"
    "{{- '{\"name\": \"' + f.name + '\", \"parameters\": ' + (f.arguments | tojson) + '}' }}"
    "{%- else %}{{- m.content }}{%- endif %}" + _END
)
MISTRAL = (
    _TOOLS + _BEGIN + "{{- m.content or '' }}{%- if m.tool_calls %}{{- '[TOOL_CALLS] [' }}{%- for c in m.tool_calls %}"
    "{%- if c.id | length != 9 %}{{- raise_exception('Ids have nine characters!') }}{%- endif %}"
    '{{- \'{"name": "\' + c.function.name + \'", "arguments": \' + (c.function.arguments | tojson) }}'
    "{{- ', \"id\": \"' + c.id + '\"}' }}{%- if not loop.last %}{{- ', ' }}{%- endif %}{%- endfor %}{{- ']' }}"
    "{%- endif %}" + _END
)
DEEPSEEK = (
    _TOOLS + _BEGIN + "{{- m.content or '' }}{%- if m.tool_calls %}{{- '<calls>' }}{%- for c in m.tool_calls %}"
    "{{- ('' if loop.first else '\\n') + '<call>function<sep>' + c.function.name + '\\n```json\\n' }}"
    "{{- (c.function.arguments | tojson) + '\\n```</call>' }}{%- endfor %}{{- '</calls>' }}{%- endif %}" + _END
)
THINKING = templates_parts.HERMES.replace(
    "{%- if m.content %}{{- m.content }}{%- endif %}",
    "{%- if m.content %}{{- m.content }}{%- endif %}{#- <think> </think> -#}",
)
XML = (
    _TOOLS + _BEGIN + "{{- m.content or '' }}{%- for c in m.tool_calls or [] %}{{- '<call>' + c.function.name }}"
    "{%- for key, value in c.function.arguments.items() %}{{- '<parameter=' + key + '>' + value }}{%- endfor %}"
    "{%- endfor %}" + _END
)
_ROLES = ("<A>", "<U>", "<R>", "<T>")


def _model(template: str, special: tuple[str, ...] = (), ordinary: tuple[str, ...] = ()) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        return templates_parts._byte_model(
            directory, template, seed=0, special=(*_ROLES, *special), ordinary=ordinary, bos=None
        )

    return write


CALLING: dict[str, Callable[[Path], Path]] = {
    "llama3": _model(LLAMA3),
    "mistral": _model(MISTRAL, special=("[TOOL_CALLS]",)),
    "deepseek": _model(DEEPSEEK, special=("<calls>", "</calls>", "<call>", "</call>", "<sep>")),
    "thinking": _model(THINKING, ordinary=("<think>", "</think>", "<tool_call>", "</tool_call>")),
    "xml": _model(XML),
    "chatml": templates_parts.chatml,
    "hermes": templates_parts.hermes,
    "sentencepiece": templates_parts.sentencepiece,
    "harmony": templates_parts.harmony,
    "calls_as_text": templates_parts.calls_as_text,
}
"""Every kind by its name, and some of :mod:`templates_parts`."""
