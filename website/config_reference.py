"""The page of every config key: from the types, and from the comments in `conf/`."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lightning_collab.config import commands, cross_validation
from lightning_collab.config.run import RunConfig
from lightning_collab.config.section import Section, flat
from lightning_collab.tuning.settings import GridSettings, StudySettings
from website.conf_files import CONF, Option, in_yaml, options_of, read_option, value_at
from website.types_in_words import comment_of, in_words, sections_in

# The keys of each command; find_lr has those of a run.
OF_COMMANDS: dict[str, type[Section]] = {
    "evaluate": commands.EvaluateConfig,
    "cross_validate": cross_validation.CrossValidationConfig,
    "predict": commands.PredictConfig,
    "recommend": commands.RecommendConfig,
    "similar": commands.SimilarConfig,
    "add_items": commands.AddItemsConfig,
    "demo": commands.DemoConfig,
    "map_embeddings": commands.MapConfig,
    "report": commands.ReportConfig,
    "export": commands.ExportConfig,
}
SWEEPERS: dict[str, type[Section]] = {"grid": GridSettings, "optuna_study": StudySettings}
HEAD = """\
# Every key of the config

`group=option` chooses an option of a config group, `group.key=value` sets a key of it:
`lightning-collab train model=embedding_net model.hidden=20`. The keys of a run come first, by
config group, then those of sweeps and of the other commands; tables leave the group's name out.
What is needed has no default. `lightning-collab <command> --help` shows the keys as they are set.
"""


class Row(NamedTuple):
    """A key of a section."""

    key: str
    type: str
    default: str
    about: str


def config_reference() -> str:
    """The page, as Markdown."""
    run = read_option(CONF / "train.yaml")
    parts = [HEAD, _heading(2, "The run itself", "run"), _table(_rows_of_run(run))]
    for group, field in RunConfig.model_fields.items():
        if sections_in(field.annotation):
            parts += _group(group, kinds_of(field), run.chosen.get(group))
    parts += _group("hydra/sweeper", SWEEPERS, "grid")
    for group in ("hydra/sweeper/sampler", "hydra/sweeper/pruner"):
        parts.append(_heading(2, group))
        for option in options_of(group):
            parts += [_heading(3, f"{group}={option.name}"), _plain(option.about), _as_set(option)]
    for group in ("experiment", "sweep"):
        parts += [_heading(2, group), _listed(group, options_of(group))]
    parts += [_heading(2, "Commands"), "`find-lr` has the keys of a run, `cross-validate` too.\n"]
    for name, kind in OF_COMMANDS.items():
        option = read_option(CONF / f"{name}.yaml")
        parts += [_heading(3, name.replace("_", "-")), _plain(option.about)]
        parts.append(_table(rows_of(kind, [option])))
    return "\n".join(parts)


def kinds_of(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """Option -> the type of its section; one type without a name where all options have it.

    Args:
        field: of a config group in the config of a run.
    """
    kinds = sections_in(field.annotation)
    registry = getattr(kinds[0], "chosen_from", None)
    if registry is not None:
        return {name: registry[name] for name in registry.names if registry.is_ours(name)}
    if len(kinds) > 1:
        return {kind.model_fields["name"].default: kind for kind in kinds}
    if _is_made_of_sections(kinds[0]):
        return {name: _only(field) for name, field in kinds[0].model_fields.items()}
    return {"": kinds[0]}


def rows_of(kind: type[BaseModel], options: Sequence[Option] = (), at: str = "") -> Iterator[Row]:
    """The keys of a section and of the sections in it, but for those that have tables of their own.

    Args:
        kind: of the section.
        options: files that have values and comments of it.
        at: where it is in the section of the group, with a dot at its end.
    """
    for name, field in kind.model_fields.items():
        if name in ("name", "kind") and (field.is_required() or field.default is not None):
            continue  # the option itself
        key, inner = f"{at}{name}", _section_of(field)
        if inner is None or _is_made_of_sections(inner) or field.default is None:
            yield Row(
                key,
                in_words(field.annotation, tuple(field.metadata)),
                _default(field, key, options),
                _comment(kind, key, options),
            )
        if inner is not None and not _is_made_of_sections(inner):
            yield from rows_of(inner, options, f"{key}.")


def rows_apart(
    kind: type[BaseModel], options: Sequence[Option] = (), at: str = ""
) -> Iterator[tuple[str, type[BaseModel], list[Row]]]:
    """Tables of their own: where each is, of what type, and its keys.

    A section that is made of many has one, and each that stands under a name of the reader's.

    Args:
        kind: of the section that they are in.
        options: files that have values and comments of it.
        at: where it is in the section of the group, with a dot at its end.
    """
    for name, field in kind.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            for each in sections_in(field.annotation):
                yield (
                    f"{at}{name}.<name>",
                    each,
                    list(rows_of(each, options, f"{at}{name}.<name>.")),
                )
        elif _is_made_of_sections(inner):
            parts = [(f"{at}{name}.{key}.", each) for key, each in inner.model_fields.items()]
            rows = [r for place, each in parts for r in rows_of(_only(each), options, place)]
            yield f"{at}{name}", inner, rows


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field is, or may be; not a dictionary of them."""
    found = sections_in(field.annotation)
    plain = set(get_args(field.annotation) or [field.annotation]) - {NoneType}
    return found[0] if found and plain == {found[0]} else None


def _only(field: FieldInfo) -> type[BaseModel]:
    (kind,) = sections_in(field.annotation)
    return kind


def _is_made_of_sections(kind: type[BaseModel]) -> bool:
    fields = kind.model_fields.values()
    return bool(fields) and all(_section_of(each) for each in fields)


def _default(field: FieldInfo, key: str, options: Sequence[Option]) -> str:
    if not field.is_required():
        value = field.get_default(call_default_factory=True)
        return "" if isinstance(value, BaseModel) else f"`{in_yaml(value)}`"
    for option in options:
        try:
            value = value_at(option.values, key)
        except KeyError:
            continue
        if value is not None or "`null`" in in_words(field.annotation):
            return f"`{in_yaml(value)}`"
    return "needed"


def _comment(kind: type[BaseModel], key: str, options: Sequence[Option]) -> str:
    said = next((each.comments[key] for each in options if key in each.comments), None)
    return said or comment_of(kind, key.rpartition(".")[2]) or "Its keys have a table below."


def _rows_of_run(run: Option) -> list[Row]:
    rows = [
        Row(
            key,
            in_words(field.annotation, tuple(field.metadata)),
            _default(field, key, [run]),
            _comment(RunConfig, key, [run]),
        )
        for key, field in RunConfig.model_fields.items()
        if not sections_in(field.annotation)
    ]
    return [*rows, Row("resume", "text or `null`", "`null`", run.comments["resume"])]


def _group(group: str, kinds: Mapping[str, type[BaseModel]], chosen: str | None) -> list[str]:
    options, apart = options_of(group), dict[type[BaseModel], tuple[list[str], list[Row]]]()
    parts = [_heading(2, group)]
    if chosen is not None:
        parts.append(f"Unless told otherwise: `{group}={chosen}`.\n")
    for kind in dict.fromkeys(kinds.values()):
        names = [name for name, other in kinds.items() if other is kind]
        own = [each for each in options if {"", each.kind} & {*names}]
        if names != [""]:
            shown = [each.name for each in own] or names
            parts.append(_heading(3, ", ".join(f"{group}={name}" for name in shown)))
        if not own:
            parts.append(_plain(f"{inspect.getdoc(kind)} From Python alone."))
        elif len(own) > 1 or own[0].brings:
            parts.append(_listed(group, own, kind))
        else:
            parts.append(_plain(own[0].about))
        parts.append(_table(rows_of(kind, own)))
        options = [each for each in options if each not in own]
        for place, inner, rows in rows_apart(kind, own):
            places, _ = apart.setdefault(inner, ([], rows))
            places += [] if place in places else [place]
    parts += [_apart(group, kind, *found) for kind, found in apart.items()]
    return [*parts, *([_listed(group, options)] if options else [])]


def _apart(group: str, kind: type[BaseModel], places: list[str], rows: list[Row]) -> str:
    chosen = kind.model_fields.get("kind")
    with_kind = f", kind: {chosen.default}" if chosen is not None else ""
    about = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    words = f"{', '.join(f'{group}.{place}' for place in places)}{with_kind}"
    return "\n".join([_heading(3, words), _plain(about), _table(rows)])


def _listed(group: str, options: Sequence[Option], kind: type[BaseModel] | None = None) -> str:
    """What each option is, and what it sets that is not so by default."""
    rows = list(rows_of(kind)) if kind else []
    rows += [row for _, _, apart in rows_apart(kind) for row in apart] if kind else []
    usual = {row.key: row.default.strip("`") for row in rows}
    lines = []
    for option in options:
        values = {key: in_yaml(value) for key, value in flat(option.values)}
        values = {k: v for k, v in values.items() if k in usual and v != usual[k]}
        # `null` is how a file writes what is empty until something is set in it.
        sets = [f"{group}.{k}={v}" for k, v in values.items() if (v, usual[k]) != ("null", "{}")]
        # The space of a sweep is long, and is read in its file.
        sets = [each for each in option.brings if not each.startswith("hydra.")] + sets
        codes = f" Sets {', '.join(f'`{each}`' for each in sets)}." if sets else ""
        lines.append(f"- `{group}={option.name}`: {_escaped(option.about)}{codes}\n")
    return "".join(lines)


def _as_set(option: Option) -> str:
    """The keys of a file whose types are another package's."""
    values = [(k, v) for k, v in flat(option.values) if not k.endswith("_")]
    return _table(
        Row(key, in_words(type(value)), f"`{in_yaml(value)}`", option.comments.get(key, ""))
        for key, value in values
    )


def _heading(level: int, words: str, anchor: str | None = None) -> str:
    anchor = anchor or re.sub(r"[^a-z0-9_]+", "-", words.lower()).strip("-")
    shown = ", ".join(f"`{each}`" for each in words.split(", ")) if level == 3 else words
    return f"{'#' * level} {shown} {{ #{anchor} }}\n"


def _table(rows: Iterable[Row]) -> str:
    cells = [
        f"| `{row.key}` | {row.type.replace('|', chr(92) + '|')} | {row.default} "
        f"| {_escaped(row.about).replace('|', chr(92) + '|')} |"
        for row in rows
    ]
    head = ["| key | type | default | what it is |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *cells, ""]) if cells else "It has no keys.\n"


def _plain(words: str) -> str:
    return f"{_escaped(words)}\n"


def _escaped(words: str) -> str:
    """Text in which only what stands between backticks is Markdown, and pages are linked."""
    parts = words.split("`")
    for number in range(0, len(parts), 2):
        escaped = re.sub(r"([\\*_\[\]<>#])", r"\\\1", parts[number])
        parts[number] = re.sub(r"docs/([a-z-]+\.md)", r"[\1](\1)", escaped)
    return "`".join(parts)
