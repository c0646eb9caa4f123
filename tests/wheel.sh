#!/usr/bin/env bash
# The wheel as a stranger has it: runtime dependencies alone, in a new environment that cannot be written to (where
# this machine lets one mount it so), called from another folder whose name has a space, in the C locale, without a HOME
# that can be made, with a strict umask.
# Every command answers --help, and each does its work once on the simulated clade.
#   tests/wheel.sh [PYTHON]      WHEEL_ENV=FOLDER keeps the environment for a second run
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
environment=${WHEEL_ENV:-$scratch/environment}

say() { printf '\n== %s\n' "$*"; }

say "build and install"
"$python" -m venv "$environment"
pip() { "$environment/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip wheel --no-deps --wheel-dir "$scratch/wheel" "$root"
pip install --constraint "$root/constraints.txt" "$scratch"/wheel/dnalm-*.whl
pip check

work="$scratch/a folder"
mkdir -p "$work" "$scratch/cache"
cd "$work"
umask 077
export LC_ALL=C TZ=Pacific/Chatham HOME=/dev/null XDG_CACHE_HOME="$scratch/cache" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=2
unset PYTHONPATH PYTHONIOENCODING LANG
sealed=(unshare --mount bash -c 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"' "$environment")
"${sealed[@]}" true 2>/dev/null || { say "mounts are not allowed here: the environment can be written to"; sealed=(); }
run() {
    say "dnalm $*"
    "${sealed[@]}" "$environment/bin/dnalm" "$@"
}

while read -r command; do
    run $command --help >/dev/null
done < <("$environment/bin/python" -c 'from dnalm.cli import COMMANDS; print(*COMMANDS, sep="\n")')

small=(size=tiny debug=fast)
run pretrain experiment=dnabert "${small[@]}" data=demo run.dir="runs/first one"
clade=$(dirname "$(find "$XDG_CACHE_HOME" -name demo_a.fa)")
head -n 40 "$clade/variants.vcf" >few.vcf
printf '>one\nACGTTGCATGTCGCATGATGCATGAGAGCTACGTTGCATGTCGCATGATGCATGAGAGCT\n>two\nTTGACCAGGATTTTGACCAGGATTTTGACCAGGATTTTGACCAGGATT\n' >few.fa

run prepare data=fasta data.fasta="$clade/demo_b.fa"
run finetune model="runs/first one" task=demo_promoter budget=tiny steps=3 schedule.warmup_steps=1 run.dir=runs/promoter
run baseline baseline=kmer_logistic task=demo_promoter run.dir=runs/counts
run score model="runs/first one" variants=few.vcf reference="$clade/demo_a.fa" out=scored.vcf.gz
run score model=runs/promoter variants=few.vcf reference="$clade/demo_a.fa" "score=[prediction]" out=scored.tsv
run embed model="runs/first one" input=few.fa out=vectors.parquet
run report "runs/first one" runs/promoter out=runs.html
run cluster model="runs/first one" input="$clade/tasks/promoter/test.csv" label=label run.dir=runs/clusters
run compare "models=[runs/first one]" data=demo places=10 run.dir=runs/compared
run interpret what=mutagenesis model="runs/first one" input=few.fa run.dir=runs/mutagenesis
run interpret what=motifs model="runs/first one" input=few.fa run.dir=runs/motifs
run export model="runs/first one" run.dir=exported
run benchmark benchmark=demo "models=[kmer_logistic,'runs/first one:untrained']" tasks=[promoter] seeds=1 \
    'finetune=["budget=tiny","steps=3","schedule.warmup_steps=1"]' sweep.dir=benchmark
run tokenizer train bpe=plain vocab_size=64 data=fasta data.fasta="$clade/demo_a.fa" run.dir=runs/bpe
run tokenizer inspect tokenizer=runs/bpe data=demo run.dir=runs/inspected
run pretrain -m seed=1,2 tokenizer=runs/bpe "${small[@]}" data=demo sweep.dir=sweep

test -s scored.vcf.gz.tbi
test -s benchmark/benchmark.md
test -s benchmark/report.html
test -s runs.html
test -s exported/model.safetensors
echo
echo "the wheel works: $("$environment/bin/dnalm" --version) on $("$environment/bin/python" --version)"
