import itertools

import numpy as np
import torch

from dps_perception.training.matching import match

GROUPS, QUERIES, CLASSES = 3, 4, 5


def batch(seed=0):
    """Images with 3, 0 and 1 targets, so that padding has something to spoil."""
    generator = torch.Generator().manual_seed(seed)
    classes = [torch.randint(CLASSES, (n,), generator=generator) for n in (3, 0, 1)]
    masks = [torch.rand(n, 4, 6, generator=generator).round() for n in (3, 0, 1)]
    class_logits = torch.randn(3, GROUPS * QUERIES, CLASSES, generator=generator)
    return class_logits, torch.randn(3, GROUPS * QUERIES, 4, 6, generator=generator), classes, masks


def score(class_logits, mask_logits, target_class, target_mask):
    """Eq. 5 in double precision for one query and one target."""
    p, t = mask_logits.double().sigmoid().numpy().ravel(), target_mask.double().numpy().ravel()
    dice = 2 * (p @ t) / (p @ p + t @ t + 1e-4)
    return float(class_logits.double().sigmoid()[target_class]) ** 0.2 * dice**0.8


def test_the_batched_matching_is_the_best_of_all_assignments():
    class_logits, mask_logits, classes, masks = batch()
    matched = match(class_logits, mask_logits, classes, masks, GROUPS)
    for b, (query, target) in enumerate(matched):
        number = len(classes[b])
        assert target.tolist() == list(range(number)) * GROUPS
        for g in range(GROUPS):
            scores = np.array(
                [
                    [score(class_logits[b, q], mask_logits[b, q], classes[b][t], masks[b][t]) for t in range(number)]
                    for q in range(g * QUERIES, (g + 1) * QUERIES)
                ]
            ).reshape(QUERIES, number)
            best = max(
                itertools.permutations(range(QUERIES), number),
                key=lambda rows: sum(scores[r, t] for t, r in enumerate(rows)),
            )
            own = query[g * number : (g + 1) * number] - g * QUERIES
            assert own.tolist() == list(best)


def test_an_image_is_matched_the_same_alone_and_among_others():
    class_logits, mask_logits, classes, masks = batch(seed=1)
    together = match(class_logits, mask_logits, classes, masks, GROUPS)
    for b in range(3):
        ((query, target),) = match(class_logits[b : b + 1], mask_logits[b : b + 1], [classes[b]], [masks[b]], GROUPS)
        assert torch.equal(query, together[b][0])
        assert torch.equal(target, together[b][1])


def test_more_targets_than_queries_leaves_some_out():
    classes, masks = [torch.zeros(6, dtype=torch.int64)], [torch.eye(6).view(6, 2, 3)]
    logits = torch.full((1, 4, 6), -9.0)
    logits[0, :, :4] = torch.eye(4) * 18 - 9
    ((query, target),) = match(torch.zeros(1, 4, 1), logits.view(1, 4, 2, 3), classes, masks, groups=1)
    assert (query.tolist(), target.tolist()) == ([0, 1, 2, 3], [0, 1, 2, 3])


def test_a_diverged_network_is_matched_without_complaint():
    class_logits, mask_logits, classes, masks = batch()
    matched = match(class_logits * float("nan"), mask_logits, classes, masks, GROUPS)
    assert [len(query) for query, _ in matched] == [9, 0, 3]
