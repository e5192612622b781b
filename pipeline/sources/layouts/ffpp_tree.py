"""Where FaceForensics++ lies: the owners' tree in its ages, and public copies of it.

Source: ondyari/FaceForensics, its download script (raw, c23, c40; older `c0`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.sources.finds import nearest
from unmask.pipeline.sources.listing import Listing, child, list_media, stem_of, subfolders

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
EXTRA_METHODS = ("FaceShifter",)
SHORT_METHODS = {
    "df": "Deepfakes",
    "f2f": "Face2Face",
    "fs": "FaceSwap",
    "nt": "NeuralTextures",
    "fsh": "FaceShifter",
}
COMPRESSIONS = {"raw": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
MARKERS = ("original_sequences", "manipulated_sequences")
# Public copies put the methods side by side, the reals beside them, and no level says which
# compression they have; often the folder around does.
FLAT_REALS = ("original", "originals", "real", "youtube")
NAMED_COMPRESSION = re.compile(r"(?<![a-z0-9])(raw|c0|c23|c40)(?![a-z0-9])")


def compression_of(name: str) -> str:
    """raw, c23 or c40; the old name c0 means raw."""
    for compression, names in COMPRESSIONS.items():
        if name.lower() in names:
            return compression
    return nearest(name, COMPRESSIONS, "compression")


def methods_of(root: Path, asked: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """The methods asked for; by default the four of the paper, with a note when FaceShifter is
    there too.
    """
    if asked:
        known = (*METHODS, *EXTRA_METHODS)
        if any(name.lower() == "all" for name in asked):
            return known
        return tuple(
            dict.fromkeys(nearest(SHORT_METHODS.get(n.lower(), n), known, "method") for n in asked)
        )
    present = list(subfolders(child(root, "manipulated_sequences")))
    if "FaceShifter" in present:
        notes.append(
            "FaceShifter is on the disk and not used; add `--methods all` for five methods"
        )
    return METHODS


def list_method(root: Path, method: str, compression: str) -> Listing:
    """Media of one method ("real" for the originals, in `youtube/` or, in old trees, without that
    level).
    """
    if is_flat(root):
        base = child(root, *FLAT_REALS) if method == "real" else child(root, method)
        return list_copy(root, base, compression)
    if method == "real":
        base = child(root, "original_sequences")
        return list_leaf(root, (child(base, "youtube"), base), compression)
    return list_leaf(root, (child(child(root, "manipulated_sequences"), method),), compression)


def is_flat(root: Path) -> bool:
    """Whether the methods' folders lie in the root itself, as in public copies."""
    methods = (child(root, method).is_dir() for method in (*METHODS, *EXTRA_METHODS))
    return not is_official_tree(root) and any(methods)


def is_official_tree(root: Path) -> bool:
    """Whether the root holds the folders that the owners' script makes."""
    return any(child(root, marker).is_dir() for marker in MARKERS)


def list_copy(root: Path, base: Path, compression: str) -> Listing:
    """Media of one folder of a public copy, which may have the level of the compression or not."""
    listing = list_leaf(root, (base,), compression)
    return listing if listing.media or not base.is_dir() else _list_first(root, base)


def check_flat(name: str, root: Path, compression: str, notes: list[str]) -> None:
    """Raises UsageError where the copy's own name tells another compression than asked for."""
    named = NAMED_COMPRESSION.search(root.name.casefold())
    if named and compression_of(named[1]) != compression:
        raise UsageError(
            f"{name}: {str(root)!r} is called {named[1]}, {compression} was asked for: "
            f"--compression {compression_of(named[1])}"
        )
    if not named:
        notes.append(
            f"a copy without a level for the compression: taken for {compression}, say another "
            "with --compression"
        )


def list_leaf(root: Path, levels: Sequence[Path], compression: str) -> Listing:
    """Media below the first of `levels` with this compression: `videos/`, else frames in `images/`
    or `frames/`.
    """
    for level in levels:
        for name in COMPRESSIONS[compression]:
            if child(level, name).is_dir():
                return _list_first(root, child(level, name))
    return Listing()


def _list_first(root: Path, folder: Path) -> Listing:
    for name in ("videos", "images", "frames"):
        if child(folder, name).is_dir():
            listing = list_media(root, child(folder, name).relative_to(root).as_posix())
            if listing.media:
                return listing
    return list_media(root, folder.relative_to(root).as_posix())


def masks_of(root: Path, method: str, compression: str) -> dict[str, Path]:
    """stem -> mask of one method: `<method>/masks/videos`, or `<method>/<compression>/masks` as
    others move them.
    """
    base = child(child(root, "manipulated_sequences"), method)
    for folder in (
        child(base, "masks"),
        *(child(child(base, c), "masks") for c in COMPRESSIONS[compression]),
    ):
        if folder.is_dir():
            listing = list_media(root, folder.relative_to(root).as_posix())
            return {stem_of(relative): root / relative for relative in listing.media}
    return {}
