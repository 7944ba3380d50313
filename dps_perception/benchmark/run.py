"""The sections of a run of `dps_benchmark`, one after the other in one process."""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import cli
from ..data.layout import read_image
from ..data.street import single_image
from ..data.street.seeds import TEST
from ..errors import ConfigError, DpsError
from ..inference.backends.devices import pick_device
from ..inference.backends.model_file import open_model
from ..inference.backends.registry import AUTO, BACKENDS, MODES, availability, check, precisions, require
from ..inference.comparison import EVERY, Candidate
from ..inference.machine import hardware, versions
from ..inference.predictor import Predictor
from ..inference.sources import open_source
from ..types import Sample
from . import dense_run, roofline, scale, scoring, stages
from .count import multiply_adds_of
from .messages import NOTE, OUTPUTS
from .peer_run import Pair
from .result import Result, ratio
from .stages import NETWORK, Frames
from .subjects import is_random, load, random_weights
from .synthetic import Look
from .timing import Effort, Timing, stage_of

AFTER_SIZE = (1024, 2048)
AFTER_SEGMENTS = (50, 100)
SCORED_IMAGES = 4


def run(args: argparse.Namespace, size: tuple[int, int] | None) -> Result:
    """Measure what is asked for, and say what it is as soon as it is known.

    Raises:
        DpsError: see `Predictor.load`, `measure` of `stages`; with several candidates one that fails becomes a note.
    """
    effort = Effort(args.runs, seconds=args.seconds)
    result = Result(hardware(), versions())  # its load before, not that of the measurements
    rest = bool(args.evaluation or args.scale or args.after_network)
    files = [*(args.weights or []), *(str(random_weights(name)) for name in args.preset or [])] or [""]
    frames = Frames(_sample(args), _outputs(args), args.point_stride, Look(args.segments, max(100, args.segments)))
    image = frames.sample.image.shape
    result.about = f"image {image[0]}x{image[1]}, at most {effort.runs} runs or {effort.seconds:g} s each"
    if frames.outputs:
        result.about += f", outputs {', '.join(frames.outputs)}"
        result.note(NOTE)
    if args.peers or args.roofline or not rest:
        _networks(args, files, size, frames, effort, result)
    if args.after_network:
        _after_network(args, frames, effort, result)
    if args.evaluation:
        result.rates = scoring.measure(scoring.pairs(SCORED_IMAGES, AFTER_SIZE))
    if args.scale:
        _scale(args, files[0], frames, effort, result)
    return result


def chosen(args: argparse.Namespace, files: Sequence[str]) -> list[Candidate]:
    """Every combination of what was named that can run here; where only one was named, whatever comes of it.

    Raises:
        DpsError: none of them can; the reason of the first.
    """
    backends = [n for n, why in availability().items() if not why] if args.backend == EVERY else args.backend.split(",")
    wanted, modes = args.precision.split(","), args.mode.split(",")
    found, problems = [], []
    for file, name in itertools.product(files, backends):
        if name != AUTO:
            require(name)
        model = open_model(file)
        several = precisions(name, model, args.device) if EVERY in wanted and name in BACKENDS else wanted
        own = [mode for mode in modes if mode in MODES.get(name, ())] if len(modes) > 1 else modes
        for precision, mode in itertools.product(several, own or [""]):
            try:
                if name != AUTO:
                    check(name, model, args.device, precision, mode)
            except DpsError as error:
                problems.append(error)
                continue
            found.append(Candidate(file, name, AUTO if precision == EVERY else precision, mode))
    if not found:
        raise problems[0]
    return found


def _networks(
    args: argparse.Namespace,
    files: Sequence[str],
    size: tuple[int, int] | None,
    frames: Frames,
    effort: Effort,
    result: Result,
) -> None:
    candidates = chosen(args, files)
    if args.backend == EVERY:
        for name, why in availability().items():
            if why:
                result.note(f"{name} is not here: {why}")
    pairs: dict[tuple[int, int], Pair] = {}
    by_pair: dict[tuple[object, ...], list[Timing]] = {}
    for candidate in candidates:
        try:
            predictor = load(candidate, args.device, size)
            timings = stages.measure(predictor, frames, effort)
        except DpsError as error:
            if len(candidates) == 1:
                raise
            result.note(f"{candidate.backend} {candidate.mode or candidate.precision}: {error}")
            continue
        print("\n".join(f"{row.subject}: {row.stage} {row.median_ms:.1f} ms" for row in timings), flush=True)
        result.timings += timings
        if is_random(predictor):
            result.note(stages.stand_in_note(predictor, frames.look))
        if args.roofline:
            _roof(predictor, timings, result)
        if args.peers:
            _beside_peers(predictor, timings, frames, effort, pairs, by_pair, result)
        predictor.close()


def _roof(predictor: Predictor, timings: Sequence[Timing], result: Result) -> None:
    """The peak is measured anew for each network, so that both saw the same load."""
    peak = roofline.measure_peak(predictor.backend.device, predictor.precision)
    if isinstance(peak, str):
        result.note(f"No roofline for {predictor.precision}: {peak}")
        return
    macs = multiply_adds_of(predictor.model.config, predictor.input_size)
    result.roofs.append(roofline.Roof(timings[0].subject, macs, stage_of(timings, NETWORK).median_ms, peak))


def _beside_peers(
    predictor: Predictor,
    timings: Sequence[Timing],
    frames: Frames,
    effort: Effort,
    pairs: dict[tuple[int, int], Pair],
    by_pair: dict[tuple[object, ...], list[Timing]],
    result: Result,
) -> None:
    """The pair at the same size, in the same runtime and precision; measured once for all of ours that share these."""
    size, mode = predictor.input_size, predictor.backend.describe().get("mode", "")
    mode = mode if mode == "compile" else "eager"
    key = (size, predictor.backend_name, predictor.precision, mode)
    if key not in by_pair:
        device = predictor.backend.device
        if size not in pairs:
            pairs[size] = Pair(size, frames.sample.image, frames.look, device)
            other = pairs[size].peers[1].size_hw
            result.note(f"Depth Anything runs at {other[0]}x{other[1]}, the nearest multiples of 14")
        try:
            by_pair[key] = pairs[size].measure(predictor.backend_name, predictor.precision, effort, mode)
        except DpsError as error:
            result.note(f"No peers in {predictor.backend_name} {predictor.precision}: {error}")
            return
        result.timings += by_pair[key]
    names = [peer.name for peer in pairs[size].peers]
    result.ratios.append(ratio(timings, by_pair[key], names))


def _after_network(args: argparse.Namespace, frames: Frames, effort: Effort, result: Result) -> None:
    model, image = open_model((args.weights or [""])[0]).info, _street(AFTER_SIZE)
    result.note("After the network: fusion and messages of synthetic predictions whose segments look like real ones")
    for number in AFTER_SEGMENTS:
        these = replace(frames, sample=image, look=Look(number, max(100, number)))
        device = pick_device(args.device)
        result.timings += stages.measure_after_network(model, AFTER_SIZE, these, effort, device)
        result.fusions.append(dense_run.measure_dense(model.label_space, AFTER_SIZE, these.look, effort, device))


def _scale(args: argparse.Namespace, file: str, frames: Frames, effort: Effort, result: Result) -> None:
    setting = scale.Setting(chosen(args, [file])[0], args.device, _street, effort, frames.outputs)
    with tempfile.TemporaryDirectory() as folder:
        result.scales = [
            scale.by_size(setting, scale.SIZES),
            scale.by_queries(setting, scale.QUERIES, scale.SIZES[2], Path(folder)),
            scale.by_segments(setting, open_model(file).info, scale.SEGMENTS, AFTER_SIZE),
        ]
    for axis in result.scales:
        print(f"plot: {scale.plot(axis, args.scale)}")


def _sample(args: argparse.Namespace) -> Sample:
    if args.image:
        return Sample(read_image(Path(args.image)), None, None, None, Path(args.image).stem)
    if args.image_size:
        return _street(cli.parse_size(args.image_size, smallest=32, largest=8192))
    return next(iter(open_source(args.data, split=args.split, limit=1)))


def _street(size: tuple[int, int]) -> Sample:
    return single_image(TEST[0], *size)


def _outputs(args: argparse.Namespace) -> tuple[str, ...]:
    names = OUTPUTS if args.outputs is None else tuple(args.outputs.split(","))
    if args.no_ros:
        return ()
    if "" in names:
        raise ConfigError(f"--outputs '{args.outputs}': give one or more topics with commas, or --no-ros")
    return names
