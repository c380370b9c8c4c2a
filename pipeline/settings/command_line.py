"""A script's constants: read from its source, set from the command line, put into a command."""

import argparse
import ast
import shlex
import tokenize
from collections.abc import Container
from pathlib import Path

from pipeline.settings.good_values import GOOD_VALUES, Text, as_text, kind_of, reader, why_bad

HERE = Path(__file__).resolve().parents[2]  # where the scripts lie


def read_constants(script: str | Path) -> dict[str, tuple[object, str]]:
    """The constants at the top of a script: name -> (value, comment).

    Read from the source without running it: every upper-case name that is given a plain value
    above the call of `constants_from_command_line`.
    """
    with open(script, "rb") as file:
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        }
    found = {}
    for node in ast.parse(Path(script).read_text(encoding="utf-8")).body:
        if "constants_from_command_line" in ast.dump(node):
            return found
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id.isupper():
            comment = comments.get(node.end_lineno, "")
            found[target.id] = (ast.literal_eval(node.value), comment)
    raise ValueError(f"{script} never calls constants_from_command_line")


def flag_of(name: str) -> str:
    """The flag of a constant: SAMPLE_RATE -> --sample-rate."""
    return "--" + name.lower().replace("_", "-")


def constants_from_command_line(names: dict, positional: str = "", **good: Container) -> dict:
    """Turn the constants above the call into flags, and set those that the user gave.

    names: the script's `globals()`; the flags' types come from the values there, their help from
        the comments.
    positional: the constant that takes what stands on the command line without a flag.
    good: the good values of constants that GOOD_VALUES does not have.
    Returns name -> value. Exits with status 2, printing the good ones, on an unknown flag or a bad
    value. Where the script is imported, not run, the command line is left alone.
    """
    script = names["__file__"]
    known = read_constants(script)
    if names["__name__"] != "__main__":
        return {name: value for name, (value, _) in known.items()}
    good = {**GOOD_VALUES, **good}
    parser = argparse.ArgumentParser(
        prog=f"python {Path(script).name}",
        description=names["__doc__"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, (value, comment) in known.items():
        options = {"help": comment.replace("%", "%%")}
        if name == positional:
            many = "*" if value else "+"  # those written into the script will do
            parser.add_argument(name.lower(), nargs=many, metavar=name, default=value, **options)
            continue
        options |= {"default": value, "dest": name.lower()}
        options["help"] += unnamed_values(comment, good.get(name))
        options["help"] += f" (default: {value if value != '' else 'empty'})".replace("%", "%%")
        if isinstance(value, bool):
            options["action"] = argparse.BooleanOptionalAction
        else:
            kind = kind_of(value, good.get(name))
            options |= {
                "type": reader(kind, good.get(name)),
                "metavar": kind.__name__.upper(),
            }
            if isinstance(value, list):
                options["nargs"] = "+"
        parser.add_argument(flag_of(name), **options)
    given, unknown = parser.parse_known_args()
    if unknown:
        flags = " ".join(flag_of(name) for name in known if name != positional)
        parser.error(f"unknown: {' '.join(unknown)}; the flags are {flags}")
    for name in known:
        value = getattr(given, name.lower())
        if reason := why_bad(name, value, good.get(name)):
            parser.error(f"{flag_of(name)} {reason}")
        names[name] = value
    return {name: names[name] for name in known}


def unnamed_values(comment: str, good: Container | None) -> str:
    """For the help: the good values, where they are words that the comment does not name."""
    if not isinstance(good, tuple) or not all(isinstance(value, str) for value in good):
        return ""
    if isinstance(good, Text) or all(value in comment for value in good):
        return ""
    return f": {as_text(good)}"


def words(script: str, **constants: object) -> list[str]:
    """The words of the command that runs a script with these constants.

    Constants that the script does not have are left out, as are those at its own default.
    """
    known = read_constants(HERE / script)
    found = ["python", script]
    for name, value in constants.items():
        if name not in known or value == known[name][0]:
            continue
        if isinstance(value, bool):
            found.append(flag_of(name) if value else flag_of("NO_" + name))
        else:
            found += [flag_of(name), *map(str, value if isinstance(value, list) else [value])]
    return found


def command(script: str, **constants: object) -> str:
    """The command that runs a script with these constants, to be typed in a terminal."""
    return shlex.join(words(script, **constants))
