"""Further networks, for whoever wants accuracy more than the research's own two."""

import torch
from torch import nn

CHANNELS = (24, 48, 96, 192)
NB_MELS = 64
QUIETEST = 1e-3  # added to mel magnitudes before the logarithm; clips come at an RMS of 0.1


class LogMel(nn.Module):
    """Log-mel spectrogram, four stages of two 3x3 convolutions, mean and maximum over the rest.

    A small VGG (Simonyan and Zisserman 2015) with batch norm, for any sample rate and clip length:
    0.66 million parameters.
    nb_outputs: logits. nb_bins, nb_frames: size of the spectrogram. sample_rate: Hz.
    Raises ValueError if the spectrogram is too short for three halvings.
    """

    def __init__(self, nb_outputs: int, nb_bins: int, nb_frames: int, sample_rate: int):
        super().__init__()
        if nb_frames < 8:
            raise ValueError(f"a spectrogram of {nb_frames} frames is too short: 8 or more")
        import librosa  # a second that only this network needs

        n_fft = 2 * (nb_bins - 1)
        mel = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=NB_MELS)
        # Each band a weighted mean of bins; not saved with the weights, as it follows from the
        # constants.
        mel = torch.from_numpy(mel * sample_rate / n_fft)
        self.register_buffer("mel", mel, persistent=False)
        layers = [nn.BatchNorm2d(1)]
        for channels_in, channels_out in zip((1, *CHANNELS), CHANNELS, strict=False):
            for channels in (channels_in, channels_out):
                layers += [
                    nn.Conv2d(channels, channels_out, kernel_size=3, padding=1, bias=False),
                    nn.BatchNorm2d(channels_out),
                    nn.ReLU(),
                ]
            layers.append(nn.MaxPool2d(2) if channels_out < CHANNELS[-1] else nn.Dropout(0.2))
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Dropout(0.4), nn.Linear(2 * CHANNELS[-1], nb_outputs))

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """Logits of a batch of STFT magnitudes.

        spectrograms: float32, shape (clips, 1, nb_bins, frames).
        Returns float32 of shape (clips, nb_outputs).
        """
        mels = torch.log10(self.mel @ spectrograms + QUIETEST)
        maps = self.convolutions(mels.contiguous(memory_format=torch.channels_last))
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return self.dense(pooled)
