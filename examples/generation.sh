#!/usr/bin/env bash
# Tunes SmolLM2-135M-Instruct on questions and answers: the demo's command on a decoder and a generation task.
# Run from the checkout after `make install`; five to eight minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/autopeft fetch smollm2 chatterbot --into .cache
.venv/bin/autopeft profile --measure
.venv/bin/autopeft search --model .cache/smollm2 --data .cache/chatterbot/pairs.jsonl \
    --task instruction --token-limit 64 --folds 1 ${LIMIT:---time 3m} --seed 0 \
    --output "${OUT:-runs/generation}" --resume
