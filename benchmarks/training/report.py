"""The benchmark's figures as a Markdown table."""

from typing import Any

HEAD = "| | cores | contender | updates/s | least to most of turns | ours to this one |"


def markdown(figures: dict[str, Any]) -> str:
    """All groups; on one core by processor time, on several by wall clock; medians of turns."""
    facts = f"{figures['machine']}; Python {figures['python']}, torch {figures['torch']}."
    rows = [line for group in figures["groups"] for line in _group(group)]
    return "\n".join([facts, "", HEAD, "|---|---|---|---|---|---|", *rows])


def rate(each: dict[str, Any], cores: int) -> float:
    """Updates per second of processor time on one core, of wall clock on several."""
    return float(each["per_core_second"] if cores == 1 else each["per_second"])


def _group(group: dict[str, Any]) -> list[str]:
    cores, contenders = group["cores"], group["contenders"]
    first = f"{group['title']}, {group['work']}"
    lines = []
    for each in contenders:
        # Turns tell their range by processor time, which says nothing of several cores.
        spread = "{:.1f} to {:.1f}".format(*each["range"]) if cores == 1 else "-"
        ratios = " / ".join(
            f"{rate(one, cores) / rate(each, cores):.2f}"
            for one in contenders
            if one["name"].startswith("ours") and not each["name"].startswith("ours")
        )
        lines.append(
            f"| {first} | {cores} | {each['name']} | {rate(each, cores):.1f} "
            f"| {spread} | {ratios} |"
        )
        first = ""
    return lines
