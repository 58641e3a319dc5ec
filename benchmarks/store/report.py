"""The benchmark's figures as Markdown tables."""

from typing import Any


def markdown(figures: dict[str, Any]) -> str:
    """Return all tables; ratios are speeds relative to the memory map's, more is better."""
    return "\n\n".join(
        [
            _head(figures),
            _speeds(figures),
            _cold(figures["cold"]),
            _overlap(figures["overlap"]),
            _memory(figures["memory"]),
        ]
    )


def _head(figures: dict[str, Any]) -> str:
    loads = f"{figures['load_before']:.1f} before, {figures['load_after']:.1f} after"
    return (
        f"{figures['frames']} frames of {figures['size']}x{figures['size']}x3, "
        f"{figures['frames_a_batch']} a batch; {figures['cpus']} cores, load {loads}. "
        f"Drawing a batch's steps and goals: {_ms(figures['draw'])} ms."
    )


def _speeds(figures: dict[str, Any]) -> str:
    warm, sizes, frames = figures["warm"], figures["bytes"], figures["frames"]
    reused, fresh = warm["memmap, buffer"]["median"], warm["memmap, new array"]["median"]
    a_frame = {name: size / frames for name, size in sizes.items()}
    rows = [
        ("training tier, into a buffer", warm["training tier, buffer"], reused, "training tier"),
        ("NumPy memmap, into a buffer", warm["memmap, buffer"], reused, "npy"),
        ("training tier, new array", warm["training tier, new array"], fresh, "training tier"),
        ("NumPy memmap, new array", warm["memmap, new array"], fresh, "npy"),
    ]
    table = [
        "| warm, in the page cache | ms a batch (10-90 %) | frames/s | x memmap | kB a frame |",
        "|---|---|---|---|---|",
    ]
    count = figures["frames_a_batch"]
    for name, timing, base, size in rows:
        table.append(_row(name, timing, count, base, a_frame[size]))
    for other in figures["others"]:
        subset = "" if other["frames"] == frames else f", {other['frames']} frames"
        lossy = "" if other["exact"] else ", lossy"
        name = f"{other['name']}{subset}{lossy}"
        table.append(_row(name, other["timing"], count, fresh, other["bytes_a_frame"]))
    table.append(
        f"| (the recorded tier, JPEG quality 95) | | | | {a_frame['recorded JPEG'] / 1e3:.1f} |"
    )
    cpu = {
        kind: warm[f"memmap, {kind}"]["cpu"] / warm[f"training tier, {kind}"]["cpu"]
        for kind in ("buffer", "new array")
    }
    note = "By CPU time, which other processes do not disturb, x memmap is {:.2f} and {:.2f}."
    return "\n".join([*table, "", note.format(cpu["buffer"], cpu["new array"])])


def _row(name: str, timing: dict[str, float], count: int, base: float, size: float) -> str:
    median = timing["median"]
    spread = f"{timing['low'] * 1e3:.2f}-{timing['high'] * 1e3:.2f}"
    return (
        f"| {name} | {median * 1e3:.2f} ({spread}) | {count / median:,.0f} | {base / median:.3g} | "
        f"{size / 1e3:.1f} |"
    )


def _cold(cold: dict[str, Any]) -> str:
    ratio = cold["memmap"]["median"] / cold["tier"]["median"]
    rows = [
        f"| {name} | {_ms(cold[key])} ({_range(cold[key])}) |"
        for name, key in (("training tier", "tier"), ("NumPy memmap", "memmap"))
    ]
    title = "| cold, each batch from disk | ms a batch (10-90 %) |\n|---|---|"
    note = (
        f"Cold ratio {ratio:.2f}, {cold['tier']['batches']} batches each; "
        f"{cold['left_in_memory']:.1%} of the pages were still in memory."
    )
    return "\n".join([title, *rows, "", note])


def _overlap(overlaps: dict[str, dict[str, float]]) -> str:
    table = [
        "| prefetch, ms a step | computes | gathers | in turn | prefetched | waiting hidden |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in overlaps.items():
        keys = ("compute", "gather", "one_after_the_other", "prefetched")
        cells = " | ".join(f"{figures[key] * 1e3:.2f}" for key in keys)
        table.append(f"| computing on {name} | {cells} | {figures['hidden']:.0%} |")
    return "\n".join(table)


def _memory(rows: list[dict[str, float]]) -> str:
    table = [
        "| a process that draws and prefetches | anonymous MB | imports | buffers | mapped |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        table.append(
            f"| {row['steps']:.0f} frames | {row['anonymous_mb']:.0f} | "
            f"{row['of_that_imports_mb']:.0f} | {row['of_that_buffers_mb']:.0f} | "
            f"{row['mapped_mb']:.0f} |"
        )
    return "\n".join(table)


def _ms(timing: dict[str, float]) -> str:
    return f"{timing['median'] * 1e3:.2f}"


def _range(timing: dict[str, float]) -> str:
    return f"{timing['low'] * 1e3:.2f}-{timing['high'] * 1e3:.2f}"
