"""A run over one or several manifests: scores file, metrics, pictures and report for each, and one
table across.

    RUN/evaluations/<dataset>-<compression>-<split>/
        scores.csv      every sample's score, the file all numbers come from
        metrics.json    every number, with settings and hashes
        roc.png         and the other pictures
        report.html     all of it on one page
        robustness.csv  one row a level of each kind of wear, where it was asked for
    RUN/evaluations/older/<name>-<number>/    what had this name before
    RUN/evaluations/across.{md,csv,json,tex}  several manifests in one call
    RUN/calibration.json    temperature, threshold and unsure zone for predict; always in the run
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.disk.files import refusals, write_whole
from unmask.pipeline.errors import ManifestError, UsageError
from unmask.pipeline.evaluation import protocols
from unmask.pipeline.evaluation.admission import Allowed, admit
from unmask.pipeline.evaluation.coverage import coverage_of
from unmask.pipeline.evaluation.inference import Loaded, Progress, Scored, Scoring
from unmask.pipeline.evaluation.ladder import Ladder, Robustness, check_kinds
from unmask.pipeline.evaluation.most_wrong import explain
from unmask.pipeline.evaluation.page import Extras, evaluation_page
from unmask.pipeline.evaluation.probe import Probe, beside
from unmask.pipeline.evaluation.provenance import provenance_of
from unmask.pipeline.evaluation.robustness import subset
from unmask.pipeline.machine.devices import choose_device
from unmask.pipeline.machine.memory import keep_freed_memory
from unmask.pipeline.reports import plots
from unmask.pipeline.reports.feature_map import embed
from unmask.pipeline.reports.plots import Picture
from unmask.pipeline.reports.tables import WRITERS, Table, comma_separated, metrics_table
from unmask.pipeline.runs.run_folder import Run, load_model, open_run
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.csv_file import read_scores, write_scores
from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.evaluation_folder import (
    FOLDER,
    SCORES,
    Evaluation,
    keep_older,
    new_evaluation,
    write_metrics,
)
from unmask.pipeline.scores.results import Block, Coverage, Options
from unmask.pipeline.scores.table import Scores
from unmask.pipeline.scores.video_scores import video_scores
from unmask.pipeline.shortcuts.page import read_summary

REPORT = "report.html"
ROBUSTNESS = "robustness.csv"
# Fewer points make no picture; more make it slow and a blot.
TSNE_VIDEOS = (8, 1500)


def evaluate(
    config: EvaluateConfig, progress: Progress = lambda what, done, total: None
) -> list[Evaluation]:
    """Score every manifest with the run, write everything, and return the evaluations in the order
    of the manifests.

    progress: is told (what, samples done, samples in all).
    Raises ManifestError, CacheError, CheckpointError, ScoresError or UsageError, and all but those
    of a sample that cannot be read before anything is written.
    """
    if not config.manifests:
        raise UsageError("evaluate needs at least one manifest")
    published = protocols.find_protocol(config.protocol) if config.protocol else None
    check_kinds(config.robust_kinds)
    run, device = open_run(Path(config.run)), choose_device(config.device)
    keep_freed_memory(device)
    model, point = load_model(run, config.which)
    loaded = Loaded(run, model, point, device)
    scoring = Scoring(model, device, config.batch, config.threads, config.half, progress)
    sources = [admit(Path(path), run, model, _allowed(config)) for path in config.manifests]
    names = _names([source.path for source, _ in sources])
    probe = Probe(config, run, [source for source, _ in sources]) if config.probe else None
    fitted = _calibration(config, loaded, scoring)
    call = _Call(config, loaded, scoring, fitted, published, probe)
    results = [
        call.evaluate(source, name, cautions)
        for (source, cautions), name in zip(sources, names, strict=True)
    ]
    if len(results) > 1:
        _across(results, published)
    return results


def _allowed(config: EvaluateConfig) -> Allowed:
    return Allowed(
        Path(config.cache),
        config.allow_missing,
        config.allow_leakage,
        config.other_pixels,
        config.bands,
    )


def name_of(manifest: Path) -> str:
    """`manifests/ffpp/c23/test.txt` -> ffpp-c23-test."""
    parts = [
        part
        for part in (*manifest.absolute().parent.parts[-2:], manifest.stem)
        if part not in ("/", "manifests")
    ]
    return "-".join(
        "".join(c if c.isalnum() or c in "._" else "-" for c in part).strip("-.") or "x"
        for part in parts
    )


def _names(paths: Sequence[Path]) -> list[str]:
    names = [name_of(path) for path in paths]
    return [
        name if names.count(name) == 1 else f"{name}-{number}"
        for number, name in enumerate(names, 1)
    ]


def _calibration(
    config: EvaluateConfig, loaded: Loaded, scoring: Scoring
) -> cal.Calibration | None:
    """Fitted on validation: a scores file, an evaluation folder, or a manifest that this run
    scores now.
    """
    if not config.threshold_from:
        return None
    path = Path(config.threshold_from)
    if path.is_dir():
        path = path / SCORES
    if path.suffix in (".txt", ".h5"):
        source, _ = admit(path, loaded.run, loaded.model, _allowed(config))
        scored = scoring.score(source, f"threshold {path.name}", per_video=config.clips)
        target = _root(config, loaded.run) / f"{name_of(path)}-threshold"
        with new_evaluation(target) as folder:
            write_scores(folder / SCORES, scored.scores)
        path = target / SCORES
    rows, sha256 = read_scores(path)
    joined = video_scores(rows, config.rule, config.tracks)
    fitted = cal.fit_calibration(
        joined.label,
        joined.score,
        rule=config.threshold_rule,
        error=config.error,
        zone=config.zone,
        source=str(path),
        sha256=sha256,
    )
    # Wherever the reports go: predict asks the run.
    write_whole(loaded.run.folder / cal.FILE, cal.as_json(fitted).encode())
    return fitted


def _root(config: EvaluateConfig, run: Run) -> Path:
    return Path(config.out) if config.out else run.folder / FOLDER


@dataclass(frozen=True)
class _Call:
    """What all manifests of one call share."""

    config: EvaluateConfig
    loaded: Loaded
    scoring: Scoring
    calibration: cal.Calibration | None
    published: protocols.Protocol | None
    probe: Probe | None

    def evaluate(self, source: ClipSource, name: str, cautions: list[str]) -> Evaluation:
        """Scores, numbers and page of one manifest, each on disk."""
        target = _root(self.config, self.loaded.run) / name
        start = time.monotonic()
        scored = self.scoring.score(source, name, per_video=self.config.clips)
        rate = len(scored.scores) / max(time.monotonic() - start, 1e-9)
        robust = self._robustness(source)
        coverage = coverage_of(source)
        with new_evaluation(target) as folder:
            write_scores(folder / SCORES, scored.scores)
            # Every number below comes from the file, as anybody would compute it.
            scores, sha256 = read_scores(folder / SCORES)
            result = evaluate_scores(scores, self.options, coverage, self.calibration)
            warnings = [coverage.caution, result.calibration_warning, _audited(source.path)]
            cautions = [*cautions, *filter(None, warnings)]
            evaluation = Evaluation(
                name,
                target,
                result,
                cautions,
                provenance_of(self.config, self.loaded, source, sha256),
                robust.rows if robust else None,
                self._probed(source, coverage) if self.probe else None,
            )
            if robust:
                write_whole(folder / ROBUSTNESS, comma_separated(robust.long).encode())
            self._write_page(folder, evaluation, source, scored, scores, robust, rate)
            write_metrics(folder, evaluation)
        return evaluation

    @property
    def options(self) -> Options:
        config = self.config
        return Options(config.rule, config.tracks, config.threshold, config.resamples, config.seed)

    def _probed(self, source: ClipSource, coverage: Coverage) -> Block:
        """What a linear probe on stored features makes of the same videos."""
        assert self.probe is not None
        return evaluate_scores(self.probe.score(source), self.options, coverage, None).video

    def _decided(self, joined: Scores) -> tuple[Scores, float]:
        """The videos at the score that decides, and its threshold: calibrated ones where a
        calibration is.
        """
        fitted = self.calibration
        if fitted is None:
            return joined, self.config.threshold
        return joined.with_score(cal.calibrate(joined.score, fitted.temperature)), fitted.threshold

    def _robustness(self, source: ClipSource) -> Ladder | None:
        config = self.config
        if not config.robustness:
            return None
        suite = Robustness(
            self.scoring,
            self.options,
            config.robust_videos,
            config.robust_clips,
            config.robust_kinds,
            self.calibration,
        )
        return suite.measure(source)

    def _write_page(
        self,
        folder: Path,
        evaluation: Evaluation,
        source: ClipSource,
        scored: Scored,
        scores: Scores,
        robust: Ladder | None,
        rate: float,
    ) -> None:
        """report.html, and each of its pictures as a file.

        rate: clips scored per second.
        """
        config, loaded, result = self.config, self.loaded, evaluation.result
        joined = video_scores(scores, config.rule, config.tracks)
        pictures, worn, worst, published = [], [], [], None
        if config.pictures:
            pictures = plots.pictures_of(result, joined) + _feature_map(source, scored)
            worn = robust.pictures() if robust else []
        if config.explain:
            decided, threshold = self._decided(joined)
            worst = explain(
                loaded.model,
                source,
                scores,
                decided,
                threshold,
                loaded.device,
                config.explain,
                config.clips,
            )
        if self.published:
            table = protocols.beside(self.published, [result])
            published = table, _protocol_line(self.published)
        provenance = {title: list(facts.items()) for title, facts in evaluation.provenance.items()}
        provenance["Model"].append(("clips/s", rate))
        page = evaluation_page(
            f"Evaluation: {loaded.run.model} on {evaluation.name}",
            f"run {loaded.run.folder}, manifest {source.path}",
            result,
            Extras(
                pictures=pictures,
                worst=worst,
                provenance=list(provenance.items()),
                protocol=published,
                robustness=(robust.tables, worn, robust.line) if robust else None,
                probe=(beside(result.video, evaluation.probe), self.probe.line)
                if self.probe and evaluation.probe
                else None,
                cautions=evaluation.cautions,
            ),
        )
        for picture in pictures:
            write_whole(folder / f"{_slug(picture.title)}.png", picture.png())
        write_whole(folder / REPORT, page.encode())


def _audited(manifest: Path) -> str:
    """What an audit beside the manifest says of this set, to be read beside the model's AUC."""
    try:
        summary = read_summary(manifest)
    except ManifestError as error:
        return f"the audit of this set cannot be read: {error}"
    return "" if summary is None else summary.sentence


def _feature_map(source: ClipSource, scored: Scored) -> list[Picture]:
    """t-SNE of one feature per video, coloured by method."""
    least, most = TSNE_VIDEOS
    if scored.feature is None or len(source) < least:
        return []
    chosen = subset(source.labels, most // 2)
    method = [str(source.readers[i].attributes.get("method") or source.labels[i]) for i in chosen]
    return [
        plots.scatter(
            "Features (t-SNE)", embed(scored.feature[chosen]), method, source.labels[chosen]
        )
    ]


def _protocol_line(protocol: protocols.Protocol) -> str:
    return (
        f"{protocol.source}. Train: {protocol.train}. Evaluate: {protocol.evaluate}. "
        f"{protocol.note}"
    )


def _across(results: list[Evaluation], published: protocols.Protocol | None) -> None:
    root = results[0].folder.parent
    for table, stem in across(results, published):
        for suffix, spell in WRITERS.items():
            path = root / f"{stem}.{suffix}"
            with refusals(path):
                keep_older(path)
            write_whole(path, spell(table).encode())


def across(
    results: Sequence[Evaluation],
    published: protocols.Protocol | None = None,
    keys: Sequence[str] | None = None,
) -> Iterator[tuple[Table, str]]:
    """The cross-dataset table at video level, and the protocol's over all evaluations, with their
    file names.
    """
    blocks = {evaluation.name: evaluation.result.video for evaluation in results}
    yield metrics_table("Across manifests, video level", blocks, "manifest", keys), "across"
    if published:
        yield protocols.beside(published, [one.result for one in results]), published.name


def _slug(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
