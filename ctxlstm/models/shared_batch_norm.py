"""BatchNorm in a training that several processes share."""

import torch
from torch import Tensor, distributed, nn


class SharedSum(torch.autograd.Function):
    """The sum of a tensor over all processes, in each of them; gradients are summed likewise."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        """x of any shape, equal in all processes -> the sum, of that shape."""
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        """Every process's part went into every process's loss."""
        return SharedSum.apply(gradient)


class BatchNorm1d(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that, in a training shared by several processes, normalises with the whole batch's statistics.

    Gradients flow through the shared sums, so that processes together compute what one would. `torch.nn.SyncBatchNorm`
    does this on GPUs only; here the same lines serve both.
    """

    def forward(self, y: Tensor) -> Tensor:
        """Normalise y, (N, W) or (N, W, L), over all dimensions but the second."""
        shared = self.training and distributed.is_available() and distributed.is_initialized()
        if not shared or distributed.get_world_size() == 1:
            return super().forward(y)
        kind, y = y.dtype, y.to(torch.promote_types(y.dtype, torch.float32))  # bfloat16 cannot count to 300
        over = [dim for dim in range(y.ndim) if dim != 1]
        wide = (1, -1) + (1,) * (y.ndim - 2)
        count = y.new_tensor([y.numel() // y.shape[1]])
        total = SharedSum.apply(torch.cat([y.sum(over), count]))  # (W + 1,)
        mean, count = total[:-1] / total[-1], total[-1].detach()  # (W,), ()
        centred = y - mean.view(wide)
        var = SharedSum.apply(centred.square().sum(over)) / count  # (W,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)  # (W,)
        return (centred * scale.view(wide) + self.bias.view(wide)).to(kind)
