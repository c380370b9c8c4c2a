"""Draw the plots of the published results that docs/ shows, from the summaries over sets 1 to 5.

    python tools/draw_results.py

Reads   results_published/<configuration>/summary_*_5.json and _5_pairs.csv.
Writes  docs/audit_4k.png, audit_logmel.png, pairs_4k.png, pairs_logmel.png.
"""

import json
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import crs_lib
from pipeline.evaluation import plots

CONFIGURATIONS = {"4k": "4k", "logmel": "logmel-logmel_16k"}  # in a file's name -> folder
DOCS = crs_lib.HERE / "docs"


def main() -> None:
    for short, name in CONFIGURATIONS.items():
        path = crs_lib.HERE / "results_published" / name / f"summary_{name}_5.json"
        audit = json.loads(path.read_text(encoding="utf-8"))["audit"]
        plots.draw_audit(DOCS / f"audit_{short}.png", False, audit)
        shares = pd.read_csv(path.with_name(f"{path.stem}_pairs.csv"))
        title = f"{name}, flow: exact match (%); diagonal: one class"
        pairs = DOCS / f"pairs_{short}.png"
        plots.draw_pairs(pairs, False, shares["truth"], shares["exact_match"], title)


if __name__ == "__main__":
    main()
