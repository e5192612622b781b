"""The audit names the shortcut that was planted, and nothing where none was."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.table import scores_table
from unmask.pipeline.shortcuts.logistic import fit_logistic
from unmask.pipeline.shortcuts.page import audit_words
from unmask.pipeline.shortcuts.protocol import ALL, Audit, auc_of, audit
from unmask.pipeline.shortcuts.signals import Signals, ring_of
from unmask.pipeline.shortcuts.usage import usage_of

PLANTS = {
    "fps": "time",
    "border": "background",
    "encoder": "container",
    "scale": "crop",
    "sound": "sound",
    "quantiser": "rate",
    "logo": "frame",
}
QUICK = ("fps", "border", "logo")
PAIRS = 40


def drawn(plant: str, seed: int, strength: float = 0.9) -> Signals:
    """40 pairs; the planted signal is equal to the label with this probability, all others are
    drawn alike for both classes.
    """
    rng, later = np.random.default_rng([seed, 5]), np.random.default_rng([seed, 6])
    rows, label, group = [], [], []
    for pair in range(PAIRS):
        height = float(rng.choice([480, 720]))
        for fake in (0, 1):
            leak = fake if rng.random() < strength else 1 - fake

            def of(name: str, leak: int = leak, rng: np.random.Generator = rng) -> int:
                return leak if name == plant else int(rng.integers(2))

            pictures = rng.normal(120, 20, (2, 32, 32, 3))
            pictures[:, :3] += 25 * of("border")
            silent = rng.exponential(0.02) + 0.05 * of("sound")
            rows.append(
                {
                    "container": {"encoder": ("Lavf58", "Lavf60")[of("encoder")], "streams": "v"},
                    "rate": {
                        "bits per second": float(rng.lognormal(13, 0.5)),
                        "quantiser": float(
                            later.normal(23 + 4 * of("quantiser", leak, later), 1.5)
                        ),
                    },
                    "frame": {
                        "top right edges that stay": float(later.exponential(0.002))
                        + 0.01 * of("logo", leak, later),
                        "top right level": float(later.normal(110, 20)),
                        "comb": float(later.exponential(0.02)),
                    },
                    "time": {"fps": (25.0, 29.97)[of("fps")], "frames": float(rng.integers(2, 9))},
                    "size": {"height": height},
                    "crop": {"crop scale": float(rng.normal(1 + 0.4 * of("scale"), 0.1))},
                    "background": ring_of(pictures.clip(0, 255).astype(np.uint8)),
                    "sound": {"heard": "yes", "leading silence": float(silent)},
                }
            )
            label.append(fake)
            group.append(f"g{pair}")
    names = tuple(f"v{n}" for n in range(len(rows)))
    method = tuple("fake" if value else "real" for value in label)
    return Signals(tuple(rows), np.array(label), tuple(group), names, method, "drawn")


def only(signals: Signals, *families: str) -> Signals:
    """The same videos with fewer signals."""
    rows = tuple({name: row[name] for name in families} for row in signals.rows)
    return replace(signals, rows=rows)


@functools.cache
def looked(plant: str, seed: int) -> Audit:
    return audit(drawn(plant, seed), permutations=199, boosting=False, seed=seed)


@pytest.mark.parametrize(
    "plant",
    [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PLANTS],
)
def test_exactly_the_planted_shortcut_is_named(plant: str) -> None:
    found = looked(plant, 1)
    assert [f.family for f in found.named] == [PLANTS[plant]]
    worst = found.findings[0]
    assert worst.p == 1 / 200 and worst.auc > 0.75 and worst.low > 0.6
    assert found.singles[0].family == PLANTS[plant] and found.whole.p <= 0.05
    assert PLANTS[plant] in ("crop", "background") or worst.grade in ("strong", "broken")


def test_a_leak_with_probability_nine_tenths_has_an_auc_of_about_that() -> None:
    found = looked("fps", 1)
    finding = next(f for f in found.findings if f.family == "time")
    assert finding.auc == pytest.approx(0.9, abs=0.08)
    assert 0.4 < finding.null < 0.52 and finding.null_high < 0.72
    words = " ".join(audit_words(found))
    assert "fps: real 25 x" in words and "fake 29.97 x" in words and "--balance-by fps" in words


def test_a_clean_set_is_clean() -> None:
    found = looked("none", 1)
    assert not found.named and found.grade == "clean"
    assert "beyond chance" in audit_words(found)[0]


@pytest.mark.slow
def test_twenty_seeds_of_each_plant_and_of_none() -> None:
    alarms = sum(bool(looked("none", seed).named) for seed in range(20))
    print(f"false alarms of 20: {alarms}")
    assert alarms <= 1
    for plant, family in PLANTS.items():
        found = [[f.family for f in looked(plant, seed).named] for seed in range(20)]
        exact = sum(named == [family] for named in found)
        print(f"{plant}: exactly {family} in {exact} of 20")
        assert all(family in named for named in found) and exact >= 18


@pytest.mark.parametrize("seed", [0, 1])
def test_the_models_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, 4))
    labels = (rng.random((3, 60)) < 1 / (1 + np.exp(-rows[:, 0] * (1 + 4 * seed)))).astype(int)
    for weight, label in zip(fit_logistic(rows, labels), labels, strict=True):
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(rows, label)
        assert weight[:-1] == pytest.approx(model.coef_[0], abs=1e-5)
        assert weight[-1] == pytest.approx(model.intercept_[0], abs=1e-5)


def test_boosting_sees_what_a_line_cannot() -> None:
    signals, rng = only(drawn("none", 4), "rate"), np.random.default_rng(4)
    for row, fake in zip(signals.rows, signals.label, strict=True):
        far = rng.choice([-2.0, 2.0]) if fake else 0.0
        row["rate"]["bits per second"] = float(rng.normal(far, 0.3))
    found = audit(signals, permutations=19, repeats=1)
    rate = next(f for f in found.findings if f.family == "rate")
    assert rate.boosted > 0.85 > rate.auc + 0.2
    assert any("gradient boosting finds AUC" in line for line in audit_words(found))


def test_boosting_that_cannot_split_says_nothing_instead_of_one_half() -> None:
    signals = drawn("fps", 0)
    few = Signals(
        *(
            part[:40]
            for part in (
                signals.rows,
                signals.label,
                signals.group,
                signals.video_id,
                signals.method,
            )
        ),
        signals.dataset,
    )
    assert all(one.boosted is None for one in audit(few, permutations=19, repeats=1).findings)


def test_few_videos_are_refused_and_equal_videos_leak_nothing() -> None:
    signals = drawn("none", 0)
    few = Signals(
        *(
            part[:8]
            for part in (
                signals.rows,
                signals.label,
                signals.group,
                signals.video_id,
                signals.method,
            )
        ),
        "x",
    )
    with pytest.raises(UsageError, match="needs 10 of each"):
        audit(few)
    same = Signals(
        tuple({"time": {"fps": 25.0}} for _ in signals.rows),
        signals.label,
        signals.group,
        signals.video_id,
        signals.method,
        "x",
    )
    found = audit(same, permutations=19)
    assert found.whole is None and found.grade == "clean"
    assert "No signal differs" in audit_words(found)[0]


def test_whether_a_detector_uses_the_leak() -> None:
    signals = only(drawn("fps", 6), "time")
    found = audit(signals, permutations=19, boosting=False)
    leak = np.array([row["time"]["fps"] > 26 for row in signals.rows])
    rng = np.random.default_rng(0)
    honest = signals.label * 1.5 + rng.normal(size=80)
    cheat = leak * 3.0 + 0.3 * rng.normal(size=80)

    def scores(logit: np.ndarray):
        return scores_table(
            logit=logit,
            label=signals.label,
            video_id=list(signals.video_id),
            method=list(signals.method),
        )

    good, bad = (usage_of(found, signals, scores(of)) for of in (honest, cheat))
    assert good.videos == 80 and good.auc == pytest.approx(auc_of(signals.label, honest))
    for within in good.within:
        assert within.low < 0.15 and within.high > -0.15
    assert max(within.low for within in bad.within) > 0.2
    assert bad.auc > 0.8 and bad.matched.value < bad.auc - 0.15
    assert good.matched.value > good.auc - 0.15
    after = usage_of(found, signals, scores(cheat), scores(rng.normal(size=80)), scores(cheat))
    assert after.drop > 0.2 and after.placebo == 0
    with pytest.raises(UsageError, match="has 0 of the 80"):
        usage_of(found, signals, scores_table(score=[0.5], label=[1], video_id=["other"]))


def test_all_families_together_come_last() -> None:
    found = looked("border", 1)
    assert found.findings[-1].family == ALL and len(found.logit) == 80
