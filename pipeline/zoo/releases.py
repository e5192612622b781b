"""The releases we know: which network, which file, whose licence, how faces are cut for it.

Every row says where the facts come from. `sha256` is pinned where we have seen the file; where
nobody of us has, it is "" and the first file that fits name by name and shape by shape is taken and
its sha256 written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unmask.pipeline.config import CropConfig
from unmask.pipeline.zoo.clrnet import clrnet_tensors
from unmask.pipeline.zoo.gend_names import gend_dinov3_tensors, gend_pe_tensors
from unmask.pipeline.zoo.m2tr_names import m2tr_tensors
from unmask.pipeline.zoo.mesonet import meso4_tensors, mesoinception4_tensors
from unmask.pipeline.zoo.names import effort_tensors, gend_tensors, sbi_tensors
from unmask.pipeline.zoo.stil_names import stil_tensors
from unmask.pipeline.zoo.tall_names import tall_tensors
from unmask.pipeline.zoo.xception_lstm import xception_lstm_tensors

# The bytes of a release's file, and its name for errors -> tensors by the names of our network.
Convert = Callable[[bytes, str], dict[str, Tensor]]


@dataclass(frozen=True)
class Release:
    """One released detector.

    model, options: what create_model takes.
    file: its name at its makers'; sha256: of it, "" where we have not seen it.
    where: the page to fetch it from.
    licence: its name; terms: in half a sentence, shown before anything is done with it.
    trained: on what, as its makers say.
    profile: how its crops are cut; only size and margin matter, since nothing of it is cached.
    convert: file -> tensors of our network.
    paper: who published it.
    url, size: where the file itself is fetched from and its bytes, only beside a pinned sha256; ""
        where the user must place it.
    """

    model: str
    file: str
    sha256: str
    where: str
    licence: str
    terms: str
    trained: str
    profile: CropConfig
    convert: Convert
    paper: str
    options: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    size: int = 0


# MesoNet cuts 2.2 x 1.3 times the larger of eye distance and distance from the eyes to the mouth,
# around a point between nose tip and bridge (its pipeline.py). On ten people, in our crops of
# margin 1.3, that was 0.82 of the side (0.77 to 0.92), its centre 0.03 of the side below ours: of
# a 320 px crop it therefore looks at 256 px, which are not interpolated a second time.
MESO_WINDOW = (320, 42, 32)
MESO_PROFILE = CropConfig(size=320, margin=1.3, bands=False)
MESO = {
    "where": "github.com/DariusAf/MesoNet, folder weights, commit 2144d56",
    "licence": "Apache-2.0",
    "terms": "any use, keep LICENSE and NOTICE of its makers",
    "profile": MESO_PROFILE,
    "paper": "Afchar et al., WIFS 2018, arXiv 1809.00888",
    "options": {"window": MESO_WINDOW},
}
MESO_FILES = "https://raw.githubusercontent.com/DariusAf/MesoNet/master/weights/"
DEEPFAKES = "faces of 175 deepfake videos of 2018 from the web, and of real ones"
FACE2FACE = "Face2Face of FaceForensics"

RELEASES: dict[str, Release] = {
    "meso4": Release(
        model="meso4",
        file="Meso4_DF.h5",
        sha256="036ed30d04ffd9c7506f825b97c86aa64915f5818931da96817b169aad790af5",
        url=MESO_FILES + "Meso4_DF.h5",
        size=156128,
        trained=DEEPFAKES,
        convert=meso4_tensors,
        **MESO,
    ),
    "meso4-f2f": Release(
        model="meso4",
        file="Meso4_F2F.h5",
        sha256="bcfda015d217b9f8d6557693edbdf9f4e79cfd22672541968dd0e2954462b5d7",
        url=MESO_FILES + "Meso4_F2F.h5",
        size=156128,
        trained=FACE2FACE,
        convert=meso4_tensors,
        **MESO,
    ),
    "mesoinception4": Release(
        model="mesoinception4",
        file="MesoInception_DF.h5",
        sha256="234586d40058e76ef8b6f27ca4b63c06e31c2a5a69c0d8ba6f30b1468ab7bafa",
        url=MESO_FILES + "MesoInception_DF.h5",
        size=197504,
        trained=DEEPFAKES,
        convert=mesoinception4_tensors,
        **MESO,
    ),
    "mesoinception4-f2f": Release(
        model="mesoinception4",
        file="MesoInception_F2F.h5",
        sha256="d4533ac8a3197dc35c47405d23d99e888c1d0135e267e03540c7451feaccff3f",
        url=MESO_FILES + "MesoInception_F2F.h5",
        size=197504,
        trained=FACE2FACE,
        convert=mesoinception4_tensors,
        **MESO,
    ),
    # RetinaFace box and an eighth of it on each side, which its makers stretch to a square; ours
    # keeps the shape of the face.
    "sbi-b4": Release(
        model="lite",
        options={"backbone": "tf_efficientnet_b4", "size": 380, "norm": "unit"},
        file="FFraw.tar",
        sha256="",
        where="github.com/mapooon/SelfBlendedImages, weights named in its README",
        licence="SBI research licence",
        terms="academic research only, commercial use by agreement with its makers",
        trained="self-blended images of FaceForensics++ originals, uncompressed",
        profile=CropConfig(size=380, margin=1.25, bands=False),
        convert=sbi_tensors,
        paper="Shiohara, Yamasaki, CVPR 2022, arXiv 2204.08376",
    ),
    # The eyes lie .246 of GenD's side apart and .259 of ours at margin 1.3.
    "gend-clip": Release(
        model="encoder",
        options={"conditioning": "l2"},
        file="model.safetensors",
        sha256="",
        where="huggingface.co/yermandy/GenD_CLIP_L_14",
        licence="MIT",
        terms="any use, keep its notice; OpenAI's CLIP below it is MIT too",
        trained="FaceForensics++ c23, four methods, paired with their originals",
        profile=CropConfig(size=224, margin=1.37, bands=False),
        convert=gend_tensors,
        paper="Yermakov et al., WACV 2026, arXiv 2508.06248",
    ),
    "gend-pe": Release(
        model="encoder",
        options={"backbone": "pe-core-l", "conditioning": "l2"},
        file="model.safetensors",
        sha256="",
        where="huggingface.co/yermandy/GenD_PE_L",
        licence="MIT",
        terms="any use, keep its notice; Meta's Perception Encoder below it is Apache-2.0",
        trained="FaceForensics++ c23, four methods, paired with their originals",
        profile=CropConfig(size=224, margin=1.37, bands=False),
        convert=gend_pe_tensors,
        paper="Yermakov et al., WACV 2026, arXiv 2508.06248",
    ),
    "gend-dinov3": Release(
        model="encoder",
        options={"backbone": "dinov3-l", "conditioning": "l2"},
        file="model.safetensors",
        sha256="",
        where="huggingface.co/yermandy/GenD_DINOv3_L",
        licence="MIT and DINOv3 licence",
        terms="Meta's conditions for DINOv3 travel with it: agree with them first, say 'Built with "
        "DINOv3'",
        trained="FaceForensics++ c23, four methods, paired with their originals",
        profile=CropConfig(size=224, margin=1.37, bands=False),
        convert=gend_dinov3_tensors,
        paper="Yermakov et al., WACV 2026, arXiv 2508.06248",
    ),
    "effort": Release(
        model="encoder",
        options={"conditioning": "none"},
        file="effort_clip_L14_trainOn_FaceForensic.pth",
        sha256="",
        where="github.com/YZY-stack/Effort-AIGI-Detection, weights named in its README",
        licence="CC BY-NC 4.0",
        terms="no commercial use, name its makers",
        trained="FaceForensics++ c23, four methods",
        profile=CropConfig(size=224, margin=1.3, bands=False),
        convert=effort_tensors,
        paper="Yan et al., ICML 2025, arXiv 2411.15633",
    ),
    # Its folder holds a checkpoint a method, each named after its epoch: the user says which.
    "clrnet": Release(
        model="clrnet",
        file="clrnet.hdf5",
        sha256="",
        where="github.com/shahroztariq/CLRNet, one of the checkpoints its README links, renamed",
        licence="BSD-3-Clause",
        terms="any use of the code, keep its notice; of the weights its page says nothing",
        trained="one method of FaceForensics++ or DFDC, as its folder says",
        profile=CropConfig(size=240, margin=1.3, bands=False),
        convert=clrnet_tensors,
        paper="Tariq et al., WWW 2021, arXiv 2105.00187",
    ),
    # No weights were released: this is what the released training leaves behind.
    "xception-lstm": Release(
        model="xception_lstm",
        options={"norm": "raw255", "key_reshape": True},
        file="xception_lstm.h5",
        sha256="",
        where="the Keras code that the paper's authors released in June 2022, trained by you",
        licence="none named",
        terms="its page names no licence, ask its makers",
        trained="what you trained it on",
        profile=CropConfig(size=224, margin=1.3, bands=False),
        convert=xception_lstm_tensors,
        paper="Chen, Li, Ding, Information Sciences 601 (2022) 58-70",
    ),
    # Nor here.
    "stil": Release(
        model="stil",
        file="stil.pth",
        sha256="",
        where="github.com/Tencent/TFace, Face-Forgery-Detection/STIL, trained by you",
        licence="Apache-2.0",
        terms="any use of the code, keep its notices",
        trained="what you trained it on",
        profile=CropConfig(size=224, margin=1.3, bands=False),
        convert=stil_tensors,
        paper="Gu et al., ACM MM 2021, arXiv 2109.01860",
    ),
    # The training writes more than weights into its file, which is not opened: take them out with
    # torch.save(torch.load("model_best.pth", weights_only=False)["model"], "tall_swin.pth").
    "tall-swin": Release(
        model="tall_swin",
        options={"double_resize": True},
        file="tall_swin.pth",
        sha256="",
        where="github.com/rainy-xu/TALL4Deepfake, 'model' of its model_best.pth, trained by you",
        licence="none named",
        terms="its page names no licence, ask its makers; Swin's code below it is MIT",
        trained="what you trained it on",
        profile=CropConfig(size=224, margin=1.3, bands=False),
        convert=tall_tensors,
        paper="Xu et al., ICCV 2023, arXiv 2307.07494",
    ),
    "m2tr": Release(
        model="m2tr",
        options={"variant": "fft", "side": 320, "fit": "resize"},
        file="m2tr.pyth",
        sha256="",
        where="github.com/wdrink/PyDeepFakeDet, weights named in its README, or trained by you",
        licence="MIT",
        terms="any use of the code, keep its notice; of the weights its page says nothing",
        trained="FaceForensics++, four methods",
        profile=CropConfig(size=320, margin=1.3, bands=False),
        convert=m2tr_tensors,
        paper="Wang et al., ICMR 2022, arXiv 2104.09770",
    ),
}
