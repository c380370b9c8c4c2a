"""The Audio Source Counter (ASC): does a clip hold one sound class or two?

An attention CRNN after the Attention RNN of de Andrade, Leo, Viana and Bernkopf, "A neural
attention model for speech command recognition" (2018), on the STFT magnitude of a 5-second clip.
"""

import torch
from torch import nn


class ASC(nn.Module):
    """Convolutions that keep the spectrogram's size, a recurrent net over time, attention, logits.

    nb_bins: frequency bins of the spectrogram, 129 for a 256-point STFT.
    nb_outputs: logits; for the counter 2, where 0 is one class and 1 is two.
    """

    def __init__(self, nb_bins: int = 129, nb_outputs: int = 2):
        super().__init__()
        layers = []
        for channels_in, channels_out in ((1, 8), (8, 8), (8, 1)):
            layers += [
                nn.Conv2d(channels_in, channels_out, kernel_size=3, padding="same"),
                nn.ReLU(),
                nn.Dropout(0.1),
                nn.BatchNorm2d(channels_out),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.recurrent = nn.LSTM(
            nb_bins, hidden_size=64, num_layers=2, batch_first=True, bidirectional=True
        )
        self.query = nn.Linear(128, 128)
        self.dense = nn.Sequential(
            nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, nb_outputs)
        )

    def forward(
        self, spectrograms: torch.Tensor, with_attention: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Logits of a batch of spectrograms.

        spectrograms: float32, shape (clips, 1, nb_bins, frames).
        Returns logits of shape (clips, nb_outputs); with `with_attention` also the attention
        over time, shape (clips, frames), which sums to 1 for each clip.
        """
        maps = self.convolutions(spectrograms)
        # Time becomes the sequence and frequency the feature: a transpose; a reshape would
        # tear every spectrum apart.
        sequence = maps.squeeze(1).transpose(1, 2)
        states, _ = self.recurrent(sequence)
        query = self.query(states[:, -1])
        attention = torch.softmax(torch.einsum("cf,ctf->ct", query, states), dim=1)
        context = torch.einsum("ct,ctf->cf", attention, states)
        logits = self.dense(context)
        return (logits, attention) if with_attention else logits
