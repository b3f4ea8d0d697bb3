"""Records of licences and of duties: what a text asks for each use of a model, and what follows for another model.

In: rows of ``licences/*.toml``, and lineages. Out: frozen data; sentences are made of it in
:mod:`spiritsafe.release.duties.words` and never parsed back.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import ModelUse, Record

DutyKind = Literal[
    "blocked",
    "unknown",
    "granted",
    "name_prefix",
    "banner",
    "notice",
    "copy",
    "attribution",
    "mark_changes",
    "pass_on",
    "share_alike",
    "research_only",
    "non_commercial",
    "permission",
    "region",
    "termination",
]
"""What can follow from a licence, the weightiest first."""

DUTY_KINDS: dict[DutyKind, tuple[str, str]] = {
    "blocked": ("cannot be used so: {text}", "the model may not be made or published"),
    "unknown": ("not known here: to be read and stated", "refused until a licence is stated"),
    "granted": ("used by permission: {text}", "recorded with the model"),
    "name_prefix": ("name begins with “{text}”", "another name is refused"),
    "banner": ("shows “{text}”", "written into card and NOTICE"),
    "notice": ("NOTICE holds “{text}”", "written into NOTICE"),
    "copy": ("licence copy", "the text goes along"),
    "attribution": ("kept: {text}", "written into NOTICE"),
    "mark_changes": ("changes marked", "written into NOTICE"),
    "pass_on": ("passed on to users: {text}", "written into the card"),
    "share_alike": ("same licence: {text}", "told"),
    "research_only": ("research only: {text}", "told, and written into the card"),
    "non_commercial": ("no commercial use: {text}", "told, and written into the card"),
    "permission": ("permission asked for: {text}", "told"),
    "region": ("region: {text}", "told"),
    "termination": ("ends: {text}", "told"),
}
"""Of each kind what is said in few words, and what a release does about it."""

WhereRead = Literal["source", "copy", "second hand"]
"""Where a text was read: where its maker publishes it, in a copy of the whole, or as others tell of it."""


ConflictKind = Literal["name", "share_alike", "commercial"]


@final
class LicenceDuty(Record):
    """What a licence asks, for some uses of a model under it.

    Attributes:
        text: The very words of a name, banner or notice; else what is asked, in few. ``{model}`` stands for the name of
            the model that is made.
        clause: Where in the licence.
        quote: Its words.
        at: Address of what is passed on or copied.
        except_on: Licences: nothing follows where the model that learns has weights under one of these.
    """

    kind: DutyKind
    uses: tuple[ModelUse, ...] = Field(min_length=1)
    text: str = Field(min_length=1)
    clause: str | None = None
    quote: str | None = None
    at: str | None = None
    except_on: tuple[str, ...] = ()


@final
class Licence(Record):
    """A licence of models, or the terms of a service.

    Attributes:
        ids: How it is called: SPDX ids, the hub's tags, ScanCode's keys; without ``LicenseRef-``.
        models: Phrases in names of models that are under it, whatever their tag says; ``^`` begins the name, ``*``
            stands for anything in a word.
        not_models: Phrases of names that are not meant.
        hosts: Servers whose models are under it.
        version: The text's own day.
        address: Where it is published.
        policy: Where its use policy is.
        read: When it was read for this table.
        reading: Where it was read.
        read_in: Which copy, where it was not the source.
        changes: What is to be known of other versions of the text.
    """

    id: str
    name: str
    ids: tuple[str, ...] = Field(min_length=1)
    models: tuple[str, ...] = ()
    not_models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    version: str | None = None
    address: str
    policy: str | None = None
    read: date
    reading: WhereRead
    read_in: str | None = None
    changes: str | None = None
    duties: tuple[LicenceDuty, ...] = ()

    @model_validator(mode="after")
    def _says_where_it_was_read(self) -> Self:
        if (self.reading == "source") == (self.read_in is not None):
            raise ValueError(f"{self.id}: read_in says which copy was read, where it was not the source")
        return self


@final
class Cause(Record):
    """A model that a duty comes from, and how it was used."""

    model: str
    uses: tuple[ModelUse, ...]


@final
class Duty(Record):
    """What follows for a model that is made.

    Attributes:
        licence: Its id in the table; of an unknown one what was stated.
        licence_name: What people call it.
        text: As in :class:`LicenceDuty`.
        causes: Why.
    """

    kind: DutyKind
    text: str
    licence: str
    licence_name: str
    clause: str | None = None
    quote: str | None = None
    at: str | None = None
    causes: tuple[Cause, ...]


@final
class DutyConflict(Record):
    """Duties that cannot all be met, or of which one narrows what another allows.

    Attributes:
        kind: "name": no name begins with all prefixes. "share_alike": a licence that allows no further terms stands
            beside others' terms. "commercial": parts are free for commerce, the whole is not.
        licences: The names of those that are at odds.
        texts: Of what they ask.
        is_fatal: Whether no release can meet them.
    """

    kind: ConflictKind
    licences: tuple[str, ...]
    texts: tuple[str, ...]
    is_fatal: bool


@final
class Duties(Record):
    """Everything that follows for one model. Not legal advice.

    Attributes:
        model: Its name.
        duties: The weightiest first.
        conflicts: Between these.
    """

    model: str
    duties: tuple[Duty, ...]
    conflicts: tuple[DutyConflict, ...] = ()

    def of(self, *kinds: DutyKind) -> tuple[Duty, ...]:
        """Those of some kinds."""
        return tuple(duty for duty in self.duties if duty.kind in kinds)

    def texts(self, kind: DutyKind) -> tuple[str, ...]:
        """What those of a kind ask, each once."""
        return tuple(dict.fromkeys(duty.text for duty in self.of(kind)))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What its name begins with; the longest first, of which the others are beginnings unless they conflict."""
        return tuple(sorted(self.texts("name_prefix"), key=lambda text: (-len(text), text)))

    @property
    def is_blocked(self) -> bool:
        """Whether it may not be made."""
        return bool(self.of("blocked"))
