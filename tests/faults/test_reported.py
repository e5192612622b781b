"""The very files, folders and lists that were reported (faults/ and reports/ of the test media),
each through the command that failed on them: they end as docs/faults.md says.
"""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.faults.forks import in_this_process
from unmask.commands import main as cli
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.clips.picture_folder import PictureClips
from unmask.pipeline.config import CropConfig
from unmask.pipeline.extraction import dispatch

pytestmark = pytest.mark.slow


@dataclass
class Ended:
    """What a command left: its exit code, what it said, and every video's row of the outcomes."""

    code: int
    said: str
    rows: dict[str, dict]
    lists: list[Path]
    cache: Path

    def flags(self, name: str) -> set[str]:
        """Flags of a video that must be `ok`, without those of a film of 40 frames."""
        assert self.rows[name]["status"] == "ok", self.rows[name]
        return set(self.rows[name]["flags"]) - {"overlapping_clips", "fewer_clips", "sequential"}

    def folder(self, name: str) -> Path:
        (found,) = self.cache.glob(f"*/*/{name}")
        return found

    def attributes(self, name: str) -> dict:
        return dict(open_video(self.folder(name)).attributes)

    def crops(self, name: str) -> np.ndarray:
        """(N, T, S, S, 3) of all clips."""
        clips = self.rows[name]["clips"]
        return open_video(self.folder(name)).read_crops(range(clips)).astype(float)

    def places(self) -> dict[str, str]:
        """Split of every video that a list names."""
        return {
            line.split()[0].rpartition("/")[2]: path.stem
            for path in self.lists
            for line in path.read_text().splitlines()
        }


Extract = Callable[..., Ended]


@pytest.fixture
def extract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Extract:
    """The command on a data set, its videos one after the other in this process."""
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)

    def run(dataset: str, root: Path, *words: str) -> Ended:
        if not root.exists():
            pytest.skip(f"the media folder has no {root.name}")
        cache, manifests = tmp_path / "cache", tmp_path / "manifests"
        places = ["--cache", str(cache), "--manifests", str(manifests)]
        code = cli.main(
            ["extract", "--dataset", dataset, "--root", str(root), *places, "--no-bands", *words]
        )
        told = capsys.readouterr()
        rows = [
            json.loads(line)
            for path in manifests.rglob("outcomes.jsonl")
            for line in path.read_text().splitlines()
        ]
        assert "Traceback" not in told.out + told.err and "\x1b" not in told.out + told.err
        named = {row["video_id"]: row for row in rows}
        return Ended(code, told.out + told.err, named, sorted(manifests.rglob("*.txt")), cache)

    return run


@pytest.fixture
def reports(media: Path) -> Path:
    return media / "reports"


@pytest.fixture
def faults(media: Path) -> Path:
    return media / "faults"


def of_some(videos: Path, *names: str, into: Path) -> Path:
    """A folder data set of some files."""
    (into / "real").mkdir(parents=True)
    for name in names:
        if not (videos / name).is_file():
            pytest.skip(f"the media folder has no {name}")
        shutil.copy(videos / name, into / "real" / name)
    return into


# name -> frames that come out, flags; a reason instead where more than a twentieth is lost inside
DAMAGED = {
    "gif__cut1.gif": (21, {"incomplete"}),
    "hevc__flip3.mp4": (39, {"incomplete", "damaged", "vfr"}),
    "webmvp8__ins.webm": (38, {"incomplete", "damaged", "vfr"}),
    "mpg__cut3.mpg": (37, {"incomplete", "damaged"}),
    "mp4end__head1.mp4": (39, {"incomplete", "damaged", "vfr"}),
    "avimj__flip2.avi": (39, {"incomplete"}),
    "flva__cutpk0.flv": (34, {"incomplete"}),
    "wmv__cutpk0.wmv": (30, {"incomplete"}),
    "ts264__cut188_1.ts": (30, {"incomplete"}),
    "tsmpeg2__cut188_0.ts": (20, {"incomplete"}),
    "hevc__zero.mp4": (29, "corrupt"),
    "webmvp8__zero.webm": (28, "corrupt"),
    "ts264__zero.ts": (37, "corrupt"),
    "wmv__hole.wmv": (9, "corrupt"),
}
WHOLE = ("gif.gif", "hevc.mp4", "webmvp8.webm", "mp4end.mp4", "flva.flv", "wmv.wmv", "ts264.ts")


def test_damaged_videos_are_told_with_counts_and_whole_ones_are_not(
    faults: Path, extract: Extract, tmp_path: Path
) -> None:
    """A7, A8 and A9."""
    root = of_some(faults, *DAMAGED, *WHOLE, into=tmp_path / "root")
    ended = extract("folder", root)
    assert ended.code == 3
    for name, (frames, expected) in DAMAGED.items():
        row = ended.rows[f"real-{name.partition('.')[0]}"]
        assert f"{frames} of " in row["detail"], row
        if isinstance(expected, str):
            assert (row["status"], row["reason"]) == ("failed", expected), row
        else:
            assert ended.flags(row["video_id"]) == expected, row
            media = ended.attributes(row["video_id"])["media"]
            assert media["frames"] == frames
    for name in WHOLE:
        assert ended.flags(f"real-{name.partition('.')[0]}") == set(), name


def test_a_tag_and_a_header_that_lie_cost_nothing(
    faults: Path, extract: Extract, tmp_path: Path
) -> None:
    """C2 and C3: a duration of 400 nines, an index of 20 million frames."""
    root = of_some(faults, "dur_over.mkv", "bomb20m.mp4", into=tmp_path / "root")
    extract("folder", of_some(faults, "mp4end.mp4", into=tmp_path / "warm"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended = extract("folder", root)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert ended.code == 3 and ended.flags("real-dur_over") == set()
    assert ended.rows["real-bomb20m"]["reason"] == "too_large"
    assert grown < 64 * 1024, "KiB; it took 1.3 GiB"


# list -> files beside it, exit code, what is said
LISTS = {
    "csv_inf": ([], 2, "t.csv:3: fake_spans '0-inf'"),
    "csv_long": ([], 2, "t.csv:3: path"),
    "csv_surr": ([], 2, "t.jsonl:2: path"),
    "dfdc_stem": (["dfdc_train_part_0/aa.mp4"], 2, "'aa.mp4' and 'aa.avi'"),
    "dfdc_type": (["dfdc_train_part_0/aa.mp4"], 2, "'aa.mp4' is left out: its original is 5"),
    "ffpp_deep": (["original_sequences/youtube/c23/videos/000.mp4"], 2, "train.json"),
    "ffpp_dup": (["original_sequences/youtube/c23/videos/000.mp4"], 2, "entry 3: id '001'"),
    "lavdf_dup": (["train/1.mp4"], 3, "1 videos are there twice, e.g. 'train/1'"),
}


@pytest.mark.parametrize("name", LISTS)
def test_one_odd_row_of_a_list_is_one_line_with_its_place(
    name: str, faults: Path, extract: Extract, tmp_path: Path
) -> None:
    """C1."""
    beside, code, said = LISTS[name]
    root = tmp_path / "root"
    shutil.copytree(faults / "lists" / name, root)
    for path in beside:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(faults / "mp4end.mp4", root / path)
    ended = extract(name.partition("_")[0], root)
    assert ended.code == code, ended.said
    assert said in ended.said, ended.said


def test_faces_of_anamorphic_videos_are_not_squeezed(reports: Path, extract: Extract) -> None:
    """F01: eye distance over the distance of eyes and mouth is that of the square twin, 0.784."""
    ended = extract("folder", reports / "01_sar")
    assert ended.code == 0
    for name, flags in (
        ("square", set()),
        ("sar_1_2", {"anamorphic"}),
        ("sar_2_1", {"anamorphic"}),
    ):
        assert ended.flags(f"real-{name}") == flags and ended.rows[f"real-{name}"]["clips"] >= 14
        # (N, 5, 2): eyes, nose, corners of the mouth
        points = np.array(ended.attributes(f"real-{name}")["landmark"])
        eyes = np.linalg.norm(points[:, 0] - points[:, 1], axis=1)
        down = np.linalg.norm(points[:, :2].mean(1) - points[:, 3:].mean(1), axis=1)
        assert np.median(eyes / down) == pytest.approx(0.784, rel=0.05), name


def test_a_size_that_changes_inside_is_scaled(reports: Path, extract: Extract) -> None:
    """F02."""
    ended = extract("folder", reports / "02_size_change")
    assert ended.code == 0 and len(ended.rows) == 3
    for name, row in ended.rows.items():
        assert row["clips"] == 16
        assert ended.flags(name) == (set() if "steady" in name else {"mixed_sizes"})


def test_an_hdr_film_gives_the_crops_of_its_sdr_twin(reports: Path, extract: Extract) -> None:
    """F03: mean of each channel within 8 levels, spread within 15 %."""
    ended = extract("folder", reports / "03_hdr")
    assert ended.flags("real-pq") == {"high_range"} and ended.rows["real-pq"]["clips"] >= 15
    media = ended.attributes("real-pq")["media"]
    assert (media["transfer"], media["primaries"]) == ("smpte2084", "bt2020")
    pq, sdr = ended.crops("real-pq"), ended.crops("real-sdr")
    axes = (0, 1, 2, 3)
    assert np.abs(pq.mean(axes) - sdr.mean(axes)).max() < 8
    assert np.abs(pq.std(axes) / sdr.std(axes) - 1).max() < 0.15


def test_the_default_stream_is_read(reports: Path, extract: Extract) -> None:
    """F04: the preview before it is a quarter of its size."""
    ended = extract("folder", reports / "04_default_stream")
    media = ended.attributes("real-two_streams")["media"]
    assert (media["width"], media["height"]) == (320, 240)


def test_what_is_no_video_is_passed_over_and_counted(reports: Path, extract: Extract) -> None:
    """F05 and F06."""
    ended = extract("folder", reports / "05_system_folders")
    assert set(ended.rows) == {"real-a", "real-frames1", "fake-swap-b"} and ended.code == 0
    assert "folder of the operating system 2" in ended.said


def test_unfinished_downloads_are_a_fault_and_odd_extensions_are_none(
    reports: Path, extract: Extract
) -> None:
    """F06."""
    ended = extract("folder", reports / "06_passed_over")
    assert ended.code == 3 and "unfinished download 1" in ended.said
    assert "not media (.webp) 6" in ended.said
    assert set(ended.rows) == {"real-a", "real-d.divx", "fake-swap-b"}


def test_equal_bytes_lie_in_one_split_and_two_labels_are_a_fault(
    reports: Path, extract: Extract, capsys: pytest.CaptureFixture[str]
) -> None:
    """F07."""
    ended = extract("folder", reports / "07_duplicates")
    assert ended.code == 3 and "the same file is fake as" in ended.said
    assert "fake-swap-f_r4 and real as" in ended.said
    places, by_bytes = ended.places(), {}
    for name in ended.rows:
        sha256 = ended.attributes(name)["file"]["sha256"]
        by_bytes.setdefault(sha256, []).append(name)
    copies = [names for names in by_bytes.values() if len(names) > 1]
    assert copies and all(len({places[name] for name in names}) == 1 for names in copies)
    check = ["manifest", "check", *map(str, ended.lists), "--cache", str(ended.cache)]
    assert cli.main(check) == 4
    assert "fake-swap-f_r4" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["08_dfdc", "08b_dfdc_words"])
def test_dfdc_as_pandas_writes_it_is_read(name: str, reports: Path, extract: Extract) -> None:
    """F08."""
    ended = extract("dfdc", reports / name)
    assert ended.code == 0
    labels = {row["video_id"][-10:]: row["label"] for row in ended.rows.values()}
    assert labels == {"a" * 10: 1, "b" * 10: 0}


def test_a_list_with_tabs_keeps_its_test_videos_out_of_train(
    reports: Path, extract: Extract
) -> None:
    """F09."""
    places = extract("celebdf2", reports / "09_celebdf").places()
    listed = {"YouTube-real-00170", "Celeb-synthesis-id1_id0_0007"}
    assert {name for name, split in places.items() if split == "test"} == listed
    assert len(places) == 5


def test_sixteen_bit_pictures_of_a_manifest_are_no_noise(reports: Path) -> None:
    """F10: they are the pictures of OpenCV's reader, divided by 257, to within rounding."""
    folder = reports / "10_png16" / "a"
    if not folder.is_dir():
        pytest.skip("the media folder has no 10_png16")
    truth = cv2.imread(str(folder / "000.png"), cv2.IMREAD_UNCHANGED)
    assert truth.dtype == np.uint16
    side = truth.shape[0]
    clips = PictureClips(folder, CropConfig(frames=3, size=side, clips=1))
    first = clips.read_crops([0])[0][0].astype(float)
    assert np.abs(first - truth[..., ::-1] / 257).max() <= 1


def test_the_person_under_the_mask_is_the_one_that_is_cut(reports: Path, extract: Extract) -> None:
    """F11: DFD, the smaller of two persons forged."""
    ended = extract("dfd", reports / "11_mask_elsewhere", "--masks")
    assert ended.code == 0
    (fake,) = [name for name, row in ended.rows.items() if row["label"] == 1]
    masks = open_video(ended.folder(fake)).read_masks(range(ended.rows[fake]["clips"]))
    assert (masks > 0).mean() > 0.1
    side = masks.shape[-1] // 2
    assert (masks[..., side, side] > 0).all(), "the middle of the crop is forged"


def test_a_video_without_frames_costs_the_list_itself_only(
    reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F12."""
    source = reports / "12_deepfakebench" / "FF-DF.json"
    words = ["manifest", "import", "deepfakebench", str(source), "--out", str(tmp_path)]
    assert cli.main(words) == 0
    told = capsys.readouterr()
    assert "1 of 5 videos left out: the list names no frames of them" in told.out + told.err
    assert len((tmp_path / "train.txt").read_text().splitlines()) == 4


def test_one_file_name_in_every_folder_leaves_no_split_empty(
    reports: Path, extract: Extract
) -> None:
    """F13."""
    ended = extract("folder", reports / "13_same_names")
    assert ended.code == 0 and set(ended.places().values()) == {"train", "val", "test"}
    groups = {ended.attributes(name)["group"] for name in ended.rows}
    assert len(groups) == 10 and len(ended.rows) == 20


def test_crops_of_different_sizes_say_what_to_do(reports: Path, extract: Extract) -> None:
    """F15; and the file that the last line names is there, though no video was kept."""
    ended = extract("folder", reports / "15_crop_sizes")
    assert ended.code == 3 and len(ended.rows) == 2
    for row in ended.rows.values():
        assert row["reason"] == "mixed_sizes" and "name it in a manifest" in row["detail"]
    last = ended.said.partition("every video's outcome: ")[2].splitlines()[0]
    assert Path(last).is_file()


def test_each_frame_in_two_forms_is_one_frame(reports: Path, extract: Extract) -> None:
    """F16."""
    ended = extract("folder", reports / "16_two_forms")
    assert ended.rows["real-a"]["frames_read"] == 12
    assert ended.attributes("real-a")["media"]["frames"] == 12


def test_tables_of_other_programs_are_read_and_a_missing_level_is_named(
    reports: Path, extract: Extract
) -> None:
    """F17."""
    ended = extract("ffpp", reports / "17_messages" / "ffpp_raw_only")
    assert ended.code == 2 and "raw is there: --compression raw" in ended.said
    for table in ("table.csv", "pandas_index.csv", "excel_unicode.csv"):
        ended = extract("csv", reports / "17_messages" / "windows_table" / table)
        assert ended.code == 0 and sorted(ended.rows) == ["vids-a", "vids-b"], ended.said


def test_a_fake_of_half_the_size_is_cut_at_its_original_s_face(
    reports: Path, extract: Extract
) -> None:
    """F18: mean difference below 10, 44.4 before."""
    ended = extract("csv", reports / "18_other_size_pair" / "table.csv", "--pair-boxes")
    assert ended.flags("fake_half") == set()
    assert np.abs(ended.crops("fake_half") - ended.crops("orig")).mean() < 10
