"""Labels in sentences of records: they hold half of each key's id, and people are shown all of it.

In: statements, the certificate that they are of. Out: the same with whole ids. Records hold 64 bits of an id, and their
sentences are computed again for ever; two keys that share so many can be made on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.ledger import PublicKey


def _keys(value: Any) -> Iterator[PublicKey]:
    """Every public key in a JSON value."""
    if isinstance(value, dict):
        if value.keys() == PublicKey.model_fields.keys():
            try:
                yield PublicKey.from_json(value)
            except IntegrityError:  # in a stranger's ledger entry
                return
        for item in value.values():
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def full_labels(statements: Iterable[str], certificate: Certificate) -> Sequence[str]:
    """Statements with the whole id of each key that the certificate holds; of keys that share half of it, with all."""
    labels: dict[str, dict[str, None]] = {}
    for key in _keys(certificate.to_json()):
        labels.setdefault(key.recorded_label, {})[key.label] = None
    found = []
    for statement in statements:
        for recorded, whole in labels.items():
            statement = statement.replace(recorded, " or ".join(whole))
        found.append(statement)
    return found
