"""What refusing to answer is worth: the risk of the answered part as the least confident go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.scores.bootstrap import Resamples

Floats = NDArray[np.float64]

RISKS, COVERAGES = (0.01, 0.05), (0.8, 0.9)


@dataclass(frozen=True)
class RiskCoverage:
    """risk: of the j most confident, the share decided wrongly; coverage: j of all.

    aurc: mean risk over j = 1 .. n. best: the same where all errors come last.
    excess: aurc - best. augrc: mean over j of errors among the first j, of all n.
    coverage_at: largest coverage whose risk is at most each of RISKS.
    risk_at: risk at each of COVERAGES.
    """

    aurc: float
    best: float
    excess: float
    augrc: float
    coverage_at: tuple[float, float]
    risk_at: tuple[float, float]


def confidence(score: Floats, threshold: float) -> Floats:
    """How far each score is from the threshold, as a share of its side's length: 0 to 1."""
    above, below = max(1 - threshold, 1e-12), max(threshold, 1e-12)
    return np.where(score >= threshold, (score - threshold) / above, (threshold - score) / below)


def _wrong(fake: NDArray, score: Floats, threshold: float) -> NDArray[np.bool_]:
    return (score >= threshold) != (np.asarray(fake) == 1)


def risk_coverage(label: NDArray, score: Floats, threshold: float = 0.5) -> RiskCoverage:
    """Selective classification of (R,) labels and scores, decided at the threshold."""
    score = np.asarray(score, dtype=np.float64)
    return from_confidence(confidence(score, threshold), _wrong(label, score, threshold))


def from_confidence(sure: Floats, wrong: NDArray) -> RiskCoverage:
    """The same from any confidence (R,) and which answers are wrong (R,). Equal confidences share
    their errors evenly.

    Source: Geifman, Uziel, El-Yaniv 2019 (AURC, E-AURC); Traub et al. 2024 (AUGRC).
    """
    size, errors = len(sure), float(np.sum(wrong))
    count, missed = _ties(sure, np.ones((1, size)), np.asarray(wrong, dtype=bool))
    reached, lost = np.cumsum(count[0]), np.cumsum(missed[0])
    risk, right = lost / reached, size - errors
    aurc = float(_area(count, missed)[0])
    best = float((errors - right * (_harmonic(size)[-1] - _harmonic(size)[int(right)])) / size)
    before = lost - missed[0]
    generalised = (count[0] * before + missed[0] * (count[0] + 1) / 2).sum() / size**2
    at_most = [np.flatnonzero(risk <= limit + 1e-12) for limit in RISKS]
    least = [np.searchsorted(reached, share * size - 1e-9) for share in COVERAGES]
    first, second = (float(reached[at[-1]] / size) if len(at) else 0.0 for at in at_most)
    low, high = (float(risk[min(int(at), len(risk) - 1)]) for at in least)
    return RiskCoverage(
        aurc=aurc,
        best=best,
        excess=aurc - best,
        augrc=float(generalised),
        coverage_at=(first, second),
        risk_at=(low, high),
    )


def aurc(label: NDArray, score: Floats, threshold: float) -> float:
    """The area under risk over coverage: mean over j of the risk of the j most confident."""
    return risk_coverage(label, score, threshold).aurc


def aurc_resampled(drawn: Resamples) -> Floats:
    """The same of every resample at once: (B,)."""
    score = drawn.rows.score
    sure = confidence(score, drawn.threshold)
    wrong = _wrong(drawn.rows.fake, score, drawn.threshold)
    return _area(*_ties(sure, drawn.weight, wrong))


def _ties(sure: Floats, weight: Floats, wrong: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Rows and errors of each group of equal confidence, most confident first: two (B, G).

    sure, wrong: (R,). weight: (B, R) how often a row is there.
    """
    order = np.argsort(-sure, kind="stable")
    starts = np.flatnonzero(np.diff(sure[order], prepend=np.inf))
    drawn = weight[:, order]
    count = np.add.reduceat(drawn, starts, axis=1)
    return count, np.add.reduceat(drawn * wrong[order], starts, axis=1)


def _area(count: Floats, missed: Floats) -> Floats:
    """AURC from groups (B, G): inside one of g rows with e errors after N rows with E errors, the
    k-th row's risk is (E + e k / g) / (N + k), whose sum has the closed form below.
    """
    reached, lost = np.cumsum(count, axis=1), np.cumsum(missed, axis=1)
    before, lost_before = reached - count, lost - missed
    table = _harmonic(int(reached[:, -1].max()))
    rate = np.divide(missed, count, out=np.zeros_like(missed), where=count > 0)
    steps = table[reached.astype(np.int64)] - table[before.astype(np.int64)]
    return (missed + (lost_before - rate * before) * steps).sum(axis=1) / reached[:, -1]


def _harmonic(most: int) -> Floats:
    """(most + 1,) the sums 1 + 1/2 + ... + 1/k from k = 0."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
