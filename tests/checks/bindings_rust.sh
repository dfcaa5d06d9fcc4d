#!/bin/sh
# Rust: bindgen reads the headers and its tests of their layout pass, so do those of the safe crate,
# and device, page map and pool give C's numbers. Nothing is downloaded. By the tools of the
# distribution: others at /usr/local or in a home directory are not looked at.
. "$(dirname "$0")/bindings_common.sh"
long
PATH=/usr/bin:/bin
need cargo rustc rustdoc bindgen "$builder"

cp -r docs/bindings/rust "$work/rust"
mkdir "$work/pc"
printf 'Name: libballoon\nDescription: of this run\nVersion: 0\nLibs: -L%s -lballoon\nCflags: -I%s\n' \
    "$build/lib" "$PWD/include" >"$work/pc/libballoon.pc"
PKG_CONFIG_PATH=$work/pc
LD_LIBRARY_PATH=$build/lib
CARGO_HOME=$work/cargo
CARGO_TARGET_DIR=$work/target
RUSTC=/usr/bin/rustc
RUSTDOC=/usr/bin/rustdoc
RUSTFLAGS=-Dwarnings
export PKG_CONFIG_PATH LD_LIBRARY_PATH CARGO_HOME CARGO_TARGET_DIR RUSTC RUSTDOC RUSTFLAGS
# A stable compiler has no sanitizers, but its programs allocate by malloc(). They and nothing else
# are started with the one of the library; tests in the text are not.
run= what=
if [ -n "$sanitize" ]; then
    [ "$builder" = gcc ] || skip "clang's sanitizer does not go under Rust"
    run="env LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)"
    what='--lib --tests'
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
    export "CARGO_TARGET_${triple}_RUNNER=$run"
fi

cd "$work/rust"
cargo test --offline $what >"$work/out" 2>&1 || fail "$(tail -n 60 "$work/out")"
# From 0.69 on bindgen has the compiler check the layout.
grep -q 'test bindgen_test_layout_balloon_pool_config' "$work/out" ||
    grep -rqF '["Size of balloon_pool_config"]' "$work/target" --include=bindings.rs ||
    fail "bindgen checks no layout"
[ -n "$sanitize" ] || grep -q 'lib.rs .* compile fail .* ok' "$work/out" || fail "the borrow of an action is not tried"
cargo build --offline --examples >"$work/out" 2>&1 || fail "$(cat "$work/out")"
cd - >/dev/null
reference device tracker pool
same device $run "$work/target/debug/examples/vmm_loop"
for what in tracker pool; do
    same $what $run "$work/target/debug/examples/same" $what
done
