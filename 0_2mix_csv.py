"""Write the table of all two-class mixtures and what they are in each division set.

Reads   <DATASET>/esc10_rename (classes and numbers) and the division texts.
Writes  <DATASET>/esc10_mixes.csv: filename, A_class, A_num, B_class, B_num, set1 ... set10; 72,000
        rows. 1 is training (46,080 a set), 2 validation (720), 3 test (720), -1 not used (24,480).
Takes   a second or two.
"""

import crs_lib
import tmr
from pipeline.data.esc10_data import (
    DIVISION_CODES,
    NOT_USED,
    class_numbers,
    mixture_table,
    read_division,
)
from pipeline.files import provenance, running
from pipeline.settings import command_line, good_values

# ---- constants: edit here, or override, e.g.  python 0_2mix_csv.py --dataset elsewhere
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
command_line.constants_from_command_line(globals())


def main() -> None:
    timer = tmr.start()
    renamed = crs_lib.rename_dir(DATASET)
    provenance.need(renamed, "0_rename_files.py", DATASET=DATASET)
    texts = crs_lib.division_dir(DATASET, DIVISION_DIR)
    redo = command_line.command("0_txt_div.py", DATASET=DATASET, DIVISION_DIR=DIVISION_DIR)
    path = crs_lib.mixes_csv(DATASET)
    made_with = {"DIVISION": provenance.division_fingerprint(texts)}
    inputs = [renamed.name]
    with provenance.made(DATASET, path, made_with, inputs, crs_lib.replaced_file) as part:
        classes, numbers = class_numbers(renamed)
        sets = [read_division(texts, k, numbers, redo) for k in good_values.SETS]
        table = mixture_table(classes, numbers, sets)
        table.to_csv(part, index=False)
    counts = table["set1"].value_counts()
    sizes = " / ".join(str(counts.get(code, 0)) for code in (*DIVISION_CODES.values(), NOT_USED))
    print(f"{len(table)} mixtures in {path}; set 1: {sizes} train / val / test / not used")
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
