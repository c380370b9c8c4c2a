"""What makes training on a CPU faster: the same arithmetic, only the random numbers are others."""

import ctypes
import math
import sys
from collections.abc import Callable

import torch
from torch import nn

# Names of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
FEW_CHANNELS = 16  # from here on PyTorch's own batch norm is as fast


def keep_memory() -> None:
    """Keep freed memory for the next step instead of handing it back to the system.

    By default glibc maps every large tensor anew, and the system fills it with zeros first: a
    third of a CNN's step. Does nothing where the C library is not glibc.
    """
    mallopt = sys.platform == "linux" and getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


class QuickDropout(nn.Module):
    """nn.Dropout whose random numbers serve four elements each: drawing them is what it costs.

    p: the share of zeros, in steps of 2^-16.
    """

    def __init__(self, p: float):
        super().__init__()
        self.threshold = round(p * 2**16) - 2**15
        self.scale = 1 / (1 - p)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values of any shape, a share of p of them zero and the rest scaled up; all in training.

        values: float32 or bfloat16, without holes in memory (as layers give them).
        """
        if not self.training:
            return values
        words = torch.empty(math.ceil(values.numel() / 4), dtype=torch.int64)
        words.random_(-(2**63), None)
        # In the order in which the values lie in memory, whatever their layout.
        numbers = words.view(torch.int16)[: values.numel()]
        numbers = numbers.as_strided(values.shape, values.stride())
        scales = torch.tensor((0.0, self.scale), dtype=values.dtype)
        return values * torch.where(numbers < self.threshold, *scales)


class QuickBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d for few channels that lie last in memory, where PyTorch's takes ten times as
    long in the backward pass (and rounds worse). All sums are over rows of width x channels.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (clips, channels, height, width), normalised; as nn.BatchNorm2d where not training.

        Returns float32 in training.
        """
        if not self.training:
            return super().forward(maps)
        maps = maps.float()
        with torch.no_grad():
            mean, var = moments(maps)
            nb_values = maps.numel() // maps.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (nb_values / (nb_values - 1)), self.momentum)
        return Normalise.apply(maps, self.weight, self.bias, mean, (var + self.eps).rsqrt())


class Normalise(torch.autograd.Function):
    """(maps - mean) * per_std * weight + bias, where mean and per_std are the batch's own."""

    @staticmethod
    def forward(ctx, maps, weight, bias, mean, per_std):
        """Maps (clips, channels, height, width), the others (channels,); returns maps."""
        ctx.save_for_backward(maps, weight, mean, per_std)
        scale = weight * per_std
        return in_rows(lambda rows: affine(bias - mean * scale, (rows, scale)), maps)

    @staticmethod
    def backward(ctx, gradient):
        """The slopes of maps, weight and bias; mean and per_std are not asked for theirs."""
        maps, weight, mean, per_std = ctx.saved_tensors
        nb_channels, nb_values = maps.shape[1], maps.numel() // maps.shape[1]
        rows, slopes = rows_of(maps), rows_of(gradient)
        bias_slope = per_channel(slopes.sum(dim=0), nb_channels)
        product = per_channel((slopes * rows).sum(dim=0), nb_channels)
        weight_slope = (product - mean * bias_slope) * per_std
        scale = weight * per_std
        # Mean and standard deviation depend on the maps as well.
        tilt = -scale * per_std * weight_slope / nb_values
        offset = -scale * bias_slope / nb_values - tilt * mean
        maps_slope = in_rows(lambda rows: affine(offset, (rows, tilt), (slopes, scale)), maps)
        return maps_slope, weight_slope, bias_slope, None, None


def rows_of(maps: torch.Tensor) -> torch.Tensor:
    """Maps that have their channels last in memory as a matrix (rows, width x channels)."""
    clips, channels, height, width = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(clips * height, width * channels)


def in_rows(change: Callable[[torch.Tensor], torch.Tensor], maps: torch.Tensor) -> torch.Tensor:
    """What `change` makes of the maps' rows, as maps again."""
    clips, channels, height, width = maps.shape
    changed = change(rows_of(maps)).view(clips, height, width, channels)
    return changed.permute(0, 3, 1, 2)


def per_channel(sums: torch.Tensor, nb_channels: int) -> torch.Tensor:
    """Sums (width x channels,) over the width as well: (channels,)."""
    return sums.view(-1, nb_channels).sum(dim=0)


def affine(offset: torch.Tensor, *terms: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """offset + rows * factor + ...: rows as `rows_of` has them, offset and factors (channels,)."""
    width = terms[0][0].shape[1] // len(offset)
    total = offset.repeat(width)
    for rows, factor in terms:
        total = torch.addcmul(total, rows, factor.repeat(width))
    return total


def moments(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each channel, (channels,) both."""
    rows, nb_channels = rows_of(maps), maps.shape[1]
    nb_values = maps.numel() // nb_channels
    mean = per_channel(rows.sum(dim=0), nb_channels) / nb_values
    square = per_channel(rows.square().sum(dim=0), nb_channels) / nb_values
    return mean, (square - mean**2).clamp(min=0)


def quicken(network: nn.Module) -> nn.Module:
    """Put the quick layers in place of a new network's that trains on the CPU."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, QuickDropout(child.p))
            elif isinstance(child, nn.BatchNorm2d) and child.num_features < FEW_CHANNELS:
                quick = QuickBatchNorm2d(child.num_features, child.eps, child.momentum)
                setattr(module, name, quick)
    return network
