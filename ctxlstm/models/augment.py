"""Random views of a clip, drawn anew in every epoch, to keep a fine-tuned backbone from overfitting.

Neither the paper nor the public code base has any. All frames of a clip get the same view: a crop that jumped
from frame to frame would look like motion.
"""

import torch
from torch import Tensor, nn

NAMES = ("crop", "crop-flip")
SCALE = (0.5, 1.0)  # of the frame's area; ImageNet's usual (0.08, 1) often cuts the action out of the frame


class Augment(nn.Module):
    """Clips (B, T, 3, h, w) uint8 -> (B, T, 3, s, s) uint8, each drawn anew from torch's global generator.

    Args:
        name: `crop` (a part of the frame, stretched to the whole) or `crop-flip` (half of the clips mirrored as well).
        size: s, side of the square in pixels.

    Raises:
        ValueError: unknown name.
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        if name not in NAMES:
            raise ValueError(f"unknown augmentation {name!r}: choose one of {', '.join(NAMES)}")
        # torchvision takes longer to import than torch itself, so it is imported only if pixels are needed.
        from torchvision.transforms import v2

        steps = [v2.RandomResizedCrop(size, scale=SCALE, antialias=True)]
        self.view = v2.Compose([*steps, v2.RandomHorizontalFlip()] if name == "crop-flip" else steps)

    def forward(self, clips: Tensor) -> Tensor:
        """A random view of every clip."""
        return torch.stack([self.view(clip) for clip in clips])  # (B, T, 3, s, s)
