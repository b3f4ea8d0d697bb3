"""Options that several of the exam's commands have, and what a maker promises as it is written there.

::

    --claim "score >= 0.6"                            --budget tokens=200000,seconds=3600
    --claim "better than base.certificate.json by 5"  --budget cost=2.5,prices=0.5/1.5,currency=EUR
    --claim "no worse than sha256:… by 2"             --stop looks | looks:10 | frequent | betting | betting:40

Margins are points (hundredths).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from spiritsafe import exam, stats
from spiritsafe.cli.paths import EXISTING, KEY, LEDGER
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam import records
from spiritsafe.ledger import PublicKey

_Command = TypeVar("_Command", bound=Callable[..., Any])

ledger_option = click.option("--ledger", type=EXISTING, required=True, help="The ledger file (JSON lines).")
own_ledger_option = click.option("--ledger", type=LEDGER, required=True, help="The ledger file (JSON lines).")
paper_option = click.option("--paper", type=EXISTING, required=True, help="paper.json, or its folder.")
registration_option = click.option(
    "--registration", type=EXISTING, required=True, help="The file that `register` wrote."
)
reason_option = click.option("--reason", required=True, help="Why, for the record.")
problem_option = click.option(
    "--problem", type=click.IntRange(min=0), required=True, help="The problem's place in the bank."
)
try_option = click.option(
    "--try", "sample", type=click.IntRange(min=0), default=0, show_default=True, help="Which answer to it."
)
host_key_option = click.option("--host-key", type=KEY, help="The host's key file, when host and examiner differ.")


def key_option(words: str = "The examiner's key file.") -> Callable[[_Command], _Command]:
    """``--key``; the words say whose."""
    return click.option("--key", type=KEY, required=True, help=words)


_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_SCORE = re.compile(rf"score\s*>=\s*{_NUMBER}\s*(%?)")
_PAIRED = re.compile(rf"(better than|no worse than)\s+(\S+)(?:\s+by\s+{_NUMBER})?")
_BUDGET_KEYS = ("tokens", "seconds", "cost", "prices", "currency")


def _refuse(what: str, example: str) -> RecipeError:
    return RecipeError(f"{what}.", hint=f"Write it like {example}.")


def reference_digest(text: str) -> str:
    """The digest of a reference: itself, or that of the certificate or registration in a file.

    Raises:
        RecipeError: It is neither.
        IntegrityError: The file is neither a certificate nor a registration.
        ProcedureError: It is the certificate of a model that was not reached.
    """
    if text.startswith("sha256:"):
        return text
    path = Path(text)
    if not path.exists():
        raise _refuse(
            f"The reference {text} is neither a digest nor a file", '"better than base.certificate.json by 5"'
        )
    value: Any = read_json(path)
    if isinstance(value, dict) and "maker" in value:
        return records.Registration.from_json(value).content_digest
    certificate = records.Certificate.from_json(value)
    exam.check_reached(certificate)
    return certificate.content_digest


def parse_claim(text: str, *, level: float) -> records.Claim:
    """A claim from its words.

    Raises:
        RecipeError: It reads as none.
    """
    fields: dict[str, Any] = {"level": level}
    if score := _SCORE.fullmatch(text.strip()):
        fields |= {"kind": "score at least", "score": float(score[1]) / (100 if score[2] else 1)}
    elif paired := _PAIRED.fullmatch(text.strip()):
        margin = float(paired[3] or 0.0) / 100
        fields |= {"kind": paired[1], "reference": reference_digest(paired[2]), "margin": margin}
    else:
        raise _refuse(
            f'"{text}" reads as no claim', '"score >= 0.6", "better than FILE by 5" or "no worse than FILE by 2"'
        )
    try:
        return records.Claim(**fields)
    except ValidationError as error:
        raise _refuse(f'"{text}" claims nothing: {error.errors()[0]["msg"]}', '"score >= 0.6"') from error


def parse_budget(text: str) -> records.Budget:
    """A budget from ``key=value`` pairs.

    Raises:
        RecipeError: A key is unknown or a value does not fit.
    """
    example = "tokens=200000,seconds=3600 or cost=2.5,prices=0.5/1.5,currency=EUR"
    given = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    if unknown := given.keys() - set(_BUDGET_KEYS):
        raise _refuse(f'A budget has no "{min(unknown)}"', example)
    if len(given) != text.count(",") + 1:
        raise _refuse(f'"{text}" is no list of key=value', example)
    prompt, _, completion = given.get("prices", "").partition("/")
    fields: dict[str, Any] = {
        "max_tokens": given.get("tokens"),
        "max_seconds": given.get("seconds"),
        "max_cost": given.get("cost"),
        "prompt_price": prompt or None,
        "completion_price": completion or prompt or None,
        "currency": given.get("currency", ""),
    }
    try:
        return records.Budget(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        raise _refuse(f"This budget does not work: {where}{first['msg']}", example) from error


def parse_stop(text: str, header: records.PaperHeader, *, level: float) -> stats.StopRule | stats.BettingRule | None:
    """A stop rule for a paper; None for "fixed".

    Raises:
        RecipeError: It reads as none, or has more looks than the paper has sealed problems.
    """
    kind, _, count = text.partition(":")
    example = "fixed, looks, looks:10, frequent, betting or betting:40"
    if (count and not re.fullmatch("[0-9]{1,9}", count)) or (count and kind not in ("looks", "betting")):
        raise _refuse(f'"{text}" is no stop rule', example)
    size = header.num_sealed
    try:
        if kind == "fixed":
            return None
        if kind == "looks":
            return stats.StopRule(num_problems=size, num_looks=int(count or min(5, size)), alpha=level)
        if kind == "frequent":
            return stats.frequent_looks(size, alpha=level)
        if kind == "betting":
            return stats.BettingRule(num_problems=size, num_looks=int(count or min(20, size)), alpha=level)
    except ValidationError as error:
        raise _refuse(f'"{text}" does not fit this paper: {error.errors()[0]["msg"]}', example) from error
    raise _refuse(f'"{text}" is no stop rule', example)


def read_public_key(path: Path) -> PublicKey:
    """A public key file, as ``spiritsafe exam key`` writes it.

    Raises:
        IntegrityError: It is none.
    """
    return PublicKey.from_json(read_json(path))
