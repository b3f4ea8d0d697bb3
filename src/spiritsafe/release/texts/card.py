"""The card, ``README.md``: what these files are, how they scored, how to check and to run them, what licences ask.

In: a release, its certificates and the fingerprint of the signing key. Out: Markdown, plain and short. Everything that
others named stands in it as text.
"""

from __future__ import annotations

from collections.abc import Iterator

from spiritsafe.core.canonical import short
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.exam import full_labels
from spiritsafe.release.contents import KEY_FILE, RELEASE_FILE, SIGNATURE_FILE, Release, ReleasedExam
from spiritsafe.release.duties.words import NOT_LEGAL_ADVICE
from spiritsafe.release.texts.container import COMPOSE_FILE
from spiritsafe.release.texts.hub_metadata import front_matter
from spiritsafe.release.texts.ladder import DOMINATED, CertificatesByPath, ladder_lines
from spiritsafe.release.texts.markdown import code_span, plain_text, table_lines
from spiritsafe.release.texts.modelfile import modelfile_path


def _files(release: Release, certificates: CertificatesByPath) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield from ladder_lines(release, certificates)
    yield ""
    scored = [certificates[one.path] for file in release.files for one in file.certificates]
    if scored:
        level = scored[0].result.sealed.accuracy.confidence
        yield (
            f"Scores are shares of right answers on the sealed half of a paper, with {level:.0%} intervals; "
            "the very bytes of each file sat the exam, and its certificate names their digest."
        )
    if any(file.divergences for file in release.files):
        yield "KL is KL(original ‖ file) a token in nats, with its interval."
    machines = sorted({file.measured_on for file in release.files if file.measured_on})
    if machines:
        yield f"Memory and speed were measured on {plain_text('; '.join(machines), limit=200)}."
    if any(file.is_dominated for file in release.files):
        yield DOMINATED


def _exam(release: Release, exam: ReleasedExam, certificates: CertificatesByPath) -> Iterator[str]:
    own = [one.path for file in release.files for one in file.certificates if one.exam == exam.name]
    held = {path: certificates[path] for path in (*own, *exam.others)}
    yield f"### {plain_text(exam.name, limit=80)}"
    yield ""
    header = next((one.paper for one in held.values()), None)
    if header is not None:
        yield (
            f"{plain_text(exam.task, limit=200)}: {header.num_problems} problems nobody could study for; a lot made "
            f"{header.num_public} public and sealed {header.num_sealed}. Paper {code_span(short(header.paper_id))}, "
            f"examiner {plain_text(header.examiner.label)}."
        )
        yield ""
    for path, certificate in held.items():
        result = certificate.result
        said = full_labels((result.gap_statement, result.studied_statement), certificate)
        words = " ".join(plain_text(one) for one in said if one)
        yield f"- **{plain_text(result.model_name, limit=80)}** ({code_span(path)}, {certificate.separation}): {words}"
    for path in (*exam.overlaps, *exam.memories):
        yield f"- Evidence on training files and memory: {code_span(path)}"


def _exams(release: Release, certificates: CertificatesByPath) -> Iterator[str]:
    yield "## Exams, and signs of studying for them"
    for exam in release.exams:
        yield ""
        yield from _exam(release, exam, certificates)


def _run_commands(release: Release) -> Iterator[str]:
    """The commands that load a file, one block a program."""
    folders = [file.path for file in release.files if file.parts]
    ggufs = [file.path for file in release.files if not file.parts]
    if folders:
        yield from ("**transformers**", "", "```python", "from transformers import pipeline", "")
        yield f'chat = pipeline("text-generation", "{folders[0] if folders[0] == "." else f"./{folders[0]}"}")'
        yield 'print(chat([{"role": "user", "content": "What is 17 + 25?"}])[0]["generated_text"][-1]["content"])'
        yield from ("```", "")
    if ggufs:
        yield from ("**llama.cpp**", "", "```sh")
        yield f"llama-server -m {ggufs[0]} --port 8080    # then POST /v1/chat/completions"
        yield from ("```", "", "**Ollama**", "", "```sh")
        yield f"ollama create {release.name.lower()} -f {modelfile_path(ggufs[0])} && ollama run {release.name.lower()}"
        yield from ("```", "")
    if COMPOSE_FILE in release.others:
        yield from ("**Docker**", "", "```sh", f"docker compose -f {COMPOSE_FILE} up --build", "```", "")


def _use(release: Release) -> Iterator[str]:
    yield "## Use"
    yield ""
    if release.repository:
        download = f"hf download {release.repository} --local-dir {release.name} && cd {release.name}"
        yield from ("```sh", download, "```", "")
    yield from _run_commands(release)


def _verify(release: Release, fingerprint: str) -> Iterator[str]:
    yield "## Verify"
    yield ""
    yield "Offline, with the light install (no torch):"
    yield from ("", "```sh", "spiritsafe release verify .", "```", "")
    yield (
        f"Signed (OpenSSF Model Signing, {code_span(SIGNATURE_FILE)}) with the key of fingerprint "
        f"{code_span(fingerprint)}. A key that comes with what it signs does not say who signed: compare the "
        "fingerprint with the maker's, or give a key that you have from them (`--key KEY`). "
        "Other tools check the same signature:"
    )
    yield from ("", "```sh")
    yield f"model_signing verify key . --signature {SIGNATURE_FILE} --public_key {KEY_FILE}"
    yield from ("```",)


def _lineage_rows(lineage: tuple[Checkpoint, ...]) -> Iterator[list[str]]:
    known = {one.digest for one in lineage}
    parents: dict[str, Parent] = {}
    for one in lineage:
        used = "; ".join(f"{plain_text(parent.name)} ({', '.join(parent.used_as)})" for parent in one.parents)
        yield [
            plain_text(one.name, limit=200),
            plain_text(one.license, limit=80),
            used.replace("_", " ") or "–",
            code_span(short(one.digest)),
        ]
        parents |= {parent.digest: parent for parent in one.parents if parent.digest not in known}
    for parent in parents.values():
        yield [plain_text(parent.name), plain_text(parent.license, limit=80), "–", code_span(short(parent.digest))]


def _lineage(release: Release) -> Iterator[str]:
    yield "## Made from"
    yield ""
    yield from table_lines(["Model", "Licence", "From (what was used)", "Digest"], _lineage_rows(release.lineage))
    yield ""
    if release.recipe:
        where = f", {code_span(release.recipe_file)}" if release.recipe_file else ""
        yield f"Recipe {code_span(release.recipe)}{where}."
    yield f"All of this as data: {code_span(RELEASE_FILE)}."


def _duties(release: Release) -> Iterator[str]:
    yield "## Licence"
    yield ""
    yield f"{plain_text(release.license)}; texts: {', '.join(code_span(path) for path in release.texts)}."
    if release.duties:
        yield ""
        for duty in release.duties:
            models = f"; for {plain_text(', '.join(duty.models), limit=300)}" if duty.models else ""
            source = f"{plain_text(duty.source, limit=300)}, read {plain_text(duty.date, limit=40)}"
            yield f"- {duty.kind.replace('_', ' ')}: “{plain_text(duty.text)}” ({source}{models})"
        yield ""
        yield NOT_LEGAL_ADVICE


def banner_line(text: str) -> str:
    """What a licence wants shown: a line of its own, in bold, below the title."""
    return f"**{plain_text(text)}**"


def card_text(release: Release, certificates: CertificatesByPath, *, fingerprint: str) -> str:
    """The text of ``README.md``.

    Args:
        certificates: Every one that the release names, by its path.
        fingerprint: Of the key that will sign.
    """
    lines = [*front_matter(release), "", f"# {plain_text(release.name)}", ""]
    for duty in release.duties:
        if duty.kind == "banner":
            lines += [banner_line(duty.text), ""]
    about = plain_text(release.about) if release.about else ""
    lines += [f"Version {plain_text(release.version)}, {release.date}. {about}".rstrip(), ""]
    parts = [_files(release, certificates), _use(release), _verify(release, fingerprint)]
    if release.exams:
        parts.insert(1, _exams(release, certificates))
    for part in (*parts, _lineage(release), _duties(release)):
        lines += [*part, ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"
