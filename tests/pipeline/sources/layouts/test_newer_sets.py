"""The sets of 2021 to 2026 in miniature: who is real, made from what and in which split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.trees import by_key, find, keys, plant, plant_json
from unmask.pipeline.errors import UsageError
from unmask.testing.datasets import DatasetTests

# What is asked of a video: label, method, target, donor, original, split.
Facts = tuple[int, str, str | None, str | None, str | None, str]


@dataclass(frozen=True)
class Miniature:
    """A planted tree, and some of what must be found in it; `ANY` is a derived split."""

    name: str
    plant: Callable[[Path], object]
    facts: dict[str, Facts]
    options: dict[str, object]


ANY = "derived"


def df40(root: Path) -> None:
    plant(
        root,
        "DF40_train/simswap/frames/000_003/000.png",
        "DF40_train/simswap/landmarks/000_003/000.npy",
        "DF40_train/StyleGAN2/007/seed1.png",
        "DF40/simswap/ff/frames/010_011/000.png",
        "DF40/simswap/cdf/frames/id0_id1_0000/000.png",
        "DF40/heygen/fake/a/000.png",
        "DF40/heygen/real/b/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/000/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/003/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/010/000.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/999/000.png",
        "Celeb-DF-v2/Celeb-real/frames/id0_0000/000.png",
    )


def ffiw(root: Path) -> None:
    plant(
        root,
        "FFIW10K-v1-release/source/train/train_00000001.mp4",
        "FFIW10K-v1-release/target/train/train_00000003.mp4",
        "FFIW10K-v1-release/source/test_00000001.mp4",
        "FFIW10K-v1-release/target/test_00000001.mp4",
        "FFIW10K-v1-release/target/readme.mp4",
    )
    plant_json(root / "FFIW10K-v1-release/train.json", [[1, 3]])


def kodf(root: Path) -> None:
    plant(
        root,
        "kodf_release/original_videos/0a1b/0a1b_001.mp4",
        "kodf_release/synthesized_videos/dfl/20200101/0a1b/0a1b_77aa_1_0001.mp4",
        "kodf_release/synthesized_videos/fo/20200101/0a1b/0a1b_77aa_5_0002.mp4",
    )


def aihub(root: Path) -> None:
    meta = root / "라벨링데이터" / "train_meta_data"
    plant(root, "원천데이터/train_원본/1.mp4", "원천데이터/train_변조/dffs/2.mp4")
    plant(root, "원천데이터/train_변조/9.mp4")
    meta.mkdir(parents=True)
    real, fake = (meta / f"{word}영상_training_메타데이터.csv" for word in ("원본", "변조"))
    real.write_text("﻿영상ID,인물성별,UUID\n1.mp4,F,p1\n", "utf-8")
    fake.write_text(
        "영상ID,타겟영상,변조모델,소스UUID,타겟UUID\n2.mp4,1.mp4,dffs,p2,p1\n3.mp4,1.mp4,dfl,p2,p1\n",
        "utf-8",
    )


def dfdm(root: Path) -> None:
    plant(
        root,
        "DFDM_crf23/dfaker/videos/id28_id20_0008_4dfaker.mp4",
        "DFDM_crf23/id3_id4_0001_5dfl-h128.mp4",
        "DFDM_crf0/dfaker/id28_id20_0008_4dfaker.mp4",
        "Celeb-real/id28_0008.mp4",
        "Celeb-real/id28_0009.mp4",
    )


def deepspeak(root: Path) -> None:
    plant(root, "0/87-0.mp4", "0/87-1.mp4", "1/diff2lip-6868-0-playht.mp4", "1/odd.mp4")
    (root / "annotations-real.csv").write_text(
        "video-file,identity\n87-0.mp4,87\n87-1.mp4,87\n90-0.mp4,90\n"
    )
    (root / "annotations-fake.csv").write_text(
        "video-file,engine,identity-source,identity-target,recording-target,audio-config\n"
        "diff2lip-6868-0-playht.mp4,diff2lip,88,87,0,playht\n"
    )
    (root / "annotations-split-def.csv").write_text("identity,split\n87,test\n90,train\n")


def deepspeak1(root: Path) -> None:
    plant(root, "v/10-4100.mp4", "v/11-4897.mp4", "v/facefusion--10-11--4100-4897--0.mp4")
    (root / "annotations-fake.csv").write_text("video-file\nfacefusion--10-11--4100-4897--0.mp4\n")


PP = "vox_celeb_2/id01358/_1nATum8x78/00030"
SILENT = "silent_videos/subject_17_ddv_vid_2_6"


def avdeepfake1mpp(root: Path) -> None:
    def row(file: str, kind: str, original: str | None, **models: str) -> dict[str, object]:
        spans = [] if kind == "real" else [[0.5, 1.0]]
        visual = spans if kind in ("visual_modified", "both_modified") else []
        names = {"fake_segments": spans, "visual_fake_segments": visual}
        return {"file": file, "modify_type": kind, "original": original, **names, **models}

    rows = [
        row(f"{PP}/real.mp4", "real", "VoxCeleb2/dev/mp4/id01358/x/00030.mp4"),
        row(f"{PP}/fake_video.mp4", "visual_modified", f"{PP}/real.mp4", video_model="Talklip"),
        row(f"{PP}/fake_audio.mp4", "audio_modified", f"{PP}/real.mp4", audio_model="vits"),
        row(f"{SILENT}/fake.mp4", "visual_modified", f"{SILENT}/real.mp4", video_model="diff2lip"),
        row("lrs3/ue2/00013/real.mp4", "real", None),
    ]
    plant_json(root / "val_metadata.json", rows)
    plant(root, *(f"val/{row['file']}" for row in rows))
    (root / "testA_files.txt").write_text("a.mp4\n")
    (root / "testB_files.txt").write_text("b.mp4\n")


def synthforensics(root: Path) -> None:
    plant(
        root,
        "T2V/videos/crf23/ltx2-3/000_ltx2-3_t2v.mp4",
        "I2V/videos/crf23/helios/01__exit_phone_room_helios_i2v.mp4",
        "T2V/videos/raw/ltx2-3/000_ltx2-3_t2v.mp4",
        "T2V/metadata/ltx2-3/000_ltx2-3_t2v.json",
        "ffpp/original_sequences/youtube/c23/videos/000.mp4",
        "ffpp/original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        "ffpp/original_sequences/youtube/c23/videos/001.mp4",
    )


def deepfakeeval(root: Path) -> None:
    plant(root, *(f"video-data/{name}.mp4" for name in "abcde"))
    (root / "video-metadata-publish-with-links.csv").write_text(
        "Filename,Video Ground Truth,Audio Ground Truth,Finetuning Set\n"
        "a.mp4,Real,Real,Test\nb.mp4,Fake,Real,Test\nc.mp4,Unknown,Fake,Train\nd.mp4,Fake,,Train\n"
        "e.mp4,Real,Fake,Test\nf.mp4,Real,Real,Test\n"
    )


MINIATURES = [
    Miniature(
        "df40",
        df40,
        {
            "train/simswap/000_003": (1, "simswap", "000", "003", "ff/000", "train"),
            "train/StyleGAN2/007": (1, "StyleGAN2", "007", None, "ff/007", "train"),
            "test/simswap/ff/010_011": (1, "simswap", "010", "011", "ff/010", "test"),
            "test/simswap/cdf/id0_id1_0000": (1, "simswap", "id0", "id1", "cdf/id0_0000", "test"),
            "test/heygen/real/b": (0, "real", None, None, None, "test"),
            "ff/003": (0, "real", "003", None, None, "train"),
            "ff/010": (0, "real", "010", None, None, "test"),
            "cdf/id0_0000": (0, "real", "id0_0000", None, None, "test"),
        },
        {},
    ),
    Miniature(
        "ffiw",
        ffiw,
        {
            "source/train/train_00000001": (0, "real", None, None, None, "train"),
            "target/train/train_00000003": (
                *(1, "FFIW", None, None),
                *("source/train/train_00000001", "train"),
            ),
            "target/test/test_00000001": (1, "FFIW", None, None, None, "test"),
        },
        {},
    ),
    Miniature(
        "kodf",
        kodf,
        {
            "original_videos/0a1b/0a1b_001": (0, "real", "0a1b", None, None, ANY),
            "synthesized_videos/dfl/20200101/0a1b/0a1b_77aa_1_0001": (
                *(1, "dfl", "0a1b", "77aa", None),
                ANY,
            ),
            "synthesized_videos/fo/20200101/0a1b/0a1b_77aa_5_0002": (
                *(1, "audio-driven", "0a1b", "77aa", None),
                ANY,
            ),
        },
        {},
    ),
    Miniature(
        "kodf",
        aihub,
        {
            "1": (0, "real", "p1", None, None, "train"),
            "2": (1, "dffs", "p1", "p2", "1", "train"),
            "3": (1, "dfl", "p1", "p2", "1", "train"),
        },
        {},
    ),
    Miniature(
        "dfdm",
        dfdm,
        {
            "DFaker/crf23/id28_id20_0008_4dfaker": (
                *(1, "DFaker", "id28", "id20"),
                *("Celeb-real/id28_0008", ANY),
            ),
            "DFL-H128/crf23/id3_id4_0001_5dfl-h128": (
                *(1, "DFL-H128", "id3", "id4"),
                *("Celeb-real/id3_0001", ANY),
            ),
            "Celeb-real/id28_0008": (0, "real", "id28", None, None, ANY),
        },
        {},
    ),
    Miniature(
        "deepspeak",
        deepspeak,
        {
            "87-0": (0, "real", "87", None, None, "test"),
            "diff2lip-6868-0-playht": (1, "diff2lip", "87", "88", "87-0", "test"),
        },
        {},
    ),
    Miniature(
        "deepspeak",
        deepspeak1,
        {
            "11-4897": (0, "real", "11", None, None, ANY),
            "facefusion--10-11--4100-4897--0": (1, "facefusion", "11", "10", "11-4897", ANY),
        },
        {},
    ),
    Miniature(
        "avdeepfake1mpp",
        avdeepfake1mpp,
        {
            f"val/{PP}/real": (0, "real", "id01358", None, None, "val"),
            f"val/{PP}/fake_video": (1, "Talklip", "id01358", None, f"val/{PP}/real", "val"),
            f"val/{PP}/fake_audio": (0, "vits", "id01358", None, f"val/{PP}/real", "val"),
            f"val/{SILENT}/fake": (1, "diff2lip", "subject_17", None, f"val/{SILENT}/real", "val"),
            "val/lrs3/ue2/00013/real": (0, "real", "lrs3-ue2", None, None, "val"),
        },
        {},
    ),
    Miniature(
        "synthforensics",
        synthforensics,
        {
            "ltx2-3-T2V/000": (1, "ltx2-3-T2V", "000", None, None, "test"),
            "helios-I2V/01__exit_phone_room": (
                *(1, "helios-I2V", "01__exit_phone_room", None, None),
                ANY,
            ),
            "real/000": (0, "real", "000", None, None, "test"),
            "real/01__exit_phone_room": (0, "real", "01__exit_phone_room", None, None, ANY),
        },
        {"reals": "ffpp"},
    ),
    Miniature(
        "deepfakeeval",
        deepfakeeval,
        {
            "a": (0, "real", None, None, None, "test"),
            "b": (1, "in the wild", None, None, None, "test"),
            "e": (0, "in the wild", None, None, None, "test"),
        },
        {},
    ),
]


def found_in(miniature: Miniature, root: Path):
    miniature.plant(root)
    options = dict(miniature.options)
    if "reals" in options:
        options["reals"] = root / str(options["reals"])
    return find(miniature.name, root, **options)


@pytest.mark.parametrize("miniature", MINIATURES, ids=lambda m: m.plant.__name__)
def test_labels_people_originals_and_splits(miniature: Miniature, tmp_path: Path) -> None:
    found = by_key(found_in(miniature, tmp_path))
    for key, (*facts, split) in miniature.facts.items():
        video = found[key]
        told = [video.label, video.method, video.target, video.source, video.pair]
        assert told == facts, key
        if split == ANY:
            assert (video.split_origin, video.split) != ("official", "none") and video.split != ""
        else:
            assert video.split == split, key


@pytest.mark.parametrize("miniature", MINIATURES, ids=lambda m: m.plant.__name__)
def test_published_counts_are_only_warned_about(miniature: Miniature, tmp_path: Path) -> None:
    found = found_in(miniature, tmp_path)
    assert not any(expected.sure for expected in found.expected)
    assert found.problems == ()


def test_what_no_list_names_and_what_the_disk_lacks(tmp_path: Path) -> None:
    found = found_in(MINIATURES[0], tmp_path / "df40")
    assert found.unlisted == ("FaceForensics++/original_sequences/youtube/c23/frames/999",)
    assert found_in(MINIATURES[1], tmp_path / "ffiw").unlisted == ("target/readme.mp4",)
    hub = found_in(MINIATURES[3], tmp_path / "hub")
    assert keys(hub.missing) == ["3"] and hub.unlisted == ("원천데이터/train_변조/9.mp4",)
    speak = found_in(MINIATURES[5], tmp_path / "speak")
    assert keys(speak.missing) == ["90-0"] and speak.unlisted == ("1/odd.mp4",)
    wild = found_in(MINIATURES[-1], tmp_path / "wild")
    assert keys(wild.missing) == ["f"]
    assert any("1 rows say neither" in note for note in wild.notes)
    lost = keys(found_in(MINIATURES[4], tmp_path / "dfdm").missing)
    assert lost == ["Celeb-real/id3_0001"]


def test_another_compression_is_a_question_of_its_own(tmp_path: Path) -> None:
    dfdm(tmp_path / "dfdm")
    raw = find("dfdm", tmp_path / "dfdm", compression="raw")
    assert "DFaker/crf0/id28_id20_0008_4dfaker" in by_key(raw)
    assert len([video for video in raw.videos if video.label]) == 1
    with pytest.raises(UsageError, match="no fakes of crf10 here, but of crf0, crf23"):
        find("dfdm", tmp_path / "dfdm", compression="crf10")
    synthforensics(tmp_path / "sf")
    raw = find("synthforensics", tmp_path / "sf", compression="raw", reals=tmp_path / "sf" / "ffpp")
    assert keys(raw.videos) == ["ltx2-3-T2V/000"]
    assert any("1 of 1 reals are not here" in note for note in raw.notes)


def test_a_voice_alone_is_no_visual_fake_and_an_unknown_one_no_answer(tmp_path: Path) -> None:
    deepfakeeval(tmp_path)
    modes = ("visual", "audio", "any")
    labels = {
        mode: {v.key: v.label for v in find("deepfakeeval", tmp_path, label_mode=mode).videos}
        for mode in modes
    }
    assert labels["visual"] == {"a": 0, "b": 1, "d": 1, "e": 0}
    assert labels["audio"] == {"a": 0, "b": 0, "c": 1, "e": 1}
    assert labels["any"] == {"a": 0, "b": 1, "c": 1, "d": 1, "e": 1}


@pytest.mark.parametrize(
    ("name", "file", "text", "why"),
    [
        ("ffiw", "train.json", "[[1]]", r"train.json'.*is not \[source number"),
        ("ffiw", "train.json", "{}", "a list was expected"),
        ("deepspeak", "a.mp4", "", r"no annotations-fake\.csv"),
        ("deepfakeeval", "a.mp4", "", r"no video-metadata-publish"),
        ("synthforensics", "T2V/a.mp4", "", r"no \{T2V,I2V\}/videos/crf23/"),
        ("avdeepfake1mpp", "a.mp4", "", "avdeepfake1mpp: no train_metadata"),
    ],
)
def test_a_list_that_is_absent_or_broken_is_one_line(
    tmp_path: Path, name: str, file: str, text: str, why: str
) -> None:
    plant(tmp_path, "source/train_1.mp4", "target/train_1.mp4", file, data=text.encode())
    with pytest.raises(UsageError, match=why) as caught:
        find(name, tmp_path)
    assert "\n" not in str(caught.value)


class Shared(DatasetTests):
    """What every layout must do, on the miniature of this name."""

    number = 0

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        root = tmp_path / "tree"
        root.mkdir()
        MINIATURES[self.number].plant(root)
        return root


class TestDF40(Shared):
    dataset_name = "df40"


class TestFFIW(Shared):
    dataset_name, number = "ffiw", 1


class TestKoDF(Shared):
    dataset_name, number = "kodf", 2


class TestDFDM(Shared):
    dataset_name, number = "dfdm", 4


class TestDeepSpeak(Shared):
    dataset_name, number = "deepspeak", 5


class TestAVDeepfake1MPP(Shared):
    dataset_name, number = "avdeepfake1mpp", 7


class TestDeepfakeEval(Shared):
    dataset_name, number = "deepfakeeval", 9
