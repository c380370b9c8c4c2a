"""How a pre-trained encoder learns, and how much of what it was is kept."""

import copy

import torch
from torch import nn


def parameter_groups(network: nn.Module, constants: dict) -> list[dict]:
    """The parameters that learn, each group with its highest learning rate.

    A pre-trained `encoder` learns at ENCODER_RATE of the rate of what is new, each of its layers at
    LAYER_DECAY of the layer behind it; its first FROZEN layers do not learn.
    """
    highest = constants["LEARNING_RATE"]
    if not hasattr(network, "encoder"):
        return [{"params": list(network.parameters()), "lr": highest}]
    layers = list(network.encoder)
    for layer in layers[: constants["FROZEN"]]:
        layer.requires_grad_(False)
    groups = [
        {
            "params": list(layer.parameters()),
            "lr": highest * constants["ENCODER_RATE"] * constants["LAYER_DECAY"] ** behind,
        }
        for behind, layer in enumerate(reversed(layers[constants["FROZEN"] :]))
    ]
    of_encoder = set(network.encoder.parameters())
    new = [value for value in network.parameters() if value not in of_encoder]
    return [*groups, {"params": new, "lr": highest}]


@torch.no_grad()
def with_pretrained(network: nn.Module, pretrained: nn.Module | None, constants: dict) -> nn.Module:
    """A copy of a network whose encoder has moved back by a share, KEEP, of the way to the
    pre-trained weights (Wortsman et al. 2022); the network itself where there is nothing to move.
    """
    if pretrained is None or not constants["KEEP"]:
        return network
    moved = copy.deepcopy(network)
    for value, before in zip(moved.encoder.parameters(), pretrained.parameters(), strict=True):
        value.lerp_(before, constants["KEEP"])
    return moved
