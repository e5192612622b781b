"""What scores are worth as probabilities, and what a zone of no verdict does, in sentences."""

from __future__ import annotations

from unmask.pipeline.reports.tables import NONE, number
from unmask.pipeline.scores.results import Honesty, UnsureZone


def percent(value: float | None) -> str:
    """A share as people read it."""
    return NONE if value is None else f"{100 * value:.1f} %"


def honesty_lines(found: Honesty | None) -> list[str]:
    """Brier's parts and risk over coverage, a line each; none where nothing was scored."""
    if found is None:
        return []
    b, even, risk = found.brier, found.even, found.risk
    return [
        f"Brier {number(b.value)} = reliability {number(b.reliability)} - resolution "
        f"{number(b.resolution)} + uncertainty {number(b.uncertainty)} + inside bins "
        f"{number(b.remainder)}, skill {number(b.skill)}; with equal classes {number(even.value)}, "
        f"skill {number(even.skill)}",
        f"refusing the least confident: AURC {number(risk.aurc)} (best order {number(risk.best)}, "
        f"excess {number(risk.excess)}), AUGRC {number(risk.augrc)}; 1 % wrong at coverage "
        f"{percent(risk.coverage_at[0])}, 5 % at {percent(risk.coverage_at[1])}; wrong at coverage "
        f"80 % {percent(risk.risk_at[0])}, at 90 % {percent(risk.risk_at[1])}",
    ]


def zone_lines(zone: UnsureZone) -> list[str]:
    """What a zone promises, and what it does to these videos."""
    line = (
        f"no verdict on {percent(zone.share)} of these videos; {percent(zone.real_called_fake)} of "
        f"their reals are called fake, {percent(zone.fake_called_real)} of their fakes real; of "
        f"the verdicts {percent(zone.wrong_outside)} are wrong"
    )
    return [f"promise: {zone.promise}", line] if zone.promise else [line]
