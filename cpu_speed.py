"""What makes training on a CPU faster: the same arithmetic, only the random numbers are others."""

import ctypes
import math
import sys

import torch
from torch import nn

# Names of glibc's mallopt, from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


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


def quicken(network: nn.Module) -> nn.Module:
    """Put QuickDropout in place of every nn.Dropout of a network that trains on the CPU."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, QuickDropout(child.p))
    return network
