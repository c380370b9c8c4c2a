"""The ISOCC CNN: classifies the sounds of a clip by its STFT magnitude."""

import torch
from torch import nn

CHANNELS = (16, 32, 64, 64)


class CNN_ISOCC(nn.Module):
    """Four blocks of convolution and pooling, then three dense layers.

    nb_outputs: logits, one per class.
    nb_bins, nb_frames: size of the spectrogram, 129 x 313 for 5 s at 4 kHz with a 256-point STFT;
        64 x 4 x 15 values of it reach the dense layers, 4.63 million parameters in all.
    Raises ValueError if the spectrogram is too small for four blocks.
    """

    def __init__(self, nb_outputs: int = 10, nb_bins: int = 129, nb_frames: int = 313):
        super().__init__()
        layers = []
        for channels_in, channels_out in zip((1, *CHANNELS), CHANNELS, strict=False):
            layers += [
                nn.Conv2d(channels_in, channels_out, kernel_size=5),
                nn.ReLU(),
                nn.BatchNorm2d(channels_out),
                nn.MaxPool2d(2),
                nn.Dropout(0.2),
            ]
        self.convolutions = nn.Sequential(*layers)
        left_bins, left_frames = _left(nb_bins), _left(nb_frames)
        if min(left_bins, left_frames) < 1:
            raise ValueError(
                f"a spectrogram of {nb_bins} x {nb_frames} is too small: 76 x 76 or more"
            )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(CHANNELS[-1] * left_bins * left_frames, 1024),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(1024, 512),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(512, nb_outputs),
        )

    def forward(self, spectrograms: torch.Tensor, as_scores: bool = False) -> torch.Tensor:
        """Logits of a batch of spectrograms, or their sigmoid where scores are asked for.

        spectrograms: float32, shape (clips, 1, nb_bins, nb_frames).
        Returns float32 of shape (clips, nb_outputs).
        """
        logits = self.dense(self.convolutions(spectrograms))
        return torch.sigmoid(logits) if as_scores else logits


def _left(size: int) -> int:
    """Values left of `size` after every block's 5-wide convolution and halving."""
    for _ in CHANNELS:
        size = (size - 4) // 2
    return size
