#!/bin/sh
# Makes every file of this folder again, into runs/data. Needs CP2K (apt-get install cp2k cp2k-data libopenblas0-openmp) and
# CHGNet (pip install chgnet); about three hours on one core. Stop it anywhere and run it again.
set -e
cd "$(dirname "$0")/.."
nearsight=${NEARSIGHT:-.venv/bin/nearsight}
for campaign in hfox gst ptge data/aHfO2_372.yaml data/aHfO2_96.yaml; do
    "$nearsight" generate "$campaign" --output "runs/data/$(basename "$campaign" .yaml)"
done
