"""The front matter of a card: what the Hugging Face hub reads of it.

In: a release. Out: YAML between two lines of dashes. Sealed papers are no data sets of the hub, so there is no
``model-index``: scores stand in the card and in the certificates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from spiritsafe.release.contents import LICENCE_FILE, Release
from spiritsafe.release.texts.markdown import yaml_string

# https://huggingface.co/docs/hub/repositories-licenses, those that models have; all others are "other" with a name
_HUB_LICENCES = frozenset((
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research",
    "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0",
    "openmdw-1.1", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr",
    "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2",
    "llama3.3", "llama4", "grok2-community", "gemma",
))  # fmt: skip


def hub_licence(licence: str) -> dict[str, str]:
    """The fields that say a licence: the hub's own name of it, or "other" with name and link."""
    name = licence.removeprefix("LicenseRef-")
    known = name.lower().removesuffix("-only").removesuffix("-or-later")
    return {"license": known} if known in _HUB_LICENCES else _named(name)


def _named(name: str) -> dict[str, str]:
    return {"license": "other", "license_name": name, "license_link": LICENCE_FILE}


def _lines(release: Release) -> Iterator[str]:
    for key, value in hub_licence(release.license).items():
        yield f"{key}: {yaml_string(value)}"
    is_directory = any(file.parts for file in release.files)
    is_gguf = any(not file.parts for file in release.files)
    tags = ["spiritsafe", "sealed-exam", *(["gguf"] if is_gguf else [])]
    lists = {
        "language": release.languages,
        "base_model": release.base_models,
        "datasets": release.datasets,
        "tags": tags,
    }
    for key, values in lists.items():
        if values:
            yield f"{key}:"
            yield from (f"- {yaml_string(value)}" for value in values)
    if release.base_models and release.base_model_relation:
        yield f"base_model_relation: {release.base_model_relation}"
    yield f"library_name: {'transformers' if is_directory else 'gguf'}"
    yield "pipeline_tag: text-generation"


def front_matter(release: Release) -> list[str]:
    """Its lines, with the dashes."""
    return ["---", *_lines(release), "---"]


def claims_fit(card: str, release: Release) -> bool:
    """Whether the front matter of a card says the licence, the origins and the data sets that a release says.

    The licence may stand in either form: the hub may learn its name after a card was written.
    """
    found = _read(card)
    if found is None:
        return False
    said = {key: values for key, values in found.items() if key.startswith("license")}
    forms = (hub_licence(release.license), _named(release.license.removeprefix("LicenseRef-")))
    lists = {"base_model": release.base_models, "datasets": release.datasets}
    return any(said == {key: [yaml_string(value)] for key, value in form.items()} for form in forms) and all(
        found.get(key, []) == [yaml_string(value) for value in values] for key, values in lists.items()
    )


def _read(card: str) -> Mapping[str, list[str]] | None:
    """Keys with their values as written; None of front matter that is not as plain as what is written here."""
    head, end, _ = card.partition("\n---\n")
    first, *lines = head.split("\n")
    if first != "---" or not end:
        return None
    found: dict[str, list[str]] = {}
    key = ""
    for line in lines:
        row = re.fullmatch(r"([a-z_]+):(?: (.+))?", line)
        if row is not None and row[1] not in found:
            key = row[1]
            found[key] = [row[2]] if row[2] else []
        elif row is None and key and line.startswith("- "):
            found[key].append(line.removeprefix("- "))
        else:
            return None
    return found
