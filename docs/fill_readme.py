"""Put tables, outputs and pictures into README.md from the files that hold them.

A line `<!-- from PATTERN: caption -->` says which file, the next line `<!-- end -->` ends what is
put between: the text of a .md, the lines of a .txt as code, a picture with its caption. Of several
files that fit the pattern the last by name is taken.

    python docs/fill_readme.py
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- from (\S+?)(?:: (.*?))? -->\n).*?(<!-- end -->)", re.DOTALL)


def content_of(pattern: str, caption: str) -> str:
    """What stands in the README for the file that a pattern names."""
    files = sorted(ROOT.glob(pattern))
    if not files:
        sys.exit(f"README.md: no file fits {pattern}")
    if files[-1].suffix == ".png":
        return f"![{caption}]({files[-1].relative_to(ROOT).as_posix()})\n"
    text = files[-1].read_text(encoding="utf-8").rstrip("\n") + "\n"
    return f"```\n{text}```\n" if files[-1].suffix == ".txt" else text


def filled(readme: str) -> str:
    """The README with every block made anew."""
    return BLOCK.sub(lambda b: b[1] + content_of(b[2], b[3] or "") + b[4], readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
