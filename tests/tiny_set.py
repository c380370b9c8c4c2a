"""A prepared root made by hand in a tenth of a second, by none of the project's code.

Three classes of 13 clips of short noise, 5 s at 2 kHz, divided by the last digit as the ten sets
are. Parts differ in size: in set 2 the numbers 2 and 12 validate, 3 tests, ten others train; in
set 7 it is the other way round.
"""

import csv
import itertools
import wave
from types import SimpleNamespace

import numpy as np

CLASSES = ("ant", "bee", "cat")
RATE = 2000
ENDINGS = {1: [""], 2: ["", "_Down1"], 3: ["", "_Down1", "_Up1"]}


def make(root, classes=CLASSES, nb_numbers=13, rate=RATE, oversamples=(2, 3), seed=0):
    """Write esc10_rename (names.csv and clips), its folders at `rate`, texts and the mixture table.

    There are no stamps: who has none counts as somebody's own. Returns `samples` (file stem ->
    int16 of its WAV, copies such as ant0_Down1 included, other ones for each of `oversamples` under
    ("ant0_Down1", 3)), `recordings` (stem -> src_file, as text) and `divisions` (set -> part ->
    numbers), beside `classes`, `numbers` and `rate`.
    """
    rng = np.random.default_rng(seed)
    numbers = list(range(nb_numbers))
    tag = f"{rate / 1000:g}k"
    samples, recordings, names = {}, {}, []
    for folder in ("esc10_rename", f"esc10_rename_{tag}"):
        for name in classes:
            (root / folder / name).mkdir(parents=True)
    for place, name in enumerate(classes):
        for number in numbers:
            # Of the first class a fold is one recording, of the second a digit, else a clip.
            group = (number % 10 // 2, number % 10, number)[min(place, 2)]
            recordings[f"{name}{number}"] = recording = f"0{place + 1}{group:02}"
            take = "ABCDEFGH"[number // 10]
            original = f"{number % 10 // 2 + 1}-{recording}-{take}-{place}.wav"
            row = (f"{name}{number}.wav", name, number, original, number % 10 // 2 + 1)
            names.append((*row, recording, take))
            samples[f"{name}{number}"] = noise(rng, 5 * rate, rng.integers(3000, 20_000))
            for folder in ("esc10_rename", f"esc10_rename_{tag}"):
                path = root / folder / name / f"{name}{number}.wav"
                write(path, samples[f"{name}{number}"], rate)
    for oversample in oversamples:
        for name, number in itertools.product(classes, numbers):
            folder = root / f"esc10_rename_{tag}_p{oversample}" / name
            folder.mkdir(parents=True, exist_ok=True)
            for ending in ENDINGS[oversample]:
                stem = f"{name}{number}{ending}"
                if ending:  # copies are louder than all originals
                    samples[stem, oversample] = noise(rng, 5 * rate, 30_000)
                write(folder / f"{stem}.wav", samples[(stem, oversample) if ending else stem], rate)
    divisions = {}
    for k in range(1, 11):
        first, second = 2 * ((k - 1) % 5), 2 * ((k - 1) % 5) + 1
        val, test = (first, second) if k < 6 else (second, first)
        parts = {"train": [n for n in numbers if n % 10 not in (val, test)]}
        parts["val"] = [n for n in numbers if n % 10 == val]
        parts["test"] = [n for n in numbers if n % 10 == test]
        divisions[k] = parts
        (root / "esc10_811div_txts" / f"set{k}").mkdir(parents=True)
        for part, members in parts.items():
            text = root / "esc10_811div_txts" / f"set{k}" / f"set{k}_{part}.txt"
            text.write_text(", ".join(str(n) for n in members) + "\n")
    mixtures = []
    for a, b in itertools.combinations(classes, 2):
        for n, m in itertools.product(numbers, numbers):
            codes = []
            for parts in divisions.values():
                (of_n,), (of_m,) = ([p for p in parts if x in parts[p]] for x in (n, m))
                code = {"train": 1, "val": 2, "test": 3}[of_n]
                codes.append(code if of_n == of_m else -1)
            mixtures.append((f"{a}{n}_{b}{m}.wav", a, n, b, m, *codes))
    sets = [f"set{k}" for k in range(1, 11)]
    columns = ("filename", "A_class", "A_num", "B_class", "B_num", *sets)
    write_table(root / "esc10_mixes.csv", columns, mixtures)
    columns = ("file", "class", "number", "original", "fold", "src_file", "take")
    write_table(root / "esc10_rename" / "names.csv", columns, names)
    return SimpleNamespace(
        samples=samples,
        recordings=recordings,
        divisions=divisions,
        classes=list(classes),
        numbers=numbers,
        rate=rate,
    )


def noise(rng, nb_samples, peak):
    """int16 noise whose loudest sample, a positive or a negative one, is `peak` away from zero."""
    found = rng.integers(-peak + 1, peak, nb_samples)
    found[rng.integers(nb_samples)] = peak * rng.choice([-1, 1])
    return found.astype(np.int16)


def write(path, samples, rate):
    """A mono WAV of int16 samples (samples,), or of several channels (samples, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def write_table(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)
