"""What a network hears: stems in memory, the waveforms of a batch, their features.

A batch is rows of stems (see set_data): single clips and mixtures are made from the same stems
and reach a network at the same level.
"""

import numpy as np
import pandas as pd
import torch

import esc10_data
import set_data
from UNet_utils import audio_STFT_torch


def load(stems: pd.DataFrame, sample_rate: int, device: torch.device) -> torch.Tensor:
    """Load the stems with `uploader` and normalise their volume: float32 (stems, samples).

    The loudest sample is that of the data set's own clips, not of their copies.
    """
    clips = esc10_data.uploader(stems["file"], sample_rate)
    esc10_data.name_silent(stems["file"], clips)
    loudest = np.abs(clips[stems["copy"] == 0]).max()
    return torch.from_numpy(esc10_data.normalise_volume(clips, loudest)).to(device)


def waveforms_of(stems: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """The waveforms of a batch as every network gets them: float32 (clips, samples), levelled.

    stems: float32 (stems, samples). rows: int (clips, 2); NO_STEM for a single clip's second.
    """
    rows = torch.as_tensor(rows, device=stems.device)
    second = stems[rows[:, 1].clamp(min=0)] * (rows[:, 1:] != set_data.NO_STEM)
    return esc10_data.level_rms(esc10_data.mix(stems[rows[:, 0]], second))


def features(waveforms: torch.Tensor, n_fft: int) -> torch.Tensor:
    """What networks see of levelled waveforms: STFT magnitude, float32 (clips, 1, bins, frames).

    The magnitude itself, as the research had it; no logarithm, no mel bands.
    """
    magnitude = audio_STFT_torch(waveforms, n_fft).abs()
    return magnitude[:, None].contiguous(memory_format=torch.channels_last)
