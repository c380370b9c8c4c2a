"""STFT and inverse STFT, of one clip (librosa) or of a batch on any device (torch).

All four use librosa's defaults: hop of `nfft // 4` samples, periodic Hann window of `nfft`
samples, centred frames, zeros beyond both ends. So a 5-second clip at 4 kHz with a window of
256 samples gives 129 frequency bins x 313 frames.
"""

import librosa
import numpy as np
import torch


def audio_STFT_lib(input_audio: np.ndarray, nfft: int) -> torch.Tensor:
    """Magnitude spectrogram of one clip.

    input_audio: real waveform, shape (samples,), full scale 1.
    nfft: window length in samples.
    Returns a float32 tensor of shape (1, nfft // 2 + 1, frames).
    Raises ValueError if the waveform is not one-dimensional.
    """
    input_audio = np.asarray(input_audio, dtype=np.float32)
    if input_audio.ndim != 1:
        raise ValueError(f"input_audio must have shape (samples,), not {input_audio.shape}")
    magnitude = np.abs(librosa.stft(input_audio, n_fft=nfft))
    return torch.from_numpy(magnitude.astype(np.float32))[None]


def STFT_audio_lib(in_stft: torch.Tensor, nfft: int, in_len: int) -> np.ndarray:
    """Waveform of one complex spectrogram, the inverse of `librosa.stft`.

    in_stft: complex tensor of shape (nfft // 2 + 1, frames) or (1, nfft // 2 + 1, frames).
    nfft: window length in samples.
    in_len: samples of the waveform to return.
    Returns a float32 waveform of shape (in_len,).
    Raises ValueError if the tensor has another shape.
    """
    if in_stft.ndim == 3 and in_stft.shape[0] == 1:
        in_stft = in_stft[0]
    if in_stft.ndim != 2 or in_stft.shape[0] != nfft // 2 + 1:
        raise ValueError(
            f"in_stft must have shape ({nfft // 2 + 1}, frames), not {tuple(in_stft.shape)}"
        )
    waveform = librosa.istft(in_stft.cpu().numpy(), n_fft=nfft, length=in_len)
    return waveform.astype(np.float32)


def audio_STFT_torch(waveforms: torch.Tensor, nfft: int) -> torch.Tensor:
    """Complex spectrograms of a batch, on the batch's own device.

    waveforms: float32, shape (clips, samples), full scale 1.
    nfft: window length in samples.
    Returns a complex64 tensor of shape (clips, nfft // 2 + 1, frames).
    """
    return torch.stft(
        waveforms,
        n_fft=nfft,
        hop_length=nfft // 4,
        window=torch.hann_window(nfft, device=waveforms.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )


def STFT_audio_torch(spectrograms: torch.Tensor, nfft: int, in_len: int) -> torch.Tensor:
    """Waveforms of a batch of complex spectrograms, the inverse of `audio_STFT_torch`.

    spectrograms: complex64, shape (clips, nfft // 2 + 1, frames).
    nfft: window length in samples.
    in_len: samples of each waveform to return.
    Returns a float32 tensor of shape (clips, in_len).
    """
    return torch.istft(
        spectrograms,
        n_fft=nfft,
        hop_length=nfft // 4,
        window=torch.hann_window(nfft, device=spectrograms.device),
        center=True,
        length=in_len,
    )
