"""The non-local block: at one channel it never makes W's output, and is the same function."""

import copy

import pytest
import torch

from vireid.models.layers import NonLocal, _three_sums


def block_with_history(channels: int) -> NonLocal:
    """A block whose every parameter and buffer counts."""
    torch.manual_seed(0)
    block = NonLocal(16, channels).double()
    for tensor in (block.bn.weight, block.bn.bias, block.w.bias, block.bn.running_mean):
        torch.nn.init.normal_(tensor)
    torch.nn.init.uniform_(block.bn.running_var, 0.5, 2.0)
    return block


@pytest.mark.parametrize("training", [True, False])
def test_one_channel_equals_the_general_computation(training: bool) -> None:
    narrow = block_with_history(1).train(training)
    general = copy.deepcopy(narrow)
    x = torch.randn(6, 16, 5, 4, dtype=torch.float64, requires_grad=True)
    again = x.detach().clone().requires_grad_()
    direction = torch.randn_like(x)
    ours, theirs = narrow(x), general._any_width(again)
    torch.testing.assert_close(ours, theirs)
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)
    for name, parameter in narrow.named_parameters():
        other = general.get_parameter(name)
        if not parameter.requires_grad:
            assert parameter.grad is None and other.grad is None
            continue
        assert parameter.grad.abs().max() > 0
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)
    for name, buffer in narrow.named_buffers():
        torch.testing.assert_close(buffer, general.get_buffer(name), msg=name)
    assert int(narrow.bn.num_batches_tracked) == int(training)


def test_the_compiled_form_of_the_three_sums_is_the_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block = block_with_history(1)
    x = torch.randn(3, 16, 5, 4, dtype=torch.float64)
    eager = _three_sums(x, block.theta_phi_g)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    compiled = _three_sums(x, block.theta_phi_g)
    for ours, theirs in zip(compiled, eager, strict=True):
        assert ours.shape == (3, 1, 5, 4)
        torch.testing.assert_close(ours, theirs)


def test_gradients_of_one_channel() -> None:
    block = block_with_history(1)
    x = torch.randn(3, 16, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


def test_batch_norm_over_ranks_keeps_the_general_computation() -> None:
    block = torch.nn.SyncBatchNorm.convert_sync_batchnorm(block_with_history(1)).eval()
    x = torch.randn(3, 16, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(block(x), block_with_history(1).eval()(x))


def test_half_precision_stays_half() -> None:
    block = block_with_history(1).float()
    x = torch.randn(2, 16, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = block(x.bfloat16())
    assert out.dtype == torch.bfloat16
    reference = block_with_history(1).float()(x)
    assert (out.float() - reference).abs().max() < 0.03 * reference.abs().max()
