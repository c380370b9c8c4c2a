"""YAMNet, pre-trained on AudioSet, as the encoder of a network that counts and labels.

Patches of 0.96 s of a log-mel spectrogram go through the encoder's convolutions one by one; a head
decides on each, and the mean and the maximum over patches are a clip's. The encoder is Google's
(Apache-2.0), a MobileNet (Howard et al. 2017); its weights come from tools/make_encoder.py.
"""

from pathlib import Path

import torch
from torch import nn

import crs_lib
from pipeline.networks import heads, weights_file

SAMPLE_RATE = 16_000  # Hz, the only one it was trained at
WINDOW_SAMPLES, HOP_SAMPLES, N_FFT = 400, 160, 512  # of its spectrogram: 25 ms every 10 ms
NB_MELS, LOWEST_HZ, HIGHEST_HZ = 64, 125, 7500
QUIETEST = 1e-3  # added to mel magnitudes before the logarithm
PATCH_FRAMES = 96  # 0.96 s
# A patch's level, the RMS of its mel magnitudes: the median of patches of ESC-10's clips when these
# have an RMS of 0.1. A patch's own level, not its clip's: so it is the same in every window.
LEVEL = 3.0
LEAST_LEVEL = LEVEL / 100  # a patch softer than this, of an RMS of 0.001, is raised by 40 dB alone
HOP_FRAMES = 50  # from patch to patch in evaluation: half a second, whatever window they lie in
# Channels and stride of the depthwise-separable layers behind the first convolution.
FIRST_CHANNELS = 32
LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
NB_VALUES = 1024  # of a patch
NB_LABELS = 521  # of AudioSet
ENCODER_FILE = "yamnet_encoder.pt"  # in pretrained/
HEAD_SIZE = 512


class Pointwise(nn.Conv2d):
    """A 1×1 convolution. In training it is a matrix product, whose backward pass takes two thirds
    of a convolution's time on a CPU.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """float (patches, channels, height, width) -> other channels, the rest the same."""
        if not self.training:
            return super().forward(maps)
        products = nn.functional.linear(maps.movedim(1, -1), self.weight[:, :, 0, 0], self.bias)
        return products.movedim(-1, 1)


def convolution(channels_in: int, channels: int, stride: int, groups: int) -> list:
    """A 3×3 convolution of 'same' padding as TensorFlow has it: at the end alone if it halves."""
    padding = 1 if stride == 1 else 0
    pad = [nn.ZeroPad2d((0, 1, 0, 1))] * (stride == 2)
    return [*pad, nn.Conv2d(channels_in, channels, 3, stride, padding, groups=groups), nn.ReLU()]


def encoder() -> nn.Sequential:
    """The convolutions, batch norm folded into them: float32 (patches, 1, 96 frames, 64 mels) ->
    (patches, 1024, 3, 2).
    """
    blocks = [nn.Sequential(*convolution(1, FIRST_CHANNELS, 2, 1))]
    channels_in = FIRST_CHANNELS
    for channels, stride in LAYERS:
        depthwise = convolution(channels_in, channels_in, stride, channels_in)
        pointwise = Pointwise(channels_in, channels, 1)
        blocks.append(nn.Sequential(*depthwise, pointwise, nn.ReLU()))
        channels_in = channels
    return nn.Sequential(*blocks)


def mel_bands() -> torch.Tensor:
    """The weight of each bin in each mel band, float32 (NB_MELS, bins).

    Triangles over the mel scale (HTK's, as O'Shaughnessy 1987 has it), as TensorFlow makes them;
    librosa's are triangles over frequency.
    """

    def in_mels(hz: torch.Tensor) -> torch.Tensor:
        return 1127 * torch.log1p(hz / 700)

    lowest, highest = in_mels(torch.tensor([LOWEST_HZ, HIGHEST_HZ], dtype=torch.float64))
    bins = in_mels(torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64))
    edges = torch.linspace(lowest, highest, NB_MELS + 2, dtype=torch.float64)
    width = edges[1] - edges[0]
    return (1 - (bins - edges[1:-1, None]).abs() / width).clamp(min=0).float()


class MelSpectrogram(nn.Module):
    """YAMNet's features of waveforms at SAMPLE_RATE: mel magnitudes, not yet their logarithm.

    Frames lie within the waveform, none reaches over its ends; the mel bands are HTK's, not
    normalised.
    """

    def __init__(self):
        super().__init__()
        # Not saved with the weights: both follow from the constants.
        self.register_buffer("mel", mel_bands(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """float32 (clips, samples) -> (clips, 1, NB_MELS, frames)."""
        frames = waveforms.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * self.window
        magnitudes = torch.fft.rfft(frames, N_FFT).abs()
        return (magnitudes @ self.mel.T).transpose(1, 2)[:, None]


def patches_of(spectrograms: torch.Tensor, hop_frames: int, first: int) -> torch.Tensor:
    """Patches of spectrograms.

    spectrograms: (clips, 1, mels, frames). hop_frames: from patch to patch. first: the frame at
    which the first starts. Returns (clips, patches, 1, PATCH_FRAMES, mels).
    """
    patches = spectrograms[..., first:].unfold(3, PATCH_FRAMES, hop_frames)
    return patches.permute(0, 3, 1, 4, 2)


def log_levelled(patches: torch.Tensor) -> torch.Tensor:
    """The logarithm of patches of mel magnitudes (..., PATCH_FRAMES, mels), each at LEVEL, as the
    encoder takes them.
    """
    level = patches.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return torch.log(patches * (LEVEL / level.clamp(min=LEAST_LEVEL)) + QUIETEST)


class AudioSetNetwork(nn.Module):
    """YAMNet as it is: logits of AudioSet's 521 labels, of patches (patches, 1, 96, 64)."""

    def __init__(self):
        super().__init__()
        self.encoder = encoder()
        self.labels = nn.Linear(NB_VALUES, NB_LABELS)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """float32 (patches, 1, PATCH_FRAMES, NB_MELS) -> (patches, NB_LABELS)."""
        return self.labels(self.encoder(patches).mean(dim=(2, 3)))


def encoder_path() -> Path:
    """Where the pre-trained encoder lies."""
    return crs_lib.HERE / crs_lib.PRETRAINED / ENCODER_FILE


def read_encoder() -> dict:
    """What tools/make_encoder.py wrote: `weights` of an AudioSetNetwork (half precision), `labels`
    (AudioSet's, in the order of its logits), `credit`. Raises InputError if it cannot be read.
    """
    kinds = {"weights": dict, "labels": list, "credit": str}
    return weights_file.read(encoder_path(), kinds, encoder_path().parent)


def pretrained() -> AudioSetNetwork:
    """YAMNet as Google trained it, in evaluation mode."""
    network = AudioSetNetwork()
    network.load_state_dict(read_encoder()["weights"])
    return network.eval()


class YAMNet(nn.Module):
    """The encoder, a dense layer per patch, mean and maximum over patches, a dense layer.

    3.2 million parameters in the encoder, 1.1 in the head. Of a patch the head gets the mean and
    the maximum of the encoder's map. In training patches do not overlap and start at a random
    frame; in evaluation one starts every HOP_FRAMES.
    nb_outputs: logits. sample_rate: Hz. nb_bins and nb_frames, of an STFT, it does not need.
    Raises ValueError if the sample rate is not SAMPLE_RATE.
    """

    def __init__(self, nb_outputs: int, nb_bins: int, nb_frames: int, sample_rate: int):
        super().__init__()
        if sample_rate != SAMPLE_RATE:
            raise ValueError(f"yamnet was trained at {SAMPLE_RATE} Hz and takes no other rate")
        self.features = MelSpectrogram()
        self.encoder = pretrained().encoder
        self.patch = nn.Sequential(nn.Linear(2 * NB_VALUES, HEAD_SIZE), nn.ReLU(), nn.Dropout(0.3))
        self.dense = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * HEAD_SIZE, nb_outputs))

    def forward(
        self, spectrograms: torch.Tensor, with_attention: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Logits of spectrograms (clips, 1, NB_MELS, frames), as `features` makes them.

        Returns float32 (clips, nb_outputs); with attention (in evaluation) also how much each
        frame's patches add to the second logit over the first, (clips, frames), the sum of each
        clip 1 (see `votes`).
        """
        if self.training:
            spare = spectrograms.shape[3] % PATCH_FRAMES
            first = int(torch.randint(spare + 1, ()))
            return self.logits(self.vectors(patches_of(spectrograms, PATCH_FRAMES, first)))
        vectors = self.vectors(patches_of(spectrograms, HOP_FRAMES, 0))
        if not with_attention:
            return self.logits(vectors)
        votes = self.votes(vectors).abs()
        starts = HOP_FRAMES * torch.arange(votes.shape[1], device=votes.device)
        frames = torch.arange(spectrograms.shape[3], device=votes.device)
        is_in = (frames >= starts[:, None]) & (frames < starts[:, None] + PATCH_FRAMES)
        weights = votes @ (is_in / is_in.sum(dim=0).clamp(min=1))
        return self.logits(vectors), weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)

    def of_windows(self, waveform: torch.Tensor, nb_windows: int) -> torch.Tensor:
        """Logits of windows of one waveform (samples,), each a second after the one before, the
        last ending with it: what `forward` gives of each, but each patch is computed once.

        Returns float32 (nb_windows, nb_outputs).
        """
        vectors = self.vectors(patches_of(self.features(waveform[None]), HOP_FRAMES, 0))[0]
        step = SAMPLE_RATE // (HOP_FRAMES * HOP_SAMPLES)
        nb_patches = len(vectors) - step * (nb_windows - 1)
        return self.logits(vectors.unfold(0, nb_patches, step).transpose(1, 2))

    def vectors(self, patches: torch.Tensor) -> torch.Tensor:
        """What the head makes of each patch: (clips, patches, 1, PATCH_FRAMES, NB_MELS) ->
        float32 (clips, patches, HEAD_SIZE).
        """
        maps = self.encoder(log_levelled(patches).flatten(0, 1))
        values = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return self.patch(values).unflatten(0, patches.shape[:2])

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits of clips, (clips, nb_outputs), from the vectors of their patches."""
        return self.dense(torch.cat([vectors.mean(dim=1), vectors.amax(dim=1)], dim=1))

    def votes(self, vectors: torch.Tensor) -> torch.Tensor:
        """What each patch adds to the second logit over the first, in evaluation mode.

        A patch adds its share of the mean, and of the maximum what it alone reaches, times what the
        second logit over the first grows by. With the biases it is all, but where the count is by
        the labels too. Returns float32 (clips, patches).
        """
        slopes = heads.slopes(self.dense[-1], self.logits(vectors)) @ self.dense[-1].weight
        of_mean, of_maximum = slopes.split(HEAD_SIZE, dim=1)
        votes = (vectors @ of_mean[:, :, None])[:, :, 0] / vectors.shape[1]
        highest, where = vectors.max(dim=1)
        return votes.scatter_add(1, where, highest * of_maximum)
