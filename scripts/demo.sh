#!/usr/bin/env bash
# The main job from end to end, made of nav-offrl commands that anyone can repeat one by one.
#
#   scripts/demo.sh            records its log by driving in the simulator
#   scripts/demo.sh LOG        takes a log of any format that `nav-offrl import` reads
#
# Everything goes to demo_output/ (OUTPUT=... for elsewhere). A step whose result is there already
# is skipped, so an interrupted demo goes on where it stopped; delete the folder to start over.
# SIZE=tiny does it all at toy size, in a minute or two, to see that every part works. RATE_HZ=10 is
# the rate of the steps; without it the log's, its recipe's or its format's own is taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log="${1:-}"
name=simulator
[[ -n "$log" ]] && name="$(basename "$log")"
output="${OUTPUT:-demo_output}/$name"
size="${SIZE:-full}"
rate=()
[[ -n "${RATE_HZ:-}" ]] && rate=(--rate-hz "$RATE_HZ")
nav_offrl="${NAV_OFFRL:-.venv/bin/nav-offrl}"
mkdir -p "$output"

case "$size" in
full)
    collect=(--steps 12000 --workers 2) train=() trials=6 drives=20 replays=3
    finetune=(--finetune.robot-minutes 12) ;;
tiny)
    collect=(--steps 1000 --workers 2)
    train=(--train.representation.steps 30 --train.steps 60 --train.log-every 10)
    trials=1 drives=2 replays=1
    finetune=(--finetune.robot-minutes 1.2 --finetune.drives-per-round 1) ;;
*) echo "demo: SIZE is full or tiny, not '$size'" >&2; exit 2 ;;
esac

# step TITLE RESULT COMMAND...: print the command, run it unless RESULT is there, note the time.
step() {
    local title="$1" result="$2"
    shift 2
    printf '\n\033[1m== %s\033[0m\n$ nav-offrl %s\n' "$title" "$*"
    if [[ -e "$result" ]]; then
        echo "(there already: $result)"
        return
    fi
    local started=$SECONDS
    "$nav_offrl" "$@"
    printf '%s\t%d\n' "$title" $((SECONDS - started)) >>"$output/times.tsv"
}

store="$output/drives.zarr" run="$output/run" bundle="$output/policy.bundle"
if [[ -n "$log" ]]; then
    step "import the log" "$store" import "$log" --output "$store" "${rate[@]}"
else
    step "record a log in the simulator" "$store" \
        collect courtyard --world-seed 0 "${collect[@]}" --output "$store"
fi
step "look at it" "$output/drives.png" inspect "$store" --picture "$output/drives.png"

resume=()
[[ -e "$run/config.yaml" ]] && resume=(--resume)
step "train offline" "$bundle" train iql "$store" --output "$run" "${train[@]}" "${resume[@]}"
step "judge it on held-out episodes" "$output/held_out/evaluation.json" \
    evaluate "$run" --output "$output/held_out"
step "export to ONNX" "$bundle" export "$run" --output "$bundle"

if [[ -n "$log" ]]; then
    step "replay held-out images through the ROS 2 nodes" "$output/replay/drive.json" \
        drive "$bundle" --replay "$store" --trials "$replays" --output "$output/replay"
else
    step "drive to goal images through the ROS 2 nodes" "$output/drive/drive.json" \
        drive "$bundle" --world courtyard --world-seed 0 --timeout 20 --trials "$trials" --output "$output/drive"
    step "finetune online in the simulator" "$output/finetuned/finetune.json" \
        finetune "$run" --world courtyard --world-seed 0 --drives "$drives" "${finetune[@]}" \
        --output "$output/finetuned"
fi
"$(dirname "$nav_offrl")/python" -m nav_offrl.evaluation.summary "$output"
