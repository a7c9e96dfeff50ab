#!/bin/bash
# The lock file, in two parts, for an image without CUDA:
#   without_cuda.sh torch FILE    torch and torchvision with their versions: their builds without CUDA have other hashes
#   without_cuda.sh rest FILE     everything else, with hashes, but what torch needs for CUDA alone
set -euo pipefail
cuda='^(nvidia-|cuda-|triton==)' torch='^(torch|torchvision)=='
case "$1" in
torch) grep -E "$torch" "$2" | sed -E 's/^([^ ;]+).*/\1/' ;;
rest) awk -v drop="$cuda|$torch" '/^[a-z0-9]/ { dropped = ($0 ~ drop) } !dropped' "$2" ;;
*) echo "usage: without_cuda.sh torch|rest FILE" >&2; exit 2 ;;
esac
