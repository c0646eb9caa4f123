"""On a GPU, every kernel computes what the eager one says, compiled and in both precisions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dnalm.errors import ConfigError
from dnalm.models import Encoder, Packed
from dnalm.models.kernels import KERNELS, prepare
from dnalm.models.packing import KernelName

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none"
)

LENGTHS = [128, 1, 300, 37, 300]
SWITCHES: dict[str, dict[str, object]] = {
    "learned": {},
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "causal": {"causal": True},
    "causal alibi": {"positions": "alibi", "causal": True},
}
EVERY_SWITCH = pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
FAST: list[KernelName] = ["auto", "sdpa", "flex", "varlen"]


def _encoder(kernel: KernelName, switches: dict[str, object]) -> Encoder:
    torch.manual_seed(0)
    return Encoder(
        vocab_size=50,
        hidden_size=256,
        num_layers=2,
        num_heads=4,
        intermediate_size=512,
        attention_dropout=0.0,
        dropout=0.0,
        initializer_range=0.1,
        kernel=kernel,
        **switches,  # type: ignore[arg-type]
    ).cuda()


def _run(encoder: Encoder, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of a fixed function of it with respect to the first projection."""
    ids = torch.arange(sum(lengths)).mul(7).remainder(50).cuda()
    packed = Packed.from_lengths(lengths)
    output = encoder(ids, Packed(packed.cu_lengths.cuda(), packed.max_length))
    weight = torch.linspace(-1, 1, output.numel(), device="cuda").view(output.shape)
    (output.float() * weight).sum().backward()
    gradient = encoder.get_parameter(f"blocks.{len(encoder.conv_dilations)}.attention.query.weight").grad
    assert gradient is not None
    return output.detach().float(), gradient


def _fits(kernel: KernelName, switches: dict[str, object], dtype: torch.dtype) -> bool:
    without = kernel == "varlen" and (switches.get("positions") == "alibi" or dtype == torch.float32)
    return not without


@EVERY_SWITCH
@pytest.mark.parametrize("lengths", [LENGTHS, [128, 128, 128]], ids=["ragged", "full"])
@pytest.mark.parametrize("kernel", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_those_of_eager(
    kernel: KernelName, lengths: list[int], switches: dict[str, object], dtype: torch.dtype
) -> None:
    if not _fits(kernel, switches, dtype):
        pytest.skip(f"{kernel} cannot {KERNELS[kernel].cannot}")
    expected, expected_gradient = _run(_encoder("eager", switches), lengths)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        output, gradient = _run(_encoder(kernel, switches), lengths)
    # Two layers of about ten roundings; in fp32, the GPU may round products to TF32's 2^-11.
    tolerance = 0.05 if dtype == torch.bfloat16 else 0.01
    assert (output - expected).norm() < tolerance * expected.norm()
    assert (gradient - expected_gradient).norm() < 2 * tolerance * expected_gradient.norm()


def test_dropout_of_varlen_keeps_the_mean() -> None:
    layout = Packed(torch.tensor([0, 5, 40], dtype=torch.int32, device="cuda"), 35).layout(40)
    layout = prepare(layout, "varlen", dtype=torch.bfloat16, dropout=0.2, width=64)
    inputs = [torch.randn(40, 4, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    draws = torch.stack([KERNELS["varlen"].attend(*inputs, layout, 0.2).float() for _ in range(500)])
    error = (draws.mean(0) - KERNELS["varlen"].attend(*inputs, layout, 0.0)).abs()
    assert (error <= 6 * draws.std(0) / 500**0.5 + 0.02).all()
    assert draws.std(0).max() > 0.1


@pytest.mark.parametrize("kernel", FAST)
def test_neighbours_in_a_pack_cannot_see_each_other(kernel: KernelName) -> None:
    encoder = _encoder(kernel, {}).bfloat16().eval()
    ids = torch.arange(40, device="cuda")
    other = torch.cat([ids[:25], torch.zeros_like(ids[25:])])
    packed = Packed(torch.tensor([0, 25, 40], dtype=torch.int32, device="cuda"), 25)
    with torch.no_grad():
        assert torch.equal(encoder(ids, packed)[:25], encoder(other, packed)[:25])


def test_flex_serves_packs_of_many_shapes() -> None:
    eager, flex = _encoder("eager", SWITCHES["alibi"]), _encoder("flex", SWITCHES["alibi"])
    for lengths in ([5], [64, 64], [200, 3], [17, 130, 1]):
        outputs = [_run(encoder, lengths)[0] for encoder in (eager, flex)]
        assert (outputs[1] - outputs[0]).norm() < 0.01 * outputs[0].norm()


def test_varlen_in_fp32_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        _run(_encoder("varlen", {}), [4])
    assert str(caught.value) == (
        "CFG-18 model.kernel: kernel=varlen with float32; bf16 or fp16, in which alone varlen computes. "
        "Fix: train in bf16, or set model.kernel=auto."
    )
