"""Show the known findings of every package that this project pins or that these bring in.

Those of requirements.txt as they are installed, with all that they need; those of requirements/
(the page, the export) as they are pinned.

    make supply

Status 1 if there is one that explained_findings.txt does not explain. Where the service cannot be
reached, or does not know a package, it says so: that is no finding, and no all-clear either.
"""

import json
import subprocess
import sys
from pathlib import Path

EXPLAINED = Path(__file__).with_name("explained_findings.txt")
SECONDS = 300


def explained_in(text: str) -> dict[str, str]:
    """Finding -> why it does not apply, from lines such as `PYSEC-2026-1 only the server`."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(maxsplit=1) for line in lines)


def describe(dependencies: list[dict], explained: dict[str, str]) -> tuple[list[str], bool]:
    """What is to be said of pip-audit's `dependencies`, and whether all findings are explained."""
    lines, unexplained = [], 0
    for package in dependencies:
        for finding in package.get("vulns", ()):
            names = [finding["id"], *finding.get("aliases", ())]
            why = next((explained[name] for name in names if name in explained), "")
            unexplained += not why
            mended = ", ".join(finding.get("fix_versions", ())) or "no version"
            where = f"{package['name']} {package['version']}: {' '.join(names)}, mended in {mended}"
            lines.append(f"{where}; does not apply: {why}" if why else where)
    skipped = [package["name"] for package in dependencies if "skip_reason" in package]
    if skipped:
        lines.append(f"could not be looked up: {', '.join(skipped)}")
    looked_up = len(dependencies) - len(skipped)
    lines.append(
        f"{looked_up} of {len(dependencies)} packages looked up; findings that are not explained: "
        f"{unexplained}"
    )
    return lines, unexplained == 0


def look_up(*what: str) -> list[dict]:
    """What pip-audit says of packages. Raises ValueError if it says nothing, TimeoutExpired."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(
        [*command, *what], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    try:
        return json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = done.stderr.strip().split("\n")[-1]
        raise ValueError(last or f"pip-audit ended with status {done.returncode}") from None


def main(packages: str, *pinned: str) -> int:
    try:
        dependencies = look_up("--path", packages)
        for requirements in pinned:
            dependencies += look_up("--no-deps", "--disable-pip", "--requirement", requirements)
    except (subprocess.TimeoutExpired, ValueError) as error:
        print(f"known findings could not be looked up: {error}")
        return 0
    lines, is_good = describe(dependencies, explained_in(EXPLAINED.read_text(encoding="utf-8")))
    print(*lines, sep="\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
