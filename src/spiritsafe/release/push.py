"""A release goes to a model repository of the Hugging Face hub, in one commit, and what arrived is looked at.

In: a release's directory that verifies, ``organisation/name``. Out: the commit. The hub's own client does the work
(package ``huggingface-hub``, of the ``train`` extra); endpoint and token are its environment's, ``HF_ENDPOINT`` and
``HF_TOKEN``, or given.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from spiritsafe.core.errors import EndpointError, IntegrityError, RecipeError, SpiritsafeError
from spiritsafe.core.files.hub import hub_client
from spiritsafe.core.files.record_files import read_record
from spiritsafe.core.text.safe_text import one_line
from spiritsafe.release.contents import RELEASE_FILE, SIGNATURE_FILE, Release
from spiritsafe.release.directory import OF_DOWNLOADS, list_directory
from spiritsafe.release.duties.names import begins_as_asked
from spiritsafe.release.signing import read_signature_file
from spiritsafe.release.verification.verify import require_release, verify_release

_REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}")
_CHUNK_BYTES = 1 << 20
_SILENCE_S = 120.0
"""Without a byte from the hub for so long, it is given up; its client would wait for ever."""
_AGAIN = "Run the same command again: what was uploaded is not sent twice."
_STATUS = {
    401: ("does not accept the token, or there is none", "Set HF_TOKEN to a token of yours that may write."),
    403: ("does not let this token write", "Give the token the right to write to it, or ask its organisation."),
    404: ("is not known to the hub", "Check the organisation's name, and that the token's account belongs to it."),
    409: ("was changed by somebody else meanwhile", f"Look at what changed. {_AGAIN}"),
    412: ("was changed by somebody else meanwhile", f"Look at what changed. {_AGAIN}"),
    413: ("takes no files of this size", "Release smaller files, or ask the hub for more room."),
    429: ("asks to wait: too many requests", f"Wait some minutes. {_AGAIN}"),
}


@final
@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push does.

    Attributes:
        repository: ``organisation/name``.
        files: Size in bytes of each file, by its path.
        stale: Files of an earlier release there, which this one does not have; the repository's history keeps them.
        parent: The commit that it builds on; None in a new repository.
    """

    repository: str
    files: Mapping[str, int]
    stale: tuple[str, ...]
    parent: str | None


def plan_push(
    directory: Path,
    repository: str,
    *,
    public_key: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> PushPlan:
    """What would be pushed; nothing is written.

    Args:
        directory: A release.
        public_key: The maker's key, as for :func:`verify_release`.
        endpoint: The hub's address; None: HF_ENDPOINT, or the hub.
        token: None: HF_TOKEN, or the one that the client keeps.

    Raises:
        IntegrityError: The release does not verify.
        RecipeError: The repository's name is none, is not the one in the release, or breaks a duty; or it holds files
            that are not of a release.
        SourceError: The client is not installed.
        EndpointError: The hub cannot be reached, or refuses.
    """
    release = _checked(directory, repository, public_key)
    files = {path: place.stat().st_size for path, place in list_directory(directory).files.items()}
    api = _api(endpoint, token)
    there, parent = _there(api, repository)
    stale = sorted(set(there) - set(files) - set(OF_DOWNLOADS))
    if stale and RELEASE_FILE not in there:
        raise RecipeError(
            f"{repository} holds {len(stale)} files that are not of a release: {', '.join(stale[:5])}.",
            hint="Nothing was written. Push to a new repository: beside other files no release verifies.",
        )
    return PushPlan(repository=release.repository or repository, files=files, stale=tuple(stale), parent=parent)


def _checked(directory: Path, repository: str, public_key: Path | None) -> Release:
    if not _REPOSITORY.fullmatch(repository):
        raise RecipeError(
            f"{one_line(repository)!r} is no repository of the hub.", hint="Write it as organisation/name."
        )
    require_release(verify_release(directory, public_key=public_key))
    release = read_record(directory / RELEASE_FILE, Release)
    if release.repository not in (None, repository):
        raise RecipeError(
            f"This release says that it is published as {release.repository}, not {repository}.",
            hint=f"Push it there, or write the release again with {repository}: its card's commands name it.",
        )
    name = repository.partition("/")[2]
    for duty in release.duties:
        if duty.kind == "name_prefix" and not begins_as_asked(name, duty.text):
            raise RecipeError(
                f"The name {name} does not begin with {duty.text!r}, as a licence asks ({one_line(duty.source)}).",
                hint=f"Choose a repository's name that does, such as {duty.text.replace(' ', '-')}-{name}.",
            )
    return release


def push_release(
    directory: Path,
    repository: str,
    *,
    public_key: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    private: bool = False,
) -> str:
    """Push a release and check what arrived.

    Args:
        private: Of a repository that is made: only its organisation sees it.

    Returns:
        The address of the commit.

    Raises:
        IntegrityError: The release does not verify, or other bytes arrived.
        RecipeError: As for :func:`plan_push`.
        SourceError: The client is not installed.
        EndpointError: The hub cannot be reached, or refuses.
    """
    plan = plan_push(directory, repository, public_key=public_key, endpoint=endpoint, token=token)
    client, api = hub_client("Pushing"), _api(endpoint, token)
    operations = [
        *(client.CommitOperationAdd(path, str(directory / path)) for path in plan.files),
        *(client.CommitOperationDelete(path) for path in plan.stale),
    ]
    with _hub_errors(repository):
        if plan.parent is None:
            api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        done = api.create_commit(
            repository,
            operations,
            commit_message=f"Release {read_signature_file(directory / SIGNATURE_FILE).name}",
            parent_commit=plan.parent,
        )
        arrived = {one.path: one for one in _files(api, repository, done.oid)}
    wrong = [path for path in plan.files if path not in arrived or not _is_same(directory / path, arrived[path])]
    wrong += sorted(set(arrived) - set(plan.files) - set(OF_DOWNLOADS))
    if wrong:
        raise IntegrityError(
            f"{repository} does not hold what was pushed: {', '.join(wrong[:10])}.",
            hint="Look at the repository; do not announce it. Push again, or to a new repository.",
        )
    return str(done.commit_url)


def _api(endpoint: str | None, token: str | None) -> Any:
    return hub_client("Pushing").HfApi(endpoint=endpoint, token=token, library_name="spiritsafe")


def _files(api: Any, repository: str, revision: str | None) -> list[Any]:
    return [one for one in api.list_repo_tree(repository, recursive=True, revision=revision) if hasattr(one, "blob_id")]


def _there(api: Any, repository: str) -> tuple[list[str], str | None]:
    """Which files a repository holds, and its newest commit; nothing and None where there is none."""
    errors: Any = importlib.import_module("huggingface_hub.errors")
    with _hub_errors(repository):
        try:
            info = api.model_info(repository)
            return [one.path for one in _files(api, repository, info.sha)], info.sha
        except errors.RepositoryNotFoundError as error:
            if getattr(error.response, "status_code", None) == 401 and api.token is None:
                raise  # who says no name is told neither that there is none
            return [], None


def _is_same(path: Path, arrived: Any) -> bool:
    """Whether a file is the one in the listing: by its SHA-256, or by git's id of what git itself holds."""
    size = path.stat().st_size
    hasher = hashlib.sha256() if arrived.lfs is not None else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return bool(hasher.hexdigest() == (arrived.lfs.sha256 if arrived.lfs is not None else arrived.blob_id))


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Whatever the client raises, as errors that say what to do.

    Raises:
        EndpointError: Which of them it was.
    """
    errors: Any = importlib.import_module("huggingface_hub.errors")
    of_http = next(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    session: Any = hub_client("Pushing").get_session()
    patience, session.timeout = session.timeout, _SILENCE_S
    try:
        yield
    except SpiritsafeError:
        raise
    except (OSError, ValueError, RuntimeError, of_http) as error:
        status, said = _status(error), _said(error)
        words, hint = _STATUS.get(status or 0, (f"cannot be written: {said}", f"Check the network. {_AGAIN}"))
        raise EndpointError(f"{repository} {words}.", hint=hint) from error
    finally:
        session.timeout = patience


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that stands behind an error; uploads wrap theirs."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def _said(error: BaseException) -> str:
    found = str(error)
    if error.__cause__ is not None and not found:
        found = str(error.__cause__)
    return (one_line(" ".join(found.split()))[:200] or type(error).__name__).rstrip(".")
