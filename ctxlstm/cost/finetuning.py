"""Bytes that fine-tuning a backbone takes, counted from one traced forward pass (paper, section 4.3 has no such run)."""

import torch
from torch import Tensor

from ctxlstm.backbone import Backbone


def finetune_bytes(backbone: Backbone, *, clips: int, frames: int, images: int) -> int:
    """Bytes that a step of fine-tuning takes at its fullest, the head's own left out (`cost` has those).

    Frames; all features and their gradient; weights, gradients and Adam's two means; the activations of one part, and
    two of its largest maps for the gradients on their way back. What a convolution needs to work in is not counted.

    Args:
        backbone: an unfrozen one; clips, frames: B and T of a step; images: frames through the backbone at once.
    """
    one, two = _kept(backbone, 1), _kept(backbone, 2)
    maps = [
        b - a for a, b in zip(one, two, strict=True)
    ]  # of an image; what does not grow are weights in bf16
    images = min(images, clips * frames)
    part = sum(one) - sum(maps) + images * (sum(maps) + 2 * max(maps))
    weights = 4 * sum(p.numel() * p.element_size() for p in backbone.parameters())
    a_frame = 3 * backbone.size**2 + 2 * backbone.width * backbone.mean.element_size()
    return part + weights + clips * frames * a_frame


def _kept(backbone: Backbone, images: int) -> list[int]:
    """Bytes of each tensor that a forward pass of so many images keeps for the backward pass, weights left out."""
    own = {value.untyped_storage().data_ptr() for value in backbone.state_dict().values()}
    kept = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    size = (images, 3, backbone.size, backbone.size)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        _x = backbone(torch.zeros(size, dtype=torch.uint8))  # held, so that no memory is given out twice
    return list(kept.values())
