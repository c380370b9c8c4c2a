"""The table of mixtures: 72,000 rows x 10 sets.

Straightforward: row by row, each set's parts looked up for both clips.
"""

from itertools import combinations
from pathlib import Path

import bench_lib
import pandas as pd

import crs_lib
from pipeline.data import esc10_data
from pipeline.settings import good_values


def straightforward(
    classes: list[str], numbers: list[int], sets: list[dict[str, list[int]]]
) -> pd.DataFrame:
    rows = []
    for class_a, class_b in combinations(classes, 2):
        for number_a in numbers:
            for number_b in numbers:
                row = {
                    "filename": f"{class_a}{number_a}_{class_b}{number_b}.wav",
                    "A_class": class_a,
                    "A_num": number_a,
                    "B_class": class_b,
                    "B_num": number_b,
                }
                for k, division in enumerate(sets, start=1):
                    row[f"set{k}"] = -1
                    for code, part in enumerate(crs_lib.PARTS, start=1):
                        if number_a in division[part] and number_b in division[part]:
                            row[f"set{k}"] = code
                rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    root = bench_lib.prepared_root()
    classes, numbers = esc10_data.class_numbers(crs_lib.rename_dir(root))
    texts = crs_lib.division_dir(root, "")
    sets = [esc10_data.read_division(texts, k, numbers, "0_txt_div.py") for k in good_values.SETS]
    table = esc10_data.mixture_table(classes, numbers, sets)
    theirs = straightforward(classes, numbers, sets)
    assert table.astype(str).equals(theirs.astype(str))
    ours = bench_lib.seconds(lambda: esc10_data.mixture_table(classes, numbers, sets), repeats=3)
    way = bench_lib.seconds(lambda: straightforward(classes, numbers, sets), repeats=3)
    with bench_lib.scratch_root(root, "esc10_rename") as scratch:
        path = Path(scratch, "table.csv")
        csv = bench_lib.seconds(lambda: table.to_csv(path, index=False))
        flags = ("--dataset", scratch, "--division-dir", texts.resolve())
        whole, peak, _ = bench_lib.run_measured("0_2mix_csv.py", *flags)
    work = f"{len(table)} rows x {len(sets)} sets"
    rows = [
        bench_lib.row("table", work, ours, way, None, peak),
        bench_lib.row("table", f"{work}, written as CSV too", ours + csv, way + csv, None, peak),
        bench_lib.row("table", f"{work}, the script from start to end", whole, None, None, peak),
    ]
    bench_lib.finish(rows, root)


if __name__ == "__main__":
    main()
