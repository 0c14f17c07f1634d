#!/bin/sh
# make_secrets.sh [postgres]: make the passwords and the token of docker-compose.yml, once.
# With "postgres", Label Studio and the backend keep their data in PostgreSQL.
set -eu
cd "$(dirname "$0")"
if [ -e secrets ]; then
    echo "docker/secrets is there already; what it holds is in use, so nothing was changed" >&2
    exit 1
fi
case ${1-} in
"" | postgres) ;;
*)
    echo "'$1' is not known; expected nothing or: postgres" >&2
    exit 1
    ;;
esac
random() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; } # 40 hexadecimal digits

mkdir -m 700 secrets
for name in label_studio_password label_studio_api_key basic_auth_pass postgres_password; do
    random >secrets/$name
done
: >secrets/database_url
if [ "${1-}" = postgres ]; then
    echo "postgresql://postgres:$(cat secrets/postgres_password)@postgres/active_sampler" \
        >secrets/database_url
    printf 'COMPOSE_PROFILES=postgres\nLABEL_STUDIO_DB=default\n' >.env
fi
# The folder keeps them from other users of this machine; in the containers, whose users have
# other numbers, they have to be readable.
chmod 644 secrets/*
echo "Made docker/secrets. Log in to Label Studio with the password in label_studio_password."
