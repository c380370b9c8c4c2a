"""Further networks, for whoever wants accuracy more than the research's own two."""

import torch
from torch import nn

NB_MELS = 64
QUIETEST = 1e-3  # added to mel magnitudes before the logarithm; clips come at an RMS of 0.1
# Of the convolutions, one after the other: kernel, channels, how far the maximum over mel bands and
# frames that follows reaches. The first halves the frames: it is what the others' time hangs on.
CONVOLUTIONS = (
    (5, 32, (1, 1)),
    (3, 32, (2, 2)),
    (3, 64, (1, 1)),
    (3, 64, (2, 2)),
    (3, 128, (1, 1)),
    (3, 128, (2, 1)),
    (3, 256, (1, 1)),
)
NB_LEFT = 256  # channels of the last


class LogMel(nn.Module):
    """Log-mel spectrogram, seven convolutions, a dense layer per frame, mean and maximum over time.

    A small VGG (Simonyan and Zisserman 2015) with batch norm; the dense layer decides frame by
    frame, mean and maximum then pool over time. For any sample rate and clip length, 0.72 million
    parameters.
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
        channels_in = 1
        for kernel, channels, reach in CONVOLUTIONS:
            stride = (1, 2) if channels_in == 1 else 1
            layers += [
                nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            if reach != (1, 1):
                layers.append(nn.MaxPool2d(reach))
            channels_in = channels
        self.convolutions = nn.Sequential(*layers, nn.Dropout(0.2))
        self.frames = nn.Sequential(nn.Linear(2 * NB_LEFT, NB_LEFT), nn.ReLU(), nn.Dropout(0.3))
        self.dense = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * NB_LEFT, nb_outputs))

    def forward(
        self, spectrograms: torch.Tensor, with_attention: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Logits of a batch of STFT magnitudes.

        spectrograms: float32, shape (clips, 1, nb_bins, frames).
        Returns logits of shape (clips, nb_outputs); with `with_attention`, which is for a counter,
        also how much each frame weighs in the count, for or against two: shape (clips, frames),
        which sums to 1 for each clip.
        """
        with torch.autocast(spectrograms.device.type, enabled=False):  # soft sounds need the digits
            mels = torch.log10(self.mel @ spectrograms + QUIETEST)
        maps = self.convolutions(mels.contiguous(memory_format=torch.channels_last))
        frames = torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1).transpose(1, 2)
        frames = self.frames(frames)
        logits = self.dense(torch.cat([frames.mean(dim=1), frames.amax(dim=1)], dim=1))
        if not with_attention:
            return logits
        weights = self.votes(frames).abs()[:, None]
        weights = nn.functional.interpolate(weights, spectrograms.shape[-1])[:, 0]
        return logits, weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def votes(self, frames: torch.Tensor) -> torch.Tensor:
        """What each frame adds to the second logit over the first, in evaluation mode.

        frames: float32 (clips, frames, NB_LEFT), as the dense layer gets them. A frame adds its
        share of the mean, and of the maximum what it alone reaches: with the biases it is all.
        Returns float32 (clips, frames).
        """
        last = self.dense[-1]
        of_mean, of_maximum = (last.weight[1] - last.weight[0]).split(NB_LEFT)
        votes = frames @ of_mean / frames.shape[1]
        highest, where = frames.max(dim=1)
        return votes.scatter_add(1, where, highest * of_maximum)
