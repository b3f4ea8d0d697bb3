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
from spiritsafe.core.process.limits import usable_cores

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
    """All of it; a version is None where something is missing, ``gpus`` where torch is."""
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
    }


@click.command(name="doctor", cls=GuardedCommand)
@json_option
def command(as_json: bool) -> None:
    """Show what this machine offers and what is missing."""
    found = _machine()
    if as_json:
        print_json([found])
        return
    click.echo(f"spiritsafe {found['spiritsafe']}, Python {found['python']}, {found['system']} {found['machine']}")
    click.echo(f"{found['cores']} cores, {found['free_bytes'] / 1e9:.1f} GB free here")
    for extra, versions in found["extras"].items():
        missing = [name for name, version in versions.items() if version is None]
        if missing:
            click.echo(f"extra {extra!r}: missing {', '.join(missing)}; install with pip install 'spiritsafe[{extra}]'")
        else:
            click.echo(f"extra {extra!r}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if found["gpus"] is not None:
        click.echo(f"GPUs: {', '.join(found['gpus']) or 'none; models run on the CPU'}")
