"""The shortcut baseline: counting by features that say nothing of the sound itself.

What it reaches above chance comes with level, rounding and silence alone; a counter counts only
above that.
"""

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation import metrics
from UNet_utils import audio_STFT_torch


def shortcut_features(waveforms: torch.Tensor, n_fft: int) -> np.ndarray:
    """Peak, RMS, crest factor, share of digital silence, spectral flatness: float64 (clips, 5).

    waveforms: float32 (clips, samples), as the counter gets them. The flatness is of the mean power
    spectrum.
    """
    peak = waveforms.abs().amax(dim=1)
    rms = waveforms.square().mean(dim=1).sqrt()
    power = audio_STFT_torch(waveforms, n_fft).abs().square().mean(dim=2) + 1e-12
    flatness = power.log().mean(dim=1).exp() / power.mean(dim=1)
    silence = (waveforms == 0).float().mean(dim=1)
    columns = (peak, rms, peak / rms.clamp(min=1e-12), silence, flatness)
    return torch.stack(columns, dim=1).cpu().double().numpy()


def scores_of_two(
    learned: np.ndarray, is_mixture: np.ndarray, asked: list[np.ndarray]
) -> list[np.ndarray]:
    """The scores of two of the clips asked, by a logistic regression: float64 (clips,) of each.

    learned: shortcut features of training clips. is_mixture: bool, of these. asked: shortcut
    features of other clips.
    """
    regression = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    regression.fit(learned, is_mixture)
    return [regression.predict_proba(found)[:, 1] for found in asked]


def count(validation: pd.DataFrame, test: pd.DataFrame, scores: list[np.ndarray]) -> float:
    """Add to both tables of predictions the shortcut baseline's score of two and its count.

    scores: of the validation clips and of the test clips, see `scores_of_two`.
    Returns the threshold of two, chosen on the validation clips as the counter's is.
    """
    is_mixture = (validation["recording_b"] != "").to_numpy()
    threshold = metrics.best_threshold(is_mixture, scores[0], ~is_mixture, is_mixture)
    for table, score in zip((validation, test), scores, strict=True):
        table["shortcut_score_two"] = score
        table["shortcut_count"] = 1 + (score > threshold)
    return threshold
