"""What `dnalm <command> --help` prints: groups, keys with defaults and what they mean, examples.

It is read from `conf/` and source, without importing a library of size. Keys are those of the options that
the root config chooses by itself; units stand in the names of keys (`_bp`, `_tokens`, `_steps`, `_s`) or in
their texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dnalm.compose.completion import nodes_at
from dnalm.compose.groups import composed_groups, options, stated
from dnalm.compose.signatures import Argument, arguments

_WIDTHS = (34, 20)  # of a key, of its default
EXAMPLES = {  # three a command where there are as many ways to use it; a test composes and checks each
    "pretrain": (
        "experiment=dnabert size=tiny data=demo",
        "experiment=dnabert size=tiny data=fasta data.fasta=sacCer3.fa.gz run.dir=runs/yeast",
        "-m experiment=dnabert,dnabert2 optim.lr=1e-4,4e-4 size=tiny sweep.dir=sweeps/first sweep.parallel=2",
    ),
    "finetune": (
        "model=tiny task=demo_promoter budget=tiny",
        "model=runs/mine task.train=train.csv task.val=dev.csv task.test=test.csv",
        "model=runs/mine task=peaks task.peaks=peaks.bed task.reference=sacCer3.fa.gz task.length_bp=200",
    ),
    "baseline": (
        "baseline=kmer_logistic task=demo_promoter",
        "baseline=cnn task.train=train.csv task.val=dev.csv task.test=test.csv",
        "baseline=cnn task=peaks task.peaks=peaks.bed task.reference=sacCer3.fa.gz task.length_bp=200",
    ),
    "benchmark": (
        "benchmark=demo models=[runs/mine,runs/mine:untrained,kmer_logistic] seeds=2",
        "benchmark=gue models=[runs/mine,zhihan1996/DNABERT-2-117M] tasks=[prom_core_tata,tf0] seeds=3",
        "benchmark=variants models=[runs/mine,runs/mine:untrained]",
    ),
    "prepare": (
        "data.fasta=sacCer3.fa.gz",
        "tokens=true tokenizer=runs/bpe data.fasta=sacCer3.fa.gz",
        "data=multispecies data.manifest=my_species.tsv",
    ),
    "score": (
        "model=runs/demo variants=variants.vcf.gz reference=hg38.2bit out=scored.vcf.gz",
        "model=runs/demo variants=variants.vcf.gz reference=hg38.2bit out=scored.tsv motifs=jaspar.meme",
        "model=runs/demo variants=variants.vcf.gz reference=hg38.2bit out=scored.tsv score=[llr,pll] "
        "labels=LABEL workers=2",
    ),
    "predict": (
        "model=runs/mine input=sequences.fa out=predictions.tsv",
        "model=runs/mine input=hg38.2bit tile_bp=200 stride_bp=50 workers=2 out=track.bw",
        "'model=[runs/mine,runs/seed2]' input=hg38.2bit tile_bp=200 threshold=0.9 out=elements.bed",
    ),
    "embed": (
        "model=runs/mine input=sequences.fa out=vectors.parquet",
        "model=runs/mine input=peaks.bed reference=sacCer3.fa.gz resolution=base dtype=float16 "
        "out=bases.zarr workers=2",
        "model=zhihan1996/DNABERT-2-117M input=sequences.fa pooling=cls out=vectors.npy",
    ),
    "cluster": (
        "model=runs/mine input=peaks.bed reference=sacCer3.fa.gz label=name",
        "model=runs/mine input=train.csv label=label pooling=max",
    ),
    "compare": (
        "'models=[runs/demo,runs/other]' data=demo",
        "'models=[runs/demo,runs/demo:untrained]' data=demo",
        "'models=[runs/demo,runs/other]' data=demo stretch_bp=1 places=3000 draws=5",
    ),
    "interpret": (
        "what=mutagenesis model=runs/mine input=peaks.bed reference=sacCer3.fa.gz",
        "what=dependency model=runs/mine input=sequences.fa",
        "what=motifs model=runs/mine input=peaks.bed reference=sacCer3.fa.gz known=jaspar.meme",
    ),
    "doctor": (
        "experiment=dnabert size=tiny data=demo",
        "experiment=dnabert2 data=fasta data.fasta=sacCer3.fa.gz trainer=ddp",
        "experiment=dnabert data=fasta data.fasta=hg38.2bit json=true",
    ),
    "doctor finetune": (
        "model=runs/mine task.train=train.csv task.val=dev.csv task.test=test.csv",
        "model=runs/mine task=peaks task.peaks=peaks.bed task.reference=sacCer3.fa.gz task.length_bp=200",
    ),
    "report": (
        "runs/mine",
        "runs/mine runs/seed2 out=compared.html",
    ),
    "plan": (
        "experiment=dnabert gpus=8 gpu=h100",
        "experiment=nt_v2_500m trainer=fsdp gpus=16 gpu=a100 bases=2.9e9",
        "experiment=dnabert2 gpu=A100 memory_gb=40 utilisation=0.37 json=true",
    ),
    "models": (
        "gpus=8 gpu=H100",
        "gpus=1 gpu=L40S utilisation=0.4",
        "json=true",
    ),
    "export": (
        "model=runs/demo run.dir=exported",
        "model=runs/demo layout=published run.dir=exported",
    ),
    "push": (
        "model=runs/mine repo=me/my-model",
        "model=runs/mine repo=me/my-model private=false revision=v1",
    ),
    "fetch": (
        "sacCer3",
        "hg38 cache=genomes",
        "nt_multispecies manifest=my_species.tsv",
    ),
    "config": (
        "experiment=dnabert size=tiny data=demo",
        "finetune model=tiny task=demo_promoter budget=tiny",
        "embed model=runs/mine input=sequences.fa out=vectors.parquet json=true",
    ),
    "tokenizer train": (
        "bpe=plain vocab_size=4096 data=multispecies "
        "'data.genomes={yeast: sacCer3.fa.gz, pombe: pombe.fa.gz}' run.dir=runs/bpe",
        "bpe=grover data=fasta data.fasta=hg19.2bit run.dir=runs/bpe",
    ),
    "tokenizer select": (
        "data=fasta data.fasta=sacCer3.fa.gz 'merges=[100,300,600]' 'kmers=[4]' 'ks=[2,4,6]' "
        "pretrain.steps=250 finetune.steps=300 run.dir=runs/select",
    ),
    "tokenizer inspect": (
        "tokenizer=runs/bpe data=fasta data.fasta=sacCer3.fa.gz",
        "tokenizer=kmer data=demo",
    ),
}


CONFIG_HELP = """\
dnalm config [command] [key=value ...]: print a command's composed config with the origin of each value

The config is that of `dnalm <command> --cfg`, which every command has: what a run records, checked and for
--config to read. `config` says where its values come from, and checks no more than names, so that a value
which is refused can be found. Without a command it is pretrain's. Origins:

  conf/optim/adamw.yaml               a file of conf/ or of --config-dir, the last that states the key
  conf/pretrain.yaml: ${choice:size}  likewise; as it stands there, before it is resolved
  command line                        a word of yours
  default of dnalm.data.Masking       the signature of what the config builds

Comments above the config say which option of each group is chosen, and where.

keys:
  json=true   print {"groups": {group: {value, origin}}, "keys": {key: {value, origin}}}

examples:
"""
CONFIG_HELP += "".join(f"  dnalm config {words}\n" for words in EXAMPLES["config"])


def command_help(command: str, does: str) -> str:
    """The help of a command.

    Args:
        command: its name, of one word or two.
        does: what it does, in a line.
    """
    root = command.replace(" ", "_")
    chosen = _chosen(root)
    lines = [f"dnalm {command}: {does}", "", "groups (group=option), * the one that is chosen:"]
    lines += [_group(group, chosen) for group in composed_groups(root)]
    lines += [
        "",
        "keys (key=value) of what is chosen, and their defaults; an experiment or a size may state others:",
    ]
    lines += [_row(*key) for key in _keys("", root, chosen)]
    lines += ["", f"Every key and its value after what you type: dnalm {command} --cfg"]
    lines += ["", f"groups and keys of a sweep: dnalm {command} -m --cfg"]
    lines += [f"  {group:<14} {', '.join(options(group))}" for group in composed_groups("sweep")]
    lines += ["", "examples:", *(f"  dnalm {command} {words}" for words in EXAMPLES.get(command, ()))]
    return "\n".join(lines)


def _chosen(root: str) -> dict[str, str]:
    """The options that a root config chooses."""
    entries = stated(".", root).get("defaults", [])
    return {
        group: name for entry in entries if isinstance(entry, dict) for group, name in entry.items() if name
    }


def _group(group: str, chosen: Mapping[str, str]) -> str:
    names = [f"{name}*" if chosen.get(group) == name else name for name in options(group)]
    return f"  {group:<12} {', '.join(names)}"


def _keys(path: str, root: str, chosen: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Keys from the top down, each with its default and its meaning."""
    for node in nodes_at(path, [root], chosen):
        for argument in arguments(node.get("_target_")) or ():
            key = f"{path}.{argument.name}" if path else argument.name
            is_filled = argument.default is None and argument.name not in node and node.get("_partial_")
            group = key.replace(".", "/")
            is_open = group in composed_groups(root) and group not in chosen
            if argument.name == "config" or is_filled:
                continue
            if not is_open and any(nodes_at(key, [root], chosen)):
                yield from _keys(key, root, chosen)
            else:
                yield key, "" if is_open else _default(argument, node), argument.text


def _default(argument: Argument, node: Mapping[str, Any]) -> str:
    if argument.name in node:
        value = node[argument.name]
        return "required" if value == "???" else str(value).lower() if isinstance(value, bool) else f"{value}"
    spelt = argument.default or "required"
    return {"True": "true", "False": "false", "None": "null"}.get(
        spelt, "" if "(" in spelt else spelt.strip("'")
    )


def _row(key: str, default: str, text: str) -> str:
    return f"  {key:<{_WIDTHS[0]}} {default:<{_WIDTHS[1]}} {text}".rstrip()
