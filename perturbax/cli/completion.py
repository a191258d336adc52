"""The command `completion`: a script by which bash or zsh complete the words of a command line.

The script holds all there is to know, from the tables that the parsers and the help are made of, so that
completing starts no Python.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence

from perturbax.cli.arguments import TOPICS, ClassSettings, Parser
from perturbax.cli.catalogue import entry, names
from perturbax.errors import unknown
from perturbax.experiment.config import KINDS, Experiment

HELP = "print a script that completes commands in bash or zsh"

FILES = "FILE"  # what stands for any file or folder among the words to choose from
OF_FILES = ("FILE", "FOLDER", "PATH")  # names of values that are files
VALUES = {
    "--optimiser": ["adam", "adamw", "sgd", "rmsprop", "lion", "adagrad", "nadam", "radam"],
    "--schedule": ["constant", "cosine", "linear", "exponential", "warmup-cosine", "adas"],
}
"""Values to choose from that no argument declares; there are more of these in optax."""
TABLES = """\
# Completion of perturbax in {shell}, written by `perturbax completion {shell}`.

_perturbax_arguments() {{
    case "$1" in
{arguments}
    esac
}}

_perturbax_values() {{
    case "$1" in
{values}
    esac
}}

_perturbax_settings() {{
    case "$1" in
{settings}
    esac
}}

# Print the words to choose from; {files} stands for files. Arguments: the words behind `perturbax`, the last
# of which is being typed.
_perturbax_candidates() {{
    local command="$1" previous="" current="" word
    local task={task} rule={rule} cell={cell}
    for word in "$@"; do
        previous="$current"
        current="$word"
        case "$previous" in
            --task) task="$word" ;;
            --rule) rule="$word" ;;
            --rules) rule="${{word%%[,:+]*}}" ;;
            --cell) cell="$word" ;;
        esac
    done
    if [ $# -le 1 ]; then
        echo "{commands} --help --version"
        return
    fi
    case "$previous" in
        --help|-h) echo "{topics}"; return ;;
        --rules)
            local before=""
            case "$current" in *,*) before="${{current%,*}}," ;; esac
            for word in {rules}; do echo "$before$word"; done
            return ;;
        --*)
            word="$(_perturbax_values "$previous")"
            if [ -n "$word" ]; then
                echo "$word"
                return
            fi ;;
    esac
    case "$current" in
        --task.*) _perturbax_settings "task $task" ;;
        --rule.*) _perturbax_settings "rule $rule" ;;
        --cell.*) _perturbax_settings "cell $cell" ;;
        -*) _perturbax_arguments "$command" ;;
        *) if [ $# -eq 2 ]; then _perturbax_values "$command"; else _perturbax_values "$command $2"; fi ;;
    esac
}}
"""
BASH = """
_perturbax() {
    local current="${COMP_WORDS[COMP_CWORD]}" word found
    local -a typed=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        [ "$word" = "=" ] || typed+=("$word")
    done
    if [ "$current" = "=" ]; then
        current=""
        typed+=("")
    fi
    found="$(_perturbax_candidates "${typed[@]}")"
    case "$found" in
        FILE) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")) ;;
        *) COMPREPLY=($(compgen -W "$found" -- "$current")) ;;
    esac
}
complete -F _perturbax perturbax
"""
ZSH = """
_perturbax() {
    local -a found typed
    typed=("${(@)words[2,CURRENT]}")
    if [[ "${typed[-1]}" == --*=* ]]; then
        compset -P '*='
        typed[-1]=("${typed[-1]%%=*}" "${typed[-1]#*=}")
    fi
    found=(${=$(_perturbax_candidates "${(@)typed}")})
    if [[ "${found[1]}" == FILE ]]; then
        _files
    else
        compadd -- $found
    fi
}
if [[ "${funcstack[1]}" == _perturbax ]]; then
    _perturbax "$@"
else
    compdef _perturbax perturbax
fi
"""
SHELLS = {"bash": ("", BASH), "zsh": ("#compdef perturbax\n", ZSH)}
"""Shell -> what stands before and behind the tables."""


def add_arguments(parser: Parser) -> None:
    """Declare the shell."""
    parser.epilog = """\
bash: put this line into ~/.bashrc       eval "$(perturbax completion bash)"
zsh: write the script into a folder of $fpath, as _perturbax, before compinit runs:
    perturbax completion zsh > ~/.zfunc/_perturbax"""
    parser.add_argument("shell", metavar="bash|zsh", help="the shell that is to complete")


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the script; return the exit status.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    if args.shell not in SHELLS:
        raise unknown("shell", args.shell, SHELLS)
    print(script(args.shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the script for bash or zsh."""
    from perturbax.cli.main import COMMANDS, parser_of

    parsers = {name: parser_of(name) for name in COMMANDS}
    by_setting = {f"{kind} {name}": _settings(kind, name) for kind in KINDS for name in names(kind)}
    first, last = SHELLS[shell]
    default = Experiment()
    tables = TABLES.format(
        shell=shell,
        files=FILES,
        commands=" ".join(COMMANDS),
        topics=" ".join(TOPICS),
        rules=" ".join(names("rule")),
        task=default.task,
        rule=default.rule,
        cell=default.cell,
        arguments=_cases({name: _arguments(parser) for name, parser in parsers.items()}),
        values=_cases(_values(parsers)),
        settings=_cases(by_setting),
    )
    return first + tables + last


def _arguments(parser: Parser) -> list[str]:
    """Return the flags of a command; `--rule.` and its like stand for the settings of classes."""
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    return flags + ([f"--{kind}." for kind in KINDS] if parser.experiment else [])


def _settings(kind: str, name: str) -> list[str]:
    """Return the settings of a task, rule or cell as flags."""
    return [f"--{kind}.{setting.name}" for setting in entry(kind, name).settings]


def _values(parsers: Mapping[str, Parser]) -> dict[str, Sequence[str]]:
    """Return the values to choose from, by flag; without one by command, or command and first word."""
    found: dict[str, Sequence[str]] = {}
    for command, parser in parsers.items():
        for action in parser._actions:
            choices = _choices(action)
            flags = [flag for flag in action.option_strings if flag.startswith("--")]
            places = flags or [command, *([f"{command} *"] if choices == [FILES] else [])]
            found |= dict.fromkeys(places if choices else (), choices)
    for kind in KINDS:
        found[f"--{kind}"] = names(kind)
        found[f"list {kind}s"] = names(kind)
        for name in names(kind):
            for setting in entry(kind, name).settings:
                if setting.metavar == "true|false":
                    found[f"--{kind}.{setting.name}"] = ["true", "false"]
    return found | VALUES


def _choices(action: argparse.Action) -> list[str]:
    """Return the values that an argument may have, as far as its name in the help says so."""
    metavar = str(action.metavar)
    if action.nargs == 0:
        return []
    if metavar in OF_FILES:
        return [FILES]
    return metavar.split("|") if "|" in metavar else []


def _cases(table: Mapping[str, Sequence[str]]) -> str:
    """Return the branches of a `case`, each of which prints words."""
    branches = []
    for name, words in table.items():
        if words:
            pattern = name.replace(" ", "\\ ")
            branches.append(f"        {pattern}) echo {shlex.quote(' '.join(words))} ;;")
    return "\n".join(branches)
