"""The figures of finished runs once more, from their tables, names.csv and the division texts.

It imports nothing of the project: they have the protocol in common, which is told in words here.

An interval is of 1000 draws (numpy's default_rng(0)) of as many recordings as there are, with
replacement: a single clip weighs as often as its recording was drawn, a mixture the product of both
(two takes of one recording: its count). Low and high are the quantiles 0.025 and 0.975.
"""

import csv
import gzip
import itertools
import json
import math
from pathlib import Path

import numpy as np
import scipy.stats

NB_DRAWS = 1000


def read_table(path):
    """The rows of a CSV, packed or not."""
    path = path if path.exists() else path.with_name(f"{path.name}.gz")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(table, name, kind=str):
    return np.array([kind(row[name]) for row in table])


# ------------------------------------------------------------------------- which clips there are


def clips_of(root, set_number, part):
    """The clips of a part of a set: name -> (recording_a, recording_b, truth)."""
    names = read_table(root / "esc10_rename" / "names.csv")
    recording = {(row["class"], int(row["number"])): row["src_file"] for row in names}
    classes = sorted({row["class"] for row in names})
    text = root / "esc10_811div_txts" / f"set{set_number}" / f"set{set_number}_{part}.txt"
    numbers = [int(word) for word in text.read_text().split(",")]
    singles = {
        f"{name}{n}.wav": (recording[name, n], "", name) for name in classes for n in numbers
    }
    mixtures = {
        f"{a}{n}_{b}{m}.wav": (recording[a, n], recording[b, m], f"{a}+{b}")
        for a, b in itertools.combinations(classes, 2)
        for n in numbers
        for m in numbers
    }
    return singles, mixtures


def check_clips(table, *expected):
    """A table holds these clips, each once, with their recordings and classes."""
    expected = {name: clip for some in expected for name, clip in some.items()}
    found = {r["clip"]: (r["recording_a"], r["recording_b"], r["truth"]) for r in table}
    assert found == expected and len(table) == len(expected)


# ------------------------------------------------------------------------- figures and intervals


def weights_of(tables):
    """The weights of every clip in each draw, a (draws, clips) of each table."""
    pairs = [[(row["recording_a"], row["recording_b"]) for row in table] for table in tables]
    recordings = sorted({name for some in pairs for pair in some for name in pair if name})
    size = len(recordings)
    draws = np.random.default_rng(0).multinomial(size, [1 / size] * size, size=NB_DRAWS)
    times = {name: draws[:, place].astype(float) for place, name in enumerate(recordings)}

    def weight(first, second):
        return times[first] if second in ("", first) else times[first] * times[second]

    return [np.stack([weight(*pair) for pair in some], axis=1) for some in pairs]


def share(right, weights):
    """The weighted share of what is right: (draws,), NaN where nothing has weight."""
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (weights * right).sum(axis=1) / total


def by_kind(right, table, weights, name):
    """The share of single clips, of mixtures, and the mean of both."""
    is_mixture = column(table, "recording_b") != ""
    single = share(right[~is_mixture], weights[:, ~is_mixture])
    mixture = share(right[is_mixture], weights[:, is_mixture])
    return {
        f"{name}_single": single,
        f"{name}_mixture": mixture,
        f"{name}_balanced": (single + mixture) / 2,
    }


def counter(table, weights, name="count"):
    truth = np.where(column(table, "recording_b") == "", 1, 2)
    return by_kind(column(table, name, int) == truth, table, weights, "accuracy")


def exact(table, weights, name):
    return by_kind(column(table, name) == column(table, "truth"), table, weights, "exact_match")


def single(table, weights):
    return {"accuracy": share(column(table, "labels") == column(table, "truth"), weights)}


def precision(scores, is_there, weights):
    """Average precision: at each clip that is there, the share that is so among those that score
    as much or more; the mean of it over those clips.
    """
    as_much = (scores[:, None] >= scores[is_there]).astype(float)
    with np.errstate(invalid="ignore"):
        found = (weights * is_there) @ as_much / (weights @ as_much)
    return share(np.nan_to_num(found), weights[:, is_there])


def mean_of_known(values):
    """The mean of each column without its NaN."""
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=0) / (~np.isnan(values)).sum(axis=0)


def two_label(table, weights):
    is_mixture = column(table, "recording_b") != ""
    mixtures = [row for row, mixed in zip(table, is_mixture, strict=True) if mixed]
    of_mixtures, truth = weights[:, is_mixture], column(mixtures, "truth")
    each = [
        precision(
            column(mixtures, name, float),
            np.array([name.removeprefix("score_") in text.split("+") for text in truth]),
            of_mixtures,
        )
        for name in table[0]
        if name.startswith("score_")
    ]
    found = {
        "exact_pair": share(column(mixtures, "pair") == truth, of_mixtures),
        "mean_average_precision": mean_of_known(np.array(each)),
    }
    return found | (exact(table, weights, "labels") if "labels" in table[0] else {})


def flow(table, weights, strategies, gains):
    """strategies: the columns of labels. gains: the pairs (better, worse) that are compared."""
    found = {
        f"{name}.{k}": v for name in strategies for k, v in exact(table, weights, name).items()
    }
    for better, worse in gains:
        better_is, worse_is = (found[f"{name}.exact_match_balanced"] for name in (better, worse))
        found[f"gain.{better}_over_{worse}"] = better_is - worse_is
    shortcut = counter(table, weights, "shortcut_count")["accuracy_balanced"]
    gained = counter(table, weights)["accuracy_balanced"] - shortcut
    return found | {"shortcut_balanced": shortcut, "gain.counter_over_shortcuts": gained}


def audit(table, weights, groups):
    """groups: in the order in which they are asked; the first is of the single clips."""
    group, is_two = column(table, "group"), column(table, "count", int) == 2
    shares = {g: share(is_two[group == g], weights[:, group == g]) for g in groups}
    found = {f"counted_as_two.{g}": value for g, value in shares.items()}
    above = {f"above_alone.{g}": value - shares[groups[0]] for g, value in shares.items()}
    return found | above


def over_sets(figures, tables):
    """Figure -> mean, std, low, high and each set's value, of tables of several sets."""
    ones = [figures(table, np.ones((1, len(table)))) for table in tables]
    draws = [figures(t, w) for t, w in zip(tables, weights_of(tables), strict=True)]
    found = {}
    for name in ones[0]:
        values = [one[name].item() for one in ones]
        low, high = np.nanquantile(sum(d[name] for d in draws) / len(draws), [0.025, 0.975])
        mean = sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
        found[name] = {"mean": mean, "std": math.sqrt(spread), "low": low, "high": high}
        found[name]["sets"] = values
    return found


def students_reach(figure):
    """How far Student's 95 % interval over sets reaches on either side of the mean."""
    nb_sets = len(figure["sets"])
    return scipy.stats.t.ppf(0.975, nb_sets - 1) * figure["std"] / math.sqrt(nb_sets)


# --------------------------------------------------------------------- what was chosen, by what


def best_threshold(is_mixture, chances, one_is_right, two_is_right):
    """The best threshold of two: of those that are best alike the middle one, halfway between the
    chances beside it. Returns it and its balanced share.
    """
    edges = [0.0, *sorted(set(chances) - {0.0}), 1.0]
    places = [(low, (low + high) / 2) for low, high in itertools.pairwise(edges)]

    def balanced(at):
        right = np.where(chances > at, two_is_right, one_is_right)
        return (right[is_mixture].mean() + right[~is_mixture].mean()) / 2

    shares = [balanced(low) for low, _ in places]
    best = [place for place, got in enumerate(shares) if got >= max(shares) - 1e-12]
    return places[best[len(best) // 2]][1], max(shares)


def logits_of(table):
    names = [name for name in table[0] if name.startswith("logit_")]
    return np.array([[float(row[name]) for name in names] for row in table]), names


def best_labels(scores, classes, count):
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.array(["+".join(sorted(classes[i] for i in some)) for some in order])


def labels_loss(logits, truth, classes):
    """Mean of -log the share of the true labels among all sets of as many, in exponentials."""
    losses = []
    for row, text in zip(logits, truth, strict=True):
        labels = tuple(classes.index(name) for name in text.split("+"))
        sums = {s: row[list(s)].sum() for s in itertools.combinations(range(len(row)), len(labels))}
        losses.append(np.logaddexp.reduce(list(sums.values())) - sums[tuple(sorted(labels))])
    return np.mean(losses)


def validated(script, table, labels_weight=1.0):
    """What validation measured of the best epoch, from the logits of its clips."""
    logits, names = logits_of(table)
    truth, is_mixture = column(table, "truth"), column(table, "recording_b") != ""
    ones = np.ones((1, len(table)))
    if script == "counter":
        classes = [name.removeprefix("logit_") for name in names[2:]]
        chances = np.exp(logits[:, 1] - np.logaddexp(logits[:, 0], logits[:, 1]))
        threshold, _ = best_threshold(is_mixture, chances, ~is_mixture, is_mixture)
        counted = [{**r, "count": 1 + (c > threshold)} for r, c in zip(table, chances, strict=True)]
        of_count = np.where(is_mixture, -np.log(chances), -np.log1p(-chances)).mean()
        loss = of_count + labels_weight * labels_loss(logits[:, 2:], truth, classes)
        found = {**counter(counted, ones), "threshold": threshold, "loss": loss}
        if labels_weight:  # a joint network: labels by the oracle count, and by its own
            one, two = (best_labels(logits[:, 2:], classes, n) for n in (1, 2))
            right = np.where(is_mixture, two, one) == truth
            found |= {"accuracy": right[~is_mixture].mean(), "exact_pair": right[is_mixture].mean()}
            right = np.where(chances > threshold, two, one) == truth
            shares = right[~is_mixture].mean(), right[is_mixture].mean()
            found["exact_match_balanced"] = sum(shares) / 2
        return {name: float(np.squeeze(value)) for name, value in found.items()}
    classes = [name.removeprefix("logit_") for name in names]
    one, pair = (best_labels(logits, classes, count) for count in (1, 2))
    answered = [
        {
            **r,
            "labels": a,
            "pair": b,
            **{f"score_{c}": v for c, v in zip(classes, row, strict=True)},
        }
        for r, a, b, row in zip(table, one, pair, logits, strict=True)
    ]
    if script == "single":
        found = {**single(answered, ones), "loss": labels_loss(logits, truth, classes)}
    elif script == "two_label":
        for row, line in zip(answered, logits, strict=True):
            del row["labels"]
            sums = {p: line[list(p)].sum() for p in itertools.combinations(range(len(line)), 2)}
            total = np.logaddexp.reduce(list(sums.values()))
            for i, name in enumerate(classes):
                row[f"score_{name}"] = sum(np.exp(v - total) for p, v in sums.items() if i in p)
        found = {**two_label(answered, ones), "loss": labels_loss(logits, truth, classes)}
    else:
        chances = 1 / (1 + np.exp(-logits))
        second = np.sort(chances, axis=1)[:, -2]
        threshold, _ = best_threshold(is_mixture, second, one == truth, pair == truth)
        for row, score in zip(answered, second, strict=True):
            row["labels"] = row["pair"] if score > threshold else row["labels"]
        there = np.array([[name in text.split("+") for name in classes] for text in truth])
        loss = np.logaddexp(0, np.where(there, -logits, logits)).mean()
        found = {**two_label(answered, ones), "threshold": threshold, "loss": loss}
    return {name: float(np.squeeze(value)) for name, value in found.items()}


def read_record(folder):
    return json.loads(Path(folder, "run.json").read_text(encoding="utf-8"))
