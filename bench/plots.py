"""Drawings of what was measured: `python bench/plots.py RECORDS FIGURES`.

Reads the records `cargo xtask bench` has written to the folder RECORDS and draws into FIGURES what
they have the figures for. The same records give the same files.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

Record = dict[str, Any]

OURS, THEIRS, LIMIT = "#0b6e99", "#c05c1e", "#7a7a7a"
plt.rcParams.update(
    {
        "svg.hashsalt": "thalweg",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "x",
        "grid.alpha": 0.3,
        "axes.axisbelow": True,
    }
)


def read_record(folder: Path, name: str) -> Record:
    """A record; an empty one where there is none."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"groups": []}


def samples(record: Record, group: str, series: str, field: str) -> list[float]:
    """One field of a series in every round; none where it was not measured."""
    found = [
        answer[field]
        for candidate in record["groups"]
        if candidate["name"] == group
        for one in candidate["series"]
        if one["key"] == series
        for answer in one["rounds"] or []
    ]
    return found


def save(figure: Any, path: Path) -> None:
    """Write a drawing, the same bytes for the same figures."""
    figure.tight_layout()
    metadata = {"Date": None, "Creator": None}
    figure.savefig(path, metadata=metadata, facecolor="white", bbox_inches="tight")
    plt.close(figure)
    lines = (line.rstrip() for line in path.read_text().splitlines())
    path.write_text("\n".join(lines) + "\n")
    print(path)


def draw_points(
    path: Path, axis: str, points: list[tuple[str, list[float], str]], title: str
) -> None:
    """One line per thing: every round as a dot, the median as a stroke with its value."""
    points = [point for point in points if point[1]]
    if not points:
        return
    figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.3 * len(points)))
    for index, (_, values, colour) in enumerate(points):
        median = statistics.median(values)
        axes.plot(values, [index] * len(values), "o", color=colour, alpha=0.35, markersize=4)
        axes.plot([median], [index], "|", color=colour, markersize=14, markeredgewidth=2)
        text = f"{median:.3g}" if median < 100 else f"{median:,.0f}"
        place = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
        axes.annotate(text, (median, index), fontsize=7, color=colour, **place)
    axes.set_yticks(range(len(points)), [label for label, _, _ in points])
    axes.set_ylim(len(points) - 0.4, -0.8)
    axes.set_xscale("log")
    axes.set_xlabel(axis)
    axes.set_title(title, loc="left", fontsize=10)
    save(figure, path)


def draw_ratios(path: Path, record: Record, title: str) -> None:
    """All ratios of a record with their intervals, beside where they ought to be."""
    rows = [
        (group["name"], row) for group in record["groups"] for row in group["rows"] if row["ratio"]
    ]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(10, 0.9 + 0.24 * len(rows)))
    labels = []
    for index, (group, row) in enumerate(rows):
        ratio = row["ratio"]
        goal = goal_of(row)
        reached = None if goal is None else goal[0](ratio["median"])
        colour = {None: LIMIT, True: OURS, False: THEIRS}[reached]
        axes.plot([ratio["low"], ratio["high"]], [index, index], color=colour, linewidth=2)
        axes.plot([ratio["median"]], [index], "o", color=colour, markersize=5)
        if goal is not None:
            axes.plot([goal[1]], [index], "|", color="black", markersize=10)
        labels.append(f"{group}: {row['what']} / {row['which_is']}")
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlabel(
        "thalweg / what stands beside it, with 95 % interval; strokes are goals: "
        "reached if blue, missed if orange"
    )
    axes.set_title(title, loc="left", fontsize=10)
    save(figure, path)


def goal_of(row: dict[str, Any]) -> tuple[Any, float] | None:
    """A goal for the ratio: what decides, and its bound; goals with units are about values."""
    for condition in row["goal"].split(", "):
        words = condition.split()
        if len(words) == 2:
            bound = float(words[1])
            reached = (lambda x: x <= bound) if words[0] == "<=" else (lambda x: x >= bound)
            return reached, bound
    return None


def scaled(values: list[float], factor: float) -> list[float]:
    """In another unit."""
    return [factor * value for value in values]


def hand_offs(streams: Record, figures: Path) -> None:
    """Hand-offs of small frames from Rust to Rust."""
    spinning = "hand-off of 64 B, spinning, one way"
    sleeping = "hand-off of 64 B, asleep while waiting"

    def one_way(group: str, series: str) -> list[float]:
        return scaled(samples(streams, group, series, "one_way_ns"), 1e-3)

    points = [
        ("spinning: two words", one_way(spinning, "raw"), LIMIT),
        ("spinning: thalweg, count seen", one_way(spinning, "plain"), OURS),
        ("spinning: iceoryx2, sample seen", one_way(spinning, "theirs"), THEIRS),
        ("spinning: two words and the copies", one_way(spinning, "raw_copy"), LIMIT),
        ("spinning: thalweg, frame and record read", one_way(spinning, "plain_copy"), OURS),
        ("spinning: iceoryx2, payload read", one_way(spinning, "theirs_copy"), THEIRS),
        ("asleep: futex alone", one_way(sleeping, "raw"), LIMIT),
        ("asleep: thalweg, count seen", one_way(sleeping, "observe"), OURS),
        ("asleep: iceoryx2, event alone", one_way(sleeping, "events"), THEIRS),
        ("asleep: thalweg, frame and record read", one_way(sleeping, "copy"), OURS),
        ("asleep: iceoryx2, sample and event", one_way(sleeping, "samples"), THEIRS),
    ]
    title = "64 B from one Rust process to another"
    draw_points(figures / "hand_offs.svg", "microseconds, one way", points, title)


def round_trips(streams: Record, figures: Path) -> None:
    """Round trips between two Python processes."""
    asleep, free = "Python round trips, asleep while waiting", "Python round trips, free to spin"
    # Earlier records have one kind of pyshmem's streams under another name.
    points = []
    for size, key in [("64 B", "small"), ("64 KiB", "medium"), ("4 MB", "large")]:
        points += [
            (f"{size}: thalweg, free to spin", samples(streams, free, key, "p50_us"), OURS),
            (f"{size}: thalweg, asleep", samples(streams, asleep, key, "p50_us"), OURS),
            (
                f"{size}: pyshmem, notify=True, asleep",
                samples(streams, asleep, f"{key}_notify", "p50_us")
                or samples(streams, asleep, f"their_{key}", "p50_us"),
                THEIRS,
            ),
            (
                f"{size}: pyshmem, default, polling",
                samples(streams, asleep, f"{key}_poll", "p50_us"),
                THEIRS,
            ),
        ]
    points.append(
        (
            "4 MB: thalweg, borrowed view written back",
            samples(streams, asleep, "view", "p50_us"),
            OURS,
        )
    )
    title = "A frame from one Python process to another and back"
    draw_points(figures / "round_trips.svg", "microseconds, round trip", points, title)


def one_process(streams: Record, figures: Path) -> None:
    """The tables of pyshmem's page."""
    points = []
    for side in [100, 1_000, 10_000]:
        group = f"one Python process, {side}x{side} float32"
        for what, key in [
            ("write, read()", "new"),
            ("write, read(out=)", "out"),
            ("product, matrix in place", "in_place"),
            ("product, matrix copied", "copied"),
        ]:
            both = [("thalweg", key, OURS), ("pyshmem", f"their_{key}", THEIRS)]
            for name, series, colour in both:
                rates = [1e6 / us for us in samples(streams, group, series, "p50_us")]
                points.append((f"{side}x{side}, {what}: {name}", rates, colour))
    title = "Round trips and matrix-vector products in one Python process"
    draw_points(figures / "one_process.svg", "per second", points, title)


def main(records: Path, figures: Path) -> None:
    """Draw everything there are figures for."""
    figures.mkdir(parents=True, exist_ok=True)
    streams, pipeline = read_record(records, "streams"), read_record(records, "pipeline")
    hand_offs(streams, figures)
    round_trips(streams, figures)
    one_process(streams, figures)
    draw_ratios(figures / "streams.svg", streams, "cargo xtask bench streams")
    draw_ratios(figures / "pipeline.svg", pipeline, "cargo xtask bench pipeline")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
