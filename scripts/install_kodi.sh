#!/usr/bin/env bash
# What `make test-slow` needs beside what .ci/run installs: Kodi with its IPTV client, and a screen for it.
# Debian's packages, some 300 MB; as root. Without them the tests of tests/test_kodi.py skip.
set -eu
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
  kodi kodi-pvr-iptvsimple kodi-inputstream-ffmpegdirect xvfb xauth
