"""Uploads an adapter with its card to the model hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.errors import AutopeftError, ModelError, invalid
from autopeft.finetune.folder import TrainedFolder
from autopeft.finetune.public import public_bytes

CARD = "README.md"
_WEIGHTS = ("adapter_model.safetensors", "trained.safetensors")
_KINDS = frozenset({".safetensors", ".json", ".md", ".yaml", ".txt", ".model", ".jinja"})
_OWN = frozenset({"run.json"})
"""What only a resumed training reads."""
_MAY_BE_THERE = frozenset({401, 402, 403, 409})
"""What the hub answers to the making of a repository that is there, or that the token may write to and not make."""


class HubError(AutopeftError, OSError):
    """The hub could not be reached, or refused what was asked of it."""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was uploaded.

    Attributes:
        address: where it can be seen.
        private: whether only its owner sees it; None for a repository that was there before, which stays as it was.
        files: names, sorted.
    """

    address: str
    private: bool | None
    files: tuple[str, ...]


def push(folder: str | Path, repository: str, *, public: bool = False) -> Pushed:
    """Uploads a folder's adapter, tokenizer, card and metrics in one commit, and returns where they lie.

    Nothing but safetensors, JSON, YAML and text goes up; checkpoints and a merged model stay here, and so do the paths
    of this machine: a model or data that was named by its path goes by its last part. The token is the
    one that huggingface_hub finds: ``HF_TOKEN``, or what ``hf auth login`` left.

    Args:
        folder: the output of a full training, or any adapter in safetensors with a README.md.
        repository: its name on the hub, such as ``name`` or ``organisation/name``; made where it is missing.
        public: whether a new repository is visible to all.

    Raises:
        ModelError: the folder holds no adapter, no card, or a file with the token in it.
        StudyError: it holds a training that has not ended.
        InvalidValueError: the hub takes no such name.
        HubError: there is no token, no connection, or no leave to write there.
    """
    place = Path(folder)
    files = _files(place)
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub import errors as hub_errors

    token = get_token()
    if token is None:
        raise HubError("There is no token for the hub.\nSet HF_TOKEN, or log in with `hf auth login`.")
    _check_secrets(files, token)
    sent: dict[Path, Path | bytes] = {
        path: path if path.suffix == ".safetensors" else public_bytes(path) for path in files
    }  # fmt: skip
    api = HfApi(token=token)
    # The root of the HTTP library's errors, whichever library this version of huggingface_hub is built on.
    transport: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
    try:
        new, name = _repository(api, repository, public=public)
        api.create_commit(
            name,
            [CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=content) for path, content in sent.items()],
            commit_message="Upload the adapter with its card",
        )
    except hub_errors.HFValidationError as error:
        raise invalid("--repo", "autopeft push", "NAME or ORGANISATION/NAME", repository, str(error)) from None
    except hub_errors.OfflineModeIsEnabled:
        raise HubError("The hub is switched off by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE: unset it to push.") from None
    except ValueError as error:
        raise HubError(
            f"The hub at {api.endpoint} does not take the card {CARD}: {error}".replace(token, "***")
        ) from None
    except (transport, hub_errors.HfHubHTTPError, OSError) as error:
        raise HubError(_told(error, repository, api.endpoint).replace(token, "***")) from None
    return Pushed(
        address=f"{api.endpoint}/{name}", private=not public if new else None, files=tuple(path.name for path in files)
    )


def _files(folder: Path) -> list[Path]:
    """Returns what is uploaded; refused before the hub is asked for anything."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is no folder.\nGive the --output of `autopeft train`, or an adapter's folder.")
    if (folder / "run.json").exists():
        TrainedFolder(folder).finished()
    found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    names = {path.name for path in found}
    if not names & set(_WEIGHTS):
        raise ModelError(f"{folder} holds no adapter: neither {' nor '.join(_WEIGHTS)} is there.")
    if CARD not in names:
        raise ModelError(f"{folder} has no card: write a {CARD} that says what the adapter is.")
    return [path for path in found if path.suffix in _KINDS and path.name not in _OWN]


def _check_secrets(files: list[Path], token: str) -> None:
    holding = [path for path in files if path.suffix != ".safetensors" and token.encode() in path.read_bytes()]
    if holding:
        raise ModelError(f"{holding[0]} holds your token for the hub, so nothing was uploaded.\nTake it out, and push.")


def _repository(api: Any, repository: str, *, public: bool) -> tuple[bool, str]:
    """Returns whether the repository was made, and its full name."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return True, str(api.create_repo(repository, private=not public).repo_id)
    except HfHubHTTPError as error:
        if error.response.status_code not in _MAY_BE_THERE:
            raise
        # This call tells what is there already from a true refusal. What is not there after all is made as it was asked
        # for: left out, a repository is public.
        return False, str(api.create_repo(repository, private=not public, exist_ok=True).repo_id)


def _told(error: Exception, repository: str, endpoint: str) -> str:
    """Returns one sentence on what the hub, or the way there, said."""
    answer = getattr(error, "response", None)
    if answer is None:
        return f"The hub at {endpoint} cannot be reached: {str(error) or type(error).__name__}.\nNothing was uploaded."
    reasons = {401: "the token is not valid", 403: "the token may not write there", 404: "there is no such owner"}
    reason = reasons.get(answer.status_code, f"it answered {answer.status_code}")
    said = getattr(error, "server_message", None)
    return f"The hub at {endpoint} refused {repository!r}: {reason}{f' ({said})' if said else ''}."
