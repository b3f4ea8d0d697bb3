"""The machine that a bench ran on, as its results name it."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe_machine"]


def describe_machine(*libraries: str, device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Date, processor, load, versions, commit and command.

    Args:
        libraries: Distributions whose versions matter beside torch.
        device: "cpu" or "cuda".
        threads: Of the computation; None: torch's own number.
    """
    import torch  # here, so that a bench may set the environment that torch reads first

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads() if threads is None else threads,
        "load_average": os.getloadavg(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        **{name: version(name) for name in libraries},
        "commit": commit.stdout.strip(),
        # a path of this machine says nothing to others: its last part does
        "command": " ".join(["python", *(Path(a).name if Path(a).is_absolute() else a for a in sys.argv)]),
    }
