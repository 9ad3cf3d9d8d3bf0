#!/usr/bin/env bash
# Eight topics of news: search, train, predict. Run from the checkout after `make install`; minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/classification}
.venv/bin/autopeft fetch minilm reuters-r8 --into .cache
.venv/bin/autopeft profile --measure
.venv/bin/autopeft search --model .cache/minilm --data .cache/reuters-r8 --token-limit 32 \
    ${LIMIT:---time 2m} --seed 0 --output "$out" --resume
.venv/bin/autopeft train "$out/tuned.yaml" --data .cache/reuters-r8 --output "$out/trained" \
    --epochs "${EPOCHS:-1}" --resume
printf 'text\n%s\n%s\n' "profit rose to five cents a share" "opec will cut its crude output" > "$out/new.csv"
.venv/bin/autopeft predict "$out/trained" --data "$out/new.csv"
