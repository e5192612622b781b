"""The table of datasets: names, aliases, typos, roots, and what every adapter has in common."""

from __future__ import annotations

import pytest

from tests.support.trees import find, plant
from unmask.pipeline.errors import UsageError
from unmask.pipeline.sources.registry import SOURCES, default_root, discover, resolve

NAMES = (
    *(
        "ffpp",
        "dfd",
        "celebdf1",
        "celebdf2",
        "celebdfpp",
        "dfdc",
        "dfdcp",
        "fakeavceleb",
        "lavdf",
        "avdeepfake1m",
        "avdeepfake1mpp",
    ),
    *(
        "tvil",
        "uadfv",
        "dftimit",
        "wilddeepfake",
        "srdf",
        "deeperforensics",
        "forgerynet",
        "df40",
        "dfdm",
        "ffiw",
        "kodf",
        "deepspeak",
        "synthforensics",
        "deepfakeeval",
        "folder",
        "csv",
    ),
)


def test_all_promised_datasets_are_there_with_words_for_everything():
    assert set(SOURCES) == set(NAMES)
    for source in SOURCES.values():
        for field in (
            "title",
            "kind",
            "size",
            "access",
            "licence",
            "tasks",
            "tree",
            "labels",
            "splits",
        ):
            assert getattr(source, field).strip(), f"{source.name}.{field}"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("FF++", "ffpp"),
        ("FaceForensics++", "ffpp"),
        ("celeb-df-v2", "celebdf2"),
        ("Celeb-DF", "celebdf2"),
        ("Celeb-DF++", "celebdfpp"),
        ("celeb_df_v1", "celebdf1"),
        ("DFDC-Preview", "dfdcp"),
        ("DeepfakeTIMIT", "dftimit"),
        ("LAV-DF", "lavdf"),
        ("av-deepfake1m", "avdeepfake1m"),
        ("SR-DF", "srdf"),
        ("DeeperForensics-1.0", "deeperforensics"),
        ("Wild Deepfake", "wilddeepfake"),
        ("AV-Deepfake1M++", "avdeepfake1mpp"),
        ("FFIW-10K", "ffiw"),
        ("Deepfake-Eval-2024", "deepfakeeval"),
        ("CSV", "csv"),
    ],
)
def test_names_people_type(typed, name):
    assert resolve(typed).name == name


def test_aliases_are_not_ambiguous():
    words = [word for source in SOURCES.values() for word in (source.name, *source.aliases)]
    assert len(words) == len(set(words))
    assert all(
        resolve(word).name == source.name
        for source in SOURCES.values()
        for word in (source.name, *source.aliases)
    )


@pytest.mark.parametrize(
    ("typed", "near"),
    [("celebdf22", "celebdf2"), ("fakeavcelb", "fakeavceleb"), ("foldr", "folder")],
)
def test_a_typo_names_the_nearest(typed, near):
    with pytest.raises(UsageError, match=f"did you mean '{near}'"):
        resolve(typed)


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.delenv("UNMASK_DATA", raising=False)
    assert str(default_root("FF++")) == "data/ffpp"
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path))
    assert default_root("ffpp") == tmp_path / "ffpp"


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_root_and_an_empty_one_are_refused_in_one_line(name, tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        discover(name, tmp_path / "absent")
    with pytest.raises(UsageError) as caught:
        discover(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_as_root_is_refused_except_for_tables(tmp_path):
    with pytest.raises(UsageError, match="not a folder"):
        discover("ffpp", plant(tmp_path, "f") / "f")


def test_a_relative_root_gives_absolute_paths(tmp_path, monkeypatch):
    plant(tmp_path, "set/real/a.mp4", "set/fake/b.mp4")
    monkeypatch.chdir(tmp_path)
    assert all(
        video.path.is_absolute()
        for video in find("folder", tmp_path.relative_to(tmp_path) / "set").videos
    )


def test_an_unknown_method_of_any_dataset_names_the_nearest(tmp_path):
    plant(tmp_path, "real/a.mp4", "fake/Deepfakes/b.mp4", "fake/FaceSwap/c.mp4")
    assert {v.method for v in find("folder", tmp_path, methods=("faceswap",)).videos} == {
        "real",
        "FaceSwap",
    }
    with pytest.raises(UsageError, match="did you mean 'FaceSwap'"):
        find("folder", tmp_path, methods=("faceswop",))
