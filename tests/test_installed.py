"""What pip installs: a wheel and a source archive that hold `unmask` alone, with real files, and
work beside other people's folders of the same names.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILT = ("unmask", "pipeline", "models", "commands", "setup.cfg", "pyproject.toml", "README.md")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files a build needs, the links of unmask/ kept as links."""
    target = tmp_path_factory.mktemp("build") / "checkout"
    target.mkdir()
    for name in (*BUILT, "LICENSE", "cli.py", "tests"):
        source = ROOT / name
        if source.is_dir():
            away = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, symlinks=True, ignore=away)
        else:
            shutil.copy(source, target / name)
    return target


@pytest.fixture(scope="session")
def wheel(checkout: Path) -> Path:
    words = ("wheel", *OFFLINE, "--wheel-dir", checkout.parent / "dist", checkout)
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    return next((checkout.parent / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def site(wheel: Path) -> Path:
    """A folder into which the wheel is installed."""
    target = wheel.parent.parent / "site"
    words = ("install", *OFFLINE, "--target", target, wheel)
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    return target


def sources() -> set[str]:
    """Every file of the library as it must lie in a wheel."""
    found = {
        f"unmask/{path.relative_to(ROOT / 'unmask')}" for path in (ROOT / "unmask").glob("*.py")
    }
    found |= {f"unmask/testing/{path.name}" for path in (ROOT / "unmask/testing").glob("*.py")}
    for top in ("pipeline", "models", "commands"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(f"unmask/{path.relative_to(ROOT)}")
    return found | {"unmask/py.typed"}


def test_the_wheel_holds_unmask_alone_with_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    names = {member.filename for member in members}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"unmask"}
    assert {name for name in names if ".dist-info/" not in name} == sources()
    # The upper half of a member's attributes is its Unix mode; 0o120000 is a link.
    assert not [m.filename for m in members if (m.external_attr >> 16) & 0o170000 == 0o120000]


def test_the_wheel_names_the_command_and_the_codec(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        points = configparser.ConfigParser()
        points.read_string(archive.read(name).decode())
    assert dict(points["console_scripts"]) == {"unmask": "unmask.commands.main:main"}
    codec = {"unmask.row_delta": "unmask.pipeline.cache.row_delta:RowDelta"}
    assert dict(points["zarr.codecs"]) == codec


def test_a_source_archive_builds_the_same_wheel(checkout: Path, wheel: Path) -> None:
    call = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run([sys.executable, "-c", call], cwd=checkout, check=True, capture_output=True)
    with tarfile.open(next((checkout / "dist").glob("*.tar.gz"))) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        archive.extractall(checkout.parent / "unpacked", filter="data")
    root = next((checkout.parent / "unpacked").iterdir())
    target = checkout.parent / "again"
    words = ("wheel", *OFFLINE, "--wheel-dir", target, root)
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(next(target.glob("*.whl"))) as other:
        assert {i.filename: i.CRC for i in one.infolist() if "RECORD" not in i.filename} == {
            i.filename: i.CRC for i in other.infolist() if "RECORD" not in i.filename
        }


def run_beside(site: Path, folder: Path, *words: str) -> str:
    """A program in `folder`, which finds the installed wheel and no checkout."""
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_other_peoples_folders_of_our_names_change_nothing(site: Path, tmp_path: Path) -> None:
    for name in ("models", "commands", "pipeline/disk"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not of unmask')\n")
    (tmp_path / "pipeline.py").write_text("raise ImportError('not of unmask')\n")
    (tmp_path / "cli.py").write_text("raise ImportError('not of unmask')\n")
    code = "import unmask; print(unmask.__file__, *unmask.list_models(), unmask.CropConfig().size)"
    said = run_beside(site, tmp_path, "-c", code).split()
    assert said == [str(site / "unmask" / "__init__.py"), "clrnet", *said[2:-1], "240"]
    shown = run_beside(site, tmp_path, "-m", "unmask.commands.main", "demo", "--help")
    assert shown.startswith("Usage: unmask demo")


def test_nothing_else_of_ours_can_be_imported(site: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u; "
        "print([n for n in ('pipeline', 'models', 'commands', 'cli', 'tests') if u.find_spec(n)])"
    )
    assert run_beside(site, tmp_path, "-c", code).strip() == "[]"
