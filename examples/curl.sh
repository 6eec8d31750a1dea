#!/bin/sh
# Everlog with curl. EVERLOG_URL and EVERLOG_KEY say where Everlog is and what opens it.
set -eu

url="${EVERLOG_URL:-http://127.0.0.1:8000}"
key="${EVERLOG_KEY:-my-first-key}"
user="${EVERLOG_USER:-example-curl}"

ask() {
    path="$1"
    shift
    curl -sS --fail-with-body -H "Authorization: Bearer $key" -H 'Content-Type: application/json' "$@" "$url$path"
    echo
}

echo "--- say something"
ask /v1/memories -d '{"messages": [{"role": "user", "content": "I love hiking"}], "user_id": "'"$user"'"}'
echo "--- list what is known"
ask "/v1/memories?user_id=$user"
echo "--- search by meaning"
ask /v1/search -d '{"query": "What does the user do outdoors?", "user_id": "'"$user"'", "limit": 1}'
echo "--- delete it all"
ask "/v1/memories?user_id=$user" -X DELETE
