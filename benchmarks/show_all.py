"""Write benchmarks/results/table.md, the table of all questions, from their JSON files."""

import json

import bench_lib


def main() -> None:
    lines = [
        "| question | " + " | ".join(bench_lib.HEADINGS) + " |",
        "|---|---" + "|--:" * (len(bench_lib.HEADINGS) - 1) + "|",
    ]
    for question in (*bench_lib.QUESTIONS, "growth"):
        for line in json.loads((bench_lib.RESULTS / f"{question}.json").read_text()):
            lines.append("| " + " | ".join([question, *bench_lib.as_cells(line)]) + " |")
    text = "\n".join(lines) + "\n"
    (bench_lib.RESULTS / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
