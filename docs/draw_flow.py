"""Draw docs/flow.png: the overall flow, from a recording to the names of its sound classes.

Run it with  make docs  after a change of the flow.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

BOXES = {  # name: (x, y, text, colour)
    "clip": (0.0, 1.0, "5-second clip\nlevelled to RMS 0.1", "#eeeeee"),
    "stft": (2.1, 1.0, "STFT magnitude\n129 × 313 at 4 kHz", "#eeeeee"),
    "counter": (4.2, 1.0, "Audio Source Counter\nattention CRNN", "#cfe3f5"),
    "single": (6.6, 1.9, "single-label CNN\nbest one class", "#d8f0d3"),
    "two": (6.6, 0.1, "two-label CNN\nbest two classes", "#d8f0d3"),
    "one_name": (8.8, 1.9, "rain", "#fdf3cf"),
    "two_names": (8.8, 0.1, "dog + rain", "#fdf3cf"),
}
ARROWS = (
    ("clip", "stft", ""),
    ("stft", "counter", ""),
    ("counter", "single", "one"),
    ("counter", "two", "two"),
    ("single", "one_name", ""),
    ("two", "two_names", ""),
)


def main() -> None:
    figure, axis = plt.subplots(figsize=(11, 3.2))
    texts = {}
    for name, (x, y, text, colour) in BOXES.items():
        box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "#555555"}
        texts[name] = axis.text(x, y, text, ha="center", va="center", fontsize=11, bbox=box)
    for begin, end, label in ARROWS:
        (x0, y0), (x1, y1) = BOXES[begin][:2], BOXES[end][:2]
        axis.annotate(
            "",
            xy=(x1, y1),
            xytext=(x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#333333",
                "patchA": texts[begin].get_bbox_patch(),
                "patchB": texts[end].get_bbox_patch(),
                "shrinkA": 2,
                "shrinkB": 2,
            },
        )
        if label:
            axis.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.18, label, ha="center", style="italic")
    axis.set(xlim=(-1, 9.6), ylim=(-0.5, 2.5))
    axis.axis("off")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("flow.png"), dpi=80)


if __name__ == "__main__":
    main()
