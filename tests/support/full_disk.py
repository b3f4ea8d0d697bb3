"""A disk that is full after 4096 bytes."""

import subprocess
import sys
import textwrap
from pathlib import Path


def limited(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code where no file may pass 4096 bytes: what a full disk looks like to a writer."""
    head = """
        import resource
        from pathlib import Path
        from spiritsafe.core.errors import StorageError
        from spiritsafe.core.files.json_lines import append_line
        from spiritsafe.core.files.atomic import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        path = Path("file")
    """
    program = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
