"""The page for people that lies beside the graphs."""

from nav_offrl.runtime.contract import BundleContract

CARD = """# Navigation policy `{method}`

Drives a robot towards the place on a goal image, from one forward camera. Written by
`nav-offrl export`; the facts are those of `bundle.json`, which is what programs read.

| | |
|---|---|
| camera | {height} x {width} pixels, {encoding}, horizontal field of view {fov} |
| rate | {rate:g} Hz |
| command limits | {low_v:g} to {high_v:g} m/s, {low_w:g} to {high_w:g} rad/s |
| arrival | {arrival:g} predicted steps or fewer |
| latent | {size} numbers |

## Checked when it was made

| graph | ONNX Runtime against torch, relative error | latency p50 / p99, ms |
|---|---|---|
{rows}

{parity}
{latency}

## Provenance

{provenance}

## Limits

The policy imitates and improves on the drives that it was trained on. It detects no obstacles,
knows no rules of traffic, and has no guarantee outside places and light like its training data.
Run it only behind the safety gate, with a collision monitor and a hardware emergency stop.
"""


def model_card(contract: BundleContract) -> str:
    """Markdown for the contract's reader."""
    camera, action, parity, latency = (
        contract.camera,
        contract.action,
        contract.parity,
        contract.latency,
    )
    rows = []
    for name in ("encoder", "policy", "distance"):
        error = f"{parity.relative_error[name]:.1e}" if parity else "not compared"
        timing = latency.graphs[name] if latency else None
        milliseconds = f"{timing.p50_ms:.2f} / {timing.p99_ms:.2f}" if timing else "not measured"
        rows.append(f"| {name} | {error} | {milliseconds} |")
    provenance = (f"- {key}: {value}" for key, value in sorted(contract.provenance.items()))
    return CARD.format(
        method=contract.method,
        height=camera.height,
        width=camera.width,
        encoding=camera.encoding,
        fov="unknown" if camera.horizontal_fov is None else f"{camera.horizontal_fov:.3f} rad",
        rate=contract.rate_hz,
        low_v=action.low[0],
        high_v=action.high[0],
        low_w=action.low[1],
        high_w=action.high[1],
        arrival=contract.arrival_steps,
        size=contract.embedding_size,
        rows="\n".join(rows),
        parity=f"Compared on {parity.frames} frames at batch sizes {list(parity.batch_sizes)}."
        if parity
        else "",
        latency=f"Timed at batch 1 on {latency.machine}, {latency.provider}, "
        f"{latency.intra_op_threads} thread(s), {latency.runs} runs; your robot differs."
        if latency
        else "",
        provenance="\n".join(provenance) or "none recorded",
    )
