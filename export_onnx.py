"""Export the trained networks to ONNX, for phones and small boards.

Each file takes the samples of 5-second clips, as they are, and gives logits and scores: levelling,
STFT and what makes scores of logits are part of it, so nothing need be rebuilt where it runs. What
they stand for, the sample rate and where the weights come from stand in the file's metadata. Every
file is run with onnxruntime before it is kept, and held against PyTorch.

Reads   three weights from models/: counter, single-label, two-label.
Writes  exported/audio_source_counter_asc_set1_4k.onnx and those of the two classifiers.
How many  3 files, 39 MB at 4 kHz.
Takes   a minute on 2 CPU cores. Needs  pip install -r requirements/onnx.txt.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data import audio
from pipeline.files import running
from pipeline.inference import choose_weights, classify
from pipeline.networks import features, heads, registry
from pipeline.settings import command_line
from pipeline.settings.good_values import FROM_WEIGHTS

# ---- constants: edit here, or override, e.g.  python export_onnx.py --set 3
MODELS = "models"  # finished weights
EXPORTED = "exported"  # the ONNX files
SET = 0  # division set, that the weights were trained on; 0: that of those in the folder
SAMPLE_RATE = 0  # Hz, of the weights; 0: that of those in the folder
COUNTER_MODEL = ""  # the counter's network; empty: that of the weights in the folder
CLASSIFIER_MODEL = ""  # the classifiers' network; empty: that of the weights in the folder
command_line.constants_from_command_line(globals(), **FROM_WEIGHTS)

EXTRAS = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
OUTPUTS = ["logits", "scores"]
CLOSE = 1e-4  # logits and scores that differ by no more are equal


class FromSamples(nn.Module):
    """A network with all that comes before it and behind it: from samples to logits and scores.

    network: in evaluation mode. scores_of: what makes scores of logits, (clips, outputs) both.
    """

    def __init__(self, network: nn.Module, scores_of: Callable):
        super().__init__()
        self.network = network
        self.scores_of = scores_of

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and scores, (clips, outputs) both, of samples (clips, samples); float32 all."""
        levelled = classify.levelled(samples, self.network)
        logits = self.network(features.features_of(self.network, levelled))
        scores = self.scores_of(logits)
        return logits[:, : scores.shape[1]], scores  # of a counter without those of its labels


def description(task: str, content: dict) -> dict[str, str]:
    """What a file says of itself, as its metadata. content: see weights_file.save_weights."""
    outputs = ["one class", "two classes"] if task == "counter" else content["classes"]
    return {
        "task": task,
        "outputs": json.dumps(outputs),  # what each logit and score stands for
        "sample_rate": str(content["constants"]["SAMPLE_RATE"]),
        "clip_seconds": str(audio.CLIP_SECONDS),
        "run": content["run"],
        "synthetic": json.dumps(content["synthetic"]),
    }


def export(whole: FromSamples, sample_rate: int, path: Path, metadata: dict) -> float:
    """Write a network as an ONNX file for any number of clips, once it gives what PyTorch gives.

    whole: on the CPU, in evaluation mode. Returns by how much logits and scores of loud noise, of
    soft and of silence differ from PyTorch's at most. Raises InputError if by more than CLOSE.
    """
    samples = torch.rand(3, audio.CLIP_SECONDS * sample_rate) - 0.5
    samples *= torch.tensor([[1.0], [0.01], [0.0]])
    # The exporter warns of its own ways, and of libraries that are not needed here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            whole,
            (samples,),
            input_names=["samples"],
            output_names=OUTPUTS,
            dynamic_shapes=({0: torch.export.Dim("clips")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(metadata)
    with crs_lib.replaced_file(path) as part:
        program.save(part)
        with torch.no_grad():
            expected = [output.numpy() for output in whole(samples)]
        difference = largest_difference(run_file(part, samples.numpy()), expected)
        if not difference <= CLOSE:  # NaN is neither more nor less
            raise InputError(f"{path}: its answers differ from PyTorch's by {difference:.1e}")
    return difference


def run_file(path: Path, samples: np.ndarray) -> list[np.ndarray]:
    """The logits and scores that an ONNX file gives, float32 (clips, outputs) both."""
    import onnxruntime  # which is known to be there only now

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(OUTPUTS, {"samples": samples})


def largest_difference(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """By how much arrays differ from others of the same shapes at most; NaN where one holds it."""
    return float(np.max([np.abs(a - b).max() for a, b in zip(some, others, strict=True)]))


def main() -> None:
    lacking = [name for name in EXTRAS if find_spec(name) is None]
    if lacking:
        raise InputError(
            f"{', '.join(lacking)}: not installed; run  pip install -r requirements/onnx.txt  first"
        )
    timer = tmr.start()
    cpu = registry.choose_device("cpu")
    trained = choose_weights.load(MODELS, SET, SAMPLE_RATE, COUNTER_MODEL, CLASSIFIER_MODEL, cpu)
    for task, (network, content) in trained.items():
        constants = content["constants"]
        if task != "counter" and network is trained["counter"][0]:  # which has the labels' logits
            network = copy.deepcopy(network)
            heads.keep_logits(network, slice(2, None))
        rate = constants["SAMPLE_RATE"]
        script = choose_weights.SCRIPT_OF[task]
        name = crs_lib.run_name(script, constants["MODEL"], constants["SET"], rate)
        path = Path(EXPORTED, f"{name}.onnx")
        whole = FromSamples(network, heads.SCORES_OF[task]).eval()
        difference = export(whole, rate, path, description(task, content))
        size = path.stat().st_size / 1e6
        print(f"{path}: {size:.1f} MB, within {difference:.0e} of PyTorch's answers")
    if trained["counter"][1]["synthetic"]:
        print("SYNTHETIC: these networks were trained on the synthetic set, not on real recordings")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main)
