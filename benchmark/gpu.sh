#!/usr/bin/env bash
# One call on a GPU machine: are the data there, a smoke test, the throughput, then the next missing cells of the grid.
#
#     NLCORE_DATA=DATA SECONDS_LEFT=540 bash benchmark/gpu.sh
#
# Everything is written below runs/gpu, which git ignores: a second call on the same machine goes on there, even inside
# a cell. Where $OUT names a folder, as on machines that bring back a few small files alone, an archive of the results
# lies there, made anew every half minute: unpack it into results/gpu, and none of its cells runs again anywhere.
#
#     SECONDS_LEFT   of this call, all in all (540)    JOBS            cells at a time (3)
#     GRID           the cells (benchmark/gpu.yml)     SMOKE           METHOD:PRESET ... of the smoke test, or nothing
#     OUT            where the archive goes            SMOKE_SECONDS   of the smoke test at most (30)
#     WORK           in place of runs/gpu              PACK_EVERY      seconds between two archives (30)
#     PYTHON         python3                           DEVICE          cuda, or cpu to try this script
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."
export PYTHONPATH=. PYTHONUNBUFFERED=1
started=$(date +%s) python=${PYTHON:-python3} device=${DEVICE:-cuda} jobs=${JOBS:-3} status=0
grid=${GRID:-benchmark/gpu.yml} work=${WORK:-runs/gpu} archive=${OUT:+$OUT/gpu.tar.gz}
smoke=${SMOKE-$(echo {ce,dividemix,tssd,anchor}:{tuned,paper})}
left() { echo $((${SECONDS_LEFT:-540} - ($(date +%s) - started))); }

# 1. The data. Nothing can be fetched here, so what is missing is said at once.
"$python" -m benchmark.ready "$grid"

mkdir -p "$work"
cp -n results/gpu/*.json "$work"/ 2>/dev/null || true
pack() {
    local names=("$work"/*.{json,md,txt,log}) part=$archive.part$BASHPID
    [ -n "$archive" ] && [ ${#names[@]} -gt 0 ] || return 0
    tar -C "$work" -czf "$part" "${names[@]##*/}" || [ $? -eq 1 ] || return 0  # 1: a log has grown meanwhile
    mv "$part" "$archive"
}
(while sleep "${PACK_EVERY:-30}"; do pack; done) >/dev/null 2>&1 & packer=$!
trap 'kill $packer 2>/dev/null || true; rm -f "$archive".part*; pack' EXIT

# 2. Methods and presets on digits, all at once, for half a minute: a fault of the device shows here, not in a cell.
smoke_run() {
    local name=${1/:/-}
    if timeout -k 5 "${SMOKE_SECONDS:-30}" "$python" -m nlcore train --method "${1%:*}" --preset "${1#*:}" \
        --networks 2 --subset 600 --epochs 3 --warmup-epochs 1 --set device="$device" --set threads=1 --set flip=true \
        --set holdout=0.1 --set precision=bfloat16 --out "$work/smoke/$name" >"$work/smoke_$name.log" 2>&1; then
        echo "ok $1"
    else
        echo "FAILED $1: $(tail -n 1 "$work/smoke_$name.log")"
    fi
}
if [ -n "$smoke" ] && [ ! -s "$work/smoke.txt" ]; then
    running=()
    for one in $smoke; do
        smoke_run "$one" >>"$work/smoke.part" & running+=($!)
    done
    wait "${running[@]}"  # and not for the packer
    mv "$work/smoke.part" "$work/smoke.txt"
    cat "$work/smoke.txt"
    echo "smoke test: $(left) s left"
fi

# 3. How fast the network is, 45 s at most.
if [ "$device" != cpu ] && [ ! -s "$work/throughput.txt" ]; then
    timeout -k 5 45 "$python" -m benchmark.speed --gpu | tee "$work/throughput.txt" || true
    echo "throughput: $(left) s left"
fi

# 4. The cells, those that fit and the longest of them first. Status 75 says that some are left for the next call.
seconds=$(left)
if [ "$seconds" -gt 0 ]; then
    "$python" -m nlcore sweep "$grid" --out "$work" --jobs "$jobs" --time-budget "$seconds" 2>&1 \
        | tee -a "$work/sweep.log" || status=$?
    "$python" -m nlcore table "$work" --published results/published.csv --out "$work/table.md" || true
else
    echo "no time left for a cell"
fi
[ $status -eq 0 ] || [ $status -eq 75 ]
