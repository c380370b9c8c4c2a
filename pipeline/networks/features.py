"""Features and augmentation: stems in memory, the waveforms of a batch, their features.

A batch is rows of stems (see set_data): single clips and mixtures are made from the same stems
and reach a network at the same level.
"""

import math

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.data import audio, set_data
from UNet_utils import audio_STFT_torch

MASK_SHARE = 1 / 8  # of an axis that a mask hides at most
TILT_SHARES = (1 / 80, 1)  # of half the sample rate, between which a tilt is so many dB
NOISE_DB = (15, 60)  # below the clip
TINY = 1e-3  # added to mel magnitudes before their logarithm
QUIETER_DB = 30  # by which clips come softer, at most, to networks that level them themselves
FADE_SHARE = 1 / 50  # of a clip in which its end fades into its beginning


def load(stems: pd.DataFrame, sample_rate: int, device: torch.device) -> torch.Tensor:
    """Load the stems with `uploader` and normalise their volume: float32 (stems, samples).

    The loudest sample is that of the data set's own clips, not of their copies.
    """
    clips = audio.uploader(stems["file"], sample_rate)
    audio.name_silent(stems["file"], clips)
    loudest = np.abs(clips[stems["copy"] == 0]).max()
    return torch.from_numpy(audio.normalise_volume(clips, loudest)).to(device)


def stems_of(stems: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The first and the second stem of each row, float32 (clips, samples) both.

    stems: float32 (stems, samples). rows: int (clips, 2); NO_STEM for a single clip's second,
    which then is silence.
    """
    rows = torch.as_tensor(rows, device=stems.device)
    second = stems[rows[:, 1].clamp(min=0)] * (rows[:, 1:] != set_data.NO_STEM)
    return stems[rows[:, 0]], second


def waveforms_of(stems: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """The waveforms of a batch as every network gets them: float32 (clips, samples), levelled."""
    return audio.level_rms(audio.mix(*stems_of(stems, rows)))


def features_of(network: nn.Module, waveforms: torch.Tensor) -> torch.Tensor:
    """What a network takes of levelled waveforms (clips, samples): its own `features` where it has
    some, else the STFT magnitude by its `n_fft`. Returns float32 (clips, 1, bins, frames).
    """
    if hasattr(network, "features"):
        return network.features(waveforms)
    return stft_magnitude(waveforms, network.n_fft)


def stft_magnitude(waveforms: torch.Tensor, n_fft: int) -> torch.Tensor:
    """The study's features of levelled waveforms: STFT magnitude, float32 (clips, 1, bins, frames).

    The magnitude itself, as the research had it; no logarithm, no mel bands.
    """
    magnitudes = magnitudes_of(audio_STFT_torch(waveforms, n_fft))
    return magnitudes[:, None].contiguous(memory_format=torch.channels_last)


def magnitudes_of(spectra: torch.Tensor) -> torch.Tensor:
    """abs() of complex numbers of any shape, in a third of its time."""
    return torch.addcmul(spectra.real**2, spectra.imag, spectra.imag).sqrt()


# --------------------------------------------------------------- augmentation of training batches


def augmented_features(
    network: nn.Module, stems: torch.Tensor, rows: np.ndarray, constants: dict
) -> torch.Tensor:
    """What a network takes of a training batch with augmentation, at random as the constants say.

    constants: ROLL rolls every stem in time; SPEED plays it faster or slower; GAIN, where mixtures
        are trained on, makes the second stem up to so many dB softer or louder; TILT tilts the
        spectrum of every clip; NOISE adds white noise; MASK hides a band of frequencies and a
        stretch of time. A network that levels its features itself gets clips up to QUIETER_DB
        softer.
    """
    first, second = stems_of(stems, rows)
    if constants["ROLL"] or constants["SPEED"]:  # what is played faster goes on as a loop
        later = None if constants["ROLL"] else 0
        first, second = rolled(first, later), rolled(second, later)
    if constants["SPEED"]:
        first, second = (at_other_speeds(stem, constants["SPEED"]) for stem in (first, second))
    if constants.get("GAIN"):
        gain_db = constants["GAIN"] * (2 * torch.rand(len(rows), 1, device=stems.device) - 1)
        second = second * 10 ** (gain_db / 20)
    waveforms = audio.level_rms(audio.mix(first, second))
    if constants.get("TILT"):
        waveforms = audio.level_rms(tilted(waveforms, constants["TILT"]))
    if constants.get("NOISE"):
        waveforms = audio.level_rms(with_white_noise(waveforms))
    spectrograms = features_of(network, waveforms)
    if not hasattr(network, "features"):
        return masked(spectrograms) if constants["MASK"] else spectrograms
    if constants["MASK"]:
        # Of what the logarithm is taken, no magnitude would be a mark of its own.
        typical = (spectrograms + TINY).log().mean(dim=(1, 2, 3), keepdim=True).exp()
        spectrograms = masked(spectrograms - typical) + typical
    softer_db = QUIETER_DB * torch.rand(len(rows), 1, 1, 1, device=stems.device)
    return spectrograms * 10 ** (-softer_db / 20)


def rolled(waveforms: torch.Tensor, later: int | None = None) -> torch.Tensor:
    """Each waveform, shape (clips, samples), as a loop that starts somewhere else.

    later: samples by which every clip comes later; each its own at random where not given. Its
    end fades into its beginning: without that, mixtures would have two audible seams and single
    clips one, by which a counter could tell them.
    """
    nb_clips, nb_samples = waveforms.shape
    nb_fade = int(FADE_SHARE * nb_samples)
    nb_loop = nb_samples - nb_fade
    fade = torch.linspace(0, 1, nb_fade, device=waveforms.device).sqrt()
    loop = waveforms[:, :nb_loop].clone()
    loop[:, :nb_fade] = fade * loop[:, :nb_fade] + fade.flip(0) * waveforms[:, nb_loop:]
    twice = torch.cat([loop, loop, loop[:, :nb_fade]], dim=1)
    clips = torch.arange(nb_clips, device=waveforms.device)
    starts = torch.randint(nb_loop, (nb_clips,), device=waveforms.device)
    if later is not None:
        starts = torch.full_like(starts, -later % nb_loop)
    return twice.unfold(1, nb_samples, 1)[clips, starts]


def at_other_speeds(waveforms: torch.Tensor, most: float) -> torch.Tensor:
    """Each waveform, shape (clips, samples), at a speed of its own: tempo and pitch change alike.

    waveforms: the loops that `rolled` makes of clips; where one ends too early, it goes on as such.
    most: its factor lies between 1 / (1 + most) and 1 + most, the logarithm anywhere there as
    likely (Tokozume, Ushiku and Harada 2018 with a most of 0.25).
    Between samples it is interpolated linearly.
    """
    nb_clips, nb_samples = waveforms.shape
    nb_loop = nb_samples - int(FADE_SHARE * nb_samples)
    # Single precision would place the last samples to 1/256 of one; MPS has no better.
    precision = torch.float32 if waveforms.device.type == "mps" else torch.float64
    exponents = 2 * torch.rand(nb_clips, 1, dtype=precision, device=waveforms.device) - 1
    positions = torch.arange(nb_samples, device=waveforms.device) * (1 + most) ** exponents
    before = positions.long()
    share = (positions - before).float()
    before = before % nb_loop  # the loop's first sample stands behind its last one, too
    return torch.lerp(waveforms.gather(1, before), waveforms.gather(1, before + 1), share)


def tilted(waveforms: torch.Tensor, most_db: float) -> torch.Tensor:
    """Waveforms (clips, samples) with a tilted spectrum, each clip its own.

    It rises or falls by as many dB in every octave, by `most_db` at most at both ends of
    TILT_SHARES, and lies level below them.
    """
    spectra = torch.fft.rfft(waveforms)
    hz = torch.linspace(0, 1, spectra.shape[1], device=waveforms.device)
    lowest, highest = TILT_SHARES
    octaves = torch.log2(hz.clamp(min=lowest) / (lowest * highest) ** 0.5)
    share = octaves / math.log2(highest / lowest)  # -1/2 to 1/2 between the ends
    tilt_db = most_db * 2 * (2 * torch.rand(len(waveforms), 1, device=waveforms.device) - 1)
    return torch.fft.irfft(spectra * 10 ** (tilt_db * share / 20), waveforms.shape[1])


def with_white_noise(waveforms: torch.Tensor) -> torch.Tensor:
    """Waveforms (clips, samples) with white noise, each clip at a level of its own in NOISE_DB
    below it.
    """
    lowest, highest = NOISE_DB
    level_db = lowest + (highest - lowest) * torch.rand(len(waveforms), 1, device=waveforms.device)
    rms = waveforms.square().mean(dim=1, keepdim=True).sqrt()
    return waveforms + torch.randn_like(waveforms) * rms * 10 ** (-level_db / 20)


def masked(spectrograms: torch.Tensor) -> torch.Tensor:
    """Spectrograms with a band of bins and a stretch of frames set to zero, each clip its own.

    spectrograms: (clips, 1, bins, frames). A mask is up to MASK_SHARE of the axis wide, every
    width as likely. After SpecAugment (Park et al. 2019).
    """
    for axis in (2, 3):
        size = spectrograms.shape[axis]
        widest = int(MASK_SHARE * size)
        where = torch.rand(2, len(spectrograms), 1, device=spectrograms.device)
        width = (where[0] * (widest + 1)).floor()
        start = (where[1] * (size - widest + 1)).floor()
        positions = torch.arange(size, device=spectrograms.device)
        kept = (positions < start) | (positions >= start + width)
        shape = [len(spectrograms), 1, 1, 1]
        shape[axis] = size
        # A product takes a third of masked_fill's time.
        spectrograms = spectrograms * kept.view(shape)
    return spectrograms
