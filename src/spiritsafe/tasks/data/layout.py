"""Which files of a data set make up a split: as its card says, or as its files are called.

In: the names of a repository's or a folder's files, and its ``README.md``. Out: the files of one split of one
configuration, in order. The rules are those of the Hugging Face hub: ``configs:`` in the card's front matter; else
``data/train-00000-of-00002.parquet``, ``main/test.jsonl``, ``train/0000.parquet``; else every file is of ``train``.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.files.tables import ENDINGS

_PACKED = (".gz", ".zst")
_KINDS = ((".parquet",), (".jsonl", ".ndjson", ".json"), (".csv", ".tsv"))
"""Of ``train.parquet``, ``train.jsonl`` and ``train.csv`` the first is read: they hold the same rows."""
_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_SHARD = re.compile(r"(?:.*/)?([^/]+)-\d{5}-of-\d{5}[^/]*")
_CONVERTED = re.compile(r"([^/]+)/([^/]+)/\d{4}\.parquet")
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF_WORD = {word: split for split, words in _WORDS.items() for word in words}
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_Splits = dict[str, list[str]]


@final
@dataclass(frozen=True, slots=True)
class Chosen:
    """The files of one split.

    Attributes:
        config: Name of the configuration; "" where the set has but one.
        split: Name of the split.
        files: Names of its files, in the order in which their rows are read.
    """

    config: str
    split: str
    files: tuple[str, ...]


def choose_files(names: Iterable[str], card: str, *, place: str, config: str = "", split: str = "") -> Chosen:
    """The files of a split.

    Args:
        names: Of all files there are, ``/`` between folders.
        card: Text of ``README.md``; "" for none.
        place: What errors call the set.
        config: Name of a configuration, or of a folder of data files where the card names none; "" for the only or
            default one.
        split: "" for ``train``, or the only one there is.

    Raises:
        TaskError: There is no such configuration or split, there are several, or none of the files can be read.
    """
    readable = [name for name in sorted(names) if is_data_file(name)]
    if not readable:
        raise TaskError(
            f"{place} has no data files.", hint=f"Files of rows end in {', '.join(ENDINGS)}; give the path of one."
        )
    configs, default = _of_card(card, readable, place) or (_of_names(readable, config), "")
    if not config:
        config = next((name for name in (default, "default") if name in configs), "")
        config = config or (next(iter(configs)) if len(configs) == 1 else "")
    if config not in configs:
        raise TaskError(
            f"{place} has no configuration {config!r}." if config else f"{place} has several configurations.",
            hint=f"Name one by config=: {_listed(configs)}.",
        )
    splits = configs[config]
    if not split:
        split = "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else ""
    if split not in splits:
        whose = f"{place}, configuration {config!r}," if len(configs) > 1 else place
        raise TaskError(
            f"{whose} has no split {split!r}." if split else f"{whose} has several splits and none is called train.",
            hint=f"Name one by split=: {_listed(splits)}.",
        )
    return Chosen("" if config == "default" and len(configs) == 1 else config, split, tuple(splits[split]))


def loose_files(names: Iterable[str], card: str) -> list[str]:
    """Files of rows that are of no split by their names, where others are; none where the card says which are."""
    readable = [name for name in sorted(names) if is_data_file(name)]
    if has_configs(card):
        return []
    found = {name for splits in _of_names(readable, "").values() for files in splits.values() for name in files}
    return [name for name in _each_once(readable) if name not in found]


def is_data_file(name: str) -> bool:
    """Whether a file may hold rows, by its name."""
    parts = name.split("/")
    if any(part.startswith((".", "__")) for part in parts) or parts[-1] in _NO_ROWS:
        return False
    return _kind(name) is not None


def has_configs(card: str) -> bool:
    """Whether a card says which files are of which split."""
    found = _FRONT_MATTER.match(card)
    return found is not None and re.search(r"^configs:", found[1], re.MULTILINE) is not None


def _kind(name: str) -> int | None:
    plain = _unpacked(name).lower()
    return next((place for place, endings in enumerate(_KINDS) if plain.endswith(endings)), None)


def _unpacked(name: str) -> str:
    """A file's name without what says how it is packed."""
    return name.rpartition(".")[0] if name.lower().endswith(_PACKED) else name


def _each_once(names: Sequence[str]) -> list[str]:
    """Of files that are called alike but for their endings, the kind that comes first in ``_KINDS``."""
    best: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (_kind(name), name)):
        best.setdefault(_unpacked(name).rpartition(".")[0], name)
    return sorted(best.values())


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "")


def _of_card(card: str, names: Sequence[str], place: str) -> tuple[dict[str, _Splits], str] | None:
    """By configuration and split, the files that the card names, and the default configuration; None if it is silent.

    Configurations whose files are no tables are left out.
    """
    if not has_configs(card):
        return None
    configs: dict[str, _Splits] = {}
    default = ""
    for entry in _as_list(_front_matter(card, place).get("configs")):
        if not isinstance(entry, Mapping):
            continue
        name = str(entry.get("config_name") or "default")
        files = entry.get("data_files")
        folder = str(entry.get("data_dir") or "").strip("/")
        inside = [file for file in names if not folder or file.startswith(f"{folder}/")]
        splits: _Splits = {}
        if files is None:
            splits = _by_words(inside)
        for split, patterns in _patterns(files):
            matched = [file for one in patterns for file in inside if _glob(one, folder).fullmatch(file)]
            splits[split] = [*splits.get(split, []), *dict.fromkeys(matched)]
        configs[name] = {split: found for split, found in splits.items() if found}
        if str(entry.get("default")).lower() == "true":
            default = name
    configs = {name: splits for name, splits in configs.items() if splits}
    if not configs:
        raise TaskError(
            f"The card of {place} names no files that are there.",
            hint="Correct `configs:` in its README.md, or give the path of a file of rows.",
        )
    return configs, default


def _front_matter(card: str, place: str) -> Mapping[str, Any]:
    if importlib.util.find_spec("yaml") is None:
        raise TaskError(
            f"The card of {place} says which files are which, and reading it needs the package PyYAML.",
            hint="Run `pip install pyyaml`, or give the path of a file of rows.",
        )
    yaml: Any = importlib.import_module("yaml")
    found = _FRONT_MATTER.match(card)
    try:
        value = yaml.load(found[1] if found else "", Loader=yaml.BaseLoader)  # every scalar is a text
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise TaskError(
            f"The card of {place} cannot be read: {' '.join(str(error).split())[:200]}.",
            hint="Correct the front matter of its README.md, or give the path of a file of rows.",
        ) from error
    return value if isinstance(value, Mapping) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _patterns(files: Any) -> list[tuple[str, list[str]]]:
    """``data_files`` of a card: a pattern, a list of them, or a list of splits with theirs."""
    found: list[tuple[str, list[str]]] = []
    for entry in _as_list(files):
        if isinstance(entry, Mapping):
            split, paths = entry.get("split"), entry.get("path")
            found.append((str(split or "train"), [str(path) for path in _as_list(paths)]))
        else:
            found.append(("train", [str(entry)]))
    return found


def _glob(pattern: str, folder: str) -> re.Pattern[str]:
    """A pattern of paths: ``*`` stays inside a folder, ``**`` does not."""
    whole = f"{folder}/{pattern.removeprefix('./')}" if folder else pattern.removeprefix("./")
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", whole)
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    translated = "".join(
        signs.get(part) or (_set(part[1:-1]) if part[:1] == "[" and part[-1:] == "]" else re.escape(part))
        for part in parts
    )
    return re.compile(translated)


def _set(inside: str) -> str:
    """One sign of a set, ``[ax-z]``, or none of it, ``[!ax-z]``."""
    ranges = re.findall(r".-.|.", inside.removeprefix("!"), re.DOTALL)
    signs = "".join(
        "-".join(map(re.escape, (r[0], r[-1]))) if len(r) == 3 else re.escape(r) for r in ranges if r[0] <= r[-1]
    )
    return f"[{'^' if inside[:1] == '!' else ''}{signs}]" if signs else "(?!)"


def _of_names(names: Sequence[str], config: str) -> dict[str, _Splits]:
    """By configuration and split, the files as they are called."""
    if all(_CONVERTED.fullmatch(name) for name in names):
        configs: dict[str, _Splits] = {}
        for name in names:
            owner, split = _CONVERTED.fullmatch(name).groups()  # type: ignore[union-attr]  # it matches
            configs.setdefault(owner, {}).setdefault(split, []).append(name)
        return configs
    folder = [name for name in names if name.startswith(f"{config}/")]
    return {config: _by_words(folder, inside=config)} if config and folder else {"default": _by_words(names)}


def _by_words(names: Sequence[str], *, inside: str = "") -> _Splits:
    """By split: shards say it before their number; else a word of the path does; else all are ``train``."""
    names = _each_once(names)
    found: _Splits = {}
    for name in names:
        if shard := _SHARD.fullmatch(name):
            found.setdefault(shard[1], []).append(name)
    if found:
        return found
    for name in names:
        words = re.split(r"[\s/._-]+", name.removeprefix(f"{inside}/").lower())
        if split := next((_SPLIT_OF_WORD[word] for word in reversed(words) if word in _SPLIT_OF_WORD), None):
            found.setdefault(split, []).append(name)
    return found or ({"train": list(names)} if names else {})
