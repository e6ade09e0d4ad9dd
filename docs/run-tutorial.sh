#!/usr/bin/env bash
# Runs the commands of docs/tutorial.md (its ```bash blocks, in order) against a Quarry of its own,
# and checks the answers that were read while the traffic moved.
#
#   docs/run-tutorial.sh [path of the quarry binary]
#
# Needs the aws CLI, cargo, python3, and docker or podman.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quarry=$(realpath "${1:-target/release/quarry}")
[ -x "$quarry" ] || { echo "$quarry is not there: cargo build --release" >&2; exit 1; }
work=$(mktemp -d /tmp/qt.XXXX)
mkdir "$work/bin" "$work/data"
chmod 700 "$work/data"
ln -s "$quarry" "$work/bin/quarry"
if ! { command -v docker && docker info; } >/dev/null 2>&1; then
  podman=$(command -v podman) || { echo 'the tutorial builds images with docker or podman; neither is here' >&2; exit 1; }
  cat >"$work/bin/docker" <<SHELL
#!/bin/sh
command=\$1
shift
case \$command in
  login | push) exec "$podman" "\$command" --tls-verify=false "\$@" ;;
  *) exec "$podman" "\$command" "\$@" ;;
esac
SHELL
  chmod +x "$work/bin/docker"
fi
export PATH=$work/bin:$PATH QUARRY_DATA_DIR=$work/data AWS_PAGER=''

quarry serve --listen 127.0.0.1:0 2>"$work/serve.log" &
serve=$!
finish() {
  touch target/enough
  quarry stop >/dev/null 2>&1 || kill "$serve" 2>/dev/null || true
  wait "$serve" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
for _ in $(seq 100); do
  [ -e "$work/data/serve.json" ] && break
  kill -0 "$serve" 2>/dev/null || { cat "$work/serve.log" >&2; exit 1; }
  sleep 0.1
done

# shellcheck disable=SC2016  # the backquotes are Markdown's
sed -n '/^```bash$/,/^```$/{/^```/d;p}' docs/tutorial.md >"$work/commands"
(
  set -x
  # shellcheck disable=SC1091
  . "$work/commands"
)
[ "$(sort -u target/answers)" = 200 ] || { echo 'some reads failed:' >&2; sort target/answers | uniq -c >&2; exit 1; }
echo "the tutorial holds; $(wc -l <target/answers) reads, all answered 200"
