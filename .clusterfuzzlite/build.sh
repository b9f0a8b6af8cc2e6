#!/bin/bash -eu
cd "$SRC/vtd"
exec fuzz/build.sh
