"""``spiritsafe doctor``: Show what this machine offers and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
from pathlib import Path

import click

from spiritsafe import __version__
from spiritsafe.core.process.limits import usable_cores

_EXTRAS = {"train": ("torch", "transformers", "safetensors", "tokenizers", "gguf"), "gym": ("reasoning-gym",)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@click.command(name="doctor")
def command() -> None:
    """Show what this machine offers and what is missing."""
    click.echo(
        f"spiritsafe {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    free = shutil.disk_usage(Path.cwd()).free
    click.echo(f"{usable_cores()} cores, {free / 1e9:.1f} GB free here")
    for extra, names in _EXTRAS.items():
        found = {name: _version(name) for name in names}
        missing = [name for name, version in found.items() if version is None]
        if missing:
            click.echo(f"extra {extra!r}: missing {', '.join(missing)}; install with pip install 'spiritsafe[{extra}]'")
        else:
            click.echo(f"extra {extra!r}: " + ", ".join(f"{name} {version}" for name, version in found.items()))
    if importlib.util.find_spec("torch") is not None:
        torch = importlib.import_module("torch")
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        click.echo(f"GPUs: {', '.join(gpus) if gpus else 'none; models run on the CPU'}")
