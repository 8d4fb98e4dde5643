#!/bin/sh
# The part of the official image's entrypoint that tests and the demo use: POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, PGDATA, /docker-entrypoint-initdb.d/*.{sh,sql}, and arguments for the server (`-c fsync=off`).
# Beyond it: MODE=standby, a server that stays in recovery and refuses every write.
set -eu

case "${1:-postgres}" in
    postgres) [ $# -eq 0 ] || shift ;;
    -*) ;;
    *) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" postgres "$@"
fi

initialise() {
    # A container that was killed half way through leaves half a database behind.
    mkdir -p "$PGDATA"
    find "$PGDATA" -mindepth 1 -delete
    secret=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}" > "$secret"
    initdb --no-sync --encoding=UTF8 --locale=C.UTF-8 --username="$user" --pwfile="$secret" \
        --auth-local=trust --auth-host=scram-sha-256 > /dev/null
    rm "$secret"
    printf 'host %s all all scram-sha-256\n' all replication >> "$PGDATA/pg_hba.conf"

    pg_ctl --silent --wait -o "-c listen_addresses='' -c fsync=off" start
    [ "$database" = postgres ] || createdb --username="$user" "$database"
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) . "$file" ;;
            *.sql) psql --username="$user" --dbname="$database" --no-psqlrc --set=ON_ERROR_STOP=1 --file="$file" ;;
        esac
    done
    pg_ctl --silent --wait --mode=fast stop
    [ "${MODE:-primary}" != standby ] || touch "$PGDATA/standby.signal"
    touch "$PGDATA/.initialised"
}

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
[ -e "$PGDATA/.initialised" ] || initialise
exec postgres -c listen_addresses='*' "$@"
