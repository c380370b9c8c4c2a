"""Put tables, outputs and pictures into the pages from the files that hold them.

A line `<!-- from PATTERN: caption -->` says which file, seen from the project's folder, the next
line `<!-- end -->` ends what is put between: the text of a .md, the lines of a .txt as code, a
picture with its caption. Of several files that fit the pattern the last by name is taken.

    python tools/fill_pages.py
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- from (\S+?)(?:: (.*?))? -->\n).*?(<!-- end -->)", re.DOTALL)


def content_of(pattern: str, caption: str, page: Path) -> str:
    """What stands in a page for the file that a pattern names."""
    files = sorted(ROOT.glob(pattern))
    if not files:
        sys.exit(f"{page}: no file fits {pattern}")
    if files[-1].suffix == ".png":
        return f"![{caption}]({Path(os.path.relpath(files[-1], page.parent)).as_posix()})\n"
    text = files[-1].read_text(encoding="utf-8").rstrip("\n") + "\n"
    return f"```\n{text}```\n" if files[-1].suffix == ".txt" else text


def filled(page: Path) -> str:
    """The text of a page with every block made anew."""
    text = page.read_text(encoding="utf-8")
    return BLOCK.sub(lambda b: b[1] + content_of(b[2], b[3] or "", page) + b[4], text)


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path), encoding="utf-8")
