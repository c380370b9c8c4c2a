"""A synthetic data set shaped like ESC-50, for tests and for a machine without the real one.

Ten kinds of sound under the names of ESC-10's classes (clicks, hum, hiss, chirps, thumps, ...) and
for more classes further ones. Five folds; clips of one recording share its character and its fold,
as the takes of a field recording do. It is never passed off as real: the folder is marked.
"""

import csv
import io
from pathlib import Path

import numpy as np
import soundfile as sf
from tqdm import tqdm

CLIP_SECONDS = 5
RATE = 44_100  # Hz, as ESC-50 has it
NB_FOLDS = 5
MARK = "Synthetic sounds of this project's making: not recordings, and no result on them is one.\n"

time = np.arange(CLIP_SECONDS * RATE) / RATE


def make_esc50(folder: Path, clips_per_class: int, nb_classes: int, seed: int) -> int:
    """Write audio/*.wav (44.1 kHz, mono, 16-bit, 5 s), meta/esc50.csv and the mark SYNTHETIC.

    clips_per_class: ten or more, spread evenly over the folds. The same seed gives the same
    bytes. Returns the number of clips.
    """
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    (folder / "SYNTHETIC").write_text(MARK)
    rng = np.random.default_rng(seed)
    rows = []
    names = class_names(nb_classes)
    for target, name in enumerate(tqdm(names, desc="classes", disable=None)):
        for fold in range(1, NB_FOLDS + 1):
            nb_clips = (clips_per_class + NB_FOLDS - fold) // NB_FOLDS
            for recording, take in takes_of_fold(nb_clips, rng):
                recording_id = 100_000 + (target * NB_FOLDS + fold) * 1000 + recording
                letter = "ABC"[take]
                filename = f"{fold}-{recording_id}-{letter}-{target}.wav"
                waveform = sound(target, recording_id, take, seed)
                buffer = io.BytesIO()  # to a full disk soundfile would fail without saying why
                sf.write(buffer, waveform, RATE, subtype="PCM_16", format="WAV")
                (folder / "audio" / filename).write_bytes(buffer.getbuffer())
                rows.append((filename, fold, target, name, True, recording_id, letter))
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("filename", "fold", "target", "category", "esc10", "src_file", "take"))
        table.writerows(rows)
    return len(rows)


def class_names(nb_classes: int) -> list[str]:
    """ESC-10's class names, and beyond ten of them made-up ones."""
    return [*KINDS, *(f"tone_{i}" for i in range(10, nb_classes))][:nb_classes]


def takes_of_fold(nb_clips: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(recording, take) of each clip of a class in a fold: recordings of one to three takes."""
    takes, recording = [], 0
    while len(takes) < nb_clips:
        takes += [(recording, take) for take in range(rng.integers(1, 4))]
        recording += 1
    return takes[:nb_clips]


def sound(target: int, recording_id: int, take: int, seed: int) -> np.ndarray:
    """One clip, 5 s at 44.1 kHz: its character is the recording's, the rest the take's."""
    character = np.random.default_rng([seed, recording_id])
    detail = np.random.default_rng([seed, recording_id, take])
    kinds = list(KINDS.values())
    waveform = kinds[target](character, detail) if target < len(kinds) else tone(target, character)
    waveform = waveform + 0.003 * detail.standard_normal(len(time))
    loudness = character.uniform(0.2, 0.95)
    return (waveform * (loudness / np.abs(waveform).max())).astype(np.float32)


# ------------------------------------------------------------- kinds of sound: (character, detail)


def band(low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """Noise between two frequencies (Hz)."""
    spectrum = np.fft.rfft(rng.standard_normal(len(time)))
    frequency = np.fft.rfftfreq(len(time), 1 / RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    return np.fft.irfft(spectrum, len(time))


def events(times: np.ndarray, decay: float) -> np.ndarray:
    """An envelope that jumps to 1 at each of `times` (s) and falls by e in `decay` seconds."""
    since = time[:, None] - np.atleast_1d(times)[None, :]
    return np.where(since >= 0, np.exp(-np.maximum(since, 0) / decay), 0).max(axis=1)


def harmonics(frequency: np.ndarray | float, number: int) -> np.ndarray:
    """Harmonics of a (moving) fundamental in Hz, the n-th at 1/n of the level."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, time.shape)) / RATE
    return sum(np.sin(n * phase) / n for n in range(1, number + 1))


def _chainsaw(character, detail):
    speed = character.uniform(70, 130) * (
        1 + 0.1 * np.sin(2 * np.pi * detail.uniform(0.3, 1) * time)
    )
    return harmonics(speed, 14) + 0.3 * band(300, 1800, detail)


def _clock_tick(character, detail):
    ticks = np.arange(detail.uniform(0, 0.3), CLIP_SECONDS, 1 / character.uniform(1, 4))
    return band(700, 1800, detail) * events(ticks, 0.006)


def _crackling_fire(character, detail):
    cracks = np.sort(detail.uniform(0, CLIP_SECONDS, int(character.uniform(20, 60))))
    return band(200, 1900, detail) * events(cracks, 0.012) + 0.1 * band(30, 200, detail)


def _crying_baby(character, detail):
    cries = np.arange(detail.uniform(0, 0.5), CLIP_SECONDS, character.uniform(0.8, 1.4))
    pitch = character.uniform(380, 550) * (1 + 0.03 * np.sin(2 * np.pi * 6 * time))
    return harmonics(pitch, 4) * events(cries, 0.35)


def _dog(character, detail):
    barks = np.sort(detail.uniform(0, 4.5, int(character.integers(1, 5))))
    pitch = character.uniform(180, 320)
    return (harmonics(pitch, 5) + band(300, 1200, detail)) * events(barks, 0.07)


def _helicopter(character, detail):
    thumps = np.arange(detail.uniform(0, 0.1), CLIP_SECONDS, 1 / character.uniform(9, 16))
    return band(30, 350, detail) * (0.2 + events(thumps, 0.02))


def _rain(character, detail):
    return band(character.uniform(400, 900), 2000, detail) + 0.5 * band(2000, 16000, detail)


def _rooster(character, detail):
    begin = detail.uniform(0, 2.5)
    sweep = character.uniform(450, 700) * (1 + 0.5 * np.sin(np.pi * np.clip(time - begin, 0, 1.5)))
    return harmonics(sweep, 3) * ((time > begin) & (time < begin + 1.5))


def _sea_waves(character, detail):
    swell = 0.5 + 0.5 * np.sin(
        2 * np.pi * character.uniform(0.15, 0.4) * time + detail.uniform(0, 6)
    )
    return band(60, character.uniform(500, 900), detail) * swell**2


def _sneezing(character, detail):
    begin = detail.uniform(0.2, 3.5)
    burst = band(500, 1900, detail) * events(begin, character.uniform(0.08, 0.18))
    return burst + 0.4 * harmonics(character.uniform(250, 400), 3) * events(begin + 0.05, 0.1)


KINDS = {
    "chainsaw": _chainsaw,
    "clock_tick": _clock_tick,
    "crackling_fire": _crackling_fire,
    "crying_baby": _crying_baby,
    "dog": _dog,
    "helicopter": _helicopter,
    "rain": _rain,
    "rooster": _rooster,
    "sea_waves": _sea_waves,
    "sneezing": _sneezing,
}


def tone(target: int, character: np.random.Generator) -> np.ndarray:
    """A chord that pulses, of a pitch and a pulse that only this class has."""
    pitch = 120 * 2 ** ((target % 37) / 12) * character.uniform(0.99, 1.01)
    pulse = 1 + (target % 11)
    return harmonics(pitch, 3) * (0.6 + 0.4 * np.sin(2 * np.pi * pulse * time))
