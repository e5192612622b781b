"""The quality of a data set in words, as tables, as a page, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unmask.pipeline.config import QualityConfig
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.errors import CacheError
from unmask.pipeline.quality.flow import WHAT
from unmask.pipeline.quality.masks import DEFINITIONS, DIFFERENCE
from unmask.pipeline.quality.networks import KINDS, RANDOM, Network
from unmask.pipeline.quality.pairs import REASONS, Pair, Pairs
from unmask.pipeline.quality.pictures import pair_picture
from unmask.pipeline.quality.published import CELEB_DF, MASK_SSIM, NOT_ENTERED
from unmask.pipeline.quality.rating import Rating
from unmask.pipeline.quality.space import Space, name_of
from unmask.pipeline.reports.html import write_page
from unmask.pipeline.reports.plots import Picture, image_uri, scatter
from unmask.pipeline.reports.tables import Cell, Table

FORMAT = 1
MOST_METHODS = 12  # whose pairs are shown

TITLES = {
    "mask_ssim": "Mask-SSIM",
    "crop_ssim": "SSIM of the crop",
    "warp_fake": "E_warp fake",
    "warp_original": "E_warp original",
    "warp_excess": "fake - original",
    "warp_fixed": "E_warp, original's flow",
    "crop_warp_excess": "fake - original, crop",
    "neighbours": "5-NN accuracy",
    "separability": "linear AUC",
    "silhouette": "silhouette",
    "background": "5-NN, background",
    "frechet": "FD",
    "frechet_floor": "FD of reals",
    "kernel": "KID",
    "kernel_floor": "KID of reals",
}
STEADY = ("warp_fake", "warp_original", "warp_excess", "warp_fixed", "crop_warp_excess")
MIXING = ("neighbours", "separability", "silhouette", "background")
DISTANCES = ("frechet", "frechet_floor", "kernel", "kernel_floor")


@dataclass(frozen=True)
class Quality:
    """Everything that was found.

    networks: of the perceptual distance. absent: name of a network -> why it has no column.
    unread: pairs that could not be read, with the reason. space: None where nothing computes
    features.
    """

    dataset: str
    config: QualityConfig
    pairs: Pairs
    ratings: tuple[Rating, ...]
    networks: tuple[Network, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    unread: tuple[tuple[Pair, str], ...] = ()
    space: Space | None = None
    flow_mark: str = ""

    @property
    def rated(self) -> list[Rating]:
        return [rating for rating in self.ratings if not rating.refused]


def quality_words(quality: Quality) -> list[str]:
    """What a reader should know before believing a number, a sentence each."""
    lines = [f"{name_of(r.kind)} is not rated: {r.refused}." for r in quality.ratings if r.refused]
    for kind, reasons in quality.pairs.refused.items():
        whose = name_of(kind) or "videos"
        for reason, count in sorted(reasons.items()):
            lines.append(f"{whose}: {count} left out, {REASONS[reason]}.")
    lines += [f"{p.video_id} could not be read: {why}" for p, why in quality.unread[:5]]
    if len(quality.unread) > 5:
        lines.append(f"{len(quality.unread) - 5} more pairs could not be read.")
    lines += [f"No {name}: {why}." for name, why in quality.absent]
    lines += _gaps(quality)
    for rating in quality.rated:
        if rating.whole_face:
            lines.append(
                f"{name_of(rating.kind)}: {rating.whole_face} of {rating.frames} frames differ "
                "from the original nowhere or nearly everywhere; there the whole face is the mask."
            )
        if rating.unmasked:
            lines.append(
                f"{name_of(rating.kind)}: the mask of {rating.unmasked} of {rating.frames} frames "
                "is empty; they are left out of Mask-SSIM."
            )
        found = rating.measures.get("background")
        if found and found.low is not None and found.low > 0.5:
            lines.append(
                f"{name_of(rating.kind)}: real and fake are told apart with the forged region "
                f"greyed out ({found.value:.2f}): look at the audit before these numbers."
            )
    dropped = sum(sum(pair.dropped.values()) for pair in quality.pairs.pairs)
    if dropped:
        lines.append(f"{dropped} clips of the chosen fakes have no equal clip of their original.")
    if len({rating.mask for rating in quality.rated}) > 1:
        lines.append("Methods with different mask definitions are not comparable.")
    return lines


def _gaps(quality: Quality) -> list[str]:
    """Numbers that do not exist, a sentence for each reason."""
    whose: dict[tuple[str, str], list[str]] = {}
    for rating in quality.rated:
        for key, measure in rating.measures.items():
            # where the distance itself has no number, that of the originals is of no use
            if measure.value is None and key in TITLES and not key.endswith("_floor"):
                named = whose.setdefault((TITLES[key], measure.note), [])
                named.append(name_of(rating.kind))
    return [f"No {title}: {why} ({', '.join(names)})." for (title, why), names in whose.items()]


def quality_tables(quality: Quality) -> list[Table]:
    """Closeness, feature space and distances of every method, and the published values."""
    tables = []
    if quality.ratings:
        tables = [
            _table("How close fakes are to their originals", quality, _close(quality), mask=True),
            _table("How steady they are in time: E_warp, grey levels squared", quality, STEADY),
        ]
    if quality.space is not None:
        network = quality.space.network
        for title, names in (
            (f"Real and fake among the features of {network}", MIXING),
            (f"Distance of the distributions (FD-{network})", DISTANCES),
        ):
            known = (r.measures.get(name) for r in quality.rated for name in names)
            if any(measure is not None and measure.value is not None for measure in known):
                tables.append(_table(title, quality, names))
    tables.append(_beside(quality))
    return tables


def _close(quality: Quality) -> tuple[str, ...]:
    return ("mask_ssim", *(network.name for network in quality.networks), "crop_ssim")


def _table(title: str, quality: Quality, names: Sequence[str], mask: bool = False) -> Table:
    more = ("mask",) if mask else ()
    header = ("method", "pairs", *more, *(TITLES.get(name, name) for name in names))
    rows: list[tuple[Cell, ...]] = []
    for rating in quality.ratings:
        cells = [rating.measures.get(name) for name in names]
        rows.append((name_of(rating.kind), rating.pairs, *((rating.mask,) if mask else ()), *cells))
    return Table(title, header, tuple(rows))


def _beside(quality: Quality) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"{quality.dataset} {name_of(r.kind)}", "", r.measures["mask_ssim"]) for r in quality.rated
    ]
    for one in MASK_SSIM:
        own = [
            r.measures["mask_ssim"]
            for r in quality.rated
            if quality.dataset == one.dataset and one.method in ("", r.method)
        ]
        rows.append((one.name, f"{one.mask_ssim:.2f}", own[0] if len(own) == 1 else None))
    header = ("data set", "Mask-SSIM, recalled", "measured here")
    return Table("Beside the Celeb-DF paper", header, tuple(rows))


def brief_table(quality: Quality) -> Table:
    """A row for each method and measure, which fits 80 columns whatever there is."""
    rows: list[tuple[Cell, ...]] = []
    for rating in quality.ratings:
        name, pairs = name_of(rating.kind)[:24], str(rating.pairs)
        if rating.refused:
            rows.append((name, pairs, "not rated", rating.refused))
        for key in (*_close(quality), *STEADY, *MIXING, *DISTANCES):
            measure = rating.measures.get(key)
            if measure is None or measure.value is None:  # said in the words below
                continue
            title = TITLES.get(key, key)
            title = f"{title} ({rating.mask})" if key == "mask_ssim" else title
            rows.append((name, pairs, title, measure))
            name = pairs = ""
    return Table("Quality", ("method", "pairs", "measure", "value, 95 % interval"), tuple(rows))


def definitions(quality: Quality) -> list[tuple[str, str]]:
    """What each number is, for page and JSON."""
    config = quality.config
    erode = f", mask eroded by {config.erode} px" if config.erode else ""
    masks = {rating.mask for rating in quality.ratings}
    fallback = "; the whole face where that is empty or more than 60 % of the crop"
    found = [
        *(
            (f"mask: {m}", DEFINITIONS[m] + (fallback if m == DIFFERENCE else ""))
            for m in sorted(masks)
        ),
        (
            "Mask-SSIM",
            f"SSIM on luma, 11 px Gaussian window, {config.ssim} over the mask{erode}; 1 is equal. "
            "Another identity lowers it too: it compares data sets made alike.",
        ),
        *((n.name, f"{_what(n)}; over the whole crop; 0 is equal") for n in quality.networks),
        (
            "E_warp",
            "mean squared grey levels between a frame and the next brought back along the flow, "
            "where that is visible, over the mask and 5 px around it (whole crops in the JSON); "
            f"flow: {WHAT[config.flow]}. Fair is the difference fake - original, on equal frames.",
        ),
        ("intervals", "95 % bootstrap over leakage groups"),
    ]
    if quality.space is not None:
        found += [
            (
                "5-NN, linear AUC, silhouette",
                "on one frame of each video, neighbours and folds of other leakage groups; 0.5, "
                "0.5 and 0 say that real and fake lie mixed. Background: the same with the forged "
                "region greyed out.",
            ),
            (
                "FD, KID",
                "Frechet and kernel distance between the middle frames of originals and fakes, and "
                "between two halves of the originals; this network is not Inception, so the first "
                "is no FID",
            ),
        ]
    published = f"{CELEB_DF}; as recalled, the order only. {NOT_ENTERED}"
    return [*found, ("published", published)]


def _what(network: Network) -> str:
    drawn = " WITH RANDOM WEIGHTS, a test" if RANDOM in network.name else ""
    return KINDS[network.name.partition(RANDOM)[0]].what + drawn


def write_quality(quality: Quality, target: Path, title: str) -> list[Path]:
    """TARGET.json and the page TARGET.html, beside TARGET.jsonl with a row for each pair.

    Raises DiskError when the file system refuses.
    """
    paths = [target.with_name(target.name + suffix) for suffix in (".json", ".html")]
    words = quality_words(quality)
    document = {
        "format": FORMAT,
        "dataset": quality.dataset,
        "crops": quality.pairs.key,
        "config": asdict(quality.config),
        "definitions": dict(definitions(quality)),
        "flow": [quality.config.flow, quality.flow_mark],
        "networks": {network.name: network.fingerprint for network in quality.networks},
        "absent": dict(quality.absent),
        "features": None
        if quality.space is None
        else {"network": quality.space.network, "weights": quality.space.fingerprint},
        "ratings": [asdict(rating) for rating in quality.ratings],
        "found": [[*kind, count] for kind, count in quality.pairs.found.items()],
        "left_out": [[*kind, reasons] for kind, reasons in quality.pairs.refused.items()],
        "unread": [[pair.video_id, why] for pair, why in quality.unread],
        "words": words,
    }
    write_whole(paths[0], (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    pairs = sum(rating.pairs for rating in quality.ratings)
    counted = "1 pair" if pairs == 1 else f"{pairs} pairs"
    write_page(
        paths[1],
        "quality.html",
        title=title,
        subtitle=f"{counted} of an original and its fake, crops {quality.pairs.key}",
        tiles=_tiles(quality),
        words=words,
        tables=quality_tables(quality),
        strips=_strips(quality),
        maps=_maps(quality.space),
        network=quality.space.network if quality.space else "",
        definitions=definitions(quality),
    )
    return paths


def _tiles(quality: Quality) -> list[tuple[str, str, str]]:
    tiles = []
    for rating in quality.rated[:6]:
        found = rating.measures["mask_ssim"]
        if found.value is not None:
            known = found.low is not None and found.high is not None
            below = f"{found.low:.3f} to {found.high:.3f}" if known else found.note
            tiles.append((f"{found.value:.3f}", f"Mask-SSIM, {name_of(rating.kind)}", below))
    return tiles


def _strips(quality: Quality) -> list[dict[str, str]]:
    by_name = {pair.video_id: pair for pair in quality.pairs.pairs}
    strips = []
    for rating in quality.rated[:MOST_METHODS]:
        chosen = {"worst": rating.worst, "median": rating.median, "best": rating.best}
        seen: set[str] = set()
        for word, name in chosen.items():
            if name is None or name in seen:
                continue
            seen.add(name)
            try:
                picture = pair_picture(by_name[name], rating.mask)
            except CacheError:
                continue
            strips.append(
                {
                    "title": f"{name_of(rating.kind)}: {word if rating.pairs > 1 else 'only'} pair",
                    "caption": name,
                    "uri": image_uri(picture),
                    "alt": f"Original, fake, mask and difference of {name}",
                }
            )
    return strips


def _maps(space: Space | None) -> list[Picture]:
    if space is None:
        return []
    return [
        scatter(title, place, space.names, space.label, f"{title} of the videos' features.")
        for title, place in space.place.items()
    ]
