"""Augmented records: what every augmentation is, and how several make the views that a step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from fedlearn.errors import ConfigError, DataError, PrivacyError


@runtime_checkable
class RecordView(Protocol):
    """An augmentation of each record by itself.

    Guarantee: row i of the result is a function of row i of the inputs and of random numbers of its own,
    so that K views of a record are views of that record alone.

    Attributes:
      kinds: kinds of records that it fits: ``tabular``, ``image``, ``text``.
    """

    kinds: ClassVar[frozenset[str]]

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns one view of every record, (n, …) → (n, …) of the same dtype and device; the inputs stay.

        Draws come from the generator, which is the processor's, and are moved to the inputs' device.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Records that are mixed in pairs.

    Attributes:
      inputs: (n, …).
      partners: the other record of each, (n,), int64.
      share: what is left of the record itself, (n,), float32 in [0, 1]; the rest is its partner's.
    """

    inputs: Tensor
    partners: Tensor
    share: Tensor


@runtime_checkable
class Mixing(Protocol):
    """An augmentation that mixes a record with another one of the batch.

    No record has a gradient of its own then, so record-level DP refuses it.
    """

    kinds: ClassVar[frozenset[str]]

    def mix(self, inputs: Tensor, random: torch.Generator) -> Mixture:
        """Returns the mixtures of a batch (n, …); the inputs stay."""
        ...


Augmentation = RecordView | Mixing


@dataclass(frozen=True, kw_only=True)
class Augmentations:
    """Augmentations one after the other, and how many views of a record a step sees.

    Attributes:
      records: those of single records, in order.
      mixing: one that mixes pairs, last; None without.
      views: K ≥ 1, views per record and step (augmentation multiplicity, De et al. 2022, section 3.2).

    Raises:
      ConfigError: several views of nothing that changes.
    """

    records: tuple[RecordView, ...] = ()
    mixing: Mixing | None = None
    views: int = 1

    def __post_init__(self) -> None:
        if self.views > 1 and not (self.records or self.mixing):
            raise ConfigError(
                f"remedies.views={self.views} and no augmentation: the views would be equal;"
                " name one in remedies.augmentation, or leave views at 1"
            )

    @classmethod
    def of(cls, parts: Sequence[object], *, views: int = 1) -> Augmentations:
        """Returns the chain of the parts, in their order.

        Raises:
          ConfigError: a part that is no augmentation, or more than one that mixes.
        """
        records = tuple(part for part in parts if isinstance(part, RecordView))
        mixing = [part for part in parts if isinstance(part, Mixing)]
        for part in parts:
            if not isinstance(part, RecordView | Mixing):
                raise ConfigError(f"{type(part).__name__} has neither view nor mix: it is no augmentation")
        if len(mixing) > 1:
            names = ", ".join(type(part).__name__ for part in mixing)
            raise ConfigError(f"{names} mix records one after the other; name one of them")
        return cls(records=records, mixing=mixing[0] if mixing else None, views=views)

    def __bool__(self) -> bool:
        return bool(self.records) or self.mixing is not None

    def check_kind(self, kind: str) -> None:
        """Raises DataError for an augmentation that does not fit the kind of the records."""
        for part in (*self.records, *((self.mixing,) if self.mixing else ())):
            if kind not in part.kinds:
                fitting = " or ".join(sorted(part.kinds))
                raise DataError(
                    f"augmentation {type(part).__name__} is for {fitting} records; these are {kind}:"
                    " leave it out of remedies.augmentation"
                )

    def check_record_privacy(self) -> None:
        """Raises PrivacyError for an augmentation under which a record has no gradient of its own."""
        if self.mixing is not None:
            raise PrivacyError(
                f"augmentation {type(self.mixing).__name__} mixes two records: the gradient of the mixture"
                " belongs to both, and clipping it bounds neither; leave it out under record-level privacy,"
                " or set privacy.unit='client'"
            )

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns one view of every record, (n, …)."""
        for part in self.records:
            inputs = part.view(inputs, random)
        return inputs

    def many(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns ``views`` views of every record, (n, K, …)."""
        return torch.stack([self.view(inputs, random) for _ in range(self.views)], dim=1)
