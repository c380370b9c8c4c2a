"""Resample every clip to SAMPLE_RATE.

Reads   <DATASET>/esc10_rename/<class>/chainsaw0.wav
Writes  <DATASET>/esc10_rename_4k/<class>/chainsaw0.wav: mono 16-bit WAV of exactly 5 s; a clip
        that overshoots full scale is scaled down to it (22 of ESC-10's 400 at 4 kHz). The tag is
        the rate in kHz: 4k, 8k, 16k, 22.05k.
Takes   3 seconds on two cores.
"""

import tmr
from pipeline.data import audio, esc10_data
from pipeline.files import running
from pipeline.settings import command_line

# ---- constants: edit here, or override, e.g.  python 0_downsampling.py --sample-rate 8000
DATASET = "dataset"  # root of all prepared data
SAMPLE_RATE = 4000  # Hz
METHOD = "load"  # load or resample (librosa's functions), soxr (what they call), scipy (signal's)
N_JOBS = 2  # threads
command_line.constants_from_command_line(globals(), METHOD=audio.METHODS)


def main() -> None:
    timer = tmr.start()
    folder, nb_clips = esc10_data.downsample(DATASET, SAMPLE_RATE, METHOD, N_JOBS)
    print(f"{nb_clips} clips at {SAMPLE_RATE} Hz written to {folder}")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
