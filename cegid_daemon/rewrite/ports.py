"""What the pure core asks of the world, and what it gives back. Implemented by the workshop and, in tests, by dicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cegid_daemon.coverage import Coverage


class Book(Protocol):
    """The buffer book of one store at one revision. Values are the texts operators typed; absent keys are absent."""

    def store_buffer(self) -> str | None:
        """The store-level buffer."""

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:
        """Variation buffers by SKU, for at most 1,000 keys a call."""

    def products(self, products: Collection[str]) -> Mapping[str, str]:
        """Product buffers by product, for at most 1,000 keys a call."""

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:
        """The product each SKU belongs to, for at most 1,000 keys a call."""

    def exported(self, keys: Sequence[str]) -> Collection[str]:
        """Those of `keys` (of `unique`) that another message of the route owns already."""


class PartWriter(Protocol):
    """Takes the bytes of one delivered part."""

    def write(self, chunk: bytes, /) -> object:
        """Takes the next bytes."""

    def close(self) -> None:
        """No more bytes come."""


class Sink(Protocol):
    """Where a rewriting puts what it makes. Nothing of it counts until `rewrite` returns."""

    def part(self, no: int) -> PartWriter:
        """Opens part `no` (from 1); parts come in order, one at a time."""

    def belongs(self, sku: str, product: str) -> None:
        """The file says that variation `sku` belongs to `product`, and the catalogue did not know."""

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        """The file (layout with `buffer`) sets a buffer; `level` is variation | product | store, `value` as typed."""


@dataclass(frozen=True, slots=True)
class Job:
    """The message a rewriting is for: what templates see of it."""

    message_id: int
    message_name: str  # the route's title
    received_at: datetime
    source_name: str
    source_folder: str
    route: str
    store: str
    now: datetime  # the time of claim


@dataclass(frozen=True, slots=True)
class PartMade:
    """One part as it will be delivered."""

    no: int
    name: str  # the target's name, rendered
    records: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What came of a rewriting. No part: nothing to send."""

    coverage: Coverage
    parts: tuple[PartMade, ...] = ()
    keys: tuple[str, ...] = ()  # SKUs, products, unique keys, for search; empty when there were more than 5,000
    unique_keys: tuple[str, ...] = field(default=())
