"""``spiritsafe release key|verify|push``: the key that signs releases, what a stranger checks, the way to the hub."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import release
from spiritsafe.cli.paths import EXISTING, FOLDER, NEW_KEY, GuardedCommand, Kind, OutputFile
from spiritsafe.cli.tables import json_option, print_json, step_line, step_records
from spiritsafe.cli.terminal import print_note, print_result
from spiritsafe.core.files.atomic import write_bytes
from spiritsafe.core.text.safe_text import one_line

_PUBLIC_PEM = OutputFile(
    Kind("a public key that releases are verified with", lambda data: bool(release.VerifyingKey.parse(data, "it")))
)
_public_key_option = click.option(
    "--key", "public_key", type=EXISTING, help="The maker's public key, from elsewhere than the release."
)


@click.command(cls=GuardedCommand, name="key")
@click.argument("file", type=NEW_KEY)
@click.option("--out", type=_PUBLIC_PEM, help="File for the public part, to give to others.")
def release_key(file: Path, out: Path | None) -> None:
    """Show the fingerprint of the signing key in FILE; a new key is made there if there is none."""
    public = release.SigningKey.load_or_create(file).public
    if out is not None:
        write_bytes(out, public.pem)
    print_result(f"sha256:{public.fingerprint}")


@click.command(cls=GuardedCommand, name="verify")
@click.argument("directory", metavar="DIR", type=FOLDER)
@_public_key_option
@json_option
def release_verify(directory: Path, public_key: Path | None, as_json: bool) -> None:
    """Check the release in DIR offline, step by step: signature, every byte, certificates, card, duties."""
    steps = release.verify_release(directory, public_key=public_key)
    for step in steps:
        print_note(step_line(step))
    if as_json:
        print_json([{"steps": step_records(steps)}])
    release.require_release(steps)


@click.command(cls=GuardedCommand, name="push")
@click.argument("directory", metavar="DIR", type=FOLDER)
@click.option("--to", "repository", required=True, metavar="ORG/NAME", help="A model repository of the hub.")
@_public_key_option
@click.option("--private", is_flag=True, help="A repository that is made is seen by its organisation only.")
@click.option("--dry-run", is_flag=True, help="Say what would be pushed, and write nothing.")
@json_option
def release_push(
    directory: Path, repository: str, public_key: Path | None, private: bool, dry_run: bool, as_json: bool
) -> None:
    """Push the release in DIR to the Hugging Face hub in one commit (HF_TOKEN, HF_ENDPOINT), once it verifies."""
    if dry_run:
        plan = release.plan_push(directory, repository, public_key=public_key)
        where = f"on commit {plan.parent}" if plan.parent else "a new repository"
        print_note(f"{plan.repository}: {len(plan.files)} files, {sum(plan.files.values()):,} bytes; {where}")
        for path, num_bytes in plan.files.items():
            print_note(f"  {path} ({num_bytes:,})")
        for path in plan.stale:
            print_note(f"  {one_line(path)} (deleted: of the release before)")
        if as_json:
            print_json([plan])
        return
    address = release.push_release(directory, repository, public_key=public_key, private=private)
    if as_json:
        print_json([{"commit": address}])
        return
    print_result(address)
