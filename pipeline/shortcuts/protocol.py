"""How well each family of signals tells real from fake on videos of leakage groups that it was not
fitted on, and how well it would if labels meant nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2_contingency, mannwhitneyu

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.bootstrap import LEVEL, bootstrap
from unmask.pipeline.scores.holm import holm
from unmask.pipeline.scores.metrics import METRICS
from unmask.pipeline.shortcuts.logistic import fit_logistic, logits
from unmask.pipeline.shortcuts.signals import FAMILIES, Signals
from unmask.pipeline.shortcuts.table import Column, columns_of, encode

Floats = NDArray[np.float64]

FOLDS, REPEATS, PERMUTATIONS, RESAMPLES = 5, 5, 199, 1000
ALL = "all together"
# Grades by the AUC where p after Holm is below 0.05 (ours).
WEAK, STRONG, BROKEN = 0.55, 0.65, 0.9
LEAST = 10
LEAF = 20  # videos in a leaf of gradient boosting


@dataclass(frozen=True)
class Finding:
    """One family.

    auc: mean over repeats of the pooled out-of-fold AUC of logistic regression; low, high: 95 %
        bootstrap over leakage groups of the first repeat.
    null, null_high: mean and 95 % quantile of the AUC under permuted labels.
    p, adjusted: share of permutations at least as good, alone and after Holm over families.
    boosted: AUC of gradient boosting on the same folds, None where it was not asked for or a fold
        has too few videos for one split.
    """

    family: str
    signals: int
    auc: float
    low: float
    high: float
    null: float
    null_high: float
    p: float
    adjusted: float
    boosted: float | None = None

    @property
    def grade(self) -> str:
        """clean, weak, strong or broken."""
        if self.adjusted >= 1 - LEVEL or self.auc < WEAK:
            return "clean"
        return "weak" if self.auc < STRONG else "strong" if self.auc < BROKEN else "broken"


@dataclass(frozen=True)
class Single:
    """One signal alone: AUC of the better direction, p after Holm over all signals, the values of
    each class in words, and the sign test of fake minus real inside groups (None without pairs).
    """

    family: str
    name: str
    auc: float
    adjusted: float
    real: str
    fake: str
    paired: float | None


@dataclass(frozen=True)
class Audit:
    """findings: of each family and of all together, worst first. singles: at most ten signals.

    logit: (R,) out-of-fold logit of all together, in the order of the signals' rows.
    """

    findings: tuple[Finding, ...]
    singles: tuple[Single, ...]
    real: int
    fake: int
    groups: int
    permutations: int
    logit: Floats

    @property
    def whole(self) -> Finding | None:
        """All families together; None where no signal differs between any two videos."""
        return next((f for f in self.findings if f.family == ALL), None)

    @property
    def grade(self) -> str:
        """The worst of all findings."""
        order = ("clean", "weak", "strong", "broken")
        return max((f.grade for f in self.findings), key=order.index, default="clean")

    @property
    def named(self) -> list[Finding]:
        """The families that give the label away, worst first."""
        return [f for f in self.findings if f.grade != "clean" and f.family != ALL]


def audit(
    signals: Signals,
    *,
    permutations: int = PERMUTATIONS,
    repeats: int = REPEATS,
    boosting: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = lambda family: None,
) -> Audit:
    """Every family, its null and its interval.

    Raises UsageError for fewer than ten videos of a class, or fewer than five leakage groups.
    """
    label, group = signals.label, np.unique(signals.group, return_inverse=True)[1]
    counts = [int((label == value).sum()) for value in (REAL, FAKE)]
    groups = int(group.max()) + 1 if len(group) else 0
    if min(counts) < LEAST or groups < FOLDS:
        raise UsageError(
            f"{counts[0]} real and {counts[1]} fake videos of {groups} leakage groups: an audit "
            f"needs {LEAST} of each class and {FOLDS} groups"
        )
    columns = columns_of(signals.rows)
    families = [name for name in FAMILIES if any(c.family == name for c in columns)]
    folds = [_folds(label, group, seed + repeat) for repeat in range(repeats)]
    shuffled = [_permuted(label, group, folds[0], seed, b) for b in range(permutations)]
    found, logit = [], np.zeros(len(label))
    for family in [*families, *([ALL] if columns else [])]:
        progress(family)
        chosen = [c for c in columns if family in (c.family, ALL)]
        tried = _Tried(chosen, label, group, folds, shuffled, boosting, seed)
        found.append((family, len(chosen), tried))
        logit = tried.logit
    adjusted = holm([tried.p for family, _, tried in found if family != ALL])
    findings = [
        Finding(
            family=family,
            signals=count,
            auc=tried.auc,
            low=tried.interval[0],
            high=tried.interval[1],
            null=float(np.mean(tried.null)),
            null_high=float(np.quantile(tried.null, LEVEL)) if tried.null else 0.5,
            p=tried.p,
            adjusted=float(adjusted[place] or 0) if family != ALL else tried.p,
            boosted=tried.boosted,
        )
        for place, (family, count, tried) in enumerate(found)
    ]
    findings.sort(key=lambda f: (f.family == ALL, f.grade == "clean", -f.auc))
    singles = _singles(columns, label, group)
    return Audit(tuple(findings), tuple(singles), *counts, groups, permutations, logit)


class _Tried:
    """One family on all folds. folds: of each repeat, (R,) fold of each row."""

    def __init__(
        self,
        columns: Sequence[Column],
        label: NDArray,
        group: NDArray,
        folds: Sequence[NDArray],
        shuffled: Sequence[NDArray],
        boosting: bool,
        seed: int,
    ) -> None:
        encoded = [_encoded(columns, fold) for fold in folds]
        # The null has one repeat, so it is compared with the first.
        many = np.concatenate([label[None], *(other[None] for other in shuffled)])
        first = _out_of_fold(encoded[0], folds[0], many)
        self.logit = first[0]
        self.null = [auc_of(of, score) for of, score in zip(many[1:], first[1:], strict=True)]
        aucs = [auc_of(label, self.logit)]
        for fold, parts in zip(folds[1:], encoded[1:], strict=True):
            aucs.append(auc_of(label, _out_of_fold(parts, fold, label[None])[0]))
        self.auc = float(np.mean(aucs))
        self.p = (1 + sum(value >= aucs[0] for value in self.null)) / (len(self.null) + 1)
        area = {"auc": METRICS["auc"].resampled}
        self.interval = bootstrap(label, self.logit, group, 0.5, area, RESAMPLES, seed)["auc"]
        self.boosted = _boosted(encoded[0], folds[0], label, seed) if boosting else None


def _encoded(columns: Sequence[Column], fold: NDArray) -> list[tuple[Floats, Floats]]:
    return [
        encode(columns, np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)
    ]


def _out_of_fold(parts: Sequence[tuple[Floats, Floats]], fold: NDArray, labels: NDArray) -> Floats:
    """(B, R) logits of rows that each model, one for each of (B, R) labels, was not fitted on."""
    found = np.zeros(labels.shape)
    for k, (train, test) in enumerate(parts):
        found[:, fold == k] = logits(test, fit_logistic(train, labels[:, fold != k]))
    return found


def _boosted(
    parts: Sequence[tuple[Floats, Floats]], fold: NDArray, label: NDArray, seed: int
) -> float | None:
    """None where no tree could split, whose 0.5 would say that nothing was found."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if any(len(train) < 2 * LEAF for train, _ in parts):
        return None
    score = np.zeros(len(label))
    for k, (train, test) in enumerate(parts):
        model = HistGradientBoostingClassifier(
            max_iter=200, max_depth=3, learning_rate=0.1, min_samples_leaf=LEAF, random_state=seed
        )
        score[fold == k] = model.fit(train, label[fold != k]).decision_function(test)
    return auc_of(label, score)


def _folds(label: NDArray, group: NDArray, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(label), dtype=np.int64)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for k, (_, test) in enumerate(splitter.split(label[:, None], label, group)):
        fold[test] = k
    return fold


def _permuted(
    label: NDArray, group: NDArray, fold: NDArray, seed: int, number: int
) -> NDArray[np.int64]:
    """Labels that mean nothing: exchanged inside a group that holds both classes, and between the
    other groups of one fold, so that folds keep their classes.
    """
    rng, other = np.random.default_rng([seed, number]), label.copy()
    alone: dict[int, list[NDArray]] = {}
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(set(label[rows].tolist())) > 1:
            other[rows] = rng.permutation(label[rows])
        else:
            alone.setdefault(int(fold[rows[0]]), []).append(rows)
    for groups in alone.values():
        values = rng.permutation([label[rows[0]] for rows in groups])
        for rows, value in zip(groups, values, strict=True):
            other[rows] = value
    return other


def auc_of(label: NDArray, score: Floats) -> float:
    """Share of (fake, real) pairs in order, ties half; 0.5 with one class."""
    reals = np.sort(score[label == REAL])
    fakes = score[label == FAKE]
    if not len(reals) or not len(fakes):
        return 0.5
    below = np.searchsorted(reals, fakes, "left") + np.searchsorted(reals, fakes, "right")
    return float(below.mean() / (2 * len(reals)))


def _singles(columns: Sequence[Column], label: NDArray, group: NDArray) -> list[Single]:
    """The ten signals that tell most, each alone."""
    fake = label == FAKE
    found = []
    for column in columns:
        numbers = column.numbers
        if numbers is not None and not np.isnan(numbers).any():
            test = mannwhitneyu(numbers[fake], numbers[~fake])
            auc, p = test.statistic / (fake.sum() * (~fake).sum()), float(test.pvalue)
        else:
            auc, p = _of_words(column.words, fake)
        paired = None if numbers is None else _sign_test(numbers, label, group)
        words = (_told(column, mask) for mask in (~fake, fake))
        found.append((column.family, column.name, float(max(auc, 1 - auc)), p, *words, paired))
    adjusted = holm([row[3] for row in found])
    made = [
        Single(family, name, auc, float(p or 0.0), real, other, paired)
        for (family, name, auc, _, real, other, paired), p in zip(found, adjusted, strict=True)
    ]
    return sorted(made, key=lambda one: (one.adjusted, -one.auc))[:10]


def _of_words(words: Sequence[str], fake: NDArray) -> tuple[float, float]:
    """AUC of the share of fakes among videos of the same word (on these very videos), and the p of
    a chi-squared test.
    """
    names, place = np.unique(words, return_inverse=True)
    table = np.stack([np.bincount(place[side], minlength=len(names)) for side in (~fake, fake)])
    share = table[1] / table.sum(axis=0)
    p = float(chi2_contingency(table, correction=False).pvalue)
    return auc_of(fake.astype(np.int64), share[place]), p


def _sign_test(numbers: Floats, label: NDArray, group: NDArray) -> float | None:
    """p of fake minus real inside groups that hold both: a leak may differ from pair to pair."""
    if np.isnan(numbers).any():
        return None
    sides = []
    for value in (FAKE, REAL):
        rows = label == value
        count = np.bincount(group[rows], minlength=group.max() + 1)
        total = np.bincount(group[rows], weights=numbers[rows], minlength=group.max() + 1)
        sides.append(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    gap = sides[0] - sides[1]
    gap = gap[~np.isnan(gap) & (np.abs(gap) > 1e-12)]
    if len(gap) < 5:
        return None
    return float(binomtest(int((gap > 0).sum()), len(gap)).pvalue)


def _told(column: Column, mask: NDArray) -> str:
    """The values of one class: the median of numbers, the three commonest of words."""
    words = [word for word, inside in zip(column.words, mask.tolist(), strict=True) if inside]
    common = Counter(words).most_common(3)
    numbers = column.numbers
    if numbers is not None and len(set(words)) > 3:
        low, middle, high = np.nanquantile(numbers[mask], [0.1, 0.5, 0.9])
        return f"{_plain(middle)} ({_plain(low)} to {_plain(high)})"
    return ", ".join(f"{word} x {count / len(words):.0%}" for word, count in common)


def _plain(number: float) -> str:
    """Four digits; whole numbers with thousands apart instead of a power of ten."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"
