"""What a joint network predicts of clips under the shifts of pipeline/data/shifts.toml."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.data import audio, set_data, shifts
from pipeline.evaluation import strategies
from pipeline.networks import features, heads

AS_THEY_ARE = "as they are"  # what clips under no shift are called


def predictions(
    network: nn.Module,
    stems: torch.Tensor,
    rows: np.ndarray,
    data: set_data.SetData,
    sample_rate: int,
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Predictions for clips as they are and under each shift, a row each, one behind the other.

    network: in evaluation mode, the logits of the class labels behind the count's two. stems:
    float32 (stems, samples) at `sample_rate` (Hz). rows: of clips. threshold: of the score of two.
    Returns clip, recording_a, recording_b, truth, shift, count, score_two, labels (as many as
    counted), oracle_labels (as many as there are).
    """
    waveforms = features.waveforms_of(stems, rows)
    clips = waveforms.cpu().numpy()
    table, is_mixture = set_data.recordings_of(data.stems, rows), set_data.is_mixture(rows)
    tables = []
    for number, name in enumerate([AS_THEY_ARE, *shifts.names()]):
        if number:
            shifted = shifts.shifted(clips, sample_rate, number - 1)
            waveforms = audio.level_rms(torch.from_numpy(shifted).to(stems))
        logits = heads.logits_of_waveforms(network, waveforms)
        score_two = heads.scores_of_count(logits)[:, 1].numpy()
        is_two, scores = score_two > threshold, logits[:, 2:].numpy()
        found = strategies.joint_labels(scores, is_two, is_mixture, data.classes)
        tables.append(table.assign(shift=name, count=1 + is_two, score_two=score_two, **found))
    return pd.concat(tables, ignore_index=True)
