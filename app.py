"""A page in your browser: hand it a recording, or two to be mixed, and see its labels.

Drop a file or record from the microphone: the count, labels with scores, the plot with the
counter's attention, the timeline. Or mix two sounds, uploaded or
taken from DATASET, at a level of your choice, and watch the count change.

Reads   the weights of pretrained/ or of a folder of your own; the clips of DATASET where they are.
Writes  nothing but Gradio's copies of uploads, in the system's folder for temporary files, for an
        hour.
It listens on 127.0.0.1 alone: nobody else sees the page, and nothing leaves this machine.
Needs   pip install -r requirements/app.txt  (make app does that, and starts it)
Takes   10 seconds to start.
"""

import crs_lib
from crs_lib import InputError
from pipeline.files import running
from pipeline.inference import choose_weights
from pipeline.networks import registry
from pipeline.settings import command_line
from pipeline.settings.good_values import FROM_WEIGHTS

# ---- constants: edit here, or override, e.g.  python app.py --models models
MODELS = "pretrained"  # finished weights
SET = 0  # division set, that the weights were trained on; 0: that of those in the folder
SAMPLE_RATE = 0  # Hz, of the weights; 0: that of those in the folder
COUNTER_MODEL = ""  # the counter's network; empty: that of the weights in the folder
CLASSIFIER_MODEL = ""  # the classifiers' network; empty: that of the weights in the folder
DATASET = "dataset"  # root of all prepared data, whose clips can be mixed where they are there
PORT = 7860  # of the page, on 127.0.0.1
MOST_MB = 100  # of a file that is uploaded
MOST_MINUTES = 10  # of a recording
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps, cpu
THREADS = 0  # CPU threads; 0 leaves torch's choice
command_line.constants_from_command_line(
    globals(),
    **FROM_WEIGHTS,
    PORT=range(1024, 65_536),
    MOST_MB=range(1, 10_001),
    MOST_MINUTES=range(1, 1441),
)


def main() -> None:
    try:
        from pipeline.inference import (
            web_page,  # and with it Gradio, which the pipeline does not need
        )
    except ImportError as error:
        install = "pip install -r requirements/app.txt"
        raise InputError(f"{error.name} is missing: run  {install}  first, or  make app") from None
    device = registry.choose_device(DEVICE, THREADS)
    trained = choose_weights.load(MODELS, SET, SAMPLE_RATE, COUNTER_MODEL, CLASSIFIER_MODEL, device)
    trained = registry.joined(trained)
    setup = web_page.Setup(trained, device, MOST_MINUTES, MOST_MB)
    renamed = crs_lib.rename_dir(DATASET)
    files = sorted(renamed.glob("*/*.wav"))
    clips = {f"{path.parent.name}: {path.name}": str(path) for path in files}
    web_page.serve(web_page.page(setup, clips), PORT, setup, [renamed] if clips else [])


if __name__ == "__main__":
    running.run(main)
