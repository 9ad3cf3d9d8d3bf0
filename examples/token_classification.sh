#!/usr/bin/env bash
# Entities in tweets, word by word: a search decided by strict span F1. Run from the checkout after `make install`.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/autopeft fetch minilm tweet-entities --into .cache
.venv/bin/autopeft profile --measure
.venv/bin/autopeft search --model .cache/minilm --data .cache/tweet-entities/tweets.jsonl --folds 1 \
    ${LIMIT:---time 4m} --seed 0 --output "${OUT:-runs/token-classification}" --resume
