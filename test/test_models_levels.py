"""Blocks that the levels of a pyramid share: in training they normalise by what inference normalises by."""

import pytest
import torch

from dps_perception.models.layers import conv_stack, over_levels


def test_batch_norms_learn_the_statistics_that_they_normalise_by():
    torch.manual_seed(0)
    tower = conv_stack(3, 8, 2, "batch")
    for block in tower:
        block[1].momentum = 1.0  # the running statistics are those of the last batch
    levels = [5 * torch.randn(4, 3, 16, 16), torch.randn(4, 3, 8, 8) + 3]
    trained = over_levels(tower.train(), levels)
    inferred = over_levels(tower.eval(), levels)
    for one, other in zip(trained, inferred, strict=True):
        torch.testing.assert_close(one, other, rtol=0.01, atol=0.01)  # variance with n and n - 1


def test_one_norm_over_levels_by_hand():
    # Values 1, 3 on one level and 5, 7 on the other: mean 4, variance 5.
    tower = conv_stack(1, 1, 1, "batch").train()
    torch.nn.init.dirac_(tower[0][0].weight)
    one, other = over_levels(tower, [torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[5.0], [7.0]]]])])
    assert one.flatten().tolist() == [0, 0]
    assert other.flatten().tolist() == pytest.approx([1 / 5**0.5, 3 / 5**0.5], rel=1e-4)
    assert tower[0][1].running_mean.item() == pytest.approx(0.4)  # one update of a tenth


@pytest.mark.parametrize("norm", ["none", "group"])
def test_other_norms_see_each_level_alone(norm):
    tower = conv_stack(3, 8, 2, norm).train()
    levels = [torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)]
    for level, found in zip(levels, over_levels(tower, levels), strict=True):
        torch.testing.assert_close(found, tower(level))


def test_gradients_pass_through_all_levels():
    tower = conv_stack(3, 8, 3, "batch").train()
    levels = [torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)]
    torch.cat([out.flatten() for out in over_levels(tower, levels)]).square().sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)
    assert all(p.grad.isfinite().all() for p in tower.parameters())
