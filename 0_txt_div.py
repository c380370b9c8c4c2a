"""Write the division texts: which numbers train, validate and test, in ten sets.

Set k (1-5): validation are the numbers that end in digit 2k-2, test those in digit 2k-1, training
the other eight digits: four whole official folds. Sets 6-10 are sets 1-5 with validation and test
exchanged. So over the ten sets each clip is tested once.

Reads   <DATASET>/esc10_rename (which numbers the classes have)
Writes  esc10_811div_txts/set1/set1_{train,val,test}.txt ... set10: one line `1, 11, 21, 31` each
        (32, 4 and 4 numbers of ESC-10's 40); for another root than `dataset` below that root.
Takes   a second.
"""

import re

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.data.esc10_data import class_numbers
from pipeline.files import provenance, running
from pipeline.settings import command_line, good_values

# ---- constants: edit here, or override, e.g.  python 0_txt_div.py --dataset elsewhere
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
command_line.constants_from_command_line(globals())

TEXT_NAME = re.compile(r"set\d+/set\d+_(train|val|test)\.txt|(.*/)?\.DS_Store")


def divide(numbers: list[int], set_number: int) -> dict[str, list[int]]:
    """The numbers of each part of a set, by their last digit."""
    k = (set_number - 1) % 5 + 1
    val_digit, test_digit = (2 * k - 2, 2 * k - 1) if set_number <= 5 else (2 * k - 1, 2 * k - 2)
    part_of_digit = {val_digit: "val", test_digit: "test"}
    parts = {part: [] for part in crs_lib.PARTS}
    for number in numbers:
        parts[part_of_digit.get(number % 10, "train")].append(number)
    return parts


def main() -> None:
    timer = tmr.start()
    renamed = crs_lib.rename_dir(DATASET)
    provenance.need(renamed, "0_rename_files.py", DATASET=DATASET)
    texts = crs_lib.division_dir(DATASET, DIVISION_DIR)
    inside = (path for path in texts.rglob("*") if not path.is_dir())
    names = (path.relative_to(texts).as_posix() for path in inside)
    others = sorted(name for name in names if not TEXT_NAME.fullmatch(name))
    if others:
        raise InputError(f"{texts} holds {', '.join(others[:3])} and is not replaced")
    inputs = [renamed.name]
    # Somebody's own place for the texts is no output of this root.
    with provenance.made(DATASET, texts, {}, inputs, stamped=not DIVISION_DIR) as part_folder:
        _, numbers = class_numbers(renamed)
        lacking = [str(digit) for digit in range(10) if digit not in {n % 10 for n in numbers}]
        if lacking:
            raise InputError(f"{renamed}: no clip's number ends in {', '.join(lacking)}")
        for set_number in good_values.SETS:
            for part, members in divide(numbers, set_number).items():
                path = crs_lib.division_txt(part_folder, set_number, part)
                path.parent.mkdir(exist_ok=True)
                path.write_text(", ".join(map(str, members)) + "\n", newline="\n")
    sizes = " / ".join(str(len(members)) for members in divide(numbers, 1).values())
    print(
        f"{len(good_values.SETS)} sets of {sizes} numbers a class (train / val / test) in {texts}"
    )
    print(f"done in {tmr.elapsed(timer)}")


if __name__ == "__main__":
    running.run(main, DATASET)
