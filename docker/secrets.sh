#!/bin/sh
# Draws the secrets that are missing into docker/secrets; existing ones stay.
set -eu
umask 077
mkdir -p "$(dirname "$0")/secrets"
cd "$(dirname "$0")/secrets"
draw() { [ -s "$1" ] || head -c 24 /dev/urandom | od -An -v -tx1 -w24 | tr -d ' ' > "$1"; }
draw postgres_password
draw api_token
draw login_password
[ -e aws_credentials ] || : > aws_credentials
if [ ! -s login ]; then
    if command -v caddy > /dev/null; then
        hash=$(caddy hash-password < login_password)
    else
        hash=$(docker run --rm --interactive caddy:2 caddy hash-password < login_password)
    fi
    echo "facesr $hash" > login
fi
# Containers read them under their own user; the folder is closed to others.
chmod 644 -- *
echo "docker/secrets is complete. The login is facesr with the password in login_password."
