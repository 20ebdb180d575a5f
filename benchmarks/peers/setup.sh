#!/bin/sh
# Make what benchmarks/peers needs, once: throwaway environments of the peers (never our dependencies) and Redis.
# Usage: benchmarks/peers/setup.sh [FOLDER]     default: $TMPDIR/relay_bench_peers, where the benchmark looks for them
set -eu
folder=${1:-${TMPDIR:-/tmp}/relay_bench_peers}
python=${PYTHON:-python3}

if ! command -v redis-server >/dev/null; then
    echo "Installing redis-server with apt-get; the benchmark starts its own, on a unix socket."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server
fi

make_environment() { # name, requirements…
    name=$1
    shift
    "$python" -m venv "$folder/$name"
    "$folder/$name/bin/pip" install --quiet --disable-pip-version-check "$@" "psycopg[binary]>=3.2"
    "$folder/$name/bin/pip" freeze > "$folder/$name/versions.txt"
}

mkdir -p "$folder"
make_environment django_webhook "django-webhook==0.0.15" "django>=5.2,<5.3" "celery[redis]" packaging
make_environment drf_hooks "drf-hooks==0.1.5"
echo "The peers are in $folder."
