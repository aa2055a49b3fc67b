"""How well records were recovered: peak signal-to-noise ratio, and that of a blind guess."""

from __future__ import annotations

import math
from statistics import median

import torch
from torch import Tensor

from fedlearn.attacks.pictures import pictures_of
from fedlearn.errors import ConfigError
from fedlearn.runs.attack_report import AttackReport, Sees

SUCCESS_DB = 25.0
"""From here on a person recognises the image."""

_BEST_DB = 120.0


def recovery_report(
    attack: str, *, adversary: str, sees: Sees, public: Tensor, truth: Tensor, candidates: Tensor
) -> AttackReport:
    """Returns the report on recovered records; its score is the median PSNR over them.

    Args:
      attack: its registered word.
      adversary: who it is.
      sees: what it has seen.
      public: records that everyone knows, (p, …): they give the range and the blind guess.
      truth: the clients' records, (n, …).
      candidates: what the attack makes of what it saw, (m, …).
    """
    low, high = range_of(public)
    found = best_psnr(truth, candidates, low=low, high=high)
    return AttackReport(
        attack=attack,
        adversary=adversary,
        sees=sees,
        score="psnr_db",
        value=round(median(found), 2),
        null=round(median(blind_psnr(truth, public)), 2),
        success=SUCCESS_DB,
        pictures=pictures_of(
            truth, nearest(truth, candidates, low=low, high=high), found, low=low, high=high
        ),
        details={
            "records": len(found),
            "recovered": sum(value >= SUCCESS_DB for value in found),
            "best_psnr_db": round(max(found), 2),
        },
    )


def best_psnr(truth: Tensor, candidates: Tensor, *, low: float, high: float) -> list[float]:
    """Returns for each record the PSNR of the candidate that is nearest to it, in dB, at most 120.

    An oracle chooses the candidate, so that the score is never lower than an attacker's.

    Args:
      truth: the records, (n, …), float.
      candidates: (m, …) of the same record shape, m ≥ 0; cut to the range first. The middle of the
        range is always one of them.
      low: least value of an input; public.
      high: greatest value of an input; public.
    """
    found = nearest(truth, candidates, low=low, high=high).double()
    errors = (truth.double() - found).square().flatten(1).mean(dim=1)
    return [_psnr(float(error), high - low) for error in errors]


def nearest(truth: Tensor, candidates: Tensor, *, low: float, high: float) -> Tensor:
    """Returns for each record the candidate that is nearest to it, or the middle of the range, (n, …)."""
    middle = torch.full_like(truth[:1], (low + high) / 2)
    guesses = torch.cat([middle, candidates.nan_to_num(0.0)]).clamp(low, high)
    distances = torch.cdist(truth.flatten(1).double(), guesses.flatten(1).double())
    return guesses[distances.argmin(dim=1)]


def blind_psnr(truth: Tensor, public: Tensor) -> list[float]:
    """Returns for each record the PSNR of the public mean: the best guess of one who saw nothing."""
    low, high = range_of(public)
    return [
        _psnr(float((record - public.mean(dim=0)).double().square().mean()), high - low) for record in truth
    ]


def range_of(public: Tensor) -> tuple[float, float]:
    """Returns least and greatest value of public records; raises ConfigError for tokens or a constant."""
    if not public.is_floating_point() or not public.max() > public.min():
        raise ConfigError(f"records of {public.dtype} have no range of values; inversion needs real inputs")
    return float(public.min()), float(public.max())


def _psnr(error: float, peak: float) -> float:
    return min(_BEST_DB, 10 * math.log10(peak**2 / error)) if error > 0 else _BEST_DB
