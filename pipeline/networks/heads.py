"""The last layer of a network, its head: logits of many clips, scores, the threshold of two."""

import copy
from functools import partial

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pipeline.networks import features

EVALUATION_BATCH = 64
MOST_LOGIT = 100  # by which a counter's threshold is moved: of one that knows nothing it is 0 or 1


@torch.no_grad()
def move_threshold(counter: nn.Module, threshold: float) -> None:
    """Make a counter say "two" where its score of two would exceed `threshold`, in [0, 1].

    Moves the bias of that logit, so that from now on the higher of the two scores tells.
    """
    odds = torch.logit(torch.tensor(threshold, dtype=torch.float64))
    counter.dense[-1].bias[1] -= odds.clamp(-MOST_LOGIT, MOST_LOGIT).item()


def cut_label_head(counter: nn.Module) -> dict[str, torch.Tensor]:
    """Cut the logits of the class labels off a counter's last layer: the count's two are left.

    Returns what `join_label_head` puts back.
    """
    last = counter.dense[-1]
    label_head = {name: value[2:].detach().clone() for name, value in last.named_parameters()}
    keep_logits(counter, slice(2))
    return label_head


def keep_logits(network: nn.Module, kept: slice) -> None:
    """Leave of a network's last layer these logits."""
    last = network.dense[-1]
    for name, value in list(last.named_parameters()):
        setattr(last, name, nn.Parameter(value[kept].detach().clone()))
    last.out_features = len(last.bias)


def join_label_head(counter: nn.Module, label_head: dict[str, torch.Tensor]) -> nn.Module:
    """A counter's network with the logits of the class labels behind the count's two again."""
    network = copy.deepcopy(counter)
    last = network.dense[-1]
    for name, value in label_head.items():
        kept = getattr(last, name).detach()
        setattr(last, name, nn.Parameter(torch.cat([kept, value.to(kept)])))
    last.out_features = len(last.bias)
    return network


def pair_logits(logits: torch.Tensor) -> torch.Tensor:
    """Logits (clips, classes) summed for every pair of classes: (clips, pairs)."""
    first, second = torch.triu_indices(*2 * logits.shape[1:], offset=1, device=logits.device)
    return logits[:, first] + logits[:, second]


def scores_of_two(logits: torch.Tensor) -> torch.Tensor:
    """The probability of each class to be one of a clip's two, by `loop.labels_loss`.

    logits: (clips, classes). Returns the same shape; a row sums to 2.
    """
    chances = torch.softmax(pair_logits(logits), dim=1)
    first, second = torch.triu_indices(*2 * logits.shape[1:], offset=1, device=logits.device)
    scores = torch.zeros_like(logits)
    return scores.index_add_(1, first, chances).index_add_(1, second, chances)


# Task -> what makes scores of its logits: shares of one, of the two-label classifier of two.
SCORES_OF = {
    "counter": partial(torch.softmax, dim=1),
    "single": partial(torch.softmax, dim=1),
    "two_label": scores_of_two,
}


@torch.no_grad()
def logits_of(network: nn.Module, stems: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """Logits of many rows, in evaluation mode, on the CPU: float32 (clips, outputs)."""
    network.eval()
    starts = range(0, len(rows), EVALUATION_BATCH)
    logits = []
    for start in starts if len(rows) < 5000 else tqdm(starts, "test", disable=None):
        some = rows[start : start + EVALUATION_BATCH]
        waveforms = features.waveforms_of(stems, some)
        logits.append(network(features.features_of(network, waveforms)).cpu())
    return torch.cat(logits)


@torch.no_grad()
def logits_of_waveforms(network: nn.Module, waveforms: torch.Tensor) -> torch.Tensor:
    """Logits of levelled waveforms (clips, samples), on the CPU: float32 (clips, outputs).

    network: in evaluation mode.
    """
    batches = waveforms.split(EVALUATION_BATCH)
    return torch.cat([network(features.features_of(network, some)).cpu() for some in batches])


@torch.no_grad()
def attention_of(
    network: nn.Module, waveforms: torch.Tensor, nb_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of levelled waveforms (clips, samples), and how much each of so many frames weighs in
    them: float32 (clips, outputs) and (clips, nb_frames), in shares of the whole.
    """
    logits, weights = network(features.features_of(network, waveforms), with_attention=True)
    at_frames = nn.functional.interpolate(weights[:, None], nb_frames)[:, 0]
    return logits, at_frames * (weights.shape[1] / nb_frames)
