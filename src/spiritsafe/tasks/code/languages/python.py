"""Python: a function with type annotations.

In: a module's source. Out: results of exactly the type that is declared: ``True`` is no int, a tuple is no list, and
what is derived from ``int`` or ``list`` is neither. All inputs are tried in one process, each with its own arguments.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from spiritsafe.tasks.code.languages.language import Language
from spiritsafe.tasks.code.languages.signature import PYTHON_TYPES, CodeSignature, CodeValue
from spiritsafe.tasks.code.languages.trial import Trial
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep

_DRIVER = Path(__file__).with_name("python_driver.py").read_text("utf-8")


def _skeleton(signature: CodeSignature) -> str:
    parameters = ", ".join(f"{name}: {PYTHON_TYPES[kind]}" for name, kind in signature.parameters)
    return f"def {signature.name}({parameters}) -> {PYTHON_TYPES[signature.result]}:\n    ...\n"


def _trial(source: str, signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]], limits: Limits) -> Trial:
    mark = secrets.token_hex(16)
    given = {"mark": mark, "name": signature.name, "result": signature.result, "inputs": [list(one) for one in inputs]}
    run = Run(
        files={"driver.py": _DRIVER, "solution.py": source.encode("utf-8", "replace")},
        steps=(RunStep(python="driver.py", stdin=json.dumps(given) + "\n"),),
        limits=limits,
    )
    return Trial(run=run, mark=mark, result=signature.result, num_inputs=len(inputs))


LANGUAGE = Language(
    name="python",
    title="Python",
    fences=("python", "py", "python3"),
    skeleton=_skeleton,
    trial=_trial,
    why_not=lambda: None,
)
