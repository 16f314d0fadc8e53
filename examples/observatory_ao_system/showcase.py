"""A moving picture of the loop at work, made from its streams while it runs, and its benchmark.

    python examples/observatory_ao_system/showcase.py [--rate-hz 200] [--duration 4]
        [--pictures 40] [--clip showcase.gif]

Needs Pillow. A camera writes frames at a steady rate. This program looks at the streams now and
then, as any other program on the machine could, and draws what it finds: the image, how far the
spots are from where they should be, and the commands. Then `PipelineManager.benchmark` measures the
loop.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_affine_reconstructor import FRAMES, Camera, await_last, positive
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from run_example import SUBAPERTURES, Array, Calibration, images
from run_example import positive as positive_integer
from thalweg import PipelineConfig, PipelineManager

PANEL = 256
MARGIN = 16
HEADER = 24
BACKGROUND = (24, 24, 32)
TEXT = (220, 220, 220)

Colours = NDArray[np.uint8]


def bright(values: Array, highest: float) -> Colours:
    """Grey levels from 0 to `highest`, on a scale that also shows what is dim."""
    level = np.sqrt(np.clip(values / highest, 0.0, 1.0)) * 255
    colours: Colours = np.repeat(level.astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    return colours


def signed(values: Array, highest: float) -> Colours:
    """Blue for negative, white for 0, red for positive values."""
    share = np.clip(values / highest, -1.0, 1.0)[..., np.newaxis]
    red, white, blue = (np.array(colour) for colour in ((200, 30, 30), (245,) * 3, (30, 60, 200)))
    mixed = white + np.abs(share) * (np.where(share > 0, red, blue) - white)
    colours: Colours = mixed.astype(np.uint8)
    return colours


def picture(frame_id: int, panels: Mapping[str, Colours]) -> Image.Image:
    """Panels side by side, each with its title."""
    width = len(panels) * (PANEL + MARGIN) + MARGIN
    canvas = Image.new("RGB", (width, PANEL + HEADER + 2 * MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for index, (title, colours) in enumerate(panels.items()):
        left = MARGIN + index * (PANEL + MARGIN)
        draw.text((left, MARGIN // 2), title, fill=TEXT, font_size=16)
        panel = Image.fromarray(colours).resize((PANEL, PANEL), Image.Resampling.NEAREST)
        canvas.paste(panel, (left, HEADER + MARGIN // 2))
    draw.text((MARGIN, HEADER + PANEL + MARGIN), f"frame {frame_id}", fill=TEXT, font_size=12)
    return canvas


def look(manager: PipelineManager, calibration: Calibration) -> Image.Image:
    """A picture of what the streams hold now. They go on meanwhile: the newest image may be a frame
    ahead of the newest commands."""
    publication = manager.get_stream("commands").read_new_publication(timeout=30.0)
    square = (SUBAPERTURES, SUBAPERTURES)
    spots = manager.get_stream("centroids").read().astype(np.float64)
    away = spots - calibration.reference_slopes.reshape(spots.shape)
    panels = {
        "wavefront image": bright(manager.get_stream("wavefront_image").read(), 100.0),
        "spots: pixels away": bright(np.hypot(away[..., 0], away[..., 1]), 1.5),
        "commands": signed(publication.payload.reshape(square), float(calibration.high.max())),
    }
    return picture(publication.frame_id, panels)


def run(rate_hz: float, duration_s: float, pictures: int, clip: Path) -> dict[str, Any]:
    """Make the clip in about `duration_s` seconds, then measure as long; what `benchmark` says.

    Raises:
        WorkerProcessError, TimeoutError: the loop does not work.
    """
    rng = np.random.default_rng(7)
    calibration = Calibration.synthetic(rng)
    frames = np.stack(list(images(calibration, FRAMES, rng)))
    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    with PipelineManager(config) as manager:
        manager.build()
        manager.get_stream("reconstructor").write(calibration.reconstructor)
        manager.get_stream("reconstructor_bias").write(calibration.bias)
        manager.get_stream("command_low").write(calibration.low)
        manager.get_stream("command_high").write(calibration.high)
        manager.start()
        camera = Camera(manager, frames, rate_hz)
        ended = threading.Event()

        def write() -> None:
            while not ended.is_set():
                camera.write_for(0.1)

        writer = threading.Thread(target=write, name="camera")
        writer.start()
        try:
            drawn = []
            for _ in range(pictures):
                drawn.append(look(manager, calibration))
                ended.wait(duration_s / pictures)
            report = manager.benchmark(duration_s, output_stream="commands", warmup_s=0.1)
        finally:
            ended.set()
            writer.join()
        await_last(manager, camera.written)
        manager.stop()
    drawn[0].save(clip, save_all=True, append_images=drawn[1:], duration=100, loop=0)
    return report


def main() -> int:
    """Parse the command line, draw and measure."""
    parser = argparse.ArgumentParser(description="Draw the observatory loop at work.")
    parser.add_argument("--rate-hz", type=positive, default=200.0, help="frames per second (200)")
    parser.add_argument("--duration", type=positive, default=4.0, help="seconds of each part (4)")
    parser.add_argument(
        "--pictures", type=positive_integer, default=40, help="pictures of the clip (40)"
    )
    parser.add_argument(
        "--clip", type=Path, default=Path("showcase.gif"), help="where to (showcase.gif)"
    )
    arguments = parser.parse_args()
    report = run(arguments.rate_hz, arguments.duration, arguments.pictures, arguments.clip)
    print(f"clip of {arguments.pictures} pictures: {arguments.clip}")
    print(f"commands: {report['frames']} frames, {report['throughput_hz']:.1f} Hz")
    for title, key in (("from one to the next", "inter_arrival_ms"), ("latency", "latency_ms")):
        figures = ", ".join(f"{name} {report[key][name]:.2f} ms" for name in ("p50", "p99", "max"))
        print(f"{title}: {figures}")
    for name, worker in report["workers"].items():
        print(f"{name} computes {worker['avg_exec_ms']:.3f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
