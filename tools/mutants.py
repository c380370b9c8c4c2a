"""Mutants of a module: its source with one thing changed, a drawn part of all there could be."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

# Operators that change no number, need arguments, or change the type of a thing so that the first
# line that meets it raises: those are killed by any test at all.
ARITHMETIC, BITWISE = ("Add", "Sub", "Mul", "Div"), ("BitAnd", "BitOr", "BitXor")
LEFT_OUT = re.compile(
    r"core/(ExceptionReplacer|RemoveDecorator|Variable\w+"
    r"|ReplaceComparisonOperator_(?!Is)\w+_Is(Not)?|ReplaceComparisonOperator_Is(Not)?_(?!Is)\w+"
    rf"|ReplaceBinaryOperator_(?!Bit)\w+_(?!({'|'.join(ARITHMETIC)})$)\w+"
    rf"|ReplaceBinaryOperator_Bit\w+_(?!({'|'.join(BITWISE)})$)\w+)"
)
# Words that stand for two roles of one kind: one in the other's place is what slips in unseen.
PAIRS = (
    ("a", "b"),
    ("val", "test"),
    ("val", "train"),
    ("validation", "test"),
    ("first", "second"),
    ("one", "two"),
    ("single", "mixture"),
    ("singles", "mixtures"),
    ("single", "two_label"),
    ("low", "high"),
    ("min", "max"),
    ("argmin", "argmax"),
    ("amin", "amax"),
    ("mean", "std"),
    ("mean", "sum"),
    ("any", "all"),
    ("start", "end"),
    ("start", "stop"),
    ("before", "after"),
    ("up", "down"),
    ("logits", "scores"),
    ("truth", "names"),
    ("network", "averaged"),
    ("learned", "never"),
    ("drawn", "never"),
)
# Methods and functions of a library, which a module has not to name for them to be there.
LIBRARYS = {"min", "max", "argmin", "argmax", "amin", "amax", "mean", "std", "sum", "any", "all"}
# What says how fast something goes, how it is shown, or what is not to happen.
SILENT_ARGUMENTS = ("strict", "disable", "exist_ok", "n_jobs", "batch_size")
SILENT_LINES = re.compile(r"\btqdm\(|\bbar\.|^(N_JOBS|THREADS) = ")


class Mutant(NamedTuple):
    """A module with one thing changed."""

    line: int  # the first that differs
    operator: str
    before: str  # the lines that differ, blanks aside
    after: str
    source: str


class SwapWords(Operator):
    """Puts a name or text in its partner's place (see PAIRS), where the module has that, too."""

    words: frozenset[str] = frozenset()  # all names and texts of the module

    def partners(self, node: parso.tree.NodeOrLeaf) -> list[str]:
        """What may stand in the place of a leaf."""
        if node.type not in ("name", "string"):
            return []
        found = []
        for pair in PAIRS:
            for word, other in (pair, pair[::-1]):
                swapped = re.sub(rf"(?<![^\W_]){word}(?![^\W_])", other, node.value)
                is_there = swapped in self.words or (other in LIBRARYS and swapped == other)
                if swapped != node.value and is_there and swapped not in found:
                    found.append(swapped)
        return found

    def mutation_positions(self, node: parso.tree.NodeOrLeaf) -> Iterator[tuple]:
        """A place for each partner."""
        yield from [(node.start_pos, node.end_pos)] * len(self.partners(node))

    def mutate(self, node: parso.tree.NodeOrLeaf, index: int) -> parso.tree.NodeOrLeaf:
        """The leaf with its partner of that number."""
        node.value = self.partners(node)[index]
        return node

    @classmethod
    def examples(cls) -> tuple:
        """None: they depend on the module."""
        return ()


def operators(source: str) -> dict[str, Operator]:
    """The operators that are drawn from, by name."""
    names = sorted(name for name in operator_names() if not LEFT_OUT.fullmatch(name))
    swap = SwapWords()
    leaves = (node for node in ast_nodes(get_ast(source)) if node.type in ("name", "string"))
    swap.words = frozenset(leaf.value for leaf in leaves)
    return {**{name: get_operator(name)() for name in names}, "SwapWords": swap}


def says_nothing(node: parso.tree.NodeOrLeaf) -> bool:
    """Whether a node is of an annotation, an import, an error's text, or a name that a function is
    called by: whatever changes no number.
    """
    while node.parent:
        parent = node.parent
        kinds = ("tfpdef", "annassign", "raise_stmt", "import_name", "import_from")
        is_returned = parent.type == "funcdef" and node in parent.children[3:-2]
        is_name = parent.type == "param" and node is parent.children[0]
        is_argument = parent.type == "argument"
        is_named = is_argument and node is parent.children[0]
        is_silent = is_argument and parent.children[0].get_code().strip() in SILENT_ARGUMENTS
        is_main = node.type == "if_stmt" and "__name__" in node.children[1].get_code()
        if parent.type in kinds or is_returned or is_main or is_silent:
            return True
        if (is_name or is_named) and node.type == "name":
            return True
        node = parent
    return False


def draw(source: str, number: int, seed: int) -> list[Mutant]:
    """At most so many mutants, each that compiles, spread over the places that could be changed.

    Every place is changed once before any is twice; which come first is told by a hash of the seed
    and the line, so that a change elsewhere in the module leaves them as they are.
    """
    lines, nodes, found = source.split("\n"), list(ast_nodes(get_ast(source))), operators(source)
    at = defaultdict(list)
    for name, operator in found.items():
        occurrence = 0
        for node in nodes:
            for index, (start, _) in enumerate(operator.mutation_positions(node)):
                key = f"{seed} {name} {lines[start[0] - 1]} {start[1]} {index}"
                digest = hashlib.sha256(key.encode()).hexdigest()
                if not says_nothing(node) and not SILENT_LINES.search(lines[start[0] - 1]):
                    at[start].append((digest, start, name, occurrence))
                occurrence += 1
    in_rounds = [
        (turn, *mutation) for some in at.values() for turn, mutation in enumerate(sorted(some))
    ]
    drawn = []
    for *_, name, occurrence in sorted(in_rounds):
        if len(drawn) == number:
            break
        mutated = mutate_code(source, found[name], occurrence)
        mutant = mutated and difference(source, mutated, name)
        if mutant and mutant.before != mutant.after and compiles(mutated):
            drawn.append(mutant)
    return sorted(drawn)


def difference(source: str, mutated: str, operator: str) -> Mutant:
    """The mutant, with the lines in which it differs from the source."""
    one, other = source.split("\n"), mutated.split("\n")
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    backwards = zip(one[: same - len(one) or None : -1], other[::-1], strict=False)
    behind = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], backwards))
    before, after = (tidy(" ".join(text[same : len(text) - behind])) for text in (one, other))
    return Mutant(same + 1, operator, before, after, mutated)


def tidy(text: str) -> str:
    """Code on one line, without the blank that stands before a number that was replaced."""
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"(?<=[(\[]) | (?=\))|(?<=\w=) (?=[-\d])", "", text)


def compiles(source: str) -> bool:
    """Whether it is Python at all."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True
