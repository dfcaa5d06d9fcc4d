#!/bin/sh
# Go, by cgo: the tests of its pool pass, and a manager's loop gives C's numbers. Nothing is downloaded.
. "$(dirname "$0")/bindings_common.sh"
long
need go gofmt pkg-config "$builder"

mkdir "$work/pc"
printf 'Name: libballoon\nDescription: of this run\nVersion: 0\nLibs: -L%s -lballoon\nCflags: -I%s\n' \
    "$build/lib" "$PWD/include" >"$work/pc/libballoon.pc"
PKG_CONFIG_PATH=$work/pc
LD_LIBRARY_PATH=$build/lib
GOPATH=$work/go GOCACHE=$work/cache GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local
export PKG_CONFIG_PATH LD_LIBRARY_PATH GOPATH GOCACHE GOFLAGS GOPROXY GOTOOLCHAIN
CC=$builder
export CC

cp -r docs/bindings/go "$work/src"
cd "$work/src"
[ -z "$(gofmt -l .)" ] || fail "not as gofmt lays it out: $(gofmt -l .)"
asan=
if [ -n "$sanitize" ]; then
    asan=-asan
    CGO_LDFLAGS="-g -O2 $sanitize"
    export CGO_LDFLAGS
fi
go vet ./... >"$work/out" 2>&1 || fail "$(cat "$work/out")"
go test $asan ./... >"$work/out" 2>&1 || fail "$(cat "$work/out")"
grep -q '^ok .*libballoon/balloon' "$work/out" || fail "no tests: $(cat "$work/out")"
go build $asan -o "$work/manager" ./manager >"$work/out" 2>&1 || fail "$(cat "$work/out")"
cd - >/dev/null
reference pool
same pool "$work/manager"
# Go's folders are read-only.
chmod -R u+w "$work"
