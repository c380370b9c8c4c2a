"""Show in the README what predict.py answers: docs/predict.txt, what it prints, docs/predict.png.

It labels two recordings made of test clips of set 1, which the shipped networks were not trained
on: a clip, and one that is laid together of several, with silence between.

    python tools/label_example.py     (after make run, with the weights of pretrained/)
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import soundfile as sf

import crs_lib
from pipeline.data import audio
from pipeline.files import provenance, running

DOCS = crs_lib.HERE / "docs"
RATE = 22_050  # Hz
SILENCE_SECONDS = 3
TRUTH = """# in sea.wav: sea waves alone
# in garden.wav: a dog to 5 s, silence to 8 s, then rain, with a rooster in it from 13 s"""


def clip(name: str, number: int) -> np.ndarray:
    """A renamed clip, float32 (5 * RATE,), at the level of the others."""
    path = crs_lib.rename_dir("dataset") / name / f"{name}{number}.wav"
    return audio.level_rms(audio.read_clip(path, RATE))


def garden() -> np.ndarray:
    """Several clips one after the other, float32 (samples,), within full scale."""
    silence = np.zeros(SILENCE_SECONDS * RATE, dtype=np.float32)
    rain, both = clip("rain", 1), audio.mix(clip("rain", 11), clip("rooster", 1))
    waves = [clip("dog", 1), silence, rain, audio.level_rms(both)]
    wave = np.concatenate(waves)
    return wave / max(1, np.abs(wave).max())


def main() -> None:
    provenance.need(crs_lib.rename_dir("dataset"), "run_all.py")
    with tempfile.TemporaryDirectory() as folder:
        sf.write(Path(folder, "garden.wav"), garden(), RATE)
        sf.write(Path(folder, "sea.wav"), clip("sea_waves", 1), RATE)
        flags = ["--plot", "sea.wav", "garden.wav"]
        words = [crs_lib.HERE / "predict.py", "--models", crs_lib.HERE / "pretrained", *flags]
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        )
        text = f"$ python predict.py {' '.join(flags)}\n{done.stdout}{TRUTH}\n"
        (DOCS / "predict.txt").write_text(text, encoding="utf-8")
        picture = Path(folder, "predictions", "garden.wav.png").read_bytes()
        (DOCS / "predict.png").write_bytes(picture)
    print(text)


if __name__ == "__main__":
    running.run(main)
