"""``spiritsafe doctor``: Show what this machine offers and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
from pathlib import Path
from typing import Any

import click

from spiritsafe import __version__
from spiritsafe.cli.paths import GuardedCommand
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.limits import usable_cores
from spiritsafe.tasks import (
    SANDBOX_LAYERS,
    AttackResult,
    Sandbox,
    attack_table,
    languages,
    strongest_layer,
    why_no_layer,
)

_EXTRAS = {
    "train": ("torch", "transformers", "safetensors", "tokenizers", "gguf"),
    "gguf": ("llama-cpp-py-sync",),
    "quant": ("bitsandbytes", "accelerate"),
    "adapters": ("peft",),
    "gym": ("reasoning-gym",),
}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    """All of it; a version is None where something is missing, and so is ``gpus`` where torch is."""
    gpus = None
    if importlib.util.find_spec("torch") is not None:
        torch = importlib.import_module("torch")
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "spiritsafe": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        "free_bytes": shutil.disk_usage(Path.cwd()).free,
        "extras": {extra: {name: _version(name) for name in names} for extra, names in _EXTRAS.items()},
        "gpus": gpus,
        "languages": {name: language.why_not() for name, language in languages().items()},
    }


def _sandbox(*, is_attacked: bool, announce: bool) -> dict[str, Any]:
    """Which layers there are, each with the reason why not; and what the strongest of them denied."""
    reasons = {name: why_no_layer(name) for name in SANDBOX_LAYERS}
    try:
        name = strongest_layer()
    except TaskError as error:
        return {"layer": None, "layers": reasons, "attacks": None, "hint": error.hint}
    if not is_attacked:
        return {"layer": name, "layers": reasons, "attacks": None, "hint": None}
    if announce:
        click.echo("The sandbox is attacked; this takes some ten seconds.", err=True)
    with Sandbox(num_boxes=1, layer=name) as sandbox:
        attacks = attack_table(sandbox)
    return {"layer": name, "layers": reasons, "attacks": attacks, "hint": None}


def _print_sandbox(found: dict[str, Any]) -> None:
    for name, reason in found["layers"].items():
        click.echo(f"sandbox {name!r}: {reason or ('used' if name == found['layer'] else 'can be had')}")
    if found["layer"] is None:
        click.echo(f"No foreign code is run here. {found['hint']}")
        return
    attacks: list[AttackResult] = found["attacks"] or []
    for attack in attacks:
        click.echo(f"  {'denied ' if attack.denied else 'NOT DENIED'} {attack.tries}: {attack.how}")
    if attacks:
        click.echo(f"{sum(attack.denied for attack in attacks)} of {len(attacks)} attacks were denied")


@click.command(name="doctor", cls=GuardedCommand)
@click.option("--no-attacks", "is_spared", is_flag=True, help="Do not attack the sandbox, which takes ten seconds.")
@json_option
def command(is_spared: bool, as_json: bool) -> None:
    """Show what this machine offers and what is missing.

    Exit code 1: an attack on the sandbox was not denied.
    """
    found = _machine()
    found["sandbox"] = _sandbox(is_attacked=not is_spared, announce=not as_json)
    if as_json:
        print_json([found])
    else:
        _print_machine(found)
        _print_sandbox(found["sandbox"])
    if not all(attack.denied for attack in found["sandbox"]["attacks"] or ()):
        raise click.exceptions.Exit(1)


def _print_machine(found: dict[str, Any]) -> None:
    click.echo(f"spiritsafe {found['spiritsafe']}, Python {found['python']}, {found['system']} {found['machine']}")
    click.echo(f"{found['cores']} cores, {found['free_bytes'] / 1e9:.1f} GB free here")
    for extra, versions in found["extras"].items():
        missing = [name for name, version in versions.items() if version is None]
        if missing:
            click.echo(f"extra {extra!r}: missing {', '.join(missing)}; install with pip install 'spiritsafe[{extra}]'")
        else:
            click.echo(f"extra {extra!r}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    for name, reason in found["languages"].items():
        click.echo(f"code in {name!r}: {reason or 'can be run'}")
    if found["gpus"] is not None:
        click.echo(f"GPUs: {', '.join(found['gpus']) or 'none; models run on the CPU'}")
