"""What the families share whose problems stand in data: which knobs say where, and how a task's name says which.

In: a location and its knobs. Out: the sources to study and to be examined from, and the knobs as the task's own name
carries them: with digests, and with the configuration, split and commit that were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, final

from spiritsafe.core.files.tables import ENDINGS
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.data.published import PUBLISHED
from spiritsafe.tasks.data.source import DataSource, is_hub_name, is_set
from spiritsafe.tasks.spec import Knobs, canonical_name


class DataKnobs(Knobs):
    """Knobs of every family whose problems stand in data.

    Attributes:
        config: Configuration of a set; the only or default one when left out.
        split: Split of a set; "train", or the only one, when left out.
        revision: Branch, tag or commit of a set of the hub; the default branch when left out.
        sha256: Digest of the data; filled in when left out, checked when given.
    """

    config: str = ""
    split: str = ""
    revision: str = ""
    sha256: str = ""


class ExamDataKnobs(DataKnobs):
    """Knobs of those whose problems can be asked in exams.

    Attributes:
        exam: Where exam problems come from: another split of a set, or other files.
        exam_sha256: Digest of what exam problems come from; filled in when left out, checked when given.
    """

    exam: str = ""
    exam_sha256: str = ""


@final
class DataSources:
    """The data of a task.

    Args:
        family: Its family.
        location: Where its problems are; see :class:`DataSource`.
        knobs: Its knobs.

    Attributes:
        study: What problems to study come from.
        exam: What exam problems come from; the same, if the knobs name nothing else.
        name: The task's name.

    Raises:
        SourceError: The data cannot be read.
        TaskError: A knob means nothing here, or there is no such split.
    """

    def __init__(self, family: str, location: str, knobs: DataKnobs) -> None:
        place = {"config": knobs.config, "split": knobs.split, "revision": knobs.revision}
        self.study = self.exam = DataSource(location, sha256=knobs.sha256, **place)
        digest = self.study.digest()
        chosen = {"config": self.study.config, "split": self.study.split, "revision": self.study.revision}
        values = {**knobs.model_dump(), **chosen, "sha256": digest}
        if isinstance(knobs, ExamDataKnobs) and knobs.exam:
            of_set = is_set(location) and not knobs.exam.endswith(ENDINGS) and not is_hub_name(knobs.exam)
            self.exam = (
                DataSource(location, sha256=knobs.exam_sha256, **{**chosen, "split": knobs.exam})
                if of_set and not Path(knobs.exam).is_file()
                else DataSource(knobs.exam, sha256=knobs.exam_sha256)
            )
            values["exam_sha256"] = self.exam.digest()
        self.name = canonical_name(family, location, values)
        # a commit that leaves the rows alone must not deal them anew
        self._order = canonical_name(family, location, {**values, "revision": ""})

    def about(self) -> dict[str, str]:
        """Which published files the data are, digest for digest, and their licence; nothing where they are unknown.

        Raises:
            SourceError: The data cannot be read.
        """
        told: dict[str, str] = {}
        for heading, source in {"exam data": self.exam, "data": self.study}.items():
            known = source.published()
            if known is not None and (source is self.study) == (heading == "data"):
                told |= {heading: f"{known[0]}, as published: {known[1]}", "licence": PUBLISHED[known[0]].licence}
        return told

    def order(self, seed: int, count: int) -> list[int]:
        """The places of so many things, in an order set by ``seed`` and by the data."""
        places = list(range(count))
        Random(derive_seed(seed, self._order)).shuffle(places)
        return places

    def shuffled(self, seed: int, *, exam: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """All rows in an order set by ``seed``, each behind its place for errors.

        Args:
            seed: Sets the order.
            exam: Those of the exam.

        Raises:
            SourceError: The data cannot be read.
            TaskError: It is not the data that the name says.
        """
        source = self.exam if exam else self.study
        rows = source.rows()
        for index in self.order(seed, len(rows)):
            yield source.place(index), rows[index]
