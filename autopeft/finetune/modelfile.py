"""Ollama's Modelfile of a decoder: the very prompts that it was trained on, as a template of Ollama's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Message = Mapping[str, str]
Render = Callable[[Sequence[Message], bool], str]
"""(messages, whether the answer's heading follows) → the prompt."""

_USER, _ANSWER, _NEXT, _SYSTEM = "autopeft-user", "autopeft-answer", "autopeft-next", "autopeft-system"
_RESERVED = ('"""', "{{", "}}")


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What stands around the parts of a chat, the same in every turn.

    Attributes:
        system: before and after the system's text; None where the template has no place for one.
        before: ahead of a user's text.
        between: after it, up to the answer.
        after: after the answer.
        default: the system's text where none is given.
    """

    system: tuple[str, str] | None
    before: str
    between: str
    after: str
    default: str = ""


def modelfile(gguf: str, turns: Turns | None, stops: Sequence[str]) -> str:
    """Returns a Modelfile for a GGUF file beside it; without turns Ollama goes by the file's own template."""
    lines = [f"FROM ./{gguf}"]
    if turns is not None:
        lines.append(f'TEMPLATE """{_template(turns)}"""')
        lines += [f'SYSTEM """{turns.default}"""'] if turns.default else []
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    return "\n".join(lines) + "\n"


def _template(turns: Turns) -> str:
    """Returns one turn in Go's template language; Ollama repeats it for a conversation."""
    system = ""
    if turns.system is not None:
        before, after = turns.system
        system = f"{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ end }}}}"
    user = f"{{{{ if .Prompt }}}}{turns.before}{{{{ .Prompt }}}}{turns.between}{{{{ end }}}}"
    return f"{system}{user}{{{{ .Response }}}}{turns.after}"


def completion_turns(gap: str) -> Turns:
    """Returns the turns of a decoder that goes on from a prompt, with what stands between it and the answer."""
    return Turns(system=None, before="", between=gap, after="")


def chat_turns(render: Render, bos: str) -> Turns | None:
    """Returns the turns that a chat template writes; None where no such parts give its very text.

    Args:
        render: writes a chat as in training.
        bos: the token that the tokenizer puts in front by itself, as the server will; empty where it does not.
    """

    def shown(messages: Sequence[Message], *, answering: bool = True) -> str:
        return render(messages, answering).removeprefix(bos)

    asked = [_said("user", _USER)]
    told = [*asked, _said("assistant", _ANSWER)]
    again = [*told, _said("user", _NEXT)]
    opened, talk = shown(asked), shown(again)
    head, _, between = opened.partition(_USER)
    after = shown(told, answering=False).removeprefix(opened + _ANSWER)
    before = talk.removeprefix(opened + _ANSWER + after).partition(_NEXT)[0]
    system, default = _system(shown, asked, before, head.removesuffix(before))
    turns = Turns(system=system, before=before, between=between, after=after, default=default)
    reserved = any(mark in part for mark in _RESERVED for part in (before, between, after, *(system or ()), default))
    return turns if spoken(turns, again) == talk and not reserved else None


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _system(
    shown: Callable[[Sequence[Message]], str], asked: Sequence[Message], before: str, ahead: str
) -> tuple[tuple[str, str] | None, str]:
    """Returns what stands around a system's text, and the text that stands there when none is given."""
    from jinja2 import TemplateError

    try:
        found = shown([_said("system", _SYSTEM), *asked])
    except TemplateError:  # the template refuses the role
        return None, ""
    opening, mark, rest = found.partition(_SYSTEM)
    if not mark:
        return None, ""
    closing = rest.partition(_USER)[0].removesuffix(before)
    default = ahead.removeprefix(opening).removesuffix(closing) if ahead else ""
    return (opening, closing), default


def spoken(turns: Turns, messages: Sequence[Message]) -> str:
    """Returns the prompt that Ollama makes of a conversation with these turns, up to the answer."""
    found, system = "", turns.default
    for message in messages:
        if message["role"] == "system":
            system = message["content"]
        elif message["role"] == "user":
            around = turns.system if system and turns.system is not None else None
            found += f"{around[0]}{system}{around[1]}" if around else ""
            found += turns.before + message["content"] + turns.between
            system = ""
        else:
            found += message["content"] + turns.after
    return found
