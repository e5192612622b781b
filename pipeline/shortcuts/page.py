"""An audit in words, as tables, as a page, as JSON; and its summary beside a manifest, where an
evaluation finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unmask.pipeline.disk.files import read_json, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import ManifestError
from unmask.pipeline.reports.html import write_page
from unmask.pipeline.reports.tables import Cell, Table
from unmask.pipeline.scores.csv_file import write_scores
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.scores.table import scores_table
from unmask.pipeline.shortcuts.protocol import Audit, Finding
from unmask.pipeline.shortcuts.signals import FAMILIES, Signals
from unmask.pipeline.shortcuts.usage import Usage

AUDIT_SUFFIX = ".audit.json"
MAX_FILE = 2**24
FORMAT = 1

REMEDIES = {
    "container": "write both classes with one program into one container, without tags",
    "encoder": "re-encode both classes alike, with one codec and one quality",
    "rate": "re-encode both classes alike, to one bit rate and one key-frame distance",
    "sound": "trim leading silence of both classes, or train without sound",
    "time": "bring both classes to one rate and length, or `manifest filter --balance-by fps`",
    "size": "bring both classes to one picture size, or `manifest filter --balance-by height`",
    "crop": "cut fakes at their originals' boxes: `extract --pair-boxes`",
    "background": "the surroundings carry the label: take originals and fakes of the same footage, "
    "and re-encode both alike",
    "frame": "cover the corners where a logo stands, in both classes; re-encode both alike, from "
    "sources that were compressed equally often",
}


@dataclass(frozen=True)
class Summary:
    """What an evaluation says of its test set: the audit of all families together, its grade, the
    families that give the label away, and how many videos it looked at.
    """

    grade: str
    auc: float
    low: float
    high: float
    p: float
    families: tuple[str, ...]
    videos: int
    manifest_sha256: str = ""

    @property
    def sentence(self) -> str:
        """For a person who reads the detector's AUC next."""
        text = (
            f"audit of this set: real and fake are told apart with AUC {self.auc:.3f} "
            f"[{self.low:.3f}, {self.high:.3f}] without looking at the forgery"
        )
        names = f" ({', '.join(self.families)})" if self.families else ""
        return f"{text}{names}: {self.grade}"


def summary_of(audit: Audit, manifest_sha256: str = "") -> Summary:
    """The few numbers that travel."""
    whole = audit.whole
    auc, low, high, p = (whole.auc, whole.low, whole.high, whole.p) if whole else (0.5, 0.5, 0.5, 1)
    names = tuple(f.family for f in audit.named)
    return Summary(
        audit.grade, auc, low, high, float(p), names, audit.real + audit.fake, manifest_sha256
    )


def beside_manifest(manifest: Path) -> Path:
    """Where the audit of a manifest lies: test.txt -> test.audit.json."""
    return manifest.with_name(manifest.stem + AUDIT_SUFFIX)


def read_summary(manifest: Path) -> Summary | None:
    """The audit beside a manifest, None where there is none, or it is of other lines.

    Raises ManifestError for a file that is no audit.
    """
    path = beside_manifest(manifest)
    if not path.is_file() or not manifest.is_file():
        return None
    found = read_json(path, MAX_FILE, ManifestError).get("summary")
    summary = record_of(Summary, found, f"{path}: summary", ManifestError)
    lines = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return summary if summary.manifest_sha256 == lines else None


def audit_words(audit: Audit, unread: Sequence[str] = ()) -> list[str]:
    """What was found and what to do, a sentence each."""
    if audit.whole is None:
        return ["No signal differs between any two videos: there is nothing to give a label away."]
    lines = []
    for finding in audit.named:
        most = next((s for s in audit.singles if s.family == finding.family), None)
        values = f"; {most.name}: real {most.real}; fake {most.fake}" if most else ""
        lines.append(
            f"{FAMILIES[finding.family]} gives the label away (AUC {finding.auc:.2f}, p after Holm "
            f"{finding.adjusted:.3f}, {finding.grade}){values}. What to do: "
            f"{REMEDIES[finding.family]}."
        )
    if not lines:
        lines.append(
            f"Nothing outside the forgery tells real from fake beyond chance (all together AUC "
            f"{audit.whole.auc:.2f}, p {audit.whole.p:.3f}, {audit.permutations} permutations)."
        )
    lines += [
        f"{FAMILIES[f.family]}: gradient boosting finds AUC {f.boosted:.2f} where the linear model "
        f"finds {f.auc:.2f}; it has no null of its own, so look at the values by class."
        for f in audit.findings
        if f.family in FAMILIES and f.boosted is not None and f.boosted > max(f.auc, WORTH) + 0.1
    ]
    if unread:
        lines.append(f"{len(unread)} files could not be asked, e.g. {unread[0]}.")
    return lines


WORTH = 0.6


def audit_tables(audit: Audit, usage: Usage | None = None) -> list[Table]:
    """Families, single signals, and whether a detector uses them."""
    rows = tuple(_row(finding) for finding in audit.findings)
    header = ("family", "signals", "AUC", "null", "p", "p after Holm", "boosting", "grade")
    tables = [Table("How well each family tells the label", header, rows)]
    if audit.singles:
        singles = tuple(
            (f"{s.name} ({s.family})", s.auc, _p(s.adjusted), s.real, s.fake, _p(s.paired))
            for s in audit.singles
        )
        header = ("signal", "AUC alone", "p after Holm", "real", "fake", "sign test in pairs")
        tables.append(Table("Signals that tell most", header, singles))
    if usage is not None:
        tables.append(_usage_table(usage))
    return tables


def _row(finding: Finding) -> tuple[Cell, ...]:
    return (
        FAMILIES.get(finding.family, finding.family),
        finding.signals,
        Measure(finding.auc, finding.low, finding.high),
        f"{finding.null:.3f}, 95 % below {finding.null_high:.3f}",
        _p(finding.p),
        _p(finding.adjusted),
        finding.boosted,
        finding.grade,
    )


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _usage_table(usage: Usage) -> Table:
    rows: list[tuple[Cell, ...]] = [
        ("correlation with the audit among reals", usage.within[0], "0: the leak is not used"),
        ("correlation with the audit among fakes", usage.within[1], "0: the leak is not used"),
        ("AUC of these videos", usage.auc, f"{usage.videos} videos"),
        ("AUC where the leak does not differ", usage.matched, f"{usage.pairs} matched pairs"),
    ]
    if usage.after is not None:
        rows.append(("AUC after treating both classes alike", usage.after, "intervention"))
        rows.append(("drop", usage.drop, "of the intervention"))
    if usage.placebo is not None:
        rows.append(("drop of the placebo", usage.placebo, "what the treatment alone costs"))
    return Table("Does the detector use it?", ("test", "value", "reading"), tuple(rows))


def write_audit(
    audit: Audit,
    signals: Signals,
    target: Path,
    title: str,
    usage: Usage | None = None,
    manifest_sha256: str = "",
) -> list[Path]:
    """TARGET.json, the page TARGET.html, and TARGET.csv, the audit's own scores of every video (a
    scores file: `compare`, `board --baseline`). Returns the files.

    Raises DiskError when the file system refuses.
    """
    paths = [target.with_name(target.name + suffix) for suffix in (".json", ".html", ".csv")]
    words = audit_words(audit, signals.unread)
    plain = asdict(audit)
    del plain["logit"]
    document = {
        "format": FORMAT,
        "summary": asdict(summary_of(audit, manifest_sha256)),
        "words": words,
        "audit": plain,
        "grades": {finding.family: finding.grade for finding in audit.findings},
        "usage": None if usage is None else asdict(usage),
        "unread": list(signals.unread),
    }
    write_whole(paths[0], (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    write_page(
        paths[1],
        "audit.html",
        title=title,
        subtitle=f"{audit.real} real and {audit.fake} fake videos, {audit.groups} leakage groups",
        tiles=_tiles(audit),
        words=words,
        tables=audit_tables(audit, usage),
        permutations=audit.permutations,
    )
    scores = scores_table(
        dataset=[signals.dataset] * len(signals),
        video_id=list(signals.video_id),
        label=signals.label,
        method=list(signals.method),
        logit=audit.logit,
    )
    write_scores(paths[2], scores)
    return paths


def _tiles(audit: Audit) -> list[tuple[str, str, str]]:
    whole = audit.whole
    auc = "0.500" if whole is None else f"{whole.auc:.3f}"
    below = "" if whole is None else f"{whole.low:.3f} to {whole.high:.3f}"
    return [
        (audit.grade, "grade", "clean, weak, strong or broken"),
        (auc, "AUC without the forgery", below),
        (str(len(audit.named)), "families give the label away", ""),
    ]
