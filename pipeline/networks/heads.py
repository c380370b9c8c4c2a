"""The last layer of a network, its head: logits of many clips, scores, the threshold of two."""

from functools import partial

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pipeline.networks import features

EVALUATION_BATCH = 64
MOST_LOGIT = 100  # by which a counter's threshold is moved: of one that knows nothing it is 0 or 1


class CountByLabels(nn.Linear):
    """A counter's last layer that counts by the class labels, too.

    Its outputs: the logits of one and of two, behind them those of the labels. To that of one it
    adds what speaks for any single label, to that of two what speaks for any pair. So the softmax
    of the first two is the chance of one and of two where every set of one or two labels weighs as
    the exponential of its summed logits and of its count's (see `loop.labels_loss`).
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """float (clips, values) -> (clips, 2 + classes)."""
        counts, labels = super().forward(values).tensor_split((2,), dim=1)
        of_two = pair_logits(labels).logsumexp(dim=1)
        return torch.cat([counts + torch.stack([labels.logsumexp(dim=1), of_two], 1), labels], 1)


def count_by_labels(counter: nn.Module) -> None:
    """Make a counter with a label head count by it, too: CountByLabels becomes its last layer."""
    replace_last(counter, CountByLabels, *counter.dense[-1].parameters())


def replace_last(network: nn.Module, kind: type, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give a network another last layer, nn.Linear or one of its kind, of copies of these."""
    last = kind(weight.shape[1], weight.shape[0], device="meta")
    last.weight, last.bias = (nn.Parameter(value.detach().clone()) for value in (weight, bias))
    network.dense[-1] = last


def slopes(last: nn.Linear, logits: torch.Tensor) -> torch.Tensor:
    """How much the second logit over the first grows with each of the sums that a last layer makes,
    before it counts by labels: float32 (clips, outputs). logits: what it gave.
    """
    found = torch.zeros_like(logits)
    found[:, 0], found[:, 1] = -1, 1
    if isinstance(last, CountByLabels):
        labels = logits[:, 2:]
        found[:, 2:] = scores_of_two(labels) - torch.softmax(labels, dim=1)
    return found


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
    """Leave of a network's last layer these logits; it no longer counts by labels."""
    replace_last(network, nn.Linear, *(value[kept] for value in network.dense[-1].parameters()))


def join_label_head(counter: nn.Module, label_head: dict[str, torch.Tensor]) -> None:
    """Put the logits of the class labels behind a counter's two again."""
    last = counter.dense[-1]
    whole = [
        torch.cat([value, label_head[name].to(value)]) for name, value in last.named_parameters()
    ]
    replace_last(counter, nn.Linear, *whole)


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


def scores_of_count(logits: torch.Tensor) -> torch.Tensor:
    """The chance of one and of two, (clips, 2), of a counter's logits: the first two."""
    return torch.softmax(logits[:, :2], dim=1)


# Task -> what makes scores of its logits: shares of one, of the two-label classifier of two.
SCORES_OF = {
    "counter": scores_of_count,
    "single": partial(torch.softmax, dim=1),
    "two_label": scores_of_two,
}


@torch.no_grad()
def logits_of(network: nn.Module, stems: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """Logits of many rows, in evaluation mode, on the CPU: float32 (clips, outputs)."""
    network.eval()
    if len(rows) == 0:
        return torch.zeros(0, network.dense[-1].out_features)
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
