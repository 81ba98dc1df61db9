"""Which modules have a page, and the pages, by pdoc."""

import contextlib
import fnmatch
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cnn_jax

LIBRARY = Path(cnn_jax.__file__).parent

# jax.Array calls itself jax.jaxlib._jax.Array
_DOT = '<span class="o">.</span>'
_PRIVATE = f'<span class="n">jaxlib</span>{_DOT}<span class="n">_jax</span>{_DOT}'


def modules(pattern: str = "*") -> list[str]:
    """The public modules of the library, packages before what is in them.

    Args:
        pattern: shell pattern of their names: 'cnn_jax.boxes*'.
    """
    found = []
    for path in LIBRARY.glob("**/*.py"):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found.append(".".join(parts))
    return sorted(fnmatch.filter(found, pattern))


def page_of(name: str) -> str:
    """Where the page of a module is, below the directory: 'cnn_jax/boxes/nms.html'."""
    return f"{name.replace('.', '/')}.html"


def build(names: Sequence[str], output: Path) -> dict[str, str]:
    """Writes a page for each module, an index and a search index.

    Returns:
        Why there is no page of a module, for those that need a package that is not installed.

    Raises:
        ValueError: pdoc is not installed.
    """
    try:
        import pdoc
        import pdoc.doc
        import pdoc.render
    except ImportError:
        raise ValueError(
            "The reference is made by pdoc, which is not installed: pip install -e '.[docs]'."
        ) from None
    pdoc.render.configure(
        docformat="google", template_directory=Path(__file__).parent, footer_text="cnn_jax"
    )
    below = {name: [n for n in names if n.rpartition(".")[0] == name] for name in names}
    pdoc.render.env.globals["modules_below"] = below
    documented: dict[str, Any] = {}
    missing = {}
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing[name] = str(error)
            continue
        documented[name] = pdoc.doc.Module.from_name(name)
    for name, text in _rendered(pdoc, documented):
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return missing


def _rendered(pdoc: Any, documented: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The files, by their names below the directory."""
    for name, module in documented.items():
        with contextlib.redirect_stderr(None):  # pdoc's notes on types that it cannot resolve
            text = pdoc.render.html_module(module, documented)
            yield page_of(name), text.replace(_PRIVATE, "").replace("jax.jaxlib._jax.", "jax.")
    if index := pdoc.render.html_index(documented):
        yield "index.html", index
    if search := pdoc.render.search_index(documented):
        yield "search.js", search
