"""One spelling, American, in pages, comments of `conf/`, messages and docstrings."""

import ast
import io
import re
import tokenize

import pytest
from support import REPOSITORY

BRITISH = re.compile(
    r"(?i)\b("
    r"(un)?(behaviour|colour|favour|flavour|honour|labour|neighbour)\w*"
    r"|favourites?|catalogues?|catalogued|centred?|centres|centring|grey|greyed|licences?"
    r"|labell(ed|ing)|modell(ed|ing)|cancell(ed|ing)|travell(ed|ing|er)|signall(ed|ing)"
    r"|(analy|cataly|paraly)s(e|ed|es|ing)|programmes?|fulfils?|fulfilment|judgement"
    r"|learnt|spelt|misspelt|spoilt|whilst|amongst|artefacts?|metres?|defence|offence|practise"
    r"|(categor|character|custom|emphas|equal|factor|final|general|initial|invers|item|linear"
    r"|local|material|maxim|memor|minim|modern|normal|optim|organ|parallel|parameter|penal"
    r"|personal|quant|random|real|recogn|regular|serial|special|standard|summar|synchron|token"
    r"|util|vector|visual)is(e|ed|es|er|ers|ing|ation|ations)"
    r")\b"
)
# Public names that are spelled otherwise, and stay: where they stand outside of code.
EXCEPTIONS = {
    # A setting of the package LensKit, by the name that it has in our search.
    "docs/results/peers.md": {"neighbours"},
    # Names of arguments, as docstrings list them.
    "src/lightning_collab/training/solvers/gibbs/priors.py": {"learnt"},
}


def of_page(text):
    """The words of a page, without its code and what its links lead to."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def of_yaml(text):
    return "\n".join(line.partition("#")[2] for line in text.splitlines())


def of_module(text):
    """Comments, docstrings, and every other text of several words."""
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    texts = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    # Names of functions, modules and keys are between backticks, or have a dot or `_` in them.
    return re.sub(r"`[^`\n]*`|\w+(\.\w+)+", "", "\n".join(comments + texts))


WORDS = {".md": of_page, ".yaml": of_yaml, ".py": of_module}
READ = [
    path.relative_to(REPOSITORY).as_posix()
    for path in sorted(
        [
            *REPOSITORY.glob("*.md"),
            *(REPOSITORY / "docs").rglob("*.md"),
            *(REPOSITORY / "conf").rglob("*.yaml"),
            *(REPOSITORY / "src").rglob("*.py"),
        ]
    )
]


def british(text, read):
    return {found[0].lower() for found in BRITISH.finditer(read(text))}


def test_the_spelling_is_american():
    found = {}
    for name in READ:
        path = REPOSITORY / name
        words = british(path.read_text(), WORDS[path.suffix]) - EXCEPTIONS.get(name, set())
        if words:
            found[name] = sorted(words)
    assert found == {}


def test_every_exception_is_needed():
    for name, words in EXCEPTIONS.items():
        path = REPOSITORY / name
        assert words <= british(path.read_text(), WORDS[path.suffix]), name


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (".md", "A neighbour of `colour`.\n```\ngrey\n```\n[x](favour.md)", {"neighbour"}),
        (".yaml", "catalogue_limit: 3  # of the Catalogue", {"catalogue"}),
        (
            ".py",
            '# centred\ncolour = "grey"\nraise E(f"{colour} is learnt")',
            {"centred", "learnt"},
        ),
        (
            ".py",
            '"""Otherwise raised, promised, precise and pointwise noise in four metrics."""',
            set(),
        ),
    ],
)
def test_what_is_found(name, text, words):
    assert british(text, WORDS[name]) == words
