"""Completion of command lines in bash, zsh and fish: commands, options, groups, keys and listed values.

A shell's script hands over the line as far as it is typed, and gets whole words. They are read from `conf/`
and from source, without importing a library of size, so that an answer takes a fraction of a second. A config
is a tree of components; where a group may choose among several, the keys of all are offered.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from dnalm.compose.groups import composed_groups, options, stated
from dnalm.compose.signatures import Argument, arguments
from dnalm.grants import KEYS

SCRIPTS = {  # by shell; where nothing fits, files are offered
    "bash": """\
# Put into ~/.bashrc: source <(dnalm completion bash)
_dnalm() {
    local line=${COMP_LINE:0:COMP_POINT}
    local word=${line##* } IFS=$'\\n'
    COMPREPLY=($(dnalm completion for "$line" 2>/dev/null))
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then  # readline replaces what follows the sign alone
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
    if [[ ${COMPREPLY[0]} == *[=.] ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -F _dnalm dnalm
""",
    "zsh": """\
#compdef dnalm
# Put into ~/.zshrc, after compinit: source <(dnalm completion zsh)
_dnalm() {
    local -a found
    found=(${(f)"$(dnalm completion for "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then
        compadd -S '' -- ${(M)found:#*[=.]}
        compadd -- ${found:#*[=.]}
    else
        compset -P '*='
        _files
    fi
}
compdef _dnalm dnalm
""",
    "fish": """\
# Put into ~/.config/fish/completions/dnalm.fish: dnalm completion fish
function __dnalm
    set -l found (dnalm completion for (commandline -cp) 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        set -l key (string match -r '^[^=]*=' -- (commandline -ct))
        for path in (__fish_complete_path (string replace -- "$key" '' (commandline -ct)))
            echo $key$path
        end
    end
end
complete -c dnalm -f -a '(__dnalm)'
""",
}
_SHORT_OF_SWEEP = ("-m", "--multirun")


def candidates(line: str, *, commands: Collection[str], flags: Collection[str]) -> list[str]:
    """What the last word of a line may become.

    Args:
        line: from the name of the program to the cursor.
        commands: names, of one word or two; `config` and `completion` are known beside them.
        flags: options of the program.

    Returns:
        Whole words; a key ends in `=`, or in `.` where keys lie below it.
    """
    words = _split(line)[1:]
    *before, last = words or [""]
    plain = [word for word in before if not word.startswith("-") and "=" not in word]
    if last.startswith("-"):
        return sorted(flag for flag in flags if flag.startswith(last))
    if plain[:1] == ["completion"]:
        return sorted(shell for shell in SCRIPTS if shell.startswith(last))
    own = [word for word in ("json=true",) if plain[:1] == ["config"] and word.startswith(last)]
    if plain == ["config"]:  # a command may follow, or words of pretrain
        return sorted({*own, *_next_words([], last, commands), *_words_of("pretrain", before, last)})
    named = plain[1:] if plain[:1] == ["config"] else plain
    command = next((name for name in (" ".join(named[:2]), " ".join(named[:1])) if name in commands), None)
    if command is None:
        return sorted(_next_words(named, last, [*commands, *(() if plain else ("completion", "config"))]))
    return [*own, *_words_of(command, before, last)]


def _next_words(named: Sequence[str], last: str, commands: Collection[str]) -> set[str]:
    """What goes on with the name of a command, whose first word may be typed already."""
    typed = " ".join([*named, last])
    rest = len(typed) - len(last)
    return {name[rest:].split(" ")[0] for name in commands if name.startswith(typed)}


def _words_of(command: str, before: Sequence[str], last: str) -> list[str]:
    """Groups, keys and values of a command."""
    roots = [command.replace(" ", "_"), *(["sweep"] if {*before} & {*_SHORT_OF_SWEEP} else [])]
    pairs = (word.partition("=") for word in before)
    return _complete(last, roots, {key: value for key, _, value in pairs})


def is_key(command: str, key: str) -> bool:
    """Whether a command has a key, such as `optim.lr`, whatever is chosen of its groups."""
    return not {f"{key}=", f"{key}."}.isdisjoint(_complete(key, [command.replace(" ", "_")], {}))


def _split(line: str) -> list[str]:
    """The words of a line that may end within quotes; the last is empty after a space."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return [*words, ""] if line[-1:].isspace() else words


def _complete(typed: str, roots: Sequence[str], chosen: Mapping[str, str]) -> list[str]:
    """What a key or value may become, such as `opt`, `optim.`, `optim=`, `data/split=reg`.

    Args:
        typed: the word, as far as it goes.
        roots: root configs whose keys count: of the command, and `sweep` after -m.
        chosen: groups and their options, of words before it.
    """
    key, equals, value = typed.partition("=")
    groups = {group for root in roots for group in _groups(root)}
    if not equals:
        path, _, part = key.rpartition(".")
        above = f"{path}." if path else ""
        names = {f"{above}{word}" for word in _below(path, roots, chosen)}
        names |= {f"{word}=" for word in groups | set(KEYS)} if not path else set()
        return sorted(name for name in names if name.startswith(above + part))
    first = value.rpartition(",")[0] + "," if "," in value and "sweep" in roots else ""
    values = options(key) if key in groups else _values(key, roots, chosen)
    return [f"{key}={first}{option}" for option in values if option.startswith(value[len(first) :])]


def _below(path: str, roots: Sequence[str], chosen: Mapping[str, str]) -> Iterator[str]:
    """The keys below one, with the sign that follows them."""
    for node in nodes_at(path, roots, chosen):
        is_partial = node.get("_partial_", False)  # the program gives what has no default
        found = arguments(node.get("_target_")) or ()
        names = {argument.name for argument in found if argument.default or not is_partial}
        for name in sorted(names.union(node) - {"_target_", "_partial_", "defaults", "config"}):
            below = f"{path}.{name}" if path else name
            yield f"{name}." if any(nodes_at(below, roots, chosen)) else f"{name}="


def _values(key: str, roots: Sequence[str], chosen: Mapping[str, str]) -> list[str]:
    """Values of a key whose type lists them."""
    path, _, name = key.rpartition(".")
    for node in nodes_at(path, roots, chosen):
        for argument in arguments(node.get("_target_")) or ():
            if argument.name == name:
                return _values_of(argument)
    return []


def _values_of(argument: Argument) -> list[str]:
    """What an argument may be where its type says so: true and false, or those of a `Literal`."""
    if re.fullmatch(r"bool( \| None)?", argument.type):
        return ["false", "true"]
    listed = re.findall(r"Literal\[([^\]]*)\]", argument.type)
    return [word for words in listed for word in re.findall(r"'([^']*)'", words)]


def nodes_at(path: str, roots: Sequence[str], chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """The mappings that may stand at a key: of the roots, of what they state, of options of its group."""
    if not path:
        return [_read(".", root) for root in roots]
    above, _, name = path.rpartition(".")
    found = [node[name] for node in nodes_at(above, roots, chosen) if isinstance(node.get(name), dict)]
    group = path.replace(".", "/")
    if any(group in _groups(root) for root in roots):
        names = [chosen[group]] if chosen.get(group) in options(group) else options(group)
        found += [_read(group, option) for option in names]
    return found


_read, _groups = cache(stated), cache(composed_groups)
