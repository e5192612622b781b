"""A run over one or several manifests: scores file, metrics, pictures and report for each, and one table across.

RUN/evaluations/<dataset>-<compression>-<split>/scores.csv    every sample's score, the file all numbers come from
                                                metrics.json  every number, with settings and hashes
                                                roc.png       and the other pictures
                                                report.html   all of it on one page
RUN/evaluations/across.{md,csv,json,tex}                      several manifests in one call
RUN/calibration.json                                          temperature, threshold and unsure zone for predict
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline import calibration as cal
from pipeline import metrics, plots, protocols, robustness
from pipeline.admission import Allowed, admit
from pipeline.atomic import write_whole
from pipeline.checkpoint import SUMS, Checkpoint
from pipeline.clips import ClipSource
from pipeline.config import EvaluateConfig
from pipeline.devices import choose_device, keep_freed_memory
from pipeline.errors import UsageError
from pipeline.evaluation import Coverage, Options, evaluate_scores, failed_of
from pipeline.explain import explain
from pipeline.outcomes import read_outcomes
from pipeline.plots import Picture
from pipeline.records import FAKE
from pipeline.report import Extras, evaluation_page, own_version
from pipeline.runs import Run, load_model, newest_run, open_run
from pipeline.scores import read, videos, write
from pipeline.scoring import Scored, score
from pipeline.tables import SHOWN, WRITERS, Cell, Table, metrics_table

log = logging.getLogger(__name__)

FOLDER, SCORES, METRICS, REPORT = "evaluations", "scores.csv", "metrics.json", "report.html"
# Fewer points make no picture; more make it slow and a blot.
TSNE_VIDEOS = (8, 1500)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What one manifest gave. document: metrics.json as written.   folder: where everything lies."""

    name: str
    folder: Path
    document: dict[str, object]


@dataclass(frozen=True)
class Loaded:
    """A run ready to score. caution: what the report must say of the way it is used."""

    run: Run
    model: nn.Module
    point: Checkpoint
    device: str


def evaluate(config: EvaluateConfig, progress: Progress = lambda what, done, total: None) -> list[Evaluation]:
    """Score every manifest with the run, write everything, and return the evaluations in the order of the manifests.

    progress: is told (what, samples done, samples in all).
    Raises ManifestError, CacheError, CheckpointError, ScoresError or UsageError, and all but those of a sample that
    cannot be read before anything is written.
    """
    if not config.manifests:
        raise UsageError("evaluate needs at least one manifest")
    published = protocols.find(config.protocol) if config.protocol else None
    run, device = open_run(Path(config.run)), choose_device(config.device)
    keep_freed_memory(device)
    model, point = load_model(run, config.which)
    loaded = Loaded(run, model, point, device)
    sources = [admit(Path(path), run, model, _allowed(config)) for path in config.manifests]
    names = _names([source.path for source, _ in sources])
    calibration = _calibration(config, loaded, progress)
    results = []
    for (source, cautions), name in zip(sources, names, strict=True):
        results.append(_one(config, loaded, source, name, cautions, calibration, published, progress))
    if len(results) > 1:
        _across(config, results, published)
    return results


def _allowed(config: EvaluateConfig) -> Allowed:
    return Allowed(Path(config.cache), config.allow_missing, config.allow_leakage, config.other_pixels)


def name_of(manifest: Path) -> str:
    """`manifests/ffpp/c23/test.txt` -> ffpp-c23-test."""
    parts = [
        part for part in (*manifest.absolute().parent.parts[-2:], manifest.stem) if part not in ("/", "manifests")
    ]
    return "-".join(
        "".join(c if c.isalnum() or c in "._" else "-" for c in part).strip("-.") or "x" for part in parts
    )


def _names(paths: Sequence[Path]) -> list[str]:
    names = [name_of(path) for path in paths]
    return [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names, 1)]


def _calibration(config: EvaluateConfig, loaded: Loaded, progress: Progress) -> cal.Calibration | None:
    """Fitted on validation: a scores file, an evaluation folder, or a manifest that this run scores now."""
    if not config.threshold_from:
        return None
    path = Path(config.threshold_from)
    if path.is_dir():
        path = path / SCORES
    if path.suffix in (".txt", ".h5"):
        source, _ = admit(path, loaded.run, loaded.model, _allowed(config))
        folder = _folder(config, loaded.run, f"{name_of(path)}-threshold")
        write(folder / SCORES, _score(config, loaded, source, f"threshold {path.name}", progress).scores)
        path = folder / SCORES
    rows, sha256 = read(path)
    joined = videos(rows, config.rule, config.tracks)
    fitted = cal.fit(
        joined.label, joined.score, rule=config.threshold_rule, error=config.error, source=str(path), sha256=sha256
    )
    write_whole((Path(config.out) if config.out else loaded.run.folder) / cal.FILE, cal.as_json(fitted).encode())
    return fitted


def _folder(config: EvaluateConfig, run: Run, name: str) -> Path:
    folder = (Path(config.out) if config.out else run.folder / FOLDER) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _score(
    config: EvaluateConfig, loaded: Loaded, source: ClipSource, what: str, progress: Progress, **more: object
) -> Scored:
    settings = {
        "batch": config.batch,
        "threads": config.threads,
        "half": config.half,
        "per_video": config.clips,
        **more,
    }
    only = settings.get("only")
    chosen = set() if only is None else set(only)
    samples = source.evaluation_samples(settings["per_video"])
    total, done = sum(only is None or sample.video in chosen for sample in samples), 0

    def step(samples: int) -> None:
        nonlocal done
        done += samples
        progress(what, done, total)

    return score(loaded.model, source, loaded.device, progress=step, **settings)


def _one(
    config: EvaluateConfig,
    loaded: Loaded,
    source: ClipSource,
    name: str,
    cautions: list[str],
    calibration: cal.Calibration | None,
    published: protocols.Protocol | None,
    progress: Progress,
) -> Evaluation:
    folder = _folder(config, loaded.run, name)
    start = time.monotonic()
    scored = _score(config, loaded, source, name, progress)
    seconds = time.monotonic() - start
    write(folder / SCORES, scored.scores)
    scores, sha256 = read(folder / SCORES)  # every number below comes from the file, as anybody would compute it
    options = Options(config.rule, config.tracks, config.threshold, config.resamples, config.seed)
    result = evaluate_scores(scores, options, coverage_of(source), calibration)
    provenance = _provenance(config, loaded, source, sha256)
    document = {"name": name, "cautions": cautions, **result, "provenance": provenance}
    joined = videos(scores, config.rule, config.tracks)
    pictures = plots.pictures_of(result, joined) + _feature_map(source, scored) if config.pictures else []
    robust = _robust(config, loaded, source, options, progress) if config.robustness else None
    if robust:
        document["robustness"] = [list(row) for row in robust[0].rows]
    protocol = (protocols.beside(published, [document]), _protocol_line(published)) if published else None
    worst = (
        explain(loaded.model, source, scores, joined, loaded.device, config.explain, config.clips)
        if config.explain
        else []
    )
    speed = ("clips/s", float(len(scores) / seconds) if seconds > 0 else None)
    extras = Extras(
        pictures=pictures,
        worst=worst,
        provenance=[
            (title, [*pairs.items(), *([speed] if title == "Run" else [])]) for title, pairs in provenance.items()
        ],
        protocol=protocol,
        robustness=robust,
        cautions=cautions,
    )
    title = f"{loaded.run.model} on {name}"
    page = evaluation_page(f"Evaluation: {title}", f"run {loaded.run.folder}, manifest {source.path}", result, extras)
    for picture in pictures:
        write_whole(folder / f"{_slug(picture.title)}.png", picture.png())
    write_whole(folder / REPORT, page.encode())
    write_whole(folder / METRICS, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    return Evaluation(name, folder, document)


def coverage_of(source: ClipSource) -> Coverage:
    """Failed videos from the outcomes beside the manifest (of its split), missing ones from the manifest itself."""
    listed = source.path.parent / "outcomes.jsonl"
    splits = {str(reader.attributes.get("split") or "") for reader in source.readers}
    split = splits.pop() if len(splits) == 1 else ""
    scored = frozenset(Path(entry.folder).name for entry in source.entries)
    # An entry that is named but absent is missing; counting it as failed too would count it twice.
    named = scored | {Path(entry.folder).name for entry in source.missing}
    coverage = failed_of(read_outcomes(listed), split, named)
    fakes = sum(entry.label == FAKE for entry in source.missing)
    return replace(coverage, missing=(len(source.missing) - fakes, fakes))


def _provenance(
    config: EvaluateConfig, loaded: Loaded, source: ClipSource, sha256: str
) -> dict[str, dict[str, Cell]]:
    run, point = loaded.run, loaded.point
    settings = source.readers[0].attributes.get("settings")
    state = point.state
    sums = (point.folder / SUMS).read_text(encoding="ascii").split()
    weights = dict(zip(sums[1::2], sums[::2], strict=True))
    return {
        "Run": {
            "run": str(run.folder),
            "model": run.model,
            "options": json.dumps(run.options, sort_keys=True),
            "recipe": run.config.recipe,
            "seed": run.config.seed,
            "trained on": run.config.manifest,
            "training manifest sha256": run.manifest_sha256,
            "checkpoint": point.folder.name,
            "step": state.get("progress", {}).get("step"),
            "weights sha256": weights.get("ema.safetensors") or weights.get("model.safetensors"),
            "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        },
        "Evaluated": {
            "manifest": str(source.path),
            "manifest sha256": source.sha256,
            "cache key": source.key,
            "scores sha256": sha256,
            **{k: _cell(v) for k, v in asdict(config).items() if k not in ("manifests", "run", "cache", "out")},
        },
        "Pixels": {k: _cell(v) for k, v in settings.items()} if isinstance(settings, dict) else {},
        "Versions": {
            "unmask": own_version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "device": torch.cuda.get_device_name() if loaded.device == "cuda" else platform.machine(),
        },
    }


def _cell(value: object) -> Cell:
    return value if isinstance(value, str | int | float) or value is None else json.dumps(value, sort_keys=True)


def _feature_map(source: ClipSource, scored: Scored) -> list[Picture]:
    """t-SNE of one feature per video, coloured by method."""
    least, most = TSNE_VIDEOS
    if scored.feature is None or len(source) < least:
        return []
    chosen = robustness.subset(source.labels, most // 2)
    method = [str(source.readers[i].attributes.get("method") or source.labels[i]) for i in chosen]
    return [plots.scatter("Features (t-SNE)", metrics.embed(scored.feature[chosen]), method, source.labels[chosen])]


def _robust(
    config: EvaluateConfig, loaded: Loaded, source: ClipSource, options: Options, progress: Progress
) -> tuple[Table, Picture, str]:
    """Video AUC under every distortion and level, on a subset that is named."""
    only = robustness.subset(source.labels, config.robust_videos)
    common = {"per_video": config.robust_clips, "only": only}
    quick = replace(options, resamples=0)

    def auc(what: str, change: object = None) -> float | None:
        rows = _score(config, loaded, source, what, progress, change=change, **common).scores
        return evaluate_scores(rows, quick)["levels"]["video"]["metrics"]["auc"]["value"]

    clean = auc("robustness: clean")
    found: dict[str, list[float | None]] = {}
    for kind, level, change in robustness.changes():
        found.setdefault(kind.title, [clean]).append(auc(f"robustness: {kind.name} {level}", change))
    steps = ("clean", *map(str, range(1, 6)))
    table = Table("Robustness", ("video AUC", *steps), tuple((name, *values) for name, values in found.items()))
    picture = plots.lines("Robustness", found, steps, "video AUC", "level")
    ladder = ", ".join(f"{crf:g}" for crf in robustness.LADDER.levels)
    line = (
        f"Video AUC on {len(only)} videos, {config.robust_clips or 'all'} clips each. Distortions and levels of "
        f"DeeperForensics-1.0, applied to the face crops; the H.264 ladder is crf {ladder}."
    )
    return table, picture, line


def _protocol_line(protocol: protocols.Protocol) -> str:
    return f"{protocol.source}. Train: {protocol.train}. Evaluate: {protocol.evaluate}. {protocol.note}"


def _across(config: EvaluateConfig, results: list[Evaluation], published: protocols.Protocol | None) -> None:
    root = results[0].folder.parent
    for table, stem in across(results, published):
        for suffix, spell in WRITERS.items():
            write_whole(root / f"{stem}.{suffix}", spell(table).encode())


def across(
    results: Sequence[Evaluation], published: protocols.Protocol | None = None, keys: Sequence[str] = SHOWN
) -> Iterator[tuple[Table, str]]:
    """The cross-dataset table at video level, and the protocol's over all evaluations, with their file names."""
    blocks = {result.name: result.document["levels"]["video"] for result in results}
    yield metrics_table("Across manifests, video level", blocks, "manifest", keys), "across"
    if published:
        yield protocols.beside(published, [result.document for result in results]), published.name


def _slug(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def defaults(config: EvaluateConfig, runs: Path) -> tuple[EvaluateConfig, list[str]]:
    """The short form: newest run under `runs`, and the test.txt beside its training manifest; and what was taken.

    Raises UsageError when there is no run or no such manifest.
    """
    taken = []
    if not config.run:
        config = replace(config, run=str(newest_run(runs)))
        taken.append(f"run: {config.run} (newest; another with --run)")
    run = open_run(Path(config.run))
    if not config.manifests:
        path = run.manifest.with_name("test.txt")
        if not path.is_file():
            raise UsageError(f"{path}: no such manifest beside the run's training manifest; name one with --manifest")
        config = replace(config, manifests=(str(path),))
        taken.append(f"manifest: {path} (beside the training manifest; another with --manifest)")
    if config.cache == EvaluateConfig.cache and run.config.cache != config.cache and not Path(config.cache).is_dir():
        config = replace(config, cache=run.config.cache)
        taken.append(f"cache: {config.cache} (as in training)")
    return config, taken
