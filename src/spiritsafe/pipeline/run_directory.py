"""The run directory: what was asked, what each stage took and gave, and whether it is done.

::

    runs/<name>-<hash12>/
      recipe.toml        as given
      resolved.json      canonical; its digest is the run's hash
      events.jsonl       metrics of all stages
      stages/NN-name/    inputs.json, platforms.json, the stage's files, done.json (written last)

A stage is skipped when ``done.json`` names the same inputs and its outputs still have the digests it names.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON, digest, short
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json, write_text
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.files.record_files import RecordT
from spiritsafe.core.process.platforms import PLATFORMS_FILE, Platform, Platforms, continue_in, read_platforms


@final
class StageDirectory:
    """One stage's folder, as one process sees it.

    Args:
        inputs: Everything the stage depends on (configuration, digests of earlier outputs, code version).
        own: Where this process writes, if another one writes the stage.

    Attributes:
        path: Where this process writes: the stage's folder, or its own.
        shared: The stage's folder.
    """

    def __init__(self, path: Path, inputs: dict[str, JSON], *, own: Path | None = None) -> None:
        self.path = own or path
        self.shared = path
        self.inputs = inputs

    @property
    def is_main(self) -> bool:
        """Whether this process writes the stage; another one only trains along."""
        return self.path == self.shared

    def beside(self, own: Path) -> StageDirectory:
        """The stage as a process sees it that trains along; what it writes for itself goes into a folder of its own."""
        return StageDirectory(self.shared, self.inputs, own=own)

    @property
    def name(self) -> str:
        """Of the stage, whatever its place in the run: seeds are made of it."""
        return self.shared.name.partition("-")[2]

    @property
    def _done(self) -> Path:
        return self.path / "done.json"

    def is_done(self) -> bool:
        """True when the stage finished with these inputs and its outputs are still the ones it wrote."""
        if not self._done.exists():
            return False
        try:
            done = read_json(self._done)
            outputs = dict(done["outputs"])
            return bool(done["inputs"] == digest(self.inputs)) and all(
                digest_file(self.path / name) == value for name, value in outputs.items()
            )
        except (SourceError, KeyError, TypeError, ValueError):
            return False

    def begin(self, platform: Platform | None = None) -> None:
        """Record the inputs. Files of an interrupted attempt stay: stages resume from them.

        Those that were being written when it was killed go: they would be taken for outputs.

        Args:
            platform: What works on the stage from now on.
        """
        ensure_directory(self.path)
        self._sweep()
        if (self.path / "inputs.json").exists() and read_json(self.path / "inputs.json") != self.inputs:
            self.clear()
        if platform is not None:
            is_begun = (self.path / "inputs.json").exists()
            continue_in(self.path, platform, what=f"The stage in {self.path}", is_begun=is_begun)
        write_json(self.path / "inputs.json", self.inputs)

    def _sweep(self) -> None:
        for path in [*self.path.rglob(".*.tmp"), *self.path.rglob(".*.partial")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an attempt with other inputs left: its files must not leak into this one."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()

    def finish(self, result: dict[str, JSON], *, scratch: tuple[str, ...] = ()) -> None:
        """Write ``done.json``: the stage's result, and the digest of each file it leaves.

        Args:
            result: What later stages need to know.
            scratch: Names of files or folders that are not outputs (resume state); they are left out.
        """
        outputs = {
            name: digest_file(path)
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
            and path.name != PLATFORMS_FILE  # who computed something is no part of it
            and (name := path.relative_to(self.path).as_posix()) not in ("inputs.json", "done.json")
            and name.split("/")[0] not in scratch
        }
        write_json(self._done, {"inputs": digest(self.inputs), "outputs": outputs, "result": result})

    def is_seen(self) -> bool:
        """Whether this process sees that the stage finished."""
        return self._done.exists()

    def result(self) -> dict[str, JSON]:
        """What :meth:`finish` recorded.

        Raises:
            SourceError: The stage is not done.
        """
        return dict(read_json(self._done)["result"])

    def read(self, name: str, kind: type[RecordT]) -> RecordT:
        """A record that the stage wrote.

        Raises:
            SourceError: It is not there.
            IntegrityError: It is damaged, or another version of this package wrote it.
        """
        path = self.path / name
        try:
            return kind.from_json(read_json(path))
        except IntegrityError as error:
            raise IntegrityError(
                f"{path} was written by another version, or is damaged: {error.message}",
                hint="Delete the stage's folder and run the recipe again.",
            ) from error

    def platforms(self) -> Platforms:
        """What worked on the stage, in order; of an earlier version's stage it is not known."""
        return read_platforms(self.path) or (None,)

    def earlier(self) -> Platforms:
        """What worked on it with these inputs, before it begins again; nothing where it would begin afresh."""
        inputs = self.path / "inputs.json"
        return self.platforms() if inputs.exists() and read_json(inputs) == self.inputs else ()

    def output_digest(self) -> str:
        """One digest over all outputs and the result, for the next stage's inputs."""
        done = read_json(self._done)
        return digest({"outputs": done["outputs"], "result": done["result"]})


@final
class RunDirectory:
    """One run's folder, named by its recipe's hash.

    Args:
        path: Where it is, if it was renamed.
    """

    def __init__(self, root: Path, name: str, resolved: dict[str, JSON], *, path: Path | None = None) -> None:
        self.hash = digest(resolved)
        self.path = path or root / f"{name}-{short(self.hash)}"
        self._resolved = resolved

    def create(self, recipe_text: str) -> None:
        """Make the folder and write what was asked.

        Raises:
            StorageError: The folder cannot be written.
        """
        ensure_directory(self.path / "stages")
        write_text(self.path / "recipe.toml", recipe_text)
        write_json(self.path / "resolved.json", self._resolved)

    def existing(self) -> dict[int, StageDirectory]:
        """Stages that were begun here, by number, each with the inputs that it had.

        Raises:
            SourceError: A file of one is damaged.
        """
        paths = ((path, path / "inputs.json") for path in sorted((self.path / "stages").iterdir()))
        return {
            int(path.name.partition("-")[0]): StageDirectory(path, read_json(inputs))
            for path, inputs in paths
            if inputs.is_file()
        }

    @property
    def events(self) -> Path:
        """The run's event log."""
        return self.path / "events.jsonl"

    def stage(self, number: int, name: str, inputs: dict[str, JSON]) -> StageDirectory:
        """The folder of stage ``number``."""
        return StageDirectory(self.path / "stages" / f"{number:02d}-{name}", inputs)
