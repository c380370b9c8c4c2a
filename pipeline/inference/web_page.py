"""The page of app.py: what it shows of a recording, what it does with two, how it is served."""

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

# Before gradio is imported: it would ask its makers for news.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr
import numpy as np
import torch
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from crs_lib import InputError
from pipeline.data import audio
from pipeline.evaluation import plots
from pipeline.files import sound_files
from pipeline.inference import classify, recording_plots

ADDRESS = "127.0.0.1"  # this machine alone
KEPT_SECONDS = 3600  # Gradio's copies of what was uploaded or recorded
LEVELS_DB = range(-30, 31, 3)  # of the second sound, in the curve of the counter's score
# What the browser may load: nothing from elsewhere, where Gradio's page has fonts and a script.
SECURITY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
NOTHING = (None, [], None)  # no scores, no timeline, no picture


class Setup(NamedTuple):
    """What the page classifies with, and how much it takes."""

    trained: dict  # as choose_weights.load has it
    device: torch.device
    most_minutes: int  # of a recording
    most_mb: int  # of a file


# ----------------------------------------------------------------------------- what is found


def show_recording(path: str | None, setup: Setup) -> tuple:
    """Of a recording a headline, scores, the rows of its timeline, its picture."""
    if path is None:
        return ("", *NOTHING)
    name = Path(path).name
    try:
        refuse_long(path, setup)
        answer = classify.answer(path, setup.trained, setup.device)
        columns = classify.columns_of(path, answer["seconds"], setup.trained, setup.device)
    except InputError as error:
        return (str(error).replace(str(path), name), *NOTHING)
    rows = [
        [span.start, span.end, span.name or "silence", span.score and round(span.score, 2)]
        for span in answer["spans"]
    ]
    figure = finished(recording_plots.draw_recording(name, answer, *columns), setup)
    # Silence has no scores: of ten zeros the page would show the first as the answer.
    scores = answer["scores"] if answer.get("count") else None
    return headline(answer), scores, rows, figure


def mix(path_a: str | None, path_b: str | None, level_db: float, setup: Setup) -> tuple:
    """Of two recordings mixed what `show_recording` gives; the mixture; the counter's score of two
    over the level.

    level_db: of the second above the first, both brought to the same RMS before.
    """
    if path_a is None or path_b is None:
        return ("Choose two sounds.", *NOTHING, None, None)
    sample_rate = setup.trained["counter"][1]["constants"]["SAMPLE_RATE"]
    try:
        first, second = (levelled_clip(path, sample_rate, setup) for path in (path_a, path_b))
    except InputError as error:
        return (str(error), *NOTHING, None, None)
    gains = 10 ** (np.array([level_db, *LEVELS_DB], dtype=np.float32)[:, None] / 20)
    mixtures = audio.level_rms(audio.mix(first, gains * second))
    mixtures = np.stack([audio.as_clip(mixture, sample_rate) for mixture in mixtures])
    of_levels = classify.predict(mixtures[1:], setup.trained, setup.device)
    scores = np.where(of_levels.counts == 2, of_levels.count_scores, 1 - of_levels.count_scores)
    curve = finished(recording_plots.draw_score_over_level(LEVELS_DB, scores, level_db), setup)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{Path(path_a).stem} + {Path(path_b).stem}.wav")
        sound_files.write_wav(path, mixtures[0], sample_rate)
        found = show_recording(str(path), setup)
    return (*found, (sample_rate, sound_files.to_pcm16(mixtures[0])), curve)


def levelled_clip(path: str, sample_rate: int, setup: Setup) -> np.ndarray:
    """The clip that the networks get of a recording: float32 (samples,).

    Raises InputError if it is too long, cannot be read or is silent.
    """
    name = Path(path).name
    try:
        refuse_long(path, setup)
        clip = audio.read_clip(path, sample_rate)
    except InputError as error:
        raise InputError(str(error).replace(path, name)) from None
    if classify.silent_seconds(clip[None]).all():
        raise InputError(f"{name} is silent: there is nothing to mix")
    return audio.level_rms(clip)


def refuse_long(path: str, setup: Setup) -> None:
    """Raise InputError if a recording is longer than the page takes."""
    minutes = sound_files.info_of(path).duration / 60
    if minutes > setup.most_minutes:
        raise InputError(
            f"{path} lasts {minutes:.1f} minutes, more than {setup.most_minutes}: "
            "python predict.py takes any length"
        )


def headline(answer: dict) -> str:
    """What is in a recording, in a line of markdown."""
    if "count" not in answer:
        return f"## A timeline of {answer['seconds']:.1f} seconds"
    if answer["count"] == 0:
        return "## Silence"
    classes = "one class" if answer["count"] == 1 else "two classes"
    return f"## {' + '.join(answer['names'])}\n{classes} ({answer['count_score']:.2f})"


def finished(figure: plots.plt.Figure, setup: Setup) -> plots.plt.Figure:
    """A figure for the page, which draws it by itself."""
    plots.finish(figure, setup.trained["counter"][1]["synthetic"])
    plots.plt.close(figure)
    return figure


# ------------------------------------------------------------------------------- how it is shown


def page(setup: Setup, clips: dict[str, str]) -> gr.Blocks:
    """The page: one recording, or two to be mixed.

    clips: what the data set's clips are called -> path; empty where there is none.
    """
    alone = {"concurrency_limit": 1, "concurrency_id": "networks"}  # one after the other
    either = {"sources": ["upload", "microphone"], "type": "filepath", "buttons": ["download"]}
    kept = {"analytics_enabled": False, "delete_cache": (KEPT_SECONDS, KEPT_SECONDS)}
    with gr.Blocks(title="What is in this recording?", **kept) as blocks:
        gr.Markdown(introduction(setup))
        with gr.Tab("One recording"):
            recording = gr.Audio(label="recording", elem_id="recording", **either)
            recording.change(
                partial(show_recording, setup=setup), recording, outputs("found"), **alone
            )
        with gr.Tab("Two sounds mixed"):
            with gr.Row():
                sounds = [side(name, clips, either) for name in ("first", "second")]
            ends = (LEVELS_DB[0], LEVELS_DB[-1], 0)
            level = gr.Slider(*ends, step=1, label="second above first (dB)", elem_id="level")
            curve = gr.Plot(show_label=False, elem_id="score_of_two")
            mixture = gr.Audio(label="the mixture", interactive=False, buttons=["download"])
            mixed = [*outputs("mixed"), mixture, curve]
            for event in (sounds[0].change, sounds[1].change, level.release):
                event(partial(mix, setup=setup), [*sounds, level], mixed, **alone)
    return blocks


def introduction(setup: Setup) -> str:
    """What the page says first."""
    content = setup.trained["counter"][1]
    synthetic = "**SYNTHETIC: trained on the synthetic set, not on real recordings.**\n\n"
    classes = ", ".join(name.replace("_", " ") for name in content["classes"])
    return (
        f"# What is in this recording?\n\n{synthetic * content['synthetic']}"
        f"The networks know {len(content['classes'])} classes, one or two at a time: {classes}. "
        f"Up to {setup.most_minutes} minutes and {setup.most_mb} MB; beyond "
        f"{classify.LONG_SECONDS} seconds a recording gets a timeline. "
        "Everything stays on this machine."
    )


def outputs(prefix: str) -> list:
    """Where the page shows what `show_recording` gives."""
    headline = gr.Markdown(elem_id=f"{prefix}_headline")
    with gr.Row():
        scores = gr.Label(label="scores", num_top_classes=5, elem_id=f"{prefix}_scores")
        rows = gr.Dataframe(
            headers=["from (s)", "to (s)", "what", "score"],
            label="timeline",
            interactive=False,
            elem_id=f"{prefix}_timeline",
        )
    picture = gr.Plot(show_label=False, elem_id=f"{prefix}_picture")
    return [headline, scores, rows, picture]


def side(name: str, clips: dict[str, str], either: dict) -> gr.Audio:
    """One of two sounds: uploaded, recorded, or a clip of the data set."""
    with gr.Column():
        if clips:
            label = f"{name}: a clip of ESC-10"
            choice = gr.Dropdown([*clips], value=None, label=label, elem_id=f"{name}_clip")
        sound = gr.Audio(label=f"{name} sound", elem_id=name, **either)
        if clips:
            choice.change(clips.get, choice, sound)
    return sound


async def only_from_here(request, call_next):
    """Every answer with SECURITY in its header."""
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = SECURITY
    return response


def serve(blocks: gr.Blocks, port: int, setup: Setup, allowed: list[Path]) -> None:
    """Serve the page until Ctrl+C. Raises InputError if the port is taken.

    allowed: folders whose files the page may show.
    """
    try:
        blocks.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            theme=gr.themes.Default(font="sans-serif", font_mono="monospace"),
            max_file_size=f"{setup.most_mb}mb",
            allowed_paths=[str(folder) for folder in allowed],
            app_kwargs={"middleware": [Middleware(BaseHTTPMiddleware, dispatch=only_from_here)]},
        )
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--port {port} is taken, or no page can be: {reason}") from None
    print(f"open  http://{ADDRESS}:{port}  in your browser; end with Ctrl+C", flush=True)
    blocks.block_thread()
