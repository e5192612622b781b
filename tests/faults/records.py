"""Every record that unmask keeps, and the lists it is given, small and real; and one that is
mutated, its sums renewed, and read as the commands read it.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np

from tests.support.evaluations import write_evaluation
from tests.support.tiny_cache import KEY, make_cache
from tests.support.trained import make_run
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache import refused
from unmask.pipeline.cache.check import missing_videos
from unmask.pipeline.cache.described import Described
from unmask.pipeline.cache.digest import DIGEST, write_digest
from unmask.pipeline.cache.index import crop_config, read_index, settings_of_key, write_index
from unmask.pipeline.cache.video import open_video, verify_video
from unmask.pipeline.clips import hdf5, hdf5_writer
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import CropConfig, PredictConfig
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError, CheckpointError, PipelineError
from unmask.pipeline.evaluation.admission import find_leaks
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.outcomes import Listed, read_outcomes, write_outcomes
from unmask.pipeline.manifests.selections import all_about, relabelled
from unmask.pipeline.prediction.crop_settings import crop_of
from unmask.pipeline.prediction.exported import open_exported, read_sidecar
from unmask.pipeline.prediction.trust import standings_of
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.knowledge import knowledge_from
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.runs.summary import summary
from unmask.pipeline.scores.calibration import Calibration, as_json, read_calibration
from unmask.pipeline.scores.csv_file import read_scores, write_scores
from unmask.pipeline.scores.evaluation_folder import read_evaluation
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.scores.table import scores_table
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover
from unmask.pipeline.training.progress import Progress

SPEC = ClipSpec("consecutive", 3, size=32)
TEXT = h5py.string_dtype()
TYPED = [name for name, value in vars(Described).items() if isinstance(value, property)]


@dataclass(frozen=True)
class Kind:
    """A record at `path`; use() reads it as the commands do; renew() puts its sums right after a
    mutation. quiet: a damaged one is passed over, by whoever asks, without a refusal.
    """

    path: Path
    use: Callable[[], object]
    renew: Callable[[], None] = lambda: None
    quiet: bool = False


class World:
    """One of every record under `root`."""

    def __init__(self, root: Path) -> None:
        self.cache, self.manifests = make_cache(root, {"train": 1, "test": 1}, clips=2)
        self.parent = self.cache / "tiny" / KEY
        self.train = self.manifests / "train.txt"
        self.group = self.parent / "f000"
        videos = [
            Video("tiny", name, name, root / f"{name}.mp4", int(name[0] == "f"), split="train")
            for name in ("f000", "r000")
        ]
        write_index(self.parent, videos, CropConfig(clips=2, frames=3, size=32).settings("r1"))
        outcome = Outcome("x", "failed", "truncated", "cut", ("vfr",))
        refused.remember(self.parent, outcome, {"size": 3})
        write_outcomes(
            self.manifests / "outcomes.jsonl",
            [Listed(Outcome(v.video_id, "ok", clips=2), v.label, v.method, "train") for v in videos]
            + [Listed(outcome, 1, "Deepfakes", "train")],
        )
        options = {"width": 8, "frames": 3, "size": 32, "recurrent_kernel": "1"}
        settings = CropConfig(clips=2, frames=3, size=32).settings("r1")
        self.run = make_run(
            root / "runs" / "0001-x", self.train, self.cache, settings, "clrnet", options
        )
        self._write_run_files()
        self.point = next((self.run / "checkpoints").iterdir())
        self.export = root / "x.h5"
        manifest = read_manifest(self.train, self.cache)
        hdf5_writer.write_export(self.export, manifest, compression="none")
        self.model = root / "m.onnx"
        self._write_model()
        rows = scores_table(video_id=["a", "b"], label=[0, 1], score=[0.1, 0.9], clip=[0, 0])
        self.scores = root / "scores.csv"
        write_scores(self.scores, rows)
        self._write_lists(root / "lists")

    def _write_run_files(self) -> None:
        lines = [
            {"kind": "step", "epoch": 0, "step": 1, "loss": 0.7, "rate": 1e-3, "clips": 4},
            {"kind": "epoch", "epoch": 0, "step": 1, "auc": 0.8, "log_loss": 0.5, "best": True},
        ]
        (self.run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        speed = {"epoch": 0, "clips_per_second": 9.5, "wait": 0.1, "seconds": 3.0}
        (self.run / "speed.jsonl").write_text(json.dumps(speed) + "\n")
        fitted = Calibration(1.2, 0.4, (0.3, 0.6), videos=40, real=20, fake=20, auc=0.9)
        (self.run / "calibration.json").write_text(as_json(fitted))
        write_evaluation(self.run / "evaluations" / "x-test", Measure(0.8, 0.7, 0.9))

    def _write_model(self) -> None:
        self.model.write_bytes(b"")  # an empty ONNX message: read, and refused as no network
        made = {
            "format": 1,
            "name": "clrnet",
            "sha256": hashlib.sha256(b"").hexdigest(),
            "spec": asdict(SPEC),
            "settings": CropConfig(clips=2, frames=3, size=32).settings("r1"),
            "calibration": asdict(Calibration(1.2, 0.4, (0.3, 0.6))),
            "facts": {"Run": {"model": "clrnet"}},
            "cautions": ["one"],
            "knowledge": None,
            "standings": [{"name": "x-test", "auc": 0.8, "low": 0.7}],
        }
        self.model.with_name("m.onnx.json").write_text(json.dumps(made, indent=1))

    def _write_lists(self, folder: Path) -> None:
        for name in ("a.mp4", "b.mp4", "dfdc/a.mp4", "dfdc/b.mp4"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        self.table = folder / "videos.csv"
        self.table.write_text(
            "path,label,key,split,method,pair,fake_spans\n"
            "a.mp4,0,k0,train,,,\nb.mp4,1,k1,train,Swap,k0,0.5-1.25;3-4\n"
        )
        self.metadata = folder / "dfdc" / "metadata.json"
        rows = {
            "a.mp4": {"label": "REAL", "split": "train"},
            "b.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"},
        }
        self.metadata.write_text(json.dumps(rows))

    def kinds(self) -> dict[str, Kind]:
        """Every kind of record by name."""
        group, run, parent = self.group, self.run, self.parent
        zarr = group / "zarr.json"
        return {
            "manifest": Kind(self.train, self._use_manifest),
            "outcomes": Kind(
                path := self.manifests / "outcomes.jsonl", lambda: read_outcomes(path)
            ),
            "refused": Kind(parent / ".outcomes" / "x.json", self._use_refused, quiet=True),
            "index": Kind(parent / "index.json", self._use_index),
            "digest": Kind(group / DIGEST, lambda: self._use_video(group)),
            "group": Kind(zarr, lambda: self._use_video(group), self._renew_digest),
            "group, sums kept": Kind(zarr, lambda: self._use_video(group)),
            "array": Kind(
                group / "crops" / "zarr.json", lambda: self._use_video(group), self._renew_digest
            ),
            "run": Kind(run / "run.json", self._use_run),
            "metrics": Kind(run / "metrics.jsonl", lambda: summary(run)),
            "speed": Kind(run / "speed.jsonl", lambda: summary(run)),
            "calibration": Kind(
                run / "calibration.json", lambda: read_calibration(run / "calibration.json")
            ),
            "evaluation": Kind(
                run / "evaluations" / "x-test" / "metrics.json", self._use_evaluation
            ),
            "state": Kind(self.point / "state.json", self._use_checkpoint, self._renew_sums),
            "sums": Kind(self.point / "SHA256SUMS", self._use_checkpoint),
            "sidecar": Kind(self.model.with_name("m.onnx.json"), self._use_sidecar),
            "scores": Kind(self.scores, lambda: read_scores(self.scores)),
            "table": Kind(self.table, lambda: self._use_list("csv", self.table.parent)),
            "metadata": Kind(self.metadata, lambda: self._use_list("dfdc", self.metadata.parent)),
        }

    def _use_manifest(self) -> None:
        read = read_manifest(self.train, self.cache)
        all_about(read)
        relabelled(read)

    def _use_refused(self) -> None:
        refused.recall(self.parent, "x")
        refused.recall(self.parent, "x", {"size": 3})
        refused.noted(self.parent, "x")

    def _use_index(self) -> None:
        settings_of_key(self.parent)
        missing_videos(self.parent)
        index = read_index(self.parent)
        if index.damaged:  # told by verify, which exits with 4
            raise CacheError(index.damaged[0])
        crop_config(index.settings, lambda crop: "r1", self.parent)

    def _use_video(self, folder: Path) -> None:
        verify_video(folder)
        video = open_video(folder)
        for name in TYPED:
            with contextlib.suppress(PipelineError):
                getattr(video, name)
        self._use_manifest()
        self._use_source(ClipSource(self.train, self.cache, SPEC))
        missing_videos(self.parent)

    def _use_source(self, source: ClipSource) -> None:
        samples = source.evaluation_samples()
        [source.label_of(sample) for sample in samples]
        json.dumps([source.pairs, source.facts()])
        find_leaks(source, self.train, self.cache)

    def _use_run(self) -> None:
        run = open_run(self.run)
        summary(self.run)
        knowledge_from(run.document.get("knowledge"), str(self.run))
        crop_of(run, self.cache)
        load_model(run)

    def _use_evaluation(self) -> None:
        standings_of(self.run / "evaluations")
        json.dumps(read_evaluation(self.run / "evaluations" / "x-test").as_json())

    def _use_checkpoint(self) -> None:
        load_model(open_run(self.run), "best")
        point = checkpoint.newest(self.run, "best")
        record_of(Progress, point.state.get("progress"), point.folder, CheckpointError)

    def _use_sidecar(self) -> None:
        read_sidecar(self.model)
        open_exported(self.model, PredictConfig(device="cpu"))

    def _use_list(self, dataset: str, root: Path) -> None:
        discover(dataset, root, SourceOptions(name="mine"))

    def _renew_digest(self) -> None:
        (self.group / DIGEST).unlink()  # it describes all but itself
        write_digest(self.group)

    def _renew_sums(self) -> None:
        names = sorted(path.name for path in self.point.iterdir() if path.name != "SHA256SUMS")
        (self.point / "SHA256SUMS").write_text(
            "".join(
                f"{hashlib.sha256((self.point / name).read_bytes()).hexdigest()}  {name}\n"
                for name in names
            )
        )

    def use_export(self) -> None:
        """An export as evaluate reads it, in place of a manifest."""
        self._use_source(ClipSource(self.export, self.cache, SPEC))


ODD = (
    None, True, False, -1, 0, 1, 3, 2**70, -(2**63), 1e308, 0.5, float("nan"), "", "x", "../x", "/",
    "\ud800", "\0", "x" * 5000, [], {}, [[]], [None], [1, "a"], [[1, 2], [3]], {"": 1}, {"n": {}},
)  # fmt: skip


def places(value: object) -> Iterator[tuple[dict | list, object]]:
    """Every container of a JSON value with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a record, changed: values of JSON where it is JSON, lines, or bytes."""
    if rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            return _other_values(data, rng)
    if rng.random() < 0.5:
        return _other_lines(data, rng)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 4, 60))
        kept = rng.choice((b"", bytes(rng.randrange(256) for _ in range(length)), b"[" * 200_000))
        data = (
            data[:at]
            + (data[at : at + length] * 2 if rng.random() < 0.2 else kept)
            + (data[at + length :])
        )
        data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data
    return data


def _other_values(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    try:
        whole, number = json.loads(data), None
    except ValueError:  # one object a line
        number = rng.randrange(len(lines))
        whole = json.loads(lines[number])
    for _ in range(rng.choice((1, 1, 1, 3))):
        found = list(places(whole))
        if not found:
            break
        holder, key = rng.choice(found)
        act = rng.random()
        if act < 0.2:
            del holder[key]
        elif act < 0.3 and isinstance(holder, dict):
            holder[str(rng.choice(ODD))[:99]] = holder[key]
        elif act < 0.4:
            other, from_ = rng.choice(found)
            holder[key] = json.loads(json.dumps(other[from_])) if from_ in _keys(other) else None
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))  # or the next change would be to ODD
    text = json.dumps(rng.choice(ODD) if rng.random() < 0.02 else whole).encode()
    return text if number is None else b"\n".join([*lines[:number], text, *lines[number + 1 :]])


def _keys(holder: dict | list) -> object:
    return holder if isinstance(holder, dict) else range(len(holder))


def _other_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    cells = lines[at].split(sep := rng.choice((b" ", b",", b'"')))
    cells[rng.randrange(len(cells))] = str(rng.choice(ODD)).encode("utf-8", "surrogatepass")
    swapped = [sep.join(cells)]
    lines[at : at + 1] = rng.choice((swapped, swapped, swapped, [], [lines[at]] * 2, [b"\xff\0"]))
    return b"\n".join(lines)


@dataclass
class Counts:
    """What happened: mutations in all, those refused, and what must not be."""

    mutations: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)


def fuzz(root: Path, seeds: range) -> dict[str, Counts]:
    """Mutate one record after the other, and judge how it is read; counts by kind."""
    world = World(root)
    kinds = world.kinds()
    counts = {name: Counts() for name in [*kinds, "export"]}
    attributes = _column(world.export)
    good_export = world.export.read_bytes()
    for seed in seeds:
        rng = random.Random(seed)
        name = rng.choice(list(counts))
        if name == "export":
            text = mutated(attributes[0].encode(), rng)
            own = text.decode("utf-8", "replace").replace("\0", "")
            forge(world.export, [own, *attributes[1:]])
            _judge(counts[name], seed, Kind(world.export, world.use_export))
            world.export.write_bytes(good_export)
            continue
        kind = kinds[name]
        kept = {
            path: path.read_bytes()
            for path in (kind.path, world.group / DIGEST, world.point / "SHA256SUMS")
        }
        kind.path.write_bytes(mutated(kept[kind.path], rng))
        kind.renew()
        _judge(counts[name], seed, kind)
        for path, data in kept.items():
            path.write_bytes(data)
    shutil.rmtree(root)
    return counts


def _judge(counts: Counts, seed: int, kind: Kind) -> None:
    """A refusal names the record or the folder it lies in, and is short; anything else is a
    fault.
    """
    counts.mutations += 1
    try:
        kind.use()
    except PipelineError as error:
        counts.refused += 1
        told = str(error)
        named = str(kind.path.parent) in told or kind.path.name in told
        if kind.quiet or not named or len(told) > 20_000:
            counts.faults.append(f"seed {seed}: {told[:300]}")
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        counts.faults.append(f"seed {seed}: {type(error).__name__}: {str(error)[:200]} at {place}")


def _column(path: Path) -> list[str]:
    with h5py.File(path, "r") as file:
        return file["video/attributes"].asstr()[...].tolist()


def forge(path: Path, texts: list[str]) -> None:
    """Put other attributes into an export and renew its digest."""
    with h5py.File(path, "r+") as file:
        del file["video/attributes"]
        file.create_dataset(
            "video/attributes",
            data=np.asarray(texts, TEXT),
            dtype=TEXT,
        )
        names = [name for name in hdf5.ARRAYS if name in file]
        keys = ["folder", "label", "clips", "attributes", *(f"first_{name}" for name in names)]
        every = [*(f"video/{key}" for key in keys), *(f"crc32c/{name}" for name in names)]
        size = 2**40
        document = {
            place: hdf5._column(path, file[place], size) for place in [*every, "index", "pts"]
        }
        key, sha256 = str(file.attrs["key"]), str(file.attrs["manifest_sha256"])
        file.attrs["digest"] = hdf5.document_digest(document, key, sha256)
