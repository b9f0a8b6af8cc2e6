#!/usr/bin/env bash
# Builds every target for the engines of ClusterFuzzLite and OSS-Fuzz: program, seed corpus, dictionary and options into $OUT.
# Needs OUT and zip; takes WORK, SANITIZER, RUSTUP_TOOLCHAIN and RUSTFLAGS as those engines set them. Without an engine:
#   OUT=/somewhere SANITIZER=address fuzz/build.sh
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?where the programs go}"
command -v zip >/dev/null || { echo "missing: zip (Debian: apt-get install zip)" >&2; exit 3; }
mkdir -p "$OUT"

# Where an engine has a folder for what is in between, it goes there. A coverage build is the engine's own, which expects the usual folder.
if [ -n "${WORK:-}" ] && [ "${SANITIZER:-}" != coverage ]; then
    export CARGO_TARGET_DIR="$WORK/target"
fi
# Their image has a nightly of its own and names it; elsewhere only `none` does without one.
arguments=()
case "${SANITIZER:-address}" in
none) arguments+=(--sanitizer none) ;;
# Their cargo takes this for a coverage build.
coverage) ;;
*)
    export RUSTUP_TOOLCHAIN="${RUSTUP_TOOLCHAIN:-nightly}"
    arguments+=(--sanitizer "${SANITIZER:-address}")
    ;;
esac
cargo fuzz build -O "${arguments[@]}"

host=$(rustc -vV | sed -n 's/^host: //p')
built="${CARGO_TARGET_DIR:-fuzz/target}/$host/release"
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "$built/$target" "$OUT/"
    # Flat: seeds and regressions in one archive.
    rm -f "$OUT/${target}_seed_corpus.zip"
    find "corpus/fuzz/$target" -type f | LC_ALL=C sort |
        zip --quiet --junk-paths -X "$OUT/${target}_seed_corpus.zip" -@
    if [ -f "fuzz/dictionaries/$target.dict" ]; then
        cp "fuzz/dictionaries/$target.dict" "$OUT/"
    fi
    longest=400
    case "$target" in recording_parser | state_restore) longest=4096 ;; esac
    printf '[libfuzzer]\nmax_len = %s\ntimeout = 25\n' "$longest" >"$OUT/$target.options"
done
