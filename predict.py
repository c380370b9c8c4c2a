"""Tell what is in your recordings: how many sound classes (one or two), their names, scores.

Reads   sound files, or folders of them (WAV, FLAC, OGG and what else soundfile reads; any rate,
        mono or stereo; of about 5 s: a shorter one is padded, of a longer one the first 5 s are
        heard), and the weights of the counter and both classifiers from models/.
Writes  a table to the terminal, or with --json one JSON document; status 1 if a file failed.
Takes   2 seconds to start, then some 10 milliseconds a recording.
"""

import json
from pathlib import Path

import soundfile as sf
import torch
from tqdm import tqdm

import crs_lib
import esc10_data
import hearing
import networks
import set_data
from crs_lib import InputError

# ---- constants: edit here, or override, e.g.  python predict.py --json garden.wav street/
RECORDINGS = []  # sound files, or folders of them
MODELS = "models"  # finished weights
SET = 1  # division set, that the weights were trained on
SAMPLE_RATE = 4000  # Hz, of the weights
COUNTER_MODEL = "asc"  # the counter's network
CLASSIFIER_MODEL = "isocc"  # the classifiers' network
JSON = False  # print JSON, not a table
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
crs_lib.constants_from_command_line(
    globals(),
    positional="RECORDINGS",
)

# The endings of what soundfile reads, and their usual other spellings; RAW says nothing of itself.
OTHER_ENDINGS = (".aif", ".aifc", ".oga", ".opus", ".snd")
SUFFIXES = sorted(
    {f".{name.lower()}" for name in sf.available_formats()} - {".raw"} | {*OTHER_ENDINGS}
)


def find_files(paths: list[str]) -> list[Path]:
    """The files named, and those below the folders named that have a sound file's ending.

    A path that is neither stays in the list, to be named as one that cannot be read.
    """
    found = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if path.is_dir() and not inside:
            raise InputError(f"{path}: holds no sound files ({' '.join(SUFFIXES)})")
        found += inside or [path]
    return found


@torch.no_grad()
def label(waveform: torch.Tensor, trained: dict) -> dict:
    """What is in a clip, float32 (CLIP_SECONDS * SAMPLE_RATE,): count, its score, names, scores.

    The score of the count is the counter's probability of just that count; those of the names are
    shares of one (one class) or of two, by the classifier that was asked. Silence has the count 0.
    """
    classes = trained["counter"][1]["classes"]
    if not waveform.any():
        return {"count": 0, "count_score": 1.0, "names": [], "scores": dict.fromkeys(classes, 0.0)}

    def logits_of(task: str) -> torch.Tensor:
        network, content = trained[task]
        levelled = esc10_data.level_rms(waveform[None])
        return network(hearing.features(levelled, content["constants"]["N_FFT"]))

    counts = torch.softmax(logits_of("counter"), dim=1)[0]
    count = int(counts.argmax()) + 1
    if count == 1:
        scores = torch.softmax(logits_of("single"), dim=1)
    else:
        scores = networks.scores_of_two(logits_of("two_label"))
    scores = scores.cpu()
    names = set_data.best_names(scores.numpy(), count, classes)[0].split("+")
    by_class = dict(zip(classes, scores[0].tolist(), strict=True))
    return {
        "count": count,
        "count_score": counts[count - 1].item(),
        "names": sorted(names, key=lambda name: -by_class[name]),
        "scores": by_class,
    }


def as_line(answer: dict, width: int) -> str:
    """One row of the table."""
    if "error" in answer:
        return f"{answer['file']:{width}}  not read"
    named = ", ".join(f"{name} {answer['scores'][name]:.2f}" for name in answer["names"])
    count = f"{answer['count']} ({answer['count_score']:.2f})"
    return f"{answer['file']:{width}}  {count}  {named or 'nothing heard'}"


def main() -> int:
    device = networks.choose_device(DEVICE, THREADS)
    files = find_files(RECORDINGS)
    tasks = {
        "counter": (crs_lib.COUNTER, COUNTER_MODEL),
        "single": (crs_lib.SINGLE, CLASSIFIER_MODEL),
        "two_label": (crs_lib.TWO_LABEL, CLASSIFIER_MODEL),
    }
    trained = networks.load_networks(tasks, MODELS, SET, SAMPLE_RATE, device)
    synthetic = trained["counter"][1]["synthetic"]
    answers, failed = [], []
    for path in tqdm(files, desc="recordings", disable=True if len(files) < 20 else None):
        try:
            clip = esc10_data.read_clip(path, SAMPLE_RATE)
            answer = label(torch.from_numpy(clip).to(device), trained)
            answers.append({"file": str(path), **answer})
        except InputError as error:
            answers.append({"file": str(path), "error": str(error)})
            failed.append(str(error))
    if JSON:
        print(json.dumps({"synthetic": synthetic, "recordings": answers}, indent=1))
    else:
        note = "SYNTHETIC: these networks were trained on the synthetic set, not on real recordings"
        width = max(len("recording"), *(len(answer["file"]) for answer in answers))
        lines = [f"{'recording':{width}}  classes   names and scores"]
        lines += [as_line(answer, width) for answer in answers]
        print("\n".join([note, *lines, note] if synthetic else lines))
    if failed:
        raise InputError("; ".join(failed))
    return 0


if __name__ == "__main__":
    crs_lib.run(main)
