"""`dnalm push`: a model directory, checked whole before anything is sent, to a repository on the hub.

Sent are the files that `dnalm.yaml` lists, `dnalm.yaml` and the model card, and nothing else that lies there.
Where the model was trained is nobody's business: absolute paths in the copy of `dnalm.yaml` that is sent are
cut to their last name.

The access token is that of `hf auth login` or of the variable HF_TOKEN. It is handed to huggingface_hub, and
is neither an argument nor part of anything that is printed or written. HF_ENDPOINT names another hub.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from dnalm.console import stdout
from dnalm.durable import size_text
from dnalm.errors import CheckpointError, ConfigError, DataError, DnalmError, shown
from dnalm.evaluation.model_card import CARD_FILE, license_of
from dnalm.models import Pretrained, has_weights
from dnalm.small_files import (
    PROVENANCE_FILE,
    TOKENIZER_FILES,
    check_sum,
    provenance_text,
    read_provenance,
)

_REPO = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,94}/[A-Za-z0-9_][\w.-]{0,94}(?<![.-])(?<!\.git)")
_TOKEN = re.compile(r"hf_[A-Za-z0-9_]{10,}")
_REFUSED = (401, 403)


def push(
    *,
    model: Pretrained,
    repo: str,
    config: dict[str, object],  # noqa: ARG001 -- what would be recorded of it is sent nowhere
    private: bool = True,
    message: str = "Upload of a model by dnalm",
    revision: str | None = None,
) -> None:
    """Check a model directory, make the repository if it is not there, send one commit, and say where it is.

    Args:
        model: a run or a model directory on this machine.
        repo: `owner/name` on the hub.
        config: the composed config.
        private: of a repository that is made: shown to its owner alone; one that is there stays as it is.
        message: of the commit.
        revision: the branch, made if it is not there; the main branch if absent.

    Raises:
        ConfigError: PUSH-01, the name of the repository cannot be, or a token is on the command line;
            PUSH-03, no token is known; PUSH-04, the hub refuses this token.
        CheckpointError: CKPT-03, a file was changed or is gone; PUSH-02, the directory lacks a part.
        DataError: PUSH-05, the hub cannot be reached, or answers with something else.
    """
    _check_words(repo, message, revision or "")
    contents = checked_contents(_local_folder(model))
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    token = get_token()
    if token is None:
        raise ConfigError(
            "PUSH-03",
            where=repo,
            found="no access token",
            expected="one that may write to this repository",
            fix="log in once: hf auth login; or set the variable HF_TOKEN",
        )
    api = HfApi(token=token)
    failures: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            url = str(api.create_repo(repo, private=private, exist_ok=True))
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            operations = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in contents.items()
            ]
            api.create_commit(repo, operations, commit_message=message, revision=revision)
    except failures as error:  # of the hub, and of the library by which it is asked
        raise _failed(repo, api.endpoint, error, token) from None
    for warning in said:
        stdout.print(f"the hub says: {_without(token, str(warning.message))}")
    _report(contents, url, revision)


def _check_words(*words: str) -> None:
    """Refuse what cannot be sent, before any work; a token is not repeated."""
    if any(_TOKEN.search(word) for word in words):
        raise _wrong_word(
            "something like an access token on the command line",
            "no token there, for others can read it: in the shell's history, in the list of processes",
            "log in once: hf auth login; or set the variable HF_TOKEN; and revoke the token that was shown",
        )
    if not _REPO.fullmatch(words[0]):
        expected = "owner/name, of letters, digits, -, _ and ., such as my-lab/dnabert-yeast"
        raise _wrong_word(f"repo={shown(words[0])}", expected, "correct the name")


def _wrong_word(found: str, expected: str, fix: str) -> ConfigError:
    return ConfigError("PUSH-01", where="repo", found=found, expected=expected, fix=fix)


def _local_folder(model: Pretrained) -> Path:
    """The directory, which is not fetched from the hub; a misspelt path is for `folder` to explain."""
    model.require_trained("dnalm push")
    source = Path(model.source)
    on_hub = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model.source) and not source.parent.is_dir()
    if on_hub and not source.exists():
        fix = "name a run or the folder it has left, such as model=runs/first"
        raise _lacks(model.source, "no folder of this name", "a model on this machine", fix)
    return model.folder()


def checked_contents(folder: Path) -> dict[str, bytes | str]:
    """The files to be sent, each by its path or its content, once every checksum has been compared.

    Raises:
        CheckpointError: CKPT-03, a file was changed or is gone; PUSH-02, a part is missing.
    """
    provenance = read_provenance(folder)
    listed: Mapping[str, str] | None = provenance.get("files")
    where = str(folder)
    if listed is None:
        raise _lacks(where, f"no checksums in {PROVENANCE_FILE}", "a model directory that dnalm has written")
    for name in listed:
        if not (folder / name).is_file():
            raise _lacks(where, f"{name} is gone", f"every file that {PROVENANCE_FILE} lists")
        check_sum(folder / name)
    if not (has_weights(folder) and "config.json" in listed):
        raise _lacks(where, "no config.json or no weights", "a model")
    if not set(listed) & set(TOKENIZER_FILES):
        raise _lacks(where, "no tokenizer", f"one of {', '.join(TOKENIZER_FILES)}")
    if not (folder / CARD_FILE).is_file():
        raise _lacks(where, f"no model card, {CARD_FILE}", "what says to others what the model is")
    sent: dict[str, bytes | str] = {name: str(folder / name) for name in (*listed, CARD_FILE)}
    sent[PROVENANCE_FILE] = provenance_text(without_folders(provenance)).encode()
    return sent


def without_folders(provenance: Mapping[str, object]) -> dict[str, object]:
    """`dnalm.yaml` with absolute paths of its values cut to their last names."""

    def cut(value: object) -> object:
        if isinstance(value, dict):
            return {key: cut(each) for key, each in value.items()}
        if isinstance(value, list):
            return [cut(each) for each in value]
        is_path = isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:[\\/]|file:)", value)
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1] if is_path and isinstance(value, str) else value

    return {key: cut(value) for key, value in provenance.items()}


_AGAIN = "write the directory again: dnalm export model=<the run> run.dir=<a new folder>; and push that"


def _lacks(where: str, found: str, expected: str, fix: str = _AGAIN) -> CheckpointError:
    return CheckpointError("PUSH-02", where=where, found=found, expected=expected, fix=fix)


def _failed(repo: str, endpoint: str, error: Exception, token: str) -> DnalmError:
    """What the hub or the network answered, as an error without the token."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    reason = _without(token, str(getattr(error, "server_message", None) or error).strip().partition("\n")[0])
    if status in _REFUSED:
        return ConfigError(
            "PUSH-04",
            where=repo,
            found=f"{endpoint} refuses ({status}: {reason.rstrip('.')})",
            expected="a token that may write to this repository",
            fix="check the owner in repo=…, or log in with a token that has the right `write`: hf auth login",
        )
    did = f"answers {status}" if status else "cannot be reached"
    if isinstance(error, ValueError) and not status:
        did = "refuses what was sent"
    return DataError(
        "PUSH-05",
        where=repo,
        found=f"{endpoint} {did} ({reason.rstrip('.')})",
        expected="a hub that takes the model",
        fix="check the network and the variable HF_ENDPOINT, and try again: what is there stays as it was",
    )


def _without(token: str, text: str) -> str:
    return _TOKEN.sub("<token>", text.replace(token, "<token>"))


def _report(contents: Mapping[str, bytes | str], url: str, revision: str | None) -> None:
    sizes = {
        name: len(content) if isinstance(content, bytes) else Path(content).stat().st_size
        for name, content in contents.items()
    }
    for name, size in sorted(sizes.items()):
        stdout.print(f"  {name}  {size_text(size)}")
    branch = f", branch {revision}" if revision else ""
    stdout.print(f"{len(sizes)} files, {size_text(sum(sizes.values()))}: {url}{branch}")
    if license_of(Path(str(contents[CARD_FILE])).read_text(encoding="utf-8")) in (None, "unknown"):
        stdout.print(
            f"{CARD_FILE} names no licence, without which others may not use the model: set `license:` "
            "in its first lines and push again"
        )
