"""The recipes of the papers and of their released code, one table.

Released code, repository, file and commit:
    CLRNet        github.com/shahroztariq/CLRNet, src/DFVDSequence.py (4701d86) and the notebooks
                  src/CLRNET_train_*.ipynb (c2e8965), src/CLRNET_transfer_*_train.ipynb (6567e94)
    STIL          github.com/Tencent/TFace, security/tasks/Face-Forgery-Detection/STIL/, its
                  configs/ffpp.yaml and datasets/video_dataset.py (9004edb)
    STIL, ported  github.com/SCLBD/DeepfakeBench, training/config/detector/stil.yaml (64366cf)
    M2TR, ViT     github.com/wdrink/PyDeepFakeDet, configs/m2tr.yaml, and in PyDeepFakeDet/
                  datasets/utils.py and utils/loss.py (f78ab76)
    GenD          github.com/yermandy/GenD, its training configuration (b26c2b2)
    Xception-LSTM the Keras code that its authors released in June 2022 (one commit)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unmask.models.recipes.losses import LossSpec
from unmask.models.recipes.recipe import Recipe
from unmask.models.recipes.transformers import TRANSFORMERS

# The last 120 of CLRNet's 207 Keras layers: head 4, stage 3 with 38, stage 2 with 74, and the last
# four of stage 1 (BatchNorm, ReLU, ConvLSTM, sum).
CLRNET_LAST_120 = ("stage1.3.norm3.*", "stage1.3.conv3.*", "stage2.*", "stage3.*", "head.*")

GEND = Recipe(
    source="Yermakov et al. 2026 and its released training code: cross-entropy, uniformity 0.5, "
    "alignment 0.1; warm-up, then cosine of 10 epochs three times",
    optimizer="adamw",
    lr=3e-4,
    schedule="cosine",
    floor=1e-5 / 3e-4,
    cycles=3,
    warmup=1.0,
    epochs=30,
    batch=128,
    all_clips=True,
    loss=LossSpec(uni=0.5, ali=0.1),
    balance="paired",
    augment=("gend",),
    pretrained=True,
)

# model -> recipe name -> recipe; the first one of a model is its default.
RECIPES: dict[str, dict[str, Recipe]] = {
    "clrnet": {
        "paper": Recipe(
            source="Tariq et al. 2021, released notebooks; an epoch is every clip of every video; "
            "class weights off (batches alternate real and fake already)",
            lr=5e-5,
            eps=1e-7,
            # the kernels that read the input, not the recurrent ones, not BatchNorm
            l2=(("*.input_kernel", 1e-4),),
            epochs=300,
            batch=16,
            all_clips=True,
            augment=("clrnet",),
        ),
        "short": Recipe(
            source="ours: the paper's with one clip of each video in an epoch, 1/16 of the steps",
            lr=5e-5,
            eps=1e-7,
            l2=(("*.input_kernel", 1e-4),),
            epochs=300,
            batch=16,
            augment=("clrnet",),
        ),
        "transfer": Recipe(
            source="Tariq et al. 2021, released transfer notebooks: the last 120 of 207 layers "
            "learn; start from a trained network with --init; frozen layers here work as in "
            "evaluation (Keras keeps their dropout)",
            lr=5e-5,
            eps=1e-7,
            l2=(("*.input_kernel", 1e-4),),
            epochs=150,
            batch=16,
            all_clips=True,
            augment=("clrnet",),
            trained=CLRNET_LAST_120,
        ),
        "small": Recipe(
            source="ours: a narrow network on few videos; the published rate would need 20 times "
            "the steps",
            lr=1e-3,
            l2=(("*.input_kernel", 1e-4),),
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
        ),
    },
    "xception_lstm": {
        "paper": Recipe(
            source="Chen et al. 2022, released code; batch 1 video, one sample of it in an epoch",
            lr=1e-5,
            eps=1e-7,
            l2=(("head.dense*.weight", 0.01),),
            epochs=200,
            batch=1,
            augment=("xception_lstm",),
            # batches of one video cannot hold both classes
            balance="none",
            pretrained=True,
        ),
        "small": Recipe(
            source="ours: few videos on a small machine, several videos in a batch",
            lr=3e-4,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
        ),
    },
    "stil": {
        "paper": Recipe(
            source="Gu et al. 2021, section 4.1, as recalled: /10 every 10 epochs",
            lr=1e-4,
            schedule="steps",
            steps=((10, 0.1), (20, 0.01)),
            epochs=30,
            batch=16,
            augment=("stil",),
            pretrained=True,
        ),
        "code": Recipe(
            source="released configs/ffpp.yaml, made for 8 devices of batch 10",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="steps",
            steps=((6, 0.1), (21, 0.05)),
            warmup=1.0,
            epochs=99,
            batch=80,
            augment=("stil",),
            pretrained=True,
        ),
        "bench": Recipe(
            source="DeepfakeBench's port: random weights, 4 clips of a video in an epoch (here all "
            "that there are); its mean and std of 0.5 are not taken over",
            lr=2e-4,
            weight_decay=5e-4,
            epochs=10,
            batch=8,
            all_clips=True,
            augment=("deepfakebench",),
        ),
        "small": Recipe(
            source="ours: few videos on a small machine",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip", "reverse"),
        ),
    },
    "m2tr": {
        "paper": Recipe(
            source="Wang et al. 2022, section 4, as recalled; it gives no period for its step "
            "decay, every 30 epochs is ours; an epoch is every cached frame (theirs: 128 of a "
            "video)",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="steps",
            steps=((30, 0.1), (60, 0.01)),
            epochs=90,
            batch=24,
            all_clips=True,
            loss=LossSpec(cls="cross_entropy", seg=1.0, con=0.001),
            augment=("m2tr",),
            pretrained=True,
        ),
        "code": Recipe(
            source="released configs/m2tr.yaml, made for 8 devices of batch 8; classification loss "
            "only; an epoch is every cached frame (theirs: 128 of a video)",
            optimizer="sgd",
            lr=5e-4,
            momentum=0.9,
            weight_decay=0.01,
            schedule="cosine",
            anneal="epoch",
            floor=1e-6 / 5e-4,
            epochs=20,
            batch=64,
            all_clips=True,
            loss=LossSpec(cls="focal", alpha=1.0, gamma=2.0),
            augment=("m2tr",),
            pretrained=True,
        ),
        "short": Recipe(
            source="ours: the paper's with one frame of each video in an epoch",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="steps",
            steps=((30, 0.1), (60, 0.01)),
            epochs=90,
            batch=24,
            loss=LossSpec(cls="cross_entropy", seg=1.0, con=0.001),
            augment=("m2tr",),
            pretrained=True,
        ),
        "vtf": Recipe(
            source="Wang et al., arXiv 2104.09770, section 3.4: video transformer on a frozen "
            "M2TR, which --init names; nothing but the input is published, the other values are "
            "ours",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
            trained=("vtf.*",),
        ),
        "small": Recipe(
            source="ours: few videos on a small machine, no masks",
            lr=5e-4,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=16,
            loss=LossSpec(cls="focal"),
            augment=("flip",),
        ),
    },
    "lite": {
        "finetune": Recipe(
            source="ours: ImageNet weights, few epochs; every cached frame, compressed again so "
            "that it is not the file's quality that is learnt",
            optimizer="adamw",
            lr=3e-4,
            weight_decay=1e-2,
            schedule="cosine",
            warmup=0.5,
            epochs=10,
            batch=32,
            all_clips=True,
            augment=("flip", "jpeg"),
            pretrained=True,
        ),
        "small": Recipe(
            source="ours: few videos on a small machine",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=16,
            augment=("flip",),
        ),
    },
    "encoder": {
        "gend": GEND,
        "pe": replace(
            GEND,
            source="Yermakov et al. 2026, released training code for its PE-Core encoder: as for "
            "CLIP, without the two losses on the feature",
            loss=LossSpec(),
        ),
        "probe": Recipe(
            source="ours: a head on a frozen encoder; seconds with --features",
            optimizer="adamw",
            lr=1e-3,
            weight_decay=1e-2,
            schedule="cosine",
            epochs=10,
            batch=128,
            all_clips=True,
            pretrained=True,
        ),
        "small": Recipe(
            source="ours: few videos on a small machine; all of the encoder learns, from random "
            "weights",
            lr=3e-4,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
        ),
    },
    **TRANSFORMERS,
    # the same two for both, so that they can be compared
    **{
        name: {
            "paper": Recipe(
                source="Afchar et al. 2018, section 4: Adam 1e-3 divided by ten every thousand "
                "steps down to 1e-6, here every two epochs; batch 75; its zoom, rotation and hue "
                "are taken from CLRNet's",
                lr=1e-3,
                schedule="steps",
                steps=((2, 0.1), (4, 0.01), (6, 0.001)),
                epochs=8,
                batch=75,
                all_clips=True,
                augment=("clrnet",),
            ),
            "small": Recipe(
                source="ours: few videos on a small machine",
                lr=1e-3,
                schedule="cosine",
                warmup=0.5,
                epochs=30,
                batch=8,
                augment=("flip",),
            ),
        }
        for name in ("meso4", "mesoinception4")
    },
    "dct_cnn": {
        "paper": Recipe(
            source="Frank et al. 2020, github.com/RUB-SysSec/GANDCTAnalysis, commit 44eb57c, "
            "classifer.py: Adam 1e-3, batch 32, at most 50 epochs, each of every picture (here of "
            "every cached frame), and a patience of 5 (--patience)",
            lr=1e-3,
            epochs=50,
            batch=32,
            all_clips=True,
        ),
        "small": Recipe(
            source="ours: few videos on a small machine",
            lr=1e-3,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
        ),
    },
}

# (model, recipe) -> the model's options that belong to it, where they are not the model's defaults;
# whoever names an option decides it.
RECIPE_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("m2tr", "vtf"): {"video": "vtf", "frames": 16},
    ("encoder", "pe"): {"backbone": "pe-core-l"},
    ("encoder", "probe"): {"tune": "none"},
    ("encoder", "small"): {"tune": "full"},
    ("vit", "paper"): {"size": 384},
    ("vit", "short"): {"size": 384},
}
