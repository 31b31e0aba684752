#!/bin/sh
# Installs the Debian packages of the arguments that are missing, once, and says which.  Usage: deps.sh PACKAGE..
missing=
if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "deps: not a Debian system; if the build fails, install what matches: $*" >&2
    exit 0
fi
for package in "$@"; do
    case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
    *" installed") ;;
    *) missing="$missing $package" ;;
    esac
done
[ -z "$missing" ] && exit 0

echo "deps: installing$missing" >&2
sudo=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "deps: this needs root; run: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is split on purpose
if ! { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >&2; then
    echo "deps: could not install; run: apt-get install$missing" >&2
    exit 1
fi
