"""The benchmark's figures as Markdown tables."""

from typing import Any

PEER = "MiniWorld"


def markdown(figures: dict[str, Any]) -> str:
    """All tables; rates are steps per second of processor time, medians of turns."""
    people = f"outdoors with {figures['pedestrians']} people"
    return "\n\n".join(
        [
            "One core, load {:.1f} before and {:.1f} after.".format(*figures["load"]),
            _speeds("indoors", figures["indoors"]),
            _speeds(people, figures["outdoors"]),
            _state_only(figures["state_only"]),
            _resets(figures["resets"]),
        ]
    )


def _speeds(place: str, sizes: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        f"| {place}, steps/s (least to most of turns) | {' | '.join(sizes)} |",
        "|---|" + "---|" * len(sizes),
    ]
    for contenders in zip(*sizes.values(), strict=True):
        cells = " | ".join(_rate(each) for each in contenders)
        rows.append(f"| {contenders[0]['name']} | {cells} |")
    peers = [_named(each, PEER) for each in sizes.values()]
    for contenders in zip(*sizes.values(), strict=True):
        if "obstacles" in contenders[0] and all(peers):  # whole steps of this project
            ratios = " | ".join(map(_ratio, contenders, peers))
            rows.append(f"| {contenders[0]['name']} ÷ {PEER} | {ratios} |")
    return "\n".join(rows)


def _ratio(each: dict[str, Any], peer: dict[str, Any] | None) -> str:
    assert peer is not None
    return f"{each['per_core_second'] / peer['per_core_second']:.2f}"


def _named(contenders: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((each for each in contenders if each["name"] == name), None)


def _rate(each: dict[str, Any]) -> str:
    least, most = each["range"]
    return f"{each['per_core_second']:.0f} ({least:.0f} to {most:.0f})"


def _state_only(contenders: list[dict[str, Any]]) -> str:
    rows = ["| no pictures, no lidar | steps/s |", "|---|---|"]
    return "\n".join([*rows, *(f"| {each['name']} | {_rate(each)} |" for each in contenders)])


def _resets(worlds: list[dict[str, Any]]) -> str:
    rows = [
        "| | generate | compile | reset into another world, 90 % below | memory |",
        "|---|---|---|---|---|",
    ]
    for each in worlds:
        memory = each["memory_mb"]
        rows.append(
            f"| {each['world']} | {each['generate_ms']:.0f} ms | {each['compile_ms']:.0f} ms "
            f"| {each['reset_ms']:.1f} ms, {each['reset_ms_90']:.1f} ms "
            f"| {memory[0]:.0f} → {memory[-1]:.0f} MB after {each['resets']} resets |"
        )
    return "\n".join(rows)
