"""Bytes that fine-tuning a backbone takes, counted from traced forward passes (not in the paper; cf. 4.3)."""

import torch
from torch import Tensor

from ctxlstm.backbone import Backbone


def finetune_bytes(backbone: Backbone, *, clips: int, frames: int, images: int) -> int:
    """Peak bytes of a fine-tuning step, without those of the head itself (see `predict`).

    Included are frames; all features and their gradient; weights, gradients and Adam's two moments; the
    activations of one part, and two of its largest maps for the gradients on their way back. The workspace of
    convolutions is not.

    Args:
        backbone: an unfrozen one; clips, frames: B and T of a step; images: frames through the backbone at once.
    """
    one, two = _kept(backbone, 1), _kept(backbone, 2)
    maps = [b - a for a, b in zip(one, two, strict=True)]  # per image; what does not grow is weights in bf16
    images = min(images, clips * frames)
    part = sum(one) - sum(maps) + images * (sum(maps) + 2 * max(maps))
    weights = 4 * sum(p.numel() * p.element_size() for p in backbone.parameters())
    a_frame = 3 * backbone.size**2 + 2 * backbone.width * backbone.mean.element_size()
    return part + weights + clips * frames * a_frame


def _kept(backbone: Backbone, images: int) -> list[int]:
    """Bytes of each tensor, except weights, that the forward pass of `images` images keeps for backward."""
    own = {value.untyped_storage().data_ptr() for value in backbone.state_dict().values()}
    kept = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    size = (images, 3, backbone.size, backbone.size)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        _x = backbone(torch.zeros(size, dtype=torch.uint8))  # kept, so that no memory is reused
    return list(kept.values())
