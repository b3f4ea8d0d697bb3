"""Published sets: the commit that a benchmark is pinned to, its files' digests and rows, its licence.

In: ``org/name``, a commit, the name of a file; or a digest. Out: what the file must be; or which published file has
that digest. Digests are SHA-256 as the hub or several evaluations recorded them for that commit; where none is on
record, the field is empty, and a set is held to its commit, to its number of rows, and to what this machine saw first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of rows.

    Attributes:
        rows: How many it has.
        sha256: Of its bytes, 64 hex digits; "" where none is on record.
    """

    rows: int
    sha256: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSet:
    """A set at the commit that benchmarks are pinned to.

    Attributes:
        revision: The commit.
        licence: As the publisher states it.
        gated: Whether the hub gives it only to those who accepted its terms.
        files: By name, those that benchmarks read.
        originals: By ``repository/path``, files elsewhere that hold the same rows.
    """

    revision: str
    licence: str
    gated: bool = False
    files: Mapping[str, PublishedFile]
    originals: Mapping[str, PublishedFile] = field(default_factory=dict)


def _shard(folder: str, **splits: PublishedFile) -> dict[str, PublishedFile]:
    """Splits of one Parquet file each, as the hub names them."""
    return {f"{folder}/{split}-00000-of-00001.parquet": file for split, file in splits.items()}


PUBLISHED: Mapping[str, PublishedSet] = {
    "openai/gsm8k": PublishedSet(
        revision="740312add88f781978c0658806c59bc2815b9866",
        licence="MIT",
        files=_shard(
            "main",
            train=PublishedFile(7473, "ea82612ea9582142387730c793eb67d3b12849002bc0b7fa6f8efafa7351419d"),
            test=PublishedFile(1319, "ee7b8da9e381df27b9e3f7758a159ab2bdaa4dbaa910546cbbc47e0cb44e4f59"),
        ),
        originals={
            "openai/grade-school-math/grade_school_math/data/train.jsonl": PublishedFile(
                7473, "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"
            ),
            "openai/grade-school-math/grade_school_math/data/test.jsonl": PublishedFile(
                1319, "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"
            ),
        },
    ),
    "HuggingFaceH4/MATH-500": PublishedSet(  # byte for byte the test split of openai/prm800k
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        licence="not stated; MATH and openai/prm800k, where it comes from, are MIT",
        files={"test.jsonl": PublishedFile(500, "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132")},
    ),
    "HuggingFaceH4/aime_2024": PublishedSet(
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        licence="not stated; the problems are the Mathematical Association of America's",
        files=_shard(
            "data", train=PublishedFile(30, "26139847601a5037c237d5928b195e7260ca8074cf4f264b794af42847f79ccf")
        ),
    ),
    "math-ai/aime25": PublishedSet(
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
        licence="see its card; the problems are the Mathematical Association of America's",
        files={"test.jsonl": PublishedFile(30, "b4e273c02d3e7fe1b74b59eae768fc8230bfb0f79539890cb56f4361caac0331")},
    ),
    "Idavidrein/gpqa": PublishedSet(
        revision="633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        licence="CC BY 4.0",
        gated=True,
        files={
            "gpqa_diamond.csv": PublishedFile(198, "41d1213cd7a4998605a26c2798500652572007161b3a92817ba46b35befcd305"),
            "gpqa_main.csv": PublishedFile(448),
        },
    ),
    "cais/mmlu": PublishedSet(
        revision="c30699e8356da336a370243923dbaf21066bb9fe",
        licence="MIT",
        files=_shard(
            "all",
            validation=PublishedFile(1531, "66cdf0b090ccb657d18d13cd81e31fdc55c3467da9642ffb178653268a97c8ef"),
            test=PublishedFile(14042, "74a41822ce7d3def56e1682f958469c04642a5336a5ce912fa375fdb90fb25d7"),
        ),
    ),
    "TIGER-Lab/MMLU-Pro": PublishedSet(
        revision="527feea0afed1de15a8c115abf7be4c912123315",
        licence="MIT",
        files=_shard("data", validation=PublishedFile(70), test=PublishedFile(12032)),
    ),
    "allenai/ai2_arc": PublishedSet(
        revision="210d026faf9955653af8916fad021475a3f00453",
        licence="CC BY-SA 4.0",
        files={
            **_shard(
                "ARC-Challenge",
                train=PublishedFile(1119, "e488c1587ffdcfc8443f916c53488a95cd471c5790e0746c6bfe4cecf20962cb"),
                validation=PublishedFile(299, "395a5c88d1580d69855fbaee9450270578df1ad5af6259771cd0a42c20e99f05"),
                test=PublishedFile(1172, "62f03257e737aed263f55c6abf87c7bb0028a44a6bdd2a26eb1279eb42c1d1e9"),
            ),
            **_shard(
                "ARC-Easy",
                train=PublishedFile(2251, "b315db8a4be597dc7daa50a4e70d48dd7c990c32085629e6ccd8c926beaa80b5"),
                test=PublishedFile(2376, "4160597d618ae851c7eb04e281574f3f654776216ac6b6641588d64527b47177"),
            ),
        },
    ),
    "Rowan/hellaswag": PublishedSet(
        revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
        licence="not stated on the hub; MIT in the authors' repository",
        files=_shard(
            "data",
            train=PublishedFile(39905),
            validation=PublishedFile(10042, "899813071e1e95efafec90f856e1987d2150fa4d020fc005df6962c259f660cd"),
        ),
    ),
    "tau/commonsense_qa": PublishedSet(
        revision="94630fe30dad47192a8546eb75f094926d47e155",
        licence="MIT",
        files=_shard(
            "data",
            train=PublishedFile(9741, "b0449767ed986bfc2ca52b1244a46ef12f732756727f3cb0a4ab69ac8b3d282b"),
            validation=PublishedFile(1221, "bdbd9bf9cc4d2349b24901038b2ab2f58e10e4e507ad2fd425dca55cd3cb6660"),
        ),
    ),
    "allenai/openbookqa": PublishedSet(
        revision="388097ea7776314e93a529163e0fea805b8a6454",
        licence="unknown, says its card; Apache 2.0 in the authors' repository",
        files=_shard(
            "main",
            train=PublishedFile(4957, "98148f8a54e62eb862346a75192d5fb824d6cbb68f2f59aecd793d39ecb5cd8b"),
            test=PublishedFile(500, "cd5483e366daa230c1c87bbdc512d8b7229f14f6dd04d19fc8b1a3855aaaa8a3"),
        ),
    ),
    "google/IFEval": PublishedSet(
        revision="966cd89545d6b6acfd7638bc708b98261ca58e84",
        licence="Apache 2.0",
        files={
            "ifeval_input_data.jsonl": PublishedFile(
                541, "6a85310ca8ce15eff755aa08a3a4ff931c7e273e7515ebb3c492ea85fd8288f2"
            )
        },
    ),
}
"""By ``org/name``, every set that a benchmark stands on."""


def published_file(name: str, commit: str, file: str) -> PublishedFile | None:
    """What a file of a set must be at a commit; None where nothing is on record."""
    found = PUBLISHED.get(name)
    return found.files.get(file) if found is not None and found.revision == commit else None


def published_as(digest: str) -> tuple[str, str] | None:
    """The set, ``org/name``, and the file of it or the original elsewhere that has a digest; None if it is unknown.

    Args:
        digest: Its first 32 hex digits, as tasks' names have them.
    """
    for name, published in PUBLISHED.items():
        for file, known in (*published.files.items(), *published.originals.items()):
            if digest and known.sha256[:32] == digest:
                return name, file
    return None
