#!/usr/bin/env bash
# Nine minutes of the GPU grid: the throughput table once, then the next missing cells, several at a time on one GPU.
#
#     bash benchmark/gpu.sh                               # results in results/gpu
#     OUT=/somewhere JOBS=4 SECONDS_LEFT=540 bash benchmark/gpu.sh
#
# A cell that is not finished in time leaves a checkpoint in OUT/.unfinished, and the next call goes on from there. Where
# OUT does not outlive the call, copy the *.json files into results/gpu: what is there already is not run again.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=.
out=${OUT:-results/gpu}
mkdir -p "$out"
if [ "$out" != results/gpu ] && [ -d results/gpu ]; then cp -n results/gpu/*.json "$out"/ 2>/dev/null || true; fi

started=$(date +%s)
[ -e results/gpu/throughput.txt ] || [ -e "$out/throughput.txt" ] || python3 -m benchmark.speed --gpu | tee "$out/throughput.txt"
left=$((${SECONDS_LEFT:-540} - ($(date +%s) - started)))
# Status 75 says that cells are left: the next call runs them.
python3 -m nlcore sweep benchmark/gpu.yml --out "$out" --jobs "${JOBS:-3}" --time-budget "$((left > 0 ? left : 0))" || [ $? -eq 75 ]
python3 -m nlcore table "$out" --published results/published.csv --out "$out/table.md" || true
