#!/usr/bin/env bash
# Builds every target for the engines of ClusterFuzzLite and OSS-Fuzz: program, seed corpus, dictionary and options into $OUT.
# Needs OUT; takes SANITIZER (address, or none where no engine is meant) and RUSTFLAGS as those engines set them.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?where the programs go}"
sanitizer="${SANITIZER:-address}"

# Their base image has a nightly of its own, which RUSTUP_TOOLCHAIN may name; without one, nightly.
toolchain=()
if [ "$sanitizer" != none ] && [ -z "${RUSTUP_TOOLCHAIN:-}" ]; then
    toolchain=(+nightly)
fi
cargo "${toolchain[@]}" fuzz build --sanitizer "$sanitizer" --release ${CARGO_FUZZ_TARGET_DIR:+--target-dir "$CARGO_FUZZ_TARGET_DIR"}

folder="${CARGO_FUZZ_TARGET_DIR:-fuzz/target}"
built=$(dirname "$(find "$folder" -path '*/release/whole_unit' -type f | head -n 1)")
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "$built/$target" "$OUT/"
    # Flat: seeds and regressions in one archive.
    rm -f "$OUT/${target}_seed_corpus.zip"
    find "corpus/fuzz/$target" -type f -print0 | sort -z |
        xargs -0 zip --quiet --junk-paths "$OUT/${target}_seed_corpus.zip"
    if [ -f "fuzz/dictionaries/$target.dict" ]; then
        cp "fuzz/dictionaries/$target.dict" "$OUT/"
    fi
    longest=400
    case "$target" in recording_parser | state_restore) longest=4096 ;; esac
    printf '[libfuzzer]\nmax_len = %s\ntimeout = 25\n' "$longest" >"$OUT/$target.options"
done
