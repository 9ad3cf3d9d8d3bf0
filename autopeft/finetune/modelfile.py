"""Ollama's Modelfile of a decoder: the very prompts that it was trained on, as a template of Ollama's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from autopeft.errors import DataError

Message = Mapping[str, str]
Render = Callable[[Sequence[Message], bool], str]
"""(messages, whether the answer's heading follows) → the prompt."""

_USER, _ANSWER, _NEXT, _SYSTEM = "autopeft-user", "autopeft-answer", "autopeft-next", "autopeft-system"
_THEN, _LAST = "autopeft-then", "autopeft-last"
_RESERVED = ('"""', "{{", "}}")


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What stands around the parts of a chat, the same in every turn.

    Attributes:
        system: before and after the system's text; None where the template has no place for one.
        inside: whether that text stands within the first user's turn, behind `before`, and not ahead of it.
        before: ahead of a user's text.
        between: after it, up to the answer that is to come.
        after: after the answer.
        default: the system's text where none is given.
        answered: after a user's text, up to an answer that was given; templates of models that think say less there.
            None where it is the same as before the answer to come.
    """

    system: tuple[str, str] | None
    before: str
    between: str
    after: str
    default: str = ""
    answered: str | None = None
    inside: bool = False


def modelfile(gguf: str, turns: Turns | None, stops: Sequence[str]) -> str:
    """Returns a Modelfile for a GGUF file beside it; without turns Ollama goes by the file's own template."""
    lines = [f"FROM ./{gguf}"]
    if turns is not None:
        lines.append(f'TEMPLATE """{_template(turns)}"""')
        lines += [f'SYSTEM """{turns.default}"""'] if turns.default else []
    lines += [f'PARAMETER stop "{stop}"' for stop in stops]
    return "\n".join(lines) + "\n"


def _template(turns: Turns) -> str:
    """Returns the turns in Go's template language: one, which Ollama repeats, or all where the last is another."""
    if turns.answered is not None:
        return _conversation(turns)
    ahead, within = _system_parts(turns, ".System", ".System")
    user = f"{{{{ if .Prompt }}}}{turns.before}{within}{{{{ .Prompt }}}}{turns.between}{{{{ end }}}}"
    return f"{ahead}{user}{{{{ .Response }}}}{turns.after}"


def _conversation(turns: Turns) -> str:
    ahead, within = _system_parts(turns, "$.System", "and $.System (eq $i 1)")  # itself the first message
    last = "{{ $last := eq (len (slice $.Messages $i)) 1 }}"
    heading = f"{{{{ if $last }}}}{turns.between}{{{{ else }}}}{turns.answered}{{{{ end }}}}"
    user = f'{{{{ if eq .Role "user" }}}}{turns.before}{within}{{{{ .Content }}}}{heading}'
    answer = f"{{{{ .Content }}}}{{{{ if not $last }}}}{turns.after}{{{{ end }}}}"
    rest = f'{{{{ else if eq .Role "assistant" }}}}{answer}{{{{ end }}}}'
    return f"{ahead}{{{{ range $i, $_ := .Messages }}}}{last}{user}{rest}{{{{ end }}}}"


def _system_parts(turns: Turns, text: str, given: str) -> tuple[str, str]:
    """Returns the system's part ahead of the turns and the one within the first user's, one of them empty."""
    if turns.system is None:
        return "", ""
    before, after = turns.system
    if turns.inside:
        return "", f"{{{{ if {given} }}}}{before}{{{{ {text} }}}}{after}{{{{ end }}}}"
    return f"{{{{ if {text} }}}}{before}{{{{ {text} }}}}{after}{{{{ end }}}}", ""


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
    # What stands ahead of the last answer may stand ahead of no earlier one, so each is looked for on its own.
    after = shown(told, answering=False).partition(_ANSWER)[2]
    answered, _, rest = talk.partition(_USER)[2].partition(_ANSWER)
    before = rest.removeprefix(after).partition(_NEXT)[0]
    turns = Turns(
        system=None, before=before, between=between, after=after, answered=answered if answered != between else None
    )
    longer = [*again, _said("assistant", _THEN), _said("user", _LAST)]
    turns = _with_system(shown, turns, head.removesuffix(before), longer)
    parts = (before, between, after, answered, *(turns.system or ()), turns.default)
    if any(mark in part for mark in _RESERVED for part in parts):
        return None
    return turns if all(spoken(turns, one) == shown(one) for one in (asked, again, longer)) else None


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _with_system(shown: Callable[[Sequence[Message]], str], turns: Turns, ahead: str, talk: Sequence[Message]) -> Turns:
    """Returns the turns with what stands around a system's text, and with the one that stands there by default.

    Without a place for it they come back as they were, which is right where `ahead` of them stands nothing.
    """
    told = [_said("system", _SYSTEM), *talk]
    try:
        found = shown(told)
    except DataError:  # the template refuses the role
        return turns
    opening, mark, rest = found.partition(_SYSTEM)
    closing = rest.partition(_USER)[0]
    inside = opening.endswith(turns.before) and not closing.endswith(turns.before)
    opening = opening.removesuffix(turns.before) if inside else opening
    closing = closing if inside else closing.removesuffix(turns.before)
    default = ahead.removeprefix(opening).removesuffix(closing) if ahead else ""
    heard = replace(turns, system=(opening, closing), default=default, inside=inside)
    return heard if mark and spoken(heard, told) == found else turns


def spoken(turns: Turns, messages: Sequence[Message]) -> str:
    """Returns the prompt that Ollama makes of a conversation with these turns, up to the answer."""
    found, system = "", turns.default
    for place, message in enumerate(messages, start=1):
        if message["role"] == "system":
            system = message["content"]
        elif message["role"] == "user":
            said = turns.system[0] + system + turns.system[1] if system and turns.system is not None else ""
            opening = turns.before + said if turns.inside else said + turns.before
            answered = turns.between if place == len(messages) or turns.answered is None else turns.answered
            found += opening + message["content"] + answered
            system = ""
        else:
            found += message["content"] + turns.after
    return found
