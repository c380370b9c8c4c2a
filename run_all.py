"""Run every script in order for the sets asked for, and print the summary.

A preparation step whose output is whole and up to date is passed over (--redo makes it again); a
training that was cut off goes on, a finished one of the same constants is kept: so sets may come
one after the other, and runs copied from results_published/ to results/ are kept. Where ESC-50 is
neither there nor to be downloaded, the whole runs on the synthetic set in dataset_demo/, and says
so.

Reads   ESC-50 (found or downloaded).
Writes  what the scripts write, and results/summary_4k_<number of sets>.{json,csv,md} and
        _{confusion,counter,pairs,audit}.png, _strategies.md, _audit.md, _pairs.csv; of other
        networks than asc and isocc summary_<counter>-<classifier>_<rate>_<number of sets>.
Takes   for one set 20 to 50 minutes on 2 CPU cores.
"""

import os
import subprocess
from pathlib import Path

import joblib

import crs_lib
import tmr
from crs_lib import InputError
from pipeline.evaluation import plots, run_records, summary
from pipeline.files import locks, provenance, running
from pipeline.settings import command_line
from pipeline.settings.good_values import Between
from pipeline.training import jobs
from pipeline.training.jobs import run_script

# ---- constants: edit here, or override, e.g.  python run_all.py --sets 1 2 3
DATASET = "dataset"  # root of all prepared data
DIVISION_DIR = ""  # folder of the texts; empty: esc10_811div_txts, for another root below it
ESC50_DIR = ""  # ESC-50 folder that you already have; empty: environment, then <DATASET>/ESC-50
RESULTS = "results"  # run folders, and the summary
MODELS = "models"  # finished weights
SETS = [1]  # division sets, 1 to 10
SAMPLE_RATE = 4000  # Hz
N_FFT = 256  # STFT window in samples
OVERSAMPLE = 5  # files per single clip, itself included
MAX_SHIFT = 0.25  # semitones, the furthest pitch shift in either direction
WRITE = "test"  # mixtures as WAV: all, set, test (both of the first of SETS), none
COUNTER_MODEL = "asc"  # the counter's network
CLASSIFIER_MODEL = "isocc"  # the classifiers' network
REPEAT = 1  # times that an epoch takes each clip
BOTH_KINDS = True  # learn from single clips and mixtures, the number of classes given
SHARED = False  # take the label head of the counter (joint network): classifiers train nothing
EPOCHS = 0  # of every training; 0 leaves each script its own
BATCH = 0  # clips, of every training; 0 leaves each script its own
LEARNING_RATE = 0.0  # the highest, of every training; 0 leaves each script its own
PATIENCE = 0  # epochs without a better validation before a training stops; 0 likewise
SPEED = 0.0  # augmentation: 0.25 plays stems up to a quarter faster or as much slower; 0: none
TILT = 0.0  # augmentation: dB by which a clip's spectrum rises or falls, at most
NOISE = False  # augmentation: white noise, 15 to 60 dB below the clip
COUNT_BY_LABELS = False  # count by the logits of the labels, too
FROZEN = 0  # first layers of a pre-trained encoder that do not learn
KEEP = 0.0  # share by which an encoder's weights move back to the pre-trained ones
SEED = 0  # of the trainings
DEVICE = "auto"  # auto (CUDA, else MPS, else CPU), cuda, mps, cpu
IN_BF16 = "auto"  # in bfloat16: auto (all but asc, where the device has it), none, classifiers, all
N_JOBS = 1  # sets, or a set's trainings, side by side: a device (or its share of the cores) each
THREADS = 0  # CPU threads; 0: all that there are, shared out among N_JOBS
SUMMARY = True  # write the summary; --no-summary for one of many jobs that share RESULTS
REDO = False  # make every preparation step again, and every training from its start
CONSTANTS = command_line.constants_from_command_line(
    globals(),
    EPOCHS=range(0, 100_001),
    BATCH=range(0, 4097),
    LEARNING_RATE=Between(0, 10),
    PATIENCE=range(0, 100_001),
)

DEMO = "dataset_demo"
HEADLINE = [1, 2, 3, 4, 5]  # by whose test clips no network or constant was picked


def is_whole(esc50: Path) -> bool:
    """Whether an ESC-50 folder is there and whole."""
    try:
        return bool(provenance.esc10_rows(esc50))
    except InputError:
        return False


def get_esc50() -> dict[str, object]:
    """Find or download ESC-50. Returns the constants to hand on: those of the synthetic root where
    neither was possible and no folder was named.
    """
    handed = {name: CONSTANTS[name] for name in CONSTANTS if name not in ("SETS", "N_JOBS", "REDO")}
    esc50, esc10 = crs_lib.esc50_dir(DATASET, ESC50_DIR), crs_lib.esc10_dir(DATASET)
    named = crs_lib.explicit_esc50_dir(DATASET, ESC50_DIR)
    if esc10.exists() and not named and not is_whole(esc50):
        print(f"{esc50} is not there: going on with the recordings in {esc10}")
        return handed
    words = command_line.words("0_get_esc50.py", DATASET=DATASET, ESC50_DIR=ESC50_DIR)
    got = jobs.start(words, stdout=subprocess.PIPE, text=True)
    if got.returncode == 0:
        print(f"$ {' '.join(words)}\n{got.stdout}", end="", flush=True)
        return handed
    if named or crs_lib.is_synthetic(DATASET):
        raise InputError("there is no whole ESC-50 folder: the message stands above")
    running.say_synthetic(DEMO)
    print("ESC-50 is neither there nor to be downloaded: everything below runs on a stand-in")
    handed["DATASET"] = DEMO
    for name in ("RESULTS", "MODELS"):
        handed[name] = f"{DEMO}/{Path(handed[name]).name}"
    if not is_whole(Path(DEMO, "ESC-50")):
        run_script("0_get_esc50.py", DATASET=DEMO, SYNTHETIC=True)
    return handed


def all_constants(script: str, handed: dict) -> dict:
    """The constants that a script has when these are handed to it."""
    known = command_line.read_constants(crs_lib.HERE / script)
    return {name: handed.get(name, default) for name, (default, _) in known.items()}


def prepare(handed: dict) -> None:
    """Run the preparation steps whose output is missing, or made otherwise than it now would be."""
    dataset, texts = handed["DATASET"], crs_lib.division_dir(handed["DATASET"], DIVISION_DIR)
    steps = {
        "0_make_esc10.py": crs_lib.esc10_dir(dataset),
        "0_rename_files.py": crs_lib.rename_dir(dataset),
        "0_txt_div.py": texts,
        "0_downsampling.py": crs_lib.rate_dir(dataset, SAMPLE_RATE),
        "0_pitch_oversample_4k.py": crs_lib.oversample_dir(dataset, SAMPLE_RATE, OVERSAMPLE),
        "0_2mix_norm_vol.py": crs_lib.mix_dir(dataset, SAMPLE_RATE),
        "0_2mix_csv.py": crs_lib.mixes_csv(dataset),
    }
    if DIVISION_DIR and texts.exists():
        del steps["0_txt_div.py"]  # somebody's own division is not to be replaced
    if WRITE == "none":
        del steps["0_2mix_norm_vol.py"]
    handed = {**handed, "SET": SETS[0]}
    esc50 = crs_lib.esc50_dir(dataset, ESC50_DIR)
    if is_whole(esc50):
        esc10 = provenance.esc10_fingerprint(esc50, provenance.esc10_rows(esc50))
    else:  # what was made of it is there
        esc10 = ""
        del steps["0_make_esc10.py"]
    for script, output in steps.items():
        constants = all_constants(script, handed)
        # What the steps' stamps hold beyond constants: the data they saw.
        constants["ESC10"] = esc10
        constants["DIVISION"] = provenance.division_fingerprint(texts)
        # All mixtures hold those of any set: nobody's 72,000 files give way to 720.
        choices = [constants, {**constants, "WRITE": "all"}]
        if not REDO and any(provenance.is_up_to_date(dataset, output, c) for c in choices):
            print(f"{output} is up to date")
        else:
            run_script(script, **handed)


def in_bf16(model: str, always: tuple[str, ...]) -> bool:
    """Whether a network is to be trained in bfloat16; `always` where IN_BF16 is one of these."""
    if IN_BF16 != "auto":
        return IN_BF16 in always
    from pipeline.networks import registry  # and with it torch, two seconds

    return model != "asc" and registry.has_bf16(registry.choose_device(DEVICE))


def trainings_of(handed: dict) -> dict[str, tuple[str, str, dict]]:
    """Task -> the script that trains it, the model in its run name, the constants to hand on."""
    handed = {**handed}
    for name in ("EPOCHS", "BATCH", "LEARNING_RATE", "PATIENCE"):
        if handed[name] == 0:
            del handed[name]
    counter = {**handed, "MODEL": COUNTER_MODEL, "BF16": in_bf16(COUNTER_MODEL, ("all",))}
    classifier = {**handed, "MODEL": CLASSIFIER_MODEL}
    classifier["BF16"] = in_bf16(CLASSIFIER_MODEL, ("all", "classifiers"))
    both = {**classifier, "TRAIN_ON": "both", "SHARED": False, "BOTH_KINDS": True}
    return {
        "counter": (crs_lib.COUNTER, COUNTER_MODEL, counter),
        "single": (crs_lib.SINGLE, CLASSIFIER_MODEL, classifier),
        "two_label": (crs_lib.TWO_LABEL, CLASSIFIER_MODEL, classifier),
        "both": (crs_lib.TWO_LABEL, CLASSIFIER_MODEL + crs_lib.BOTH, both),
    }


def train_and_test(set_number: int, handed: dict, environment: dict[str, str]) -> None:
    """Train the four networks of a set, test the flow, audit the counter; what is finished is
    kept, the trainings of a finished flow also where their weights are gone.
    """
    handed = {**handed, "SET": set_number, "RESUME": not REDO}
    names, kept = {}, {}
    trainings = trainings_of(handed)
    for task, (script, model, constants) in trainings.items():
        names[task] = crs_lib.run_name(script, model, set_number, SAMPLE_RATE)
        finished = finished_run(names[task], script, constants)
        kept[task] = finished if is_of_counter(finished, kept.get("counter")) else None
    flow = finished_run(flow_name(set_number), crs_lib.FLOW, handed)
    is_tested = bool(flow) and run_records.read_record(flow)["trained_in"] == {
        task: run and run.name for task, run in kept.items()
    }

    def train(tasks: tuple[str, ...]) -> None:
        for task in tasks:
            script, _, constants = trainings[task]
            weights = crs_lib.weights_path(handed["MODELS"], names[task])
            if is_tested or (kept[task] and has_weights(kept[task], weights)):
                print(f"{kept[task]} is finished")
                continue
            run_script(f"{script}.py", environment, **constants)
            kept[task] = run_records.newest_finished(Path(handed["RESULTS"]), names[task])
            if task == "counter":
                older = [name for name, run in kept.items() if not is_of_counter(run, kept[task])]
                kept.update(dict.fromkeys(older))

    # The baseline needs none of the others: with two jobs a set it trains beside them.
    chains = (("counter", "single", "two_label"), ("both",))
    nb_jobs = 2 if 2 * len(set(SETS)) <= N_JOBS else 1
    joblib.Parallel(n_jobs=nb_jobs, prefer="threads")(map(joblib.delayed(train), chains))
    if is_tested:
        print(f"{flow} is finished")
    else:
        run_script(f"{crs_lib.FLOW}.py", environment, **handed)

    name = crs_lib.run_name(crs_lib.AUDIT, COUNTER_MODEL, set_number, SAMPLE_RATE)
    audit = finished_run(name, crs_lib.AUDIT, handed)
    counter = run_records.newest_finished(Path(handed["RESULTS"]), names["counter"])
    if audit and run_records.read_record(audit)["audited"] == counter.name:
        print(f"{audit} is finished")
    else:
        run_script(f"{crs_lib.AUDIT}.py", environment, **handed)


def is_of_counter(run: Path | None, counter: Path | None) -> bool:
    """Whether a training, where it took a counter's label head (--shared), took this one's."""
    label_head_of = run and run_records.read_record(run).get("label_head_of")
    return not label_head_of or label_head_of == (counter and counter.name)


def finished_run(name: str, script: str, handed: dict) -> Path | None:
    """The newest finished run of that name, if it is of the script's method and these constants,
    saw this data, and nothing is to be done again.
    """
    folder = run_records.newest_finished(Path(handed["RESULTS"]), name)
    if REDO or folder is None:
        return None
    record = run_records.read_record(folder)
    constants = all_constants(f"{script}.py", handed)
    # What the flow and the audit take over from the counter's weights.
    constants.setdefault("OVERSAMPLE", record["constants"]["OVERSAMPLE"])
    data = run_records.data_stamps(constants)
    if other := run_records.other_work(record, script, constants, data):
        print(f"{folder} is finished, but not kept: {other}")
    return None if other else folder


def has_weights(run: Path, path: Path) -> bool:
    """Whether the finished weights at `path` are those of this run."""
    from pipeline.networks import weights_file  # and torch: two seconds that only this case needs

    return path.exists() and weights_file.read_weights(path)["run"] == run.name


def flow_name(set_number: int) -> str:
    """Run name of the flow on a set."""
    return crs_lib.flow_name(COUNTER_MODEL, CLASSIFIER_MODEL, set_number, SAMPLE_RATE)


def show_summary(handed: dict) -> None:
    """Write the summary over the sets, print its table and where the plots are; the headline's
    too where there are more.
    """
    results = Path(handed["RESULTS"])
    faithful = (COUNTER_MODEL, CLASSIFIER_MODEL) == ("asc", "isocc")
    model = "" if faithful else f"_{crs_lib.flow_model(COUNTER_MODEL, CLASSIFIER_MODEL)}"
    drawn = []
    for sets in [HEADLINE] * (set(HEADLINE) < set(SETS)) + [SETS]:
        path = results / f"summary{model}_{crs_lib.rate_tag(SAMPLE_RATE)}_{len(set(sets))}.json"
        locks.hold(path)
        flows = [flow_name(number) for number in dict.fromkeys(sets)]
        over_sets = summary.summarise(results, flows, path)
        print("\n" + summary.summary_table(over_sets))
        drawn += plots.plot_summary(results, over_sets, path)
    drawn += [file for run in over_sets["runs"] for file in sorted((results / run).glob("*.png"))]
    print("plots:", *drawn, sep="\n  ")
    print(f"summary: {path} (and .csv, .md)")
    print(f"a page of all this: {command_line.command('show_report.py', **handed)}")


def main() -> None:
    timer = tmr.start()
    if SHARED and COUNTER_MODEL != CLASSIFIER_MODEL:
        raise InputError(
            "--shared: the classifiers take the label head of a counter of their own network: "
            f"give both networks, as in  --counter-model {CLASSIFIER_MODEL}"
        )
    handed = get_esc50()
    prepare(handed)
    # All by itself a training leaves their number to torch.
    threads = THREADS or (max(1, os.cpu_count() // N_JOBS) if N_JOBS > 1 else 0)
    jobs.side_by_side(
        lambda number, gpu: train_and_test(number, {**handed, "THREADS": threads}, gpu),
        dict.fromkeys(SETS),
        N_JOBS,
        DEVICE,
    )
    if SUMMARY:
        show_summary(handed)
    print(f"done in {tmr.elapsed(timer)}")
    if handed["DATASET"] != DATASET:
        running.say_synthetic(handed["DATASET"])


if __name__ == "__main__":
    running.run(main, DATASET)
