"""Export the trained networks to ONNX, for phones and small boards.

Each file takes the samples of 5-second clips, as they are, and gives logits: levelling and STFT
are part of it, so nothing else need be rebuilt where it runs. What the logits stand for, the
sample rate and where the weights come from stand in the file's metadata. Every file is run with
onnxruntime before it is kept, and its logits held against PyTorch's.

Reads   three weights from models/: counter, single-label, two-label.
Writes  exported/audio_source_counter_asc_set1_4k.onnx and those of the two classifiers.
How many  3 files, 39 MB at 4 kHz.
Takes   half a minute on 2 CPU cores. Needs  pip install -r requirements-onnx.txt.
"""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

import crs_lib
import esc10_data
import hearing
import networks
import tmr
from crs_lib import InputError

# ---- constants: edit here, or override, e.g.  python export_onnx.py --set 3
MODELS = "models"  # finished weights
EXPORTED = "exported"  # the ONNX files
SET = 1  # division set, that the weights were trained on
SAMPLE_RATE = 4000  # Hz, of the weights
COUNTER_MODEL = "asc"  # the counter's network
CLASSIFIER_MODEL = "isocc"  # the classifiers' network
crs_lib.constants_from_command_line(globals())

TASKS = {
    "counter": (crs_lib.COUNTER, COUNTER_MODEL),
    "single": (crs_lib.SINGLE, CLASSIFIER_MODEL),
    "two_label": (crs_lib.TWO_LABEL, CLASSIFIER_MODEL),
}
EXTRAS = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
CLOSE = 1e-4  # logits that differ by no more are equal


class FromSamples(nn.Module):
    """A network with all that comes before it: levelling and STFT magnitude, as `hearing` has them.

    network: in evaluation mode. n_fft: STFT window in samples.
    """

    def __init__(self, network: nn.Module, n_fft: int):
        super().__init__()
        self.network = network
        self.n_fft = n_fft

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Logits (clips, outputs) of samples (clips, samples), float32 both."""
        return self.network(hearing.features(esc10_data.level_rms(samples), self.n_fft))


def description(task: str, content: dict) -> dict[str, str]:
    """What a file says of itself, as its metadata. content: what checkpoints.save_weights wrote."""
    outputs = ["one class", "two classes"] if task == "counter" else content["classes"]
    return {
        "task": task,
        "outputs": json.dumps(outputs),  # what each logit stands for
        "scores": "sigmoid" if task == "two_label" else "softmax",  # what makes them of logits
        "sample_rate": str(content["constants"]["SAMPLE_RATE"]),
        "clip_seconds": str(esc10_data.CLIP_SECONDS),
        "run": content["run"],
        "synthetic": json.dumps(content["synthetic"]),
    }


def export(network: nn.Module, n_fft: int, sample_rate: int, path: Path, metadata: dict) -> float:
    """Write a network as an ONNX file of any number of clips, once it gives PyTorch's logits.

    network: in evaluation mode, on the CPU. Returns by how much the logits of loud noise, of soft
    and of silence differ from PyTorch's at most. Raises InputError where that is more than CLOSE.
    """
    nb_samples = esc10_data.CLIP_SECONDS * sample_rate
    samples = torch.rand(3, nb_samples) - 0.5
    samples *= torch.tensor([[1.0], [0.01], [0.0]])
    whole = FromSamples(network, n_fft).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns of its own ways
        program = torch.onnx.export(
            whole,
            (samples,),
            input_names=["samples"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("clips")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(metadata)
    with crs_lib.replaced_file(path) as part:
        program.save(part)
        with torch.no_grad():
            difference = largest_difference(part, samples.numpy(), whole(samples).numpy())
        if difference > CLOSE:
            raise InputError(f"{path}: its logits differ from PyTorch's by {difference:.1e}")
    return difference


def largest_difference(path: Path, samples: np.ndarray, expected: np.ndarray) -> float:
    """By how much the logits that an ONNX file gives for samples differ from the expected."""
    import onnxruntime  # which is known to be there only now

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"samples": samples})
    return float(np.abs(found - expected).max())


def main() -> None:
    lacking = [name for name in EXTRAS if find_spec(name) is None]
    if lacking:
        raise InputError(
            f"{', '.join(lacking)}: not installed; run  pip install -r requirements-onnx.txt  first"
        )
    timer = tmr.start()
    cpu = networks.choose_device("cpu")
    trained = networks.load_networks(TASKS, MODELS, SET, SAMPLE_RATE, cpu)
    for task, (network, content) in trained.items():
        script, model = TASKS[task]
        name = crs_lib.run_name(script, model, SET, SAMPLE_RATE)
        path = Path(EXPORTED, f"{name}.onnx")
        n_fft = content["constants"]["N_FFT"]
        difference = export(network, n_fft, SAMPLE_RATE, path, description(task, content))
        size = path.stat().st_size / 1e6
        print(f"{path}: {size:.1f} MB, logits within {difference:.0e} of PyTorch's")
    if trained["counter"][1]["synthetic"]:
        print("SYNTHETIC: these networks were trained on the synthetic set, not on real recordings")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    crs_lib.run(main)
