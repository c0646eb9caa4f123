#!/usr/bin/env bash
# dnalm on SLURM: two machines with four GPUs each, one task a GPU. Submit with
#   sbatch docker/slurm.sh experiment=nt_v2_500m data=multispecies data.manifest=species.tsv run.name=nt500m
# Five minutes before the time is up, and whenever the job is preempted, SLURM signals the tasks: all ranks save the same
# step and end with exit code 143, and the job is put into the queue again. It then goes on from there, on whatever number
# of machines it gets, since resume=auto is the default and the run directory is a function of run.name.
#SBATCH --job-name=dnalm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=dnalm-%j.log
set -uo pipefail

srun --kill-on-bad-exit=1 dnalm pretrain trainer=slurm "$@"
code=$?
if [ "$code" -eq 143 ]; then
    echo "preempted: into the queue again"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
