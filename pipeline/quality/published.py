"""What papers say of the quality of data sets, for the order only: a paper's own mask and crops are
not published, so its values are not reached by anybody else's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """name: of the set in the paper. dataset, method: as unmask calls them, "" for any method."""

    name: str
    dataset: str
    method: str
    mask_ssim: float


CELEB_DF = "Celeb-DF paper (arXiv 1909.12962), Mask-SSIM of a head region of its own"
# As recalled from the paper and not read again: nothing may depend on them.
MASK_SSIM = (
    Published("UADFV", "uadfv", "", 0.82),
    Published("DF-TIMIT-LQ", "dftimit", "lower_quality", 0.80),
    Published("DF-TIMIT-HQ", "dftimit", "higher_quality", 0.80),
    Published("FF-DF", "ffpp", "Deepfakes", 0.81),
    Published("DFD", "dfd", "", 0.88),
    Published("DFDC preview", "dfdcp", "", 0.84),
    Published("Celeb-DF v2", "celebdf2", "", 0.92),
)
NOT_ENTERED = (
    "Tables 2 and 3 of the M2TR paper (arXiv 2104.09770: Mask-SSIM, perceptual distance and E_warp "
    "of FF++, DFD, DFDC, Celeb-DF and SR-DF) are not here: nobody has read them again."
)
