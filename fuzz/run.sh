#!/usr/bin/env bash
# Fuzzes with coverage on the stable toolchain; cargo-fuzz is not needed.
#   fuzz/run.sh [TARGET|all] [RUNS]      all targets, 100000 executions or a minute each
# Begins with seeds/TARGET/. An input that fails is kept in artifacts/TARGET/; to see it again:
#   fuzz/run.sh TARGET FILE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

known=$(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
target=${1:-all}
runs=${2:-100000}
longest=0 # seconds; without end
if [ "$target" = all ]; then
    targets=$known longest=60
elif grep -qxF -- "$target" <<< "$known"; then
    targets=$target
else
    echo "no target is called $target; there are: $(echo $known)" >&2
    exit 2
fi

again=
if [ -f "$runs" ]; then
    again=$runs
elif ! [[ $runs =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 [TARGET|all] [RUNS|FILE]" >&2
    exit 2
fi

# Given a target triple, cargo leaves build scripts alone: they must not be instrumented.
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
export RUSTFLAGS="-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 --cfg fuzzing"
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
bins=()
for name in $targets; do bins+=(--bin "$name"); done
cargo build --quiet --release --package mailring-fuzz --target "$host" "${bins[@]}"
built=$CARGO_TARGET_DIR/$host/release

if [ -n "$again" ]; then
    for name in $targets; do "$built/$name" "$again"; done
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in $targets; do
    corpus=$work/$name kept=$here/artifacts/$name log=$work/$name.log
    mkdir -p "$corpus" "$kept"
    [ ! -d "fuzz/seeds/$name" ] || cp "fuzz/seeds/$name"/* "$corpus"
    begin=$(date +%s%N)
    if ! "$built/$name" "$corpus" -runs="$runs" -max_total_time="$longest" -max_len=4096 \
        -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$kept/" -print_final_stats=1 \
        > "$log" 2>&1; then
        tail -n 40 "$log"
        echo "$name: FAILED; the input is kept in $kept" >&2
        exit 1
    fi
    rmdir --ignore-fail-on-non-empty "$kept"
    spent=$(($(date +%s%N) - begin))
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    inputs=$(find "$corpus" -type f | wc -l)
    # Without counters libFuzzer would only guess; it says how many it found.
    if ! grep -q 'INFO: Loaded .* modules' "$log"; then
        echo "$name: the build has no coverage counters" >&2
        exit 1
    fi
    printf '%-11s %9d executions, %8d a second, %4d inputs in the corpus\n' \
        "$name" "$count" "$((count * 1000000000 / spent))" "$inputs"
done
