#!/usr/bin/env bash
# Starts the example, reads an event stream as a browser would, kills what serves
# it piece by piece, and prints what the client saw. Exit code 1 if an event was
# lost or repeated, or if the death of an origin reached the client.
set -euo pipefail
cd "$(dirname "$0")"
url=http://127.0.0.1:${PORT:-8080}
out=$(mktemp -d)
trap 'touch "$out/stop"; kill "$(cat "$out/curl" 2>/dev/null)" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$out"' EXIT

command -v curl >/dev/null || { echo "try.sh: curl is needed" >&2; exit 2; }
docker compose up -d --build --wait

# A client as EventSource is one: when its connection ends it comes back, and says
# in Last-Event-ID which event it had last. An event counts once its blank line
# has come.
client() {
	local last=0
	while [[ ! -e $out/stop ]]; do
		echo connected >>"$out/log"
		: >"$out/body"
		curl -sN -H 'Accept: text/event-stream' -H "Last-Event-ID: $last" "$url/events?rate=20" >"$out/body" &
		echo $! >"$out/curl"
		wait $! || echo "error (curl $?)" >>"$out/log"
		ids "$out/body" >>"$out/ids"
		last=$(tail -n 1 "$out/ids" 2>/dev/null || true)
		last=${last:-0}
		sleep 0.2
	done
}

ids() { awk -F ': *' '/^id:/ {id = $2} /^$/ {if (id != "") print id; id = ""}' "$1"; }

# step TEXT ALLOWED CMD...: does it, and tells what it did to the client, who may
# have to connect anew ALLOWED times.
step() {
	local text=$1 allowed=$2 before after
	before=$(grep -c connected "$out/log")
	shift 2
	"$@" >/dev/null 2>&1
	sleep 3
	after=$(grep -c connected "$out/log")
	printf '%-34s the client connected anew %d times\n' "$text" $((after - before))
	((after - before <= allowed)) || failed=1
}

kill_and_restart() {
	docker compose kill "$1"
	sleep 1
	docker compose up -d --wait "$1"
}

failed=0
: >"$out/ids"
client &
sleep 2
echo
for round in 1 2; do
	step "$round: origin-a killed" 0 kill_and_restart origin-a
	step "$round: origin-b killed" 0 kill_and_restart origin-b
done
step "holdfast-a killed" 1 kill_and_restart holdfast-a
step "holdfast-b killed" 1 kill_and_restart holdfast-b
step "holdfast-a stopped in order" 1 docker compose restart holdfast-a

touch "$out/stop"
kill "$(cat "$out/curl")"
wait
errors=$(grep -c error "$out/log" || true)
echo
sort -n "$out/ids" | awk -v connections="$(grep -c connected "$out/log")" -v errors=$((errors - 1)) '
	NR == 1 {first = $1}
	NR > 1 && $1 == last {repeated++}
	NR > 1 && $1 > last + 1 {lost += $1 - last - 1}
	{last = $1}
	END {
		printf "events %d to %d: %d lost, %d repeated; %d connections, %d of them broke off\n", first, last, lost, repeated, connections, errors
		exit NR == 0 || lost > 0 || repeated > 0
	}' || failed=1
echo "The example is still up: $url/events, and docker compose down ends it."
exit "$failed"
