"""The recipes of vit, swin, tall_swin and vim, for the one table in published.py."""

from __future__ import annotations

from dataclasses import replace

from unmask.models.recipes.losses import LossSpec
from unmask.models.recipes.recipe import Recipe

# Few steps from weights that know pictures: what the transformers here begin with.
FINETUNE = Recipe(
    source="ours: ImageNet weights, few epochs, label smoothing; every cached frame, compressed "
    "again so that it is not the file's quality that is learnt",
    optimizer="adamw",
    lr=5e-5,
    weight_decay=0.05,
    schedule="cosine",
    warmup=2.0,
    epochs=10,
    batch=32,
    all_clips=True,
    loss=LossSpec(smoothing=0.1),
    augment=("flip", "jpeg"),
    pretrained=True,
)
SMALL = Recipe(
    source="ours: few videos on a small machine",
    optimizer="adamw",
    lr=5e-4,
    weight_decay=1e-2,
    schedule="cosine",
    warmup=0.5,
    epochs=30,
    batch=8,
    augment=("flip",),
)
VIT = Recipe(
    source="the library of M2TR's authors, configs of its ViT: Adam, halved every 5 epochs, focal "
    "loss, flip only; at 384 px; an epoch is every cached frame",
    lr=2e-4,
    weight_decay=1e-6,
    schedule="steps",
    steps=((5, 0.5), (10, 0.25), (15, 0.125)),
    epochs=20,
    batch=32,
    all_clips=True,
    loss=LossSpec(cls="focal"),
    augment=("flip",),
    pretrained=True,
)

TRANSFORMERS: dict[str, dict[str, Recipe]] = {
    "vit": {
        "paper": VIT,
        "short": replace(
            VIT,
            source="ours: the paper's with one frame of each video in an epoch",
            all_clips=False,
        ),
        "finetune": FINETUNE,
        "small": SMALL,
    },
    "swin": {
        "finetune": FINETUNE,
        "short": replace(
            FINETUNE,
            source="ours: finetune with one frame of each video in an epoch",
            all_clips=False,
        ),
        "small": SMALL,
    },
    "tall_swin": {
        "paper": Recipe(
            source="Xu et al. 2023, the command in the released README: 8 clips of each of 4 "
            "videos, their logits averaged, weights of Swin-B on ImageNet-22K; float32; its "
            "averaged weights (--ema 0.99996) are kept and not evaluated there",
            optimizer="adamw",
            lr=1.5e-5,
            weight_decay=1e-5,
            schedule="cosine",
            floor=0.01,
            warmup=10.0,
            epochs=60,
            batch=4,
            loss=LossSpec(smoothing=0.1),
            augment=("tall",),
            pretrained=True,
        ),
        "small": SMALL,
    },
    "vim": {
        "finetune": replace(
            FINETUNE,
            source="ours: fine tuning of the released ImageNet weights, which --init takes; "
            "every cached frame, compressed again",
            pretrained=False,
        ),
        "short": replace(
            FINETUNE,
            source="ours: finetune with one frame of each video in an epoch",
            all_clips=False,
            pretrained=False,
        ),
        "small": SMALL,
    },
}
