"""Manual pages, one for each command, from the same texts as its help. The wheel installs them.

click-man 0.6 does not fit: it lists the commands of a group that are imported already, which here are none,
cuts each summary at 45 characters, has neither examples nor sections, and escapes nothing but hyphens.
"""

import inspect
from collections.abc import Iterator, Mapping
from datetime import date

import click

from keyturn import __version__
from keyturn.cli.command import page_of, summary_of, walk
from keyturn.cli.lazy import LazyGroup
from keyturn.cli.main import cli

ENVIRONMENT: Mapping[str, str] = {
    "KEYTURN_URL, KEYTURN_KEY": "The server and the key, unless a profile is named.",
    "KEYTURN_PROFILE": "The profile to use, like --profile.",
    "KEYTURN_CA_FILE": "The certificates in PEM to trust, like --ca-file.",
    "NO_COLOR": "If it is not empty: no colors, whatever else is set.",
    "CLICOLOR": "If it is 0: no colors.",
    "FORCE_COLOR, CLICOLOR_FORCE": "If one is neither empty nor 0: colors in pipes too.",
    "TERM": "If it is dumb: no colors.",
}
EXIT_CODES: Mapping[int, str] = {
    0: "Success.",
    1: "Refused; the message says why.",
    2: "Unknown command or option, or a value that is not valid.",
    69: "The server does not answer, or its certificate is not trusted.",
    70: "A defect in Keyturn.",
    74: "The output cannot be written.",
    130: "Interrupted with Ctrl-C.",
}


def manual_pages(day: date) -> dict[str, str]:
    """Return the pages by the names of their files, such as `keyturn-key-create.1`; `day` is their date."""
    contexts = walk(cli.context_class(cli, info_name="keyturn", **cli.context_settings))
    return {f"{_name_of(context)}.1": _page(context, day) for context in contexts}


def _page(context: click.Context, day: date) -> str:
    command = context.command
    name = _name_of(context)
    usage = " ".join(command.collect_usage_pieces(context))
    summary = summary_of(command).removesuffix(".")
    lines = [
        f'.TH {_roff(name.upper())} 1 "{day}" "Keyturn {__version__}" "Keyturn manual"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        f".B {_roff(context.command_path)}",
        _roff(usage),
        ".SH DESCRIPTION",
        *_paragraphs(inspect.cleandoc(command.help or "")),
        *_commands(context),
        ".SH OPTIONS",
        *_options(context),
        *_examples(context),
    ]
    if context.parent is None:
        lines += [".SH ENVIRONMENT", *_definitions(ENVIRONMENT)]
        lines += [".SH EXIT STATUS", *_definitions({str(code): text for code, text in EXIT_CODES.items()})]
    return "\n".join([*lines, ".SH SEE ALSO", *_see_also(context), ""])


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield _roff(" ".join(paragraph.split()))


def _commands(context: click.Context) -> Iterator[str]:
    group = context.command
    if not isinstance(group, click.Group):
        return
    yield ".SH COMMANDS"
    section = None
    for name in group.list_commands(context):
        if isinstance(group, LazyGroup):
            text = group.lazy_commands[name].help
            if section != (section := group.lazy_commands[name].section):
                yield f".SS {_roff(section)}"
        else:
            text = summary_of(group.commands[name])
        yield from _definitions({name: text})


def _options(context: click.Context) -> Iterator[str]:
    for option in context.command.get_params(context):
        record = None if isinstance(option, click.Argument) else option.get_help_record(context)
        if record is not None:
            yield from _definitions({record[0]: record[1]})


def _examples(context: click.Context) -> Iterator[str]:
    examples: Mapping[str, str] = getattr(context.command, "examples", {})
    if examples:
        yield ".SH EXAMPLES"
    for line, purpose in examples.items():
        yield from (".TP", f"{_roff(purpose)}:", f".B {_roff(line)}")


def _see_also(context: click.Context) -> Iterator[str]:
    group = context.command
    below = group.list_commands(context) if isinstance(group, click.Group) else []
    related = [_name_of(context.parent)] if context.parent is not None else []
    related += [f"{_name_of(context)}-{name}" for name in below]
    for number, name in enumerate(related, 1):
        yield f".BR {_roff(name)} (1){',' if number < len(related) else ''}"
    page = page_of(context)
    if page is not None:
        yield ".PP"
        yield _roff(f"{page}, or /{page.removesuffix('.md')} on your server.")


def _definitions(terms: Mapping[str, str]) -> Iterator[str]:
    for term, text in terms.items():
        yield from (".TP", f".B {_roff(term)}", _roff(" ".join(text.split())))


def _name_of(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _roff(text: str) -> str:
    """Return a text that roff prints as it is: a hyphen stays one to copy, and no line is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
