#!/usr/bin/env bash
# dnalm by torchrun: run this on each machine, with the address of the first.
#   FIRST=10.0.0.1 NODES=2 GPUS=8 docker/torchrun.sh experiment=dnabert2 trainer=ddp run.name=dnabert2
# The run directory must lie where all machines see it. torchrun gives a rank 30 seconds between SIGTERM and SIGKILL, in
# which a checkpoint has to be written; TORCH_ELASTIC_SHUTDOWN_TIMEOUT raises that.
set -euo pipefail
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-300}"
exec torchrun \
    --nnodes="${NODES:?number of machines}" \
    --nproc-per-node="${GPUS:?GPUs of each machine}" \
    --rdzv-backend=c10d \
    --rdzv-endpoint="${FIRST:?address of the first machine}:29500" \
    --rdzv-id=dnalm \
    -m dnalm pretrain "trainer.num_nodes=$NODES" "trainer.devices=$GPUS" "$@"
