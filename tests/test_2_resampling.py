"""Features, from files to spectrograms, and the STFTs of batches: slow direct sums."""

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch

import UNet_utils
from pipeline.data.set_data import NO_STEM
from pipeline.files import sound_files
from pipeline.networks import features

RATE = 100


def test_stems_get_the_peak_of_the_loudest_original_and_not_of_its_copies(tmp_path, capsys):
    rng = np.random.default_rng(3)
    peaks, files = (0.2, 0.9, 0.5, 0.3, 0.0), [tmp_path / f"{name}.wav" for name in "dbcae"]
    for path, peak in zip(files, peaks, strict=True):
        wave = rng.uniform(-0.5, 0.5, 5 * RATE)
        wave[rng.integers(len(wave))] = rng.choice([-1, 1])
        sound_files.write_wav(path, peak * wave, RATE)
    stems = pd.DataFrame({"file": files, "copy": [0, 1, 0, 2, 0]}, index=[7, 3, 1, 9, 4])
    loaded = features.load(stems, RATE, torch.device("cpu"))
    assert loaded.dtype == torch.float32 and loaded.shape == (5, 5 * RATE)
    for path, peak, found in zip(files, peaks, loaded.numpy(), strict=True):
        as_written = sf.read(path, dtype="float64")[0]
        assert np.abs(found).max() == pytest.approx(0.5 if peak else 0, abs=1e-4)
        np.testing.assert_allclose(found * (peak or 1), as_written * 0.5, atol=1e-4)
    assert capsys.readouterr().out == f"silent clips, which stay silent: {files[4]}\n"
    assert features.load(stems, RATE, torch.device("meta")).device.type == "meta"


def test_the_second_stem_of_a_single_clip_is_silence_and_no_other_is():
    stems = torch.randn(4, 30, generator=torch.manual_seed(4))
    rows = np.array([[2, 0], [0, 3], [3, NO_STEM], [1, 1], [0, NO_STEM]])
    first, second = features.stems_of(stems, rows)
    assert first.dtype == second.dtype == torch.float32
    for clip, (a, b) in enumerate(rows.tolist()):
        assert first[clip].tolist() == stems[a].tolist()
        assert second[clip].tolist() == (stems[b].tolist() if b >= 0 else [0] * 30)


def direct_stft(wave, n_fft):
    """Complex bins x frames, by the definition: hop of a quarter, Hann, zeros beyond both ends."""
    hop, frames = n_fft // 4, 1 + len(wave) // (n_fft // 4)
    found = np.zeros((n_fft // 2 + 1, frames), dtype=complex)
    for bin_, frame in np.ndindex(found.shape):
        for i in range(n_fft):
            place = frame * hop + i - n_fft // 2
            if 0 <= place < len(wave):
                hann = 0.5 - 0.5 * np.cos(2 * np.pi * i / n_fft)
                found[bin_, frame] += hann * wave[place] * np.exp(-2j * np.pi * bin_ * i / n_fft)
    return found


@pytest.mark.parametrize(("n_fft", "size"), [(12, 40), (16, 51)])
def test_spectra_of_a_batch_and_their_magnitudes_against_a_direct_sum(n_fft, size):
    waves = torch.randn(3, size, generator=torch.manual_seed(3))
    waves[1] *= 1e-4  # soft ones are as they are: no logarithm, no floor
    spectra, seen = UNet_utils.audio_STFT_torch(waves, n_fft), features.stft_magnitude(waves, n_fft)
    assert spectra.dtype == torch.complex64 and seen.dtype == torch.float32
    assert seen.shape == (3, 1, *spectra.shape[1:])
    assert seen.is_contiguous(memory_format=torch.channels_last)  # as the convolutions take them
    for wave, spectrum, magnitude in zip(waves.double().numpy(), spectra, seen[:, 0], strict=True):
        expected = direct_stft(wave, n_fft)
        np.testing.assert_allclose(spectrum, expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(magnitude, np.abs(expected), atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 4, 3)])
def test_magnitudes_of_any_shape_are_abs(shape):
    spectra = torch.randn(shape, dtype=torch.complex64, generator=torch.manual_seed(3))
    found = features.magnitudes_of(spectra)
    assert found.shape == shape and found.dtype == torch.float32
    np.testing.assert_allclose(found, np.abs(spectra.numpy()), rtol=1e-6)


@pytest.mark.parametrize(("n_fft", "size"), [(12, 40), (512, 3000)])
def test_inverses_of_changed_spectra_against_a_slow_overlap_and_add(n_fft, size):
    """Spectra that no waveform has: only windows weigh right what frames say differently."""
    rng = np.random.default_rng(4)
    shape = (2, n_fft // 2 + 1, 1 + size // (n_fft // 4))
    spectra = torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    spectra = spectra.to(torch.complex64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    got = UNet_utils.STFT_audio_torch(spectra, n_fft, size)
    assert got.dtype == torch.float32
    for spectrum, wave in zip(spectra.numpy(), got, strict=True):
        total, weight = np.zeros((2, size + 2 * n_fft))
        for frame in range(shape[2]):
            here = slice(frame * (n_fft // 4), frame * (n_fft // 4) + n_fft)
            total[here] += hann * np.fft.irfft(spectrum[:, frame], n_fft)
            weight[here] += hann**2
        expected = (total / (weight + (weight == 0)))[n_fft // 2 :][:size]
        np.testing.assert_allclose(wave, expected, atol=1e-5)
        doubles = torch.from_numpy(spectrum).to(torch.complex128)
        found = UNet_utils.STFT_audio_lib(doubles, n_fft, size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(7,), (6, 5), (2, 7, 5), (1, 8, 5), (1, 1, 7, 5)])
def test_an_inverse_of_another_shape_is_refused(shape):
    spectrum = torch.zeros(shape, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"must have shape \(7, frames\), not \("):
        UNet_utils.STFT_audio_lib(spectrum, 12, 20)


def test_one_waveform_may_be_of_whole_numbers_or_of_doubles():
    wave = np.array([3, -1, 4, 1, -5, 9, 2, -6] * 4)
    for given in (wave, wave.tolist(), wave.astype(np.float64)):
        found = UNet_utils.audio_STFT_lib(given, 12)
        assert found.shape == (1, 7, 11) and found.dtype == torch.float32
        np.testing.assert_allclose(found[0], np.abs(direct_stft(wave, 12)), atol=1e-4)
    for odd in (np.zeros((1, 20)), np.array(0.5)):
        with pytest.raises(ValueError, match=r"must have shape \(samples,\), not \("):
            UNet_utils.audio_STFT_lib(odd, 12)
