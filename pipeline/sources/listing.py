"""What lies under a dataset's root: video files and folders of pictures in a fixed order, and what
was passed over.

Built on os.scandir, which needs no stat per file; 200,000 files take seconds. The first bytes of a
file are read only where its extension is nobody's we know.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.formats import CONTAINERS, HEAD, begins_like_video

VIDEO_EXTENSIONS = frozenset(
    extension for extensions in CONTAINERS.values() for extension in extensions
)
PICTURE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg"})
PARTIAL_EXTENSIONS = frozenset({".part", ".crdownload", ".partial", ".download", ".tmp"})
# Never a video that we read, whatever the first bytes are: records, sound, single pictures.
OTHER_EXTENSIONS = frozenset(
    {
        ".txt", ".json", ".jsonl", ".csv", ".tsv", ".md", ".xml", ".html", ".yaml", ".yml", ".log",
        ".npy", ".npz", ".h5", ".hdf5", ".pkl", ".mat", ".lmdb", ".py", ".sh", ".pdf", ".zip",
        ".gz", ".tar", ".7z", ".rar", ".srt", ".vtt", ".md5", ".sha256", ".webp", ".bmp", ".tif",
        ".tiff", ".heic", ".heif", ".avif", ".m4a", ".mka", ".wma", ".oga", ".opus", ".spx",
        ".mp3", ".wav", ".flac", ".aac",
    }
)  # fmt: skip
SYSTEM_FILES = frozenset({".ds_store", "desktop.ini", "thumbs.db"})

# What systems and programs leave beside people's files, in lower case: bins, thumbnails, versions.
SYSTEM_FOLDERS = frozenset(
    {
        ".ipynb_checkpoints", ".trash", ".trashes", ".appledouble", ".spotlight-v100",
        ".fseventsd", ".temporaryitems", ".documentrevisions-v100", ".thumbnails", ".git", ".svn",
        ".dvc", ".cache", ".snapshot", ".snapshots", ".zfs", ".stversions", ".stfolder",
        ".dropbox.cache", ".sync", "$recycle.bin", "recycler", "system volume information",
        "lost+found", "@eadir", "#recycle", "#snapshot", "__macosx", "__pycache__",
    }
)  # fmt: skip


def is_system_folder(name: str) -> bool:
    """Whether a system or a program made the folder, for itself."""
    plain = name.casefold()
    return plain in SYSTEM_FOLDERS or plain.startswith((".trash-", ".nfs", ".fuse_hidden"))


@dataclass
class Listing:
    """Paths relative to the listed root, forward slashes, numeric-aware order.

    videos: files with a video's extension, or an unknown one and the first bytes of a video.
    folders: folders that hold pictures and no videos: one video each.
    ignored: (path, why) of everything else.
    """

    videos: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)

    @property
    def media(self) -> list[str]:
        """Videos and picture folders together, in order."""
        return (
            sorted([*self.videos, *self.folders], key=natural)
            if self.folders
            else list(self.videos)
        )

    def add(self, other: Listing) -> None:
        self.videos += other.videos
        self.folders += other.folders
        self.ignored += other.ignored


def natural(text: str) -> tuple[list[int | str], str]:
    """Sort key that reads numbers as numbers: frame 9 before frame 10, on every file system."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], text


def strip_extension(name: str) -> str:
    """The name without a video's extension; other dots belong to the name."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and stem and f".{extension.lower()}" in VIDEO_EXTENSIONS else name


def stem_of(relative: str) -> str:
    """Last part of a path without a video's extension: `a/000_003.mp4` -> `000_003`."""
    return strip_extension(relative.rpartition("/")[2])


def extension_of(name: str) -> str:
    """The extension in lower case with its dot; "" for `.hidden` and for a name without one."""
    stem, dot, extension = name.rpartition(".")
    return f".{extension.lower()}" if dot and stem else ""


def why_ignored(name: str) -> str:
    """Why a file of this name is no media, or "" when it may be."""
    extension = extension_of(name)
    if name.lower() in SYSTEM_FILES or name.startswith("._"):
        return "file of the operating system"
    if extension in PARTIAL_EXTENSIONS:
        return "unfinished download"
    if extension in VIDEO_EXTENSIONS or extension in PICTURE_EXTENSIONS:
        return ""
    return f"not media ({extension})" if extension else "not media (no extension)"


def list_media(root: Path, within: str = "", *, bare_pictures: bool = False) -> Listing:
    """All media under `root/within`, at any depth; an absent folder gives an empty listing.

    bare_pictures: files without extension count as pictures (VidTIMIT). Links to folders are
        followed, each real folder once, so loops end.
    Raises: UsageError if the folder itself cannot be listed.
    """
    listing = Listing()
    start = os.path.join(root, within) if within else os.fspath(root)
    if not os.path.isdir(start):
        return listing
    seen: set[tuple[int, int]] = set()
    stack = [within]
    while stack:
        folder = stack.pop()
        inner = _list_folder(root, folder, listing, bare_pictures, seen, top=folder == within)
        stack += [
            f"{folder}/{name}" if folder else name
            for name in sorted(inner, key=natural, reverse=True)
            if not is_system_folder(name)
        ]
        listing.ignored += [
            (f"{folder}/{name}" if folder else name, "folder of the operating system")
            for name in inner
            if is_system_folder(name)
        ]
    listing.videos.sort(key=natural)
    listing.folders.sort(key=natural)
    listing.ignored.sort(key=lambda item: natural(item[0]))
    return listing


def _list_folder(
    root: Path, folder: str, listing: Listing, bare: bool, seen: set[tuple[int, int]], top: bool
) -> list[str]:
    """Sort one folder's files into the listing and return its subfolders' names."""
    try:
        entries, subfolders = _scan(os.path.join(root, folder), seen)
    except OSError as error:
        if top:
            raise UsageError(
                f"{os.path.join(root, folder)!r} cannot be listed: {error.strerror}"
            ) from error
        listing.ignored.append((folder, f"cannot be listed: {error.strerror}"))
        return []
    prefix = f"{folder}/" if folder else ""
    pictures, videos = 0, 0
    for name in entries:
        extension = extension_of(name)
        if extension in VIDEO_EXTENSIONS and not name.startswith("._"):
            listing.videos.append(prefix + name)
            videos += 1
        elif _is_picture(name, extension, bare):
            pictures += 1
        elif _is_video_inside(os.path.join(root, folder), name, extension):
            listing.videos.append(prefix + name)
            videos += 1
        else:
            listing.ignored.append((prefix + name, why_ignored(name)))
    if pictures and videos:
        listing.ignored.append((folder, f"{pictures} pictures beside videos"))
    elif pictures:
        listing.folders.append(folder)
    return subfolders


def _scan(path: str, seen: set[tuple[int, int]]) -> tuple[list[str], list[str]]:
    """Names of files and of subfolders; a folder met before through a link gives nothing."""
    status = os.stat(path)
    if (status.st_dev, status.st_ino) in seen:
        return [], []
    seen.add((status.st_dev, status.st_ino))
    files, folders = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            (folders if _is_folder(entry) else files).append(entry.name)
    return files, folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in circles must not hide its neighbours
        return False


def _is_picture(name: str, extension: str, bare: bool) -> bool:
    if name.startswith("._"):
        return False
    return extension in PICTURE_EXTENSIONS or (bare and not extension and not name.startswith("."))


def pictures_in(root: Path, folder: str) -> list[str]:
    """The pictures that lie directly in a folder of the listing, paths as in it."""
    names = _names(root / folder)
    return [f"{folder}/{name}" for name in names if _is_picture(name, extension_of(name), False)]


def _is_video_inside(folder: str, name: str, extension: str) -> bool:
    """Whether a file of an unknown extension (.divx, .f4v, .mp4v) begins like a video."""
    known = OTHER_EXTENSIONS | PARTIAL_EXTENSIONS
    if not extension or extension in known or name.startswith("."):
        return False
    path = os.path.join(folder, name)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return begins_like_video(file.read(HEAD))
    except OSError:  # said with the others that are no media
        return False


def nested_root(root: Path, markers: Iterable[str], depth: int = 2) -> Path:
    """`root`, or the one folder at most `depth` below it that holds one of the `markers`: archives
    nest.

    Returns `root` itself when no folder or more than one has a marker.
    """
    wanted = {marker.casefold() for marker in markers}
    level = [root]
    for _ in range(depth + 1):
        found = [
            folder for folder in level if any(name.casefold() in wanted for name in _names(folder))
        ]
        if found:
            return found[0] if len(found) == 1 else root
        level = [folder / name for folder in level for name in subfolders(folder)]
    return root


def child(folder: Path, *names: str) -> Path:
    """The entry of `folder` called one of `names` whatever its case; `folder / names[0]` when
    there is none.
    """
    present = {name.casefold(): name for name in _names(folder)}
    for name in names:
        if name.casefold() in present:
            return folder / present[name.casefold()]
    return folder / names[0]


def subfolders(folder: Path) -> Iterator[str]:
    """Names of the folders inside `folder`, in order."""
    yield from (
        name for name in _names(folder) if not is_system_folder(name) and (folder / name).is_dir()
    )


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder), key=natural)
    except OSError:
        return []
