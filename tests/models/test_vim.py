"""vim: the selective scan against the loop over time, the mixer's two directions, published sizes
and first values.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models import create_model
from unmask.models.cost import measure_cost
from unmask.models.layers import selective_scan as module
from unmask.models.layers.selective_scan import by_kernel, doubling_scan, selective_scan
from unmask.models.options import ModelError
from unmask.models.recipes.optimizers import parameter_groups
from unmask.models.recipes.recipes import get_recipe
from unmask.models.vim import WIDTHS, Mixer, Vim
from unmask.models.weights import load_tensors

Parts = tuple[Tensor, ...]


def loop(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The definition, one step after the other."""
    state, out = torch.zeros(*x.shape[:2], x.shape[-1], A.shape[-1], dtype=x.dtype), []
    for t in range(x.shape[2]):
        decay = torch.exp(delta[:, :, t, :, None] * A[:, None])
        enter = (delta[:, :, t] * x[:, :, t])[..., None] * B[:, :, t, None]
        state = decay * state + enter
        out.append((state * C[:, :, t, None]).sum(-1))
    return torch.stack(out, 2)


def drawn(
    steps: int, channels: int = 5, states: int = 4, dtype: torch.dtype = torch.float64
) -> Parts:
    torch.manual_seed(steps)
    x, delta = torch.randn(2, 2, 3, steps, channels, dtype=dtype)
    delta = F.softplus(delta)
    A = -torch.exp(torch.randn(2, channels, states, dtype=dtype))
    B, C = torch.randn(2, 2, 3, steps, states, dtype=dtype)
    parts = (x, delta, A, B, C)
    return tuple(part.clone().requires_grad_() for part in parts)


@pytest.mark.parametrize(
    ("steps", "together"), [(1, 3), (17, 2), (64, 1), (65, 3), (197, 1), (197, 2)]
)
def test_the_scan_is_the_loop_and_so_are_its_gradients(
    steps: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = drawn(steps)
    # so many of the three sequences at a time: 2 scans of 5 channels with 4 states
    monkeypatch.setattr(module, "TOGETHER", together * module.SEGMENT * 2 * 5 * 4)
    ours, truth = selective_scan(*parts), loop(*parts)
    assert (ours - truth).abs().max() < 1e-10
    assert (doubling_scan(*parts) - truth).abs().max() < 1e-10
    weights = torch.randn_like(truth)
    for found, expected in zip(
        torch.autograd.grad((ours * weights).sum(), parts),
        torch.autograd.grad((truth * weights).sum(), parts),
        strict=True,
    ):
        assert (found - expected).abs().max() < 1e-10 * expected.abs().max().clamp_min(1)


def test_gradients_are_those_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT", 2)  # several segments in few steps
    parts = tuple(part[:, :1].detach() if part.ndim == 4 else part.detach() for part in drawn(5))
    assert torch.autograd.gradcheck(
        selective_scan, tuple(part.clone().requires_grad_() for part in parts)
    )


def test_long_sequences_stay_finite_in_float32() -> None:
    x, delta, A, B, C = drawn(300, dtype=torch.float32)
    delta = delta * 50  # decays far below the smallest float32
    y = selective_scan(x, delta, A, B, C)
    y.sum().backward()
    assert y.isfinite().all() and all(part.grad.isfinite().all() for part in (x, A, B, C))


def test_what_waits_for_the_backward_pass_does_not_grow_with_state_times_length() -> None:
    def kept(steps: int, states: int) -> int:
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            selective_scan(*drawn(steps, 8, states))
        return total

    sequences, channels = 6, 8
    for steps in (128, 512):
        for states in (16, 64):
            inputs = sequences * steps * (2 * channels + 2 * states) + 2 * channels * states
            starts = steps // module.SEGMENT * sequences * channels * states
            assert kept(steps, states) == inputs + starts
            assert kept(steps, states) < sequences * steps * channels * states


def test_the_published_kernel_gets_its_own_layout() -> None:
    def published(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """selective_scan_fn's documented arithmetic: (B, I, L), (I, S), (B, S, L) -> (B, I, L)."""
        assert all(part.is_contiguous() for part in (u, delta, B, C))
        state, out = torch.zeros(*u.shape[:2], A.shape[1], dtype=u.dtype), []
        for t in range(u.shape[2]):
            enter = torch.einsum("bi,bs->bis", delta[..., t] * u[..., t], B[..., t])
            state = torch.exp(torch.einsum("bi,is->bis", delta[..., t], A)) * state + enter
            out.append(torch.einsum("bis,bs->bi", state, C[..., t]))
        return torch.stack(out, -1)

    parts = drawn(9)
    torch.testing.assert_close(by_kernel(published, *parts), loop(*parts))


@pytest.mark.skipif(
    not torch.cuda.is_available() or module.published_kernel() is None,
    reason="needs a GPU and mamba_ssm",
)
def test_the_published_kernel_says_the_same() -> None:
    parts = [part.detach().bfloat16().float().cuda() for part in drawn(197, 64, 16)]
    ours = torch.ops.unmask.selective_scan(*parts)[0]
    theirs = by_kernel(module.published_kernel(), *parts)
    assert (ours - theirs).abs().max() < 1e-3 * ours.abs().max()


@pytest.mark.parametrize(
    ("variant", "parameters", "layers", "scans"),
    [
        ("tiny", 6_955_394, 1.293e9, 0.174e9),
        ("small", 25_412_354, 4.851e9, 0.349e9),
        ("base", 96_830_978, 18.765e9, 0.697e9),
    ],
)
def test_the_published_sizes_and_costs(
    variant: str, parameters: int, layers: float, scans: float
) -> None:
    one, two = (measure_cost("vim", variant=variant, blocks=n).total for n in (1, 2))
    inner = 2 * WIDTHS[variant]
    of_scans = 24 * 2 * 197 * inner * 16 * 3
    assert one.parameters + 23 * (two.parameters - one.parameters) == parameters
    assert of_scans == pytest.approx(scans, rel=4e-3)
    whole = one.macs + 23 * (two.macs - one.macs)
    assert whole - of_scans == pytest.approx(layers, rel=1e-3)


def test_parameters_by_part() -> None:
    with torch.device("meta"):
        model = create_model("vim")
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert parts == {
        "patch_embed": 147_648,
        "layers": 24 * 282_048,
        "norm_f": 192,
        "head": 386,
    }
    assert (model.cls_token.numel(), model.pos_embed.numel()) == (192, 37_824)
    assert model.middle == 98 and model.extra_tokens == (98,)
    small = create_model("vim", variant="tiny", size=64, stride=8, blocks=1)
    assert small.pos_embed.shape == (1, 7 * 7 + 1, 192) and small.middle == 24


def swapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The two directions with each other's weights."""
    pairs = [("A_log", "A_b_log"), ("D", "D_b")]
    for name in ("conv1d", "x_proj", "dt_proj"):
        pairs += [(f"{name}.weight", f"{name}_b.weight"), (f"{name}.bias", f"{name}_b.bias")]
    other = dict(pairs) | {there: here for here, there in pairs}
    return {other.get(name, name): value for name, value in state.items()}


def test_reversed_tokens_through_swapped_directions_come_out_reversed() -> None:
    torch.manual_seed(0)
    mixer, twin = Mixer(32, 2), Mixer(32, 2)
    twin.load_state_dict(swapped(mixer.state_dict()))
    tokens = torch.randn(2, 11, 32)
    with torch.no_grad():
        torch.testing.assert_close(twin(tokens.flip(1)).flip(1), mixer(tokens))
        assert (mixer(tokens.flip(1)).flip(1) - mixer(tokens)).abs().max() > 1e-4


def test_each_direction_sees_the_tokens_on_its_side_alone() -> None:
    torch.manual_seed(0)
    mixer, tokens = Mixer(32, 2), torch.randn(1, 12, 32)
    later = tokens.clone()
    later[:, 6:] += 1
    with torch.no_grad():
        for end, seen in (("", slice(0, 6)), ("_b", slice(6, 12))):
            # one direction alone: the other's skip and output are zero
            other = "_b" if end == "" else ""
            half = Mixer(32, 2)
            half.load_state_dict(mixer.state_dict())
            getattr(half, f"conv1d{other}").weight.zero_()
            getattr(half, f"conv1d{other}").bias.zero_()
            changed = (half(later) - half(tokens)).abs().amax((0, 2))
            if end == "":
                assert changed[seen].max() == 0 and changed[6:].min() > 0
            else:
                assert changed.min() > 0  # what comes after reaches all before it


def test_a_mixer_equals_its_formulas() -> None:
    torch.manual_seed(0)
    width, mixer = 32, Mixer(32, 2).double()
    tokens = torch.randn(2, 7, width, dtype=torch.float64)
    state = mixer.state_dict()

    def direction(x: Tensor, end: str) -> Tensor:
        kernel, bias = state[f"conv1d{end}.weight"][:, 0], state[f"conv1d{end}.bias"]
        conv = torch.zeros_like(x)
        for t in range(x.shape[1]):
            for back in range(min(4, t + 1)):
                conv[:, t] += kernel[:, 3 - back] * x[:, t - back]
        x = F.silu(conv + bias)
        dt, b, c = (x @ state[f"x_proj{end}.weight"].T).split([2, 16, 16], -1)
        delta = F.softplus(dt @ state[f"dt_proj{end}.weight"].T + state[f"dt_proj{end}.bias"])
        a = -torch.exp(state[f"A{end}_log"])
        y = loop(x[None], delta[None], a[None], b[None], c[None])[0]
        return y + state[f"D{end}"] * x

    x, z = (tokens @ state["in_proj.weight"].T).chunk(2, -1)
    mixed = (direction(x, "") + direction(x.flip(1), "_b").flip(1)) / 2 * F.silu(z)
    with torch.no_grad():
        torch.testing.assert_close(mixer(tokens), mixed @ state["out_proj.weight"].T)


def test_first_values_are_the_published_ones() -> None:
    torch.manual_seed(0)
    mixer = Mixer(192, 24)
    for name in ("A_log", "A_b_log"):
        rows = torch.arange(1, 17).float().log().expand(384, 16)
        torch.testing.assert_close(getattr(mixer, name).data, rows)
    assert (mixer.D == 1).all() and (mixer.D_b == 1).all()
    delta = F.softplus(mixer.dt_proj.bias)
    assert delta.min() >= 0.001 * 0.999 and delta.max() <= 0.1 * 1.001
    logs = delta.log()
    middle = (math.log(0.001) + math.log(0.1)) / 2
    assert logs.mean().item() == pytest.approx(middle, abs=0.2)
    assert logs.std().item() == pytest.approx(math.log(100) / 12**0.5, rel=0.1)
    limit = 12**-0.5
    assert mixer.dt_proj.weight.abs().max() <= limit
    assert mixer.dt_proj.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert (mixer.dt_proj_b.bias == 0).all()
    assert mixer.out_proj.weight.abs().max() <= 384**-0.5 / 24**0.5
    assert mixer.in_proj.bias is None and mixer.x_proj.bias is None and mixer.out_proj.bias is None


def test_no_decay_on_state_skip_positions_and_token() -> None:
    model = create_model("vim", **Vim.small)
    groups = parameter_groups(model, get_recipe("vim", "finetune"))
    names = {id(value): name for name, value in model.named_parameters()}
    still = {
        names[id(p)] for group in groups if group["weight_decay"] == 0 for p in group["params"]
    }
    mixers = {
        f"layers.{n}.mixer.{name}" for n in (0, 1) for name in ("A_log", "A_b_log", "D", "D_b")
    }
    assert mixers | {"pos_embed", "cls_token", "norm_f.weight", "head.bias"} <= still
    decayed = set(names.values()) - still
    assert {"head.weight", "layers.0.mixer.in_proj.weight"} <= decayed
    assert all(model.get_parameter(name).ndim > 1 for name in decayed)


def test_the_class_token_in_the_middle_decides() -> None:
    torch.manual_seed(0)
    model = create_model("vim", **Vim.small).eval()
    seen = []
    handle = model.norm_f.register_forward_hook(lambda m, i, out: seen.append(out))
    with torch.no_grad():
        out = model.outputs(torch.randn(2, 1, 3, 64, 64))
    handle.remove()
    assert seen[0].shape == (2, 17, 32)
    assert torch.equal(out["feature"], seen[0][:, 8])
    torch.testing.assert_close(out["logits"], model.head(seen[0][:, 8]))


def test_positions_of_another_side_are_resized_and_the_tokens_own_stays_in_the_middle() -> None:
    torch.manual_seed(0)
    large, small = (create_model("vim", **{**Vim.small, "size": side}) for side in (96, 64))
    report = load_tensors(small, large.state_dict(), "w")
    assert not report.reshaped and not report.missing
    assert torch.equal(small.pos_embed[:, 8], large.pos_embed[:, 18])
    flat = large.state_dict() | {"pos_embed": torch.ones(1, 37, 32)}
    load_tensors(small, flat, "w")
    torch.testing.assert_close(small.pos_embed, torch.ones(1, 17, 32))


def test_what_it_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match="size 100 is not a multiple of its patch of 16 px"):
        create_model("vim", size=100)
    with pytest.raises(ModelError, match="blocks=0 leave no network"):
        create_model("vim", blocks=0)
