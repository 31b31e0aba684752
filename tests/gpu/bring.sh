#!/bin/bash
# Makes the folder BROUGHT of run.sh on a machine that has a network, for one that has none.
# Usage: tests/gpu/bring.sh DIR [LLAMA_CPP_SOURCE]
#   usr/         what the program is linked with, from this machine's Debian or Ubuntu, older than or as old as the other's
#   python/      bitsandbytes with the libraries of one CUDA version, CUDA=130; PYTHON=3.12 for that interpreter
#   llama.cpp/   what llama-bench is built from, of a checkout
# DIR.tar.xz is the same in one file, which run.sh unpacks, for where what is carried is limited.
dir=$1 source=$2
CUDA=${CUDA:-130} PYTHON=${PYTHON:-3.12}
[ -n "$dir" ] || { sed -n '2,8s/^# //p' "$0" && exit 2; }
mkdir -p "$dir" && dir=$(realpath "$dir") && work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

libraries() {
    local all
    # The packages that hold the shared objects have other names in each release.
    all=$(apt-cache depends libcjson-dev libpcre2-dev libutf8proc-dev | sed -n 's/^ *Depends: \(lib\(cjson\|pcre2-8\|utf8proc\)[0-9-]*\)$/\1/p')
    # shellcheck disable=SC2086 # a list of words
    (cd "$work" && apt-get download -q libcjson-dev libpcre2-dev libutf8proc-dev $all) >"$work/log" 2>&1 || return 1
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/root" || return 1; done
    rm -rf "${dir:?}/usr" "$work/root/usr/share" "$work/root/usr/bin" && mv "$work/root/usr" "$dir/usr"
}

wheel() {
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$PYTHON" --platform manylinux_2_24_x86_64 \
        -d "$work" bitsandbytes >"$work/log" 2>&1 || return 1
    rm -rf "${dir:?}/python" && mkdir -p "$dir/python"
    python3 -m zipfile -e "$work"/bitsandbytes-*.whl "$dir/python" || return 1
    find "$dir/python" -name 'libbitsandbytes_*.so' ! -name "*cuda$CUDA*" ! -name '*cpu*' -delete
}

llama() {
    local part
    rm -rf "${dir:?}/llama.cpp" && mkdir -p "$dir/llama.cpp"
    for part in CMakeLists.txt LICENSE licenses cmake ggml src include common vendor scripts tools examples pocs; do
        [ -e "$source/$part" ] && { cp -r "$source/$part" "$dir/llama.cpp/" || return 1; }
    done
    rm -rf "$dir"/llama.cpp/*/server/{webui,public,tests}*
}

status=0
libraries || { cat "$work/log" && echo "bring.sh: without libraries" && status=1; }
wheel || { cat "$work/log" && echo "bring.sh: without bitsandbytes" && status=1; }
[ -z "$source" ] || llama || status=1
du -sh "$dir"/* "$dir"
tar -C "$dir" -cJf "$dir.tar.xz" . && du -h "$dir.tar.xz"
exit $status
